//! The host at work: plugins that are compiled in a child, bound, and given batches, most of them hostile. One binary,
//! since each links the engine.

mod fairness;
mod guests;
mod hostile;
mod limits;
mod loading;
mod setup;
mod verdicts;
