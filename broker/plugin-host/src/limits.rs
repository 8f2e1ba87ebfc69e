//! What a binding may use. Every number a plugin can run into stands here, with the reason for its default and its
//! range.
//!
//! Limits belong to the binding, not to the plugin, and change while it serves: the next batch runs under the new ones.

use std::{fmt, time::Duration};

/// What one binding's plugin may use: memory an instance, time a batch, output a call, volume a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one instance, in bytes. Growth beyond it fails, as it would on a full machine.
    pub memory_bytes: usize,
    /// The thread's own CPU time for one batch, however many calls it crosses in; also for one `init`.
    pub cpu: Duration,
    /// Time by the clock for one batch, for what CPU time does not see: a thread that waits for a processor.
    pub wall: Duration,
    /// What one call may hand back, in bytes; also what all its replacements may come to, where they overlap in the
    /// blob.
    pub output_bytes: usize,
    /// Log lines in each [`VOLUME_WINDOW`]; those beyond are counted and dropped.
    pub log_lines: u32,
    /// Bytes of log lines in each [`VOLUME_WINDOW`].
    pub log_bytes: usize,
    /// Names of metrics over the binding's life; updates of further names are counted and dropped.
    pub metric_names: usize,
}

/// Over how long a binding's log lines are counted.
pub const VOLUME_WINDOW: Duration = Duration::from_secs(10);

/// The longest log line passed on; the rest of it is cut. Long enough for a record quoted in an error, short enough for
/// a terminal.
pub const LOG_LINE_BYTES_MAX: usize = 4 * 1024;

/// The longest name of a metric.
pub const METRIC_NAME_BYTES_MAX: usize = 64;

/// A plugin's binary. What Redpanda takes too; a Rust plugin is some 100 KiB, a JavaScript engine with a script some
/// MiB.
pub const PLUGIN_BYTES_MAX: usize = 10 * 1024 * 1024;

/// The part of an instance's memory that one call's batch may fill: the plugin needs room for its answer and its own
/// state beside it.
pub(crate) const BATCH_SHARE_OF_MEMORY: usize = 4;

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A batch of 1 MiB, the usual `max.message.bytes`, crosses whole (a quarter), with room for its answer.
            memory_bytes: 16 * 1024 * 1024,
            // A thousand times what a plain filter needs for a full batch; short enough that a loop does not hold a
            // thread for long.
            cpu: Duration::from_millis(100),
            wall: Duration::from_secs(2),
            // Twice the largest batch that crosses in one call under the default memory: a plugin may double what it
            // rewrites.
            output_bytes: 8 * 1024 * 1024,
            log_lines: 200,
            log_bytes: 64 * 1024,
            // Enough to count by outcome and kind; label-like names by key or user run into it.
            metric_names: 64,
        }
    }
}

/// A limit outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limit {name} is {value}, which is not within {min} to {max}")]
pub struct LimitOutOfRange {
    /// The limit's name, with its unit.
    pub name: &'static str,
    /// What was asked for.
    pub value: u64,
    /// The least that is taken.
    pub min: u64,
    /// The most that is taken.
    pub max: u64,
}

impl Limits {
    /// The most that `memory_bytes` may be: what a slot of the instance pool can hold.
    pub const MEMORY_BYTES_MAX: usize = 1024 * 1024 * 1024;

    /// Checks every limit against its range.
    pub fn check(&self) -> Result<(), LimitOutOfRange> {
        let rows = [
            // Two pages of Wasm: less holds no stack.
            ("memory_bytes", self.memory_bytes as u64, 128 * 1024, Self::MEMORY_BYTES_MAX as u64),
            // Below a tick of the clock that reads it, a limit would mean nothing.
            ("cpu_ms", millis(self.cpu), 1, 10_000),
            ("wall_ms", millis(self.wall), 1, 60_000),
            // The verdicts of a batch of a few hundred records must fit.
            ("output_bytes", self.output_bytes as u64, 1024, 256 * 1024 * 1024),
            ("log_lines", u64::from(self.log_lines), 0, 10_000),
            ("log_bytes", self.log_bytes as u64, 0, 1024 * 1024),
            ("metric_names", self.metric_names as u64, 0, 1024),
        ];
        for (name, value, min, max) in rows {
            if !(min..=max).contains(&value) {
                return Err(LimitOutOfRange { name, value, min, max });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "memory {} KiB, {} ms of CPU and {} ms a batch, output {} KiB",
            self.memory_bytes / 1024,
            millis(self.cpu),
            millis(self.wall),
            self.output_bytes / 1024
        )
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let check = |what: &str, limits: Limits, refused: Option<&str>| {
            assert_eq!(limits.check().err().map(|e| e.name), refused, "{what}");
        };
        let usual = Limits::default();
        check("the defaults", usual, None);
        check("no memory", Limits { memory_bytes: 0, ..usual }, Some("memory_bytes"));
        check("more memory than a slot", Limits { memory_bytes: 2 << 30, ..usual }, Some("memory_bytes"));
        check("under a tick", Limits { cpu: Duration::from_micros(999), ..usual }, Some("cpu_ms"));
        check("no end", Limits { wall: Duration::MAX, ..usual }, Some("wall_ms"));
        check("output of nothing", Limits { output_bytes: 16, ..usual }, Some("output_bytes"));
        check("silent", Limits { log_lines: 0, log_bytes: 0, metric_names: 0, ..usual }, None);
    }
}
