//! Where one partition stands, on its leader and on its followers: state machines that facts go into and decisions come out of.
//!
//! ```text
//!   log_start        high_watermark      durable (of each replica)     log_end
//!       |                  |                    |                         |
//!       v                  v                    v                         v
//!   ----[==================|====================|=========================]--> offsets
//!          what consumers read,   stored by us, not yet      appended, may be
//!          what is acknowledged   by all of the ISR          lost with the power
//!
//!   follower                                  leader                                   controller
//!   Follower::next_fetch ── FollowerFetch ──> check_fetch, divergence, on_fetch
//!   Follower::on_answer <── records or where  review ── ProposedIsr ──> AlterPartition, decided on the image
//!      append | truncate    the logs diverge  on_outcome, on_registration <── what the metadata log says now
//! ```
//! The protocol is KIP-966's with truncation on fetch:
//! - A fetch names the leader epoch it is for and the epoch of the follower's last record; where that is not in the leader's log,
//!   the follower truncates and asks again ([`divergence`]). Nothing else ever truncates, least of all a high watermark.
//! - A replica counts up to what it says is durable. What durable means is the broker's business: in flush mode `os` it reports
//!   what it has written.
//! - While a change of the ISR is asked for and its outcome unknown, the high watermark waits for the members of both.
//!
//! Owned by whoever owns the partition's appender, and called under the same lock. No clock, no IO: `now_ms` is an argument, of a
//! clock that doesn't go back.

mod follower;
mod leader;
mod progress;

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use crate::planted::{Bug, planted};

pub use follower::{FetchAnswer, Follower, Step};
pub use leader::{Leader, Outcome, ReplicaProgress, Review};

/// Where a log begins and ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// The first offset there is.
    pub log_start: i64,
    /// The offset the next record gets.
    pub log_end: i64,
    /// The exclusive end of what counts as stored.
    pub durable: i64,
}

/// What a topic's configuration says of replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderRules {
    /// `min.insync.replicas`; more than there are replicas is never asked for (KIP-966).
    pub min_insync_replicas: usize,
    /// `replica.lag.time.max.ms`: how long a replica may not have been caught up and stay in the ISR.
    pub replica_lag_time_max_ms: i64,
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

/// What a follower says of itself when it fetches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowerFetch {
    /// Who fetches.
    pub replica: i32,
    /// The life of it.
    pub broker_epoch: i64,
    /// The reign it believes in.
    pub leader_epoch: i32,
    /// Its log end.
    pub fetch_offset: i64,
    /// The exclusive end of what it counts as stored.
    pub durable: i64,
    /// The leader epoch of its last record, or [`FollowerFetch::EMPTY`].
    pub last_fetched_epoch: i32,
}

impl FollowerFetch {
    /// In place of the last record's epoch when there is no record.
    pub const EMPTY: i32 = -1;
}

/// Why a follower's fetch is not answered with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum FetchRefused {
    /// It holds no replica of the partition, or is the leader itself.
    #[error("the fetcher is no follower of this partition")]
    NotReplica,
    /// A later life of the broker has fetched: this one is over (KIP-903).
    #[error("the fetch is of broker epoch {given}, epoch {known} has been heard of")]
    StaleBroker {
        /// The latest life that fetched.
        known: i64,
        /// The life that fetches now.
        given: i64,
    },
    /// The fetcher believes in a reign that is over.
    #[error("the fetcher's leader epoch is over")]
    FencedLeaderEpoch,
    /// The fetcher knows of a reign that this leader has not heard of.
    #[error("the fetcher's leader epoch has not begun here")]
    UnknownLeaderEpoch,
    /// The leader's log has nothing at that offset and will not: the follower starts over at `log_start`.
    #[error("the leader's log is from {log_start} to {log_end}")]
    Offset {
        /// The leader's first offset.
        log_start: i64,
        /// The leader's log end.
        log_end: i64,
    },
}

/// Where a follower's log stops being the leader's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverging {
    /// The latest epoch, up to the follower's last, that the leader's log has; [`FollowerFetch::EMPTY`] if it has none.
    pub epoch: i32,
    /// The exclusive end of that epoch in the leader's log.
    pub end_offset: i64,
}

/// An ISR that a leader asks the controller for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProposedIsr {
    /// The topic; [`Uuid::ZERO`] until whoever sends it says which partition it is of.
    pub topic: Uuid,
    /// The partition's index.
    pub index: i32,
    /// The reign that asks.
    pub leader_epoch: i32,
    /// The registration it would change.
    pub partition_epoch: i32,
    /// The members, each with the life of it that is meant.
    pub isr: Vec<(i32, i64)>,
    /// The leader has recovered from having been elected uncleanly.
    pub recovered: bool,
}

impl ProposedIsr {
    /// The proposal, of that partition.
    #[must_use]
    pub fn of(self, topic: Uuid, index: i32) -> Self {
        Self { topic, index, ..self }
    }
}

/// Where the follower's log stops being the leader's, if it does: asked for every fetch before it counts for anything.
/// `leader_end_of` gives the latest epoch of the leader's log that is not after the one asked for, with its exclusive end
/// (KIP-279); `log_start` is the leader's.
///
/// An answer may be the first of several steps: where the follower lacks the epoch that is named it truncates to the one before
/// it and asks again, and each step takes at least one of its epochs away.
#[must_use]
pub fn divergence(
    fetch: &FollowerFetch,
    leader_end_of: impl Fn(i32) -> Option<(i32, i64)>,
    log_start: i64,
) -> Option<Diverging> {
    // Nothing to compare; or all of it before the leader's log, which `on_fetch` answers: it starts over either way.
    let is_empty = fetch.last_fetched_epoch == FollowerFetch::EMPTY || planted(Bug::DivergenceUnchecked);
    if is_empty || fetch.fetch_offset < log_start {
        return None;
    }
    match leader_end_of(fetch.last_fetched_epoch) {
        Some((epoch, end_offset)) if end_offset >= log_start => {
            let is_of_that_epoch = epoch == fetch.last_fetched_epoch || planted(Bug::LaterEpochUnchecked);
            let is_same = is_of_that_epoch && end_offset >= fetch.fetch_offset;
            (!is_same).then_some(Diverging { epoch, end_offset })
        }
        // The follower's last record is of an epoch that the leader has nothing of and nothing before of: none of it can be
        // compared any more.
        Some(_) | None => Some(Diverging { epoch: FollowerFetch::EMPTY, end_offset: log_start }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_logs_diverge() {
        // The leader's log: epoch 1 up to 10, epoch 3 up to 20, epoch 6 up to 30.
        let epochs = [(1, 10), (3, 20), (6, 30)];
        check("all of it is there", &epochs, 0, (30, 6), None);
        check("behind", &epochs, 0, (22, 6), None);
        check("at the end of an earlier epoch", &epochs, 0, (20, 3), None);
        check("empty", &epochs, 0, (0, -1), None);
        check("KAFKA-6361: more of an epoch than was kept", &epochs, 0, (25, 3), Some((3, 20)));
        check("an epoch that left nothing here", &epochs, 0, (25, 4), Some((3, 20)));
        check("ahead of the leader", &epochs, 0, (31, 6), Some((6, 30)));
        check("of an epoch to come", &epochs, 0, (31, 7), Some((6, 30)));
        check("an epoch before all of the leader's", &epochs, 0, (5, 0), Some((-1, 0)));
        check("the leader's log is empty", &[], 0, (5, 2), Some((-1, 0)));
        check("the leader's log is empty and begins where the follower ends", &[], 7, (7, 2), Some((-1, 7)));
        check("before the leader's log: answered as out of range", &epochs[2..], 20, (12, 3), None);
        check("an epoch the leader has deleted", &epochs[2..], 20, (20, 3), Some((-1, 20)));
        check("an epoch that ends before the leader's log", &epochs, 25, (26, 4), Some((-1, 25)));
    }

    fn check(what: &str, epochs: &[(i32, i64)], log_start: i64, (end, last): (i64, i32), expected: Option<(i32, i64)>) {
        let fetch = FollowerFetch {
            replica: 2,
            broker_epoch: 1,
            leader_epoch: 8,
            fetch_offset: end,
            durable: end,
            last_fetched_epoch: last,
        };
        let end_of = |epoch: i32| epochs.iter().rev().find(|(known, _)| *known <= epoch).copied();
        let found = divergence(&fetch, end_of, log_start).map(|diverging| (diverging.epoch, diverging.end_offset));
        assert_eq!(found, expected, "{what}");
    }
}
