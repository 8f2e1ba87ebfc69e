//! A cluster as its clients and its operators see it: brokers killed, stopped, paused, cut off, added and refused.
//!
//! In reading order: `alone` (one broker, judged as the others are), `seat` (who decides).
#![forbid(unsafe_code)]

mod alone;
mod seat;
