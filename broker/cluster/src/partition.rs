//! Where one partition stands, as its leader sees it: how far its records count as stored.
//!
//! ```text
//!   log_start        high_watermark      durable (of each replica)     log_end
//!       |                  |                    |                         |
//!       v                  v                    v                         v
//!   ----[==================|====================|=========================]--> offsets
//!          what consumers read,   stored by us, not yet      appended, may be
//!          what is acknowledged   by all of the ISR          lost with the power
//! ```
//! Facts come in (`on_append`, `on_durable`), the high watermark comes out. It never goes back within a reign, and it advances
//! only to what every member of the ISR has made durable, and only while the ISR has `min.insync.replicas` members
//! (KAFKA-15583); acknowledgements and fetches wait on it, also with one replica. What durable means is the broker's business:
//! in flush mode `os` it reports as durable what it has written.
//!
//! Owned by whoever owns the partition's appender, and called under the same lock. No clock, no IO.

use std::collections::{BTreeMap, BTreeSet};

use crate::metadata::PartitionRegistration;

/// A partition's replication state on its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    local: i32,
    leader_epoch: i32,
    /// What each replica has made durable, as far as we know: the exclusive end.
    durable: BTreeMap<i32, i64>,
    /// The members the metadata log knows.
    isr: BTreeSet<i32>,
    min_insync_replicas: usize,
    log_end: i64,
    high_watermark: i64,
}

/// The ISR is too small for a produce request that wants all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{isr} replicas are in sync of {min_insync_replicas} that are needed")]
pub struct NotEnoughReplicas {
    /// Members of the ISR.
    pub isr: usize,
    /// Members needed.
    pub min_insync_replicas: usize,
}

impl Partition {
    /// A reign begins: `local` leads in the epoch of `registration`, with a log that ends at `log_end` and is durable below
    /// `durable`. `known_high_watermark` is what was acknowledged in an earlier reign, if it is known; nothing below it waits
    /// again.
    #[must_use]
    pub fn lead(
        local: i32,
        registration: &PartitionRegistration,
        min_insync_replicas: usize,
        log_end: i64,
        durable: i64,
        known_high_watermark: i64,
    ) -> Self {
        assert!(durable <= log_end && known_high_watermark <= log_end, "nothing is stored beyond the log's end");
        let mut partition = Self {
            local,
            leader_epoch: registration.leader_epoch,
            durable: registration.replicas.iter().map(|replica| (*replica, UNKNOWN)).collect(),
            isr: registration.isr.iter().copied().collect(),
            min_insync_replicas,
            log_end,
            high_watermark: known_high_watermark,
        };
        partition.durable.insert(local, durable);
        partition.advance();
        partition
    }

    /// The log grew to `log_end`. Not durable yet, so nothing moves.
    pub fn on_append(&mut self, log_end: i64) {
        assert!(log_end >= self.log_end, "a leader's log does not shrink");
        self.log_end = log_end;
    }

    /// The local log is durable below `end`. Gives the high watermark if it moved. Flushes may be reported late and out of
    /// order; what was durable stays so.
    pub fn on_durable(&mut self, end: i64) -> Option<i64> {
        assert!(end <= self.log_end, "durable beyond the log's end");
        let known = self.durable.entry(self.local).or_insert(UNKNOWN);
        *known = end.max(*known);
        self.advance()
    }

    /// The registration changed within this reign: the ISR, or the replicas. Gives the high watermark if it moved.
    pub fn on_registration(&mut self, registration: &PartitionRegistration) -> Option<i64> {
        self.isr = registration.isr.iter().copied().collect();
        self.durable.retain(|replica, _| registration.replicas.contains(replica));
        for replica in &registration.replicas {
            self.durable.entry(*replica).or_insert(UNKNOWN);
        }
        self.advance()
    }

    /// `min.insync.replicas` changed. Gives the high watermark if it moved.
    pub fn on_min_insync_replicas(&mut self, min_insync_replicas: usize) -> Option<i64> {
        self.min_insync_replicas = min_insync_replicas;
        self.advance()
    }

    /// The exclusive end of what is stored for good: what consumers read, what is acknowledged.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The exclusive end of what has been appended.
    #[must_use]
    pub fn log_end(&self) -> i64 {
        self.log_end
    }

    /// The epoch of this reign.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Whether `acks=all` may be promised: asked before the append, so that nothing is stored that can't be acknowledged.
    pub fn enough_replicas(&self) -> Result<(), NotEnoughReplicas> {
        let (isr, min_insync_replicas) = (self.isr.len(), self.min_insync_replicas_effective());
        if isr < min_insync_replicas { Err(NotEnoughReplicas { isr, min_insync_replicas }) } else { Ok(()) }
    }

    /// More than there are replicas can't be asked for (KIP-966).
    fn min_insync_replicas_effective(&self) -> usize {
        self.min_insync_replicas.clamp(1, self.durable.len().max(1))
    }

    fn advance(&mut self) -> Option<i64> {
        self.enough_replicas().ok()?;
        let stored_by_all =
            self.isr.iter().map(|replica| self.durable.get(replica).copied().unwrap_or(UNKNOWN)).min()?;
        if stored_by_all <= self.high_watermark {
            return None;
        }
        self.high_watermark = stored_by_all;
        Some(stored_by_all)
    }
}

/// Durable end of a replica we have not heard of in this reign.
const UNKNOWN: i64 = -1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_replica() {
        let mut partition = lead(&[1], &[1], 1);
        assert_eq!(partition.high_watermark(), 10, "what was recovered is durable");
        partition.on_append(15);
        assert_eq!(partition.high_watermark(), 10, "appended is not durable");
        assert_eq!(partition.on_durable(12), Some(12), "a flush that began before the last append");
        assert_eq!(partition.on_durable(11), None, "a flush reported late");
        assert_eq!(partition.on_durable(15), Some(15), "all of it");
    }

    #[test]
    fn several_replicas() {
        let mut partition = lead(&[1, 2], &[1, 2], 1);
        partition.on_append(15);
        assert_eq!(partition.on_durable(15), None, "a member of the ISR has not been heard of");
        assert_eq!(partition.on_registration(&registration(&[1, 2], &[1])), Some(15), "it left the ISR");
    }

    #[test]
    fn too_few_in_sync() {
        let mut partition = lead(&[1, 2, 3], &[1], 2);
        assert_eq!(partition.enough_replicas(), Err(NotEnoughReplicas { isr: 1, min_insync_replicas: 2 }));
        partition.on_append(15);
        assert_eq!(partition.on_durable(15), None, "an ISR below the minimum moves nothing");
        assert_eq!(partition.on_min_insync_replicas(1), Some(15), "until less is asked for");
        let partition = lead(&[1], &[1], 3);
        assert_eq!(partition.enough_replicas(), Ok(()), "more than there are replicas cannot be asked for");
    }

    #[test]
    fn what_was_acknowledged_stays_so() {
        let partition = Partition::lead(1, &registration(&[1, 2], &[1, 2]), 1, 10, 10, 7);
        assert_eq!(partition.high_watermark(), 7);
    }

    /// Leads as broker 1, with a log of ten durable records.
    fn lead(replicas: &[i32], isr: &[i32], min_insync_replicas: usize) -> Partition {
        Partition::lead(1, &registration(replicas, isr), min_insync_replicas, 10, 10, 0)
    }

    fn registration(replicas: &[i32], isr: &[i32]) -> PartitionRegistration {
        PartitionRegistration { isr: isr.to_vec(), ..PartitionRegistration::new(replicas.to_vec()) }
    }
}
