//! The wire protocol: primitives, frames, one table per message, record batches. No IO, no state.
#![forbid(unsafe_code)]

pub mod records;
mod uuid;

pub use uuid::{ParseUuidError, Uuid};
