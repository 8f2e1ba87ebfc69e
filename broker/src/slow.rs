//! Work that takes its time, off the data path: opening logs, retention, compiling plugins.
//!
//! The data path never comes here: a `pwrite` is done inline, an `fdatasync` on the flusher's threads, a plugin on the plugin
//! threads. What an operator asks for, or a timer, may hold up one of the runtime's threads, which is told so.

/// Runs `work` in place, and lets the runtime give this thread's other tasks to another.
#[expect(clippy::disallowed_methods, reason = "off the data path: a start, an end, a timer or an operator waits")]
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// Runs `work` on a thread of its own; `None` when the runtime is ending.
#[expect(clippy::disallowed_methods, reason = "off the data path: an operator waits")]
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
