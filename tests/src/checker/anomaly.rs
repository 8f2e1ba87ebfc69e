//! What can be wrong with a history, and what a check says of one.

use std::collections::BTreeMap;
use std::fmt;

use super::{TopicPartition, Value};

/// One thing that must not have happened: which record, where, and who saw it.
#[expect(missing_docs, reason = "a field's name says what its variant does not")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anomaly {
    /// Acknowledged, and not there in the end.
    Lost { value: Value, at: TopicPartition, offset: Option<i64> },
    /// One value at several offsets, be they read or acknowledged.
    Duplicated { value: Value, at: TopicPartition, offsets: Vec<i64> },
    /// Acknowledged before the other was sent, or sent before it by the same producer, and stored after it.
    Reordered { at: TopicPartition, earlier: (Value, i64), later: (Value, i64) },
    /// A consumer was given it, and it is not there in the end.
    Vanished { consumer: u32, value: Value, at: TopicPartition, offset: i64 },
    /// One offset with several values, be they read or acknowledged.
    TwoValues { at: TopicPartition, offset: i64, values: Vec<Value> },
    /// A consumer that only goes forward was given an offset at or before the one it had.
    WentBack { consumer: u32, at: TopicPartition, from: i64, to: i64 },
    /// A consumer was given what comes after this record, and not the record.
    Skipped { consumer: u32, at: TopicPartition, offset: i64 },
    /// A consumer that follows a partition did not get to its end.
    Behind { consumer: u32, at: TopicPartition, reached: Option<i64>, end: i64 },
    /// Read, and never sent there.
    Unsent { at: TopicPartition, offset: i64, value: Value },
    /// Read, though its producer was told that it is not stored.
    Refused { at: TopicPartition, offset: i64, value: Value },
    /// Read, and not what any producer sent: its bytes were altered.
    Garbled { at: TopicPartition, offset: i64 },
    /// Replicas that differ below the high watermark, from this offset on.
    Diverged { at: TopicPartition, offset: i64, brokers: Vec<i32> },
    /// A replica whose log leaves offsets out.
    Gap { at: TopicPartition, broker: i32, from: i64, to: i64 },
    /// A replica that ends below the high watermark although it was in sync.
    Short { at: TopicPartition, broker: i32, end: i64, high_watermark: i64 },
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls to send.
    pub sent: usize,
    /// Acknowledged.
    pub stored: usize,
    /// Surely not stored.
    pub failed: usize,
    /// Of no known outcome.
    pub unknown: usize,
    /// Of those, the ones that are there in the end.
    pub unknown_stored: usize,
    /// Records in the final read.
    pub read: usize,
    /// Records given to consumers that followed.
    pub polled: usize,
    /// Batches compared between replicas.
    pub compared: usize,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What was counted.
    pub counts: Counts,
    /// What was wrong, by kind.
    pub anomalies: Vec<Anomaly>,
}

/// Anomalies of a kind that are shown: a hundred thousand lost records are one finding.
const SHOWN_OF_A_KIND: usize = 10;

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.anomalies.is_empty()
    }
}

impl Anomaly {
    /// Its kind, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lost { .. } => "lost",
            Self::Duplicated { .. } => "duplicated",
            Self::Reordered { .. } => "reordered",
            Self::Vanished { .. } => "vanished",
            Self::TwoValues { .. } => "two values",
            Self::WentBack { .. } => "went back",
            Self::Skipped { .. } => "skipped",
            Self::Behind { .. } => "behind",
            Self::Unsent { .. } => "unsent",
            Self::Refused { .. } => "refused",
            Self::Garbled { .. } => "garbled",
            Self::Diverged { .. } => "diverged",
            Self::Gap { .. } => "gap",
            Self::Short { .. } => "short",
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { value, at, offset: Some(offset) } => write!(f, "{value}, acknowledged at {at}@{offset}"),
            Self::Lost { value, at, offset: None } => write!(f, "{value}, acknowledged in {at}"),
            Self::Duplicated { value, at, offsets } => write!(f, "{value} at {at}@{offsets:?}"),
            Self::Reordered { at, earlier, later } => {
                write!(f, "{at}: {} at {} came before {} at {}", earlier.0, earlier.1, later.0, later.1)
            }
            Self::Vanished { consumer, value, at, offset } => {
                write!(f, "{value} at {at}@{offset}, seen by consumer {consumer}")
            }
            Self::TwoValues { at, offset, values } => write!(f, "{at}@{offset}: {values:?}"),
            Self::WentBack { consumer, at, from, to } => write!(f, "consumer {consumer} of {at}: {from}, then {to}"),
            Self::Skipped { consumer, at, offset } => write!(f, "consumer {consumer} of {at}: {offset}"),
            Self::Behind { consumer, at, reached, end } => {
                write!(f, "consumer {consumer} of {at}: at {reached:?} of {end}")
            }
            Self::Unsent { at, offset, value } => write!(f, "{value} at {at}@{offset}"),
            Self::Refused { at, offset, value } => write!(f, "{value} at {at}@{offset}"),
            Self::Garbled { at, offset } => write!(f, "{at}@{offset}"),
            Self::Diverged { at, offset, brokers } => write!(f, "{at}@{offset} on brokers {brokers:?}"),
            Self::Gap { at, broker, from, to } => write!(f, "{at} on broker {broker}: from {from} to {to}"),
            Self::Short { at, broker, end, high_watermark } => {
                write!(f, "{at} on broker {broker}: ends at {end} of {high_watermark}")
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent: {} stored, {} failed, {} unknown ({} of them stored); {} read in the end, {} polled before; {} batches compared",
            self.sent,
            self.stored,
            self.failed,
            self.unknown,
            self.unknown_stored,
            self.read,
            self.polled,
            self.compared,
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.counts)?;
        let mut kinds = BTreeMap::<&str, Vec<&Anomaly>>::new();
        for anomaly in &self.anomalies {
            kinds.entry(anomaly.kind()).or_default().push(anomaly);
        }
        if kinds.is_empty() {
            return write!(f, "no anomaly");
        }
        for (kind, anomalies) in kinds {
            writeln!(f, "{kind}: {}", anomalies.len())?;
            for anomaly in anomalies.iter().take(SHOWN_OF_A_KIND) {
                writeln!(f, "  {anomaly}")?;
            }
        }
        Ok(())
    }
}
