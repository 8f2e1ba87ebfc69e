//! Whether a cluster kept its word: what producers were told and what consumers saw, against what is there in the end.
//!
//! ```text
//!   workload ── begin, end, polled ──> History ─┐
//!   replicas' segment files ──> ReplicaLog ─────┼──> check ──> Report: counts and anomalies
//!   everything read once more ── final read ────┘
//! ```
//! After Jepsen's `tests/kafka.clj`. Pure: no clock, no IO, no threads; the order of events is the order of the calls. Every
//! value is sent once, so that a value read names the call that sent it. A call that timed out is *unknown*, never failed:
//! its record may be there or not, but only once.
//!
//! In reading order: `value` (what a record carries), `history` (what happened), `replicas` (what is on the disks), `anomaly`
//! (what can be wrong), `judge` (finding it).

mod anomaly;
mod history;
mod judge;
mod replicas;
mod value;

#[cfg(test)]
mod tests;

pub use anomaly::{Anomaly, Counts, Report};
pub use history::{History, Outcome, TopicPartition};
pub use replicas::{ReplicaLog, StoredBatch};
pub use value::Value;
