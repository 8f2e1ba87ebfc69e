//! A partition as one of its followers sees it: where to fetch, and what to do with what comes.
//!
//! A follower's log is a copy of its leader's or a way to it: records are appended as they come, and only a divergence that the
//! leader names, or a leader's log that doesn't reach back to this one, takes any away. The epoch of the last record goes with
//! every fetch, also after a pause in which other leaders reigned (KAFKA-6880, KAFKA-7164): nothing is taken to be the same that
//! has not been compared.

use super::{Diverging, FetchRefused, FollowerFetch, LogEnd};
use crate::metadata::PartitionRegistration;
use crate::planted::{Bug, planted};

/// A partition's replication state on a follower, for one reign of its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follower {
    local: i32,
    leader: i32,
    leader_epoch: i32,
    log: LogEnd,
    /// What the leader said of itself last.
    leader_high_watermark: i64,
    leader_log_start: i64,
    high_watermark: i64,
}

/// What came of a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchAnswer {
    /// Records from where was fetched, perhaps none.
    Fetched {
        /// The leader's high watermark.
        high_watermark: i64,
        /// The leader's first offset.
        log_start: i64,
    },
    /// The logs are not the same up to where was fetched.
    Diverging(Diverging),
    /// The leader refused.
    Refused(FetchRefused),
    /// No answer, one that can't be read, or a leader that can't serve now.
    Failed,
}

/// What a follower does next. After any change of the log, [`Follower::on_log`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Append the records, if there are any, and fetch again.
    Append,
    /// Truncate the log to this end and fetch again.
    TruncateTo(i64),
    /// Throw the whole log away and begin an empty one there.
    StartOver {
        /// Where.
        log_start: i64,
    },
    /// Fetch again after a while.
    Wait,
    /// This reign, or this life, is over: fetch again when the metadata log says what comes next.
    Stale,
}

impl Follower {
    /// Follows the leader of `registration` with the log that is there. `known_high_watermark` is what was known of it before.
    #[must_use]
    pub fn begin(local: i32, registration: &PartitionRegistration, log: LogEnd, known_high_watermark: i64) -> Self {
        Self {
            local,
            leader: registration.leader,
            leader_epoch: registration.leader_epoch,
            log,
            leader_high_watermark: 0,
            leader_log_start: 0,
            high_watermark: known_high_watermark.clamp(log.log_start, log.log_end),
        }
    }

    /// What to say of itself in the next fetch. `last_epoch` is the leader epoch of the log's last record.
    #[must_use]
    pub fn next_fetch(&self, broker_epoch: i64, last_epoch: Option<i32>) -> FollowerFetch {
        FollowerFetch {
            replica: self.local,
            broker_epoch,
            leader_epoch: self.leader_epoch,
            fetch_offset: self.log.log_end,
            durable: self.log.durable,
            last_fetched_epoch: last_epoch.unwrap_or(FollowerFetch::EMPTY),
        }
    }

    /// An answer to the fetch that was made at the log's end as it is now. `end_of` gives the latest epoch of the own log that is not
    /// after the one asked for, with its exclusive end.
    pub fn on_answer(&mut self, answer: &FetchAnswer, end_of: impl Fn(i32) -> Option<(i32, i64)>) -> Step {
        match *answer {
            FetchAnswer::Fetched { high_watermark, log_start } => {
                (self.leader_high_watermark, self.leader_log_start) = (high_watermark, log_start);
                self.advance();
                Step::Append
            }
            FetchAnswer::Diverging(Diverging { epoch: FollowerFetch::EMPTY, end_offset }) => {
                Step::StartOver { log_start: end_offset }
            }
            FetchAnswer::Diverging(diverging) => self.truncate(diverging, end_of),
            FetchAnswer::Refused(FetchRefused::Offset { log_start, log_end }) => self.out_of_range(log_start, log_end),
            FetchAnswer::Refused(FetchRefused::FencedLeaderEpoch | FetchRefused::StaleBroker { .. }) => Step::Stale,
            // The leader has not replayed the metadata log as far as we have.
            FetchAnswer::Refused(FetchRefused::NotReplica | FetchRefused::UnknownLeaderEpoch) | FetchAnswer::Failed => {
                Step::Wait
            }
        }
    }

    /// The log is so now: after an append, a flush, a truncation, a new start. Gives the high watermark if it moved, which is back
    /// only where records below it were taken away, by an unclean election.
    pub fn on_log(&mut self, log: LogEnd) -> Option<i64> {
        let before = self.high_watermark;
        self.log = log;
        // After a new start nothing but the start is known (KAFKA-9491).
        if !planted(Bug::WatermarkOutsideLog) {
            self.high_watermark = self.high_watermark.clamp(log.log_start, log.log_end);
        }
        self.advance();
        (self.high_watermark != before).then_some(self.high_watermark)
    }

    /// What is known here to be stored for good: never beyond the own log's end, and as the leader said it.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Records below were deleted by the leader, and the own log still has some of them.
    #[must_use]
    pub fn raise_log_start_to(&self) -> Option<i64> {
        let to = self.leader_log_start.min(self.high_watermark);
        (to > self.log.log_start).then_some(to)
    }

    /// Whom to fetch from.
    #[must_use]
    pub fn leader(&self) -> i32 {
        self.leader
    }

    /// Its reign.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// The log's end: where to fetch next.
    #[must_use]
    pub fn log_end(&self) -> i64 {
        self.log.log_end
    }

    /// To the end of what both logs can have in common. Where the leader names an epoch that is not in this log, that is the end of
    /// the one before it, and the next fetch asks about that one (KIP-279).
    fn truncate(&self, diverging: Diverging, end_of: impl Fn(i32) -> Option<(i32, i64)>) -> Step {
        let to = match end_of(diverging.epoch) {
            Some((epoch, end)) if epoch == diverging.epoch => end.min(diverging.end_offset),
            Some((_, end)) => end,
            // All there is came later than what the leader has.
            None => self.log.log_start,
        };
        // An answer that takes nothing away is none: asking again at once would go on for ever.
        if to < self.log.log_end { Step::TruncateTo(to.max(self.log.log_start)) } else { Step::Wait }
    }

    fn out_of_range(&self, log_start: i64, log_end: i64) -> Step {
        let LogEnd { log_start: own_start, log_end: own_end, .. } = self.log;
        if own_end < log_start || (own_end > log_end && own_start == own_end) {
            Step::StartOver { log_start }
        } else if own_end > log_end {
            Step::TruncateTo(log_end.max(own_start))
        } else {
            Step::Wait
        }
    }

    fn advance(&mut self) {
        let known = self.leader_high_watermark.min(self.log.log_end);
        self.high_watermark = self.high_watermark.max(known);
    }
}

#[cfg(test)]
mod tests;
