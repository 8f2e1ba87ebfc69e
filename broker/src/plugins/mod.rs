//! Plugins at work in this broker: bindings of the metadata log, made into chains that batches run through.
//!
//! ```text
//!   metadata log: Binding ─> registry ── binary from the store ─> Host.load, Host.bind ─> Chain
//!   produce ─> registry.gate(topic) ─> Pinned ─> chain.gate ─> append
//!   fetch   ─> registry.view(view)  ─> Pinned ─> chain.view ─> answer
//! ```
//! The metadata log says what is bound, with digests; the binaries lie in an internal topic ([`store`]). A binding whose
//! plugin is not to be had is never passed by: its producers are told to try again, its consumers get an error.

mod chain;
mod marks;
mod observer;
mod registry;
mod store;
mod threads;

pub(crate) use chain::{ChainError, Gated, Pinned, ViewJob};
pub(crate) use marks::{GateMark, GateMarks};
pub(crate) use observer::Report;
pub(crate) use registry::{GateState, PushError, Registry};
pub(crate) use store::{Store, StoreError};
