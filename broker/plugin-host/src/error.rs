//! How a call of a plugin fails. Each is the cause a producer reads after the plugin's name, so it says what happened
//! and which limit it was.

use std::time::Duration;

use sluice_protocol::records::BatchError;

use crate::verdicts::LieKind;

/// Why a plugin gave no verdicts on a batch. The instance it happened in is gone; what becomes of the batch is the
/// binding's error policy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PluginError {
    /// It trapped: a panic, an access outside its memory, a stack overflow.
    #[error("trapped: {cause}")]
    Trap {
        /// The engine's words.
        cause: String,
    },
    /// It used more CPU time on a batch than the binding grants.
    #[error("used more than {} ms of CPU time on a batch", limit.as_millis())]
    CpuTime {
        /// The binding's limit.
        limit: Duration,
    },
    /// It took longer over a batch than the binding grants.
    #[error("took longer than {} ms over a batch", limit.as_millis())]
    WallTime {
        /// The binding's limit.
        limit: Duration,
    },
    /// It needed more memory than the binding grants, and failed after it was refused.
    #[error("needed more than {limit} bytes of memory")]
    Memory {
        /// The binding's limit.
        limit: usize,
    },
    /// It handed back more than the binding grants.
    #[error("handed back more than {limit} bytes")]
    OutputTooLarge {
        /// The binding's limit.
        limit: usize,
    },
    /// Its answer is not a valid one.
    #[error("gave an answer that is not valid: {0}")]
    Lie(#[from] LieKind),
    /// Its own words: the error that `process` returned, cut to [`PLUGIN_ERROR_BYTES_MAX`].
    #[error("failed: {0}")]
    Failed(String),
    /// A further instance could not be initialised, though the first could.
    #[error("could not be initialised again: {0}")]
    Init(String),
    /// All instances the host can hold are in use.
    #[error("no instance is free on this broker")]
    NoInstance,
    /// Not the plugin's fault: a record is larger than the memory the binding grants.
    #[error("a record of {bytes} bytes does not fit the plugin's memory of {limit}")]
    RecordTooLarge {
        /// Its length with what is packed beside it.
        bytes: usize,
        /// The binding's limit.
        limit: usize,
    },
    /// Not the plugin's fault: the batch's records could not be read.
    #[error("the batch could not be read: {0}")]
    Batch(#[from] BatchError),
}

/// What is passed on of a plugin's own error, in bytes.
pub const PLUGIN_ERROR_BYTES_MAX: usize = 1024;

/// Cuts `text` to at most `max` bytes, between characters.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}
