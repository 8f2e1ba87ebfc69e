//! Where the words and numbers of plugins go. The host counts and bounds them; what becomes of them is the broker's.

use std::{fmt, sync::Arc};

/// The name of a binding as operators know it: it stands beside the plugin's log lines and metrics, and plugin threads
/// are shared fairly by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BindingName(Arc<str>);

impl BindingName {
    /// A binding's name, such as `gate of orders`.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BindingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How loud a log line is; `log.level` of the WIT package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For following every step.
    Trace,
    /// For the plugin's author.
    Debug,
    /// For the operator, on a normal day.
    Info,
    /// For the operator, to look at.
    Warn,
    /// For the operator, to act on.
    Error,
}

/// Takes what plugins say. Called on plugin threads, in the middle of a plugin's call: it must not block, and the
/// call's time is running.
pub trait Observer: Send + Sync + 'static {
    /// A line, valid UTF-8, at most [`LOG_LINE_BYTES_MAX`](crate::LOG_LINE_BYTES_MAX) bytes, within the binding's
    /// volume. It may hold control characters: whoever shows it on a terminal escapes them.
    fn log(&self, binding: &BindingName, level: Level, line: &str);

    /// So many lines of the binding were over its volume in the window that ended, and dropped.
    fn lines_dropped(&self, binding: &BindingName, lines: u64);

    /// Adds to a counter of the binding. The name is of letters, digits and `_`, and one of a bounded number.
    fn add(&self, binding: &BindingName, name: &str, delta: u64);

    /// Sets a gauge of the binding; the name as in [`add`](Self::add).
    fn set(&self, binding: &BindingName, name: &str, value: f64);
}
