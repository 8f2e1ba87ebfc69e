//! Lines for the operator. The broker bounds their volume by the binding: beyond it lines are counted and dropped, so
//! a line a record is a line that nobody sees.
//!
//! ```
//! use sluice_sdk::log;
//! log::warn("no such currency");
//! log::info(format_args!("{} rules", 3));
//! ```

use std::fmt::{self, Display};

use crate::host;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Each step.
    Trace,
    /// For whoever looks for a mistake.
    Debug,
    /// Worth knowing.
    Info,
    /// Worth looking at.
    Warn,
    /// Something failed.
    Error,
}

impl Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

/// Writes a line.
pub fn write(level: Level, message: impl Display) {
    host::write((level, &message.to_string()));
}

/// Writes a line of [`Level::Trace`].
pub fn trace(message: impl Display) {
    write(Level::Trace, message);
}

/// Writes a line of [`Level::Debug`].
pub fn debug(message: impl Display) {
    write(Level::Debug, message);
}

/// Writes a line of [`Level::Info`].
pub fn info(message: impl Display) {
    write(Level::Info, message);
}

/// Writes a line of [`Level::Warn`].
pub fn warn(message: impl Display) {
    write(Level::Warn, message);
}

/// Writes a line of [`Level::Error`].
pub fn error(message: impl Display) {
    write(Level::Error, message);
}
