//! A partition as a follower: what its fetcher brings goes into the log byte for byte, and what the log is then goes back with
//! the next fetch.
//!
//! The decisions are [`Follower`](sluice_cluster::partition::Follower)'s: append, cut back to where the leader's log parts from
//! this one, or start over where the leader's log starts. Checksums are compared before anything is written, because the bytes
//! came from another broker's disk. Damage below the high watermark is the leader's replica gone bad: this one is kept as it is
//! and not fetched into until another leads.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use sluice_cluster::partition::{Diverging, FetchAnswer, FetchRefused, FollowerFetch, Step};
use sluice_protocol::records::Chunks;
use sluice_storage::{DirFailed, FlushMode, Log, ReplicateError, TruncateError};

use super::fetcher::Reports;
use super::role::Role;
use super::{NotCommitted, Partition};
use crate::rpc::{FetchError, FetchedPartition};

/// What became of one partition's share of an answer, and so what its fetcher does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// It is in the log; reading goes on.
    On,
    /// The log is not what it was: reading starts anew at its end.
    Anew,
    /// Not now: reading starts anew after a pause.
    Later,
    /// Never in this leader epoch.
    Over,
}

/// Where a follower stands, as it tells its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) log_end: i64,
    pub(super) durable: i64,
    pub(super) last_epoch: i32,
}

impl Position {
    /// What changes as it goes on.
    pub(super) fn stored(self) -> (i64, i64) {
        (self.log_end, self.durable)
    }
}

impl Partition {
    /// Where the fetcher hears that this partition has moved.
    pub(super) fn report_to(&self, reports: Reports) {
        self.reports.store(Some(Arc::new(reports)));
    }

    /// Its log grew, or more of it is durable.
    pub(super) fn report(&self) {
        if let Some(reports) = &*self.reports.load() {
            reports.moved();
        }
    }

    /// The fetcher looks at it now.
    pub(super) fn report_taken(&self) {
        if let Some(reports) = &*self.reports.load() {
            reports.taken();
        }
    }

    /// Where it stands; `None` once it is no follower in that epoch any more.
    pub(super) fn position(&self, leader_epoch: i32) -> Option<Position> {
        let end = self.log_end();
        let last_epoch = self.reader.latest_epoch().unwrap_or(FollowerFetch::EMPTY);
        // Asked after the log: a reign is announced here before its first record is in the log, so that no record of a later one
        // is ever reported to the leader of this one, who would count it as its own.
        let still_follows = !self.leads() && self.leader_epoch() == leader_epoch;
        still_follows.then_some(Position { log_end: end.log_end, durable: end.durable, last_epoch })
    }

    /// Takes in what the leader answered: its records, or where the logs part, or why there is nothing.
    pub(super) fn replicate(
        &self,
        leader_epoch: i32,
        fetched: &FetchedPartition,
        records: &Chunks,
        now_ms: i64,
    ) -> Took {
        let mut appender = self.appender.lock();
        let Some(log) = appender.as_mut() else { return Took::Over };
        if self.leads() || self.leader_epoch() != leader_epoch {
            return Took::Over;
        }
        let step = {
            let mut role = self.role.lock();
            let Role::Follows(follower) = &mut *role else { return Took::Over };
            follower.on_answer(&answer(fetched), |epoch| self.reader.end_offset_for_epoch(epoch))
        };
        match step {
            Step::Append => self.append_replicated(log, leader_epoch, fetched, records, now_ms),
            Step::TruncateTo(offset) => {
                let log_end = self.reader.log_end_offset();
                tracing::info!(log = %log.name(), leader_epoch, offset, log_end, "cut back to where the leader's log parts");
                let cut = log.truncate_to(offset, now_ms).map(drop);
                self.after_cut(log, cut)
            }
            Step::StartOver { log_start } => {
                tracing::warn!(log = %log.name(), leader_epoch, log_start, "starts over where the leader's log starts");
                let cut = log.start_at(log_start);
                self.after_cut(log, cut)
            }
            Step::Wait => {
                if let Some(error) = fetched.error {
                    tracing::debug!(log = %log.name(), leader_epoch, %error, "not fetched; tried again");
                }
                Took::Later
            }
            Step::Stale => match fetched.error {
                // This broker registers anew, and the leader is the same.
                Some(FetchError::StaleBroker) => Took::Later,
                _ => Took::Over,
            },
        }
    }

    /// Called with the appender held.
    fn append_replicated(
        &self,
        log: &mut Log,
        leader_epoch: i32,
        fetched: &FetchedPartition,
        records: &Chunks,
        now_ms: i64,
    ) -> Took {
        if !records.is_empty() {
            let begun = Instant::now();
            match log.append_replicated(records, leader_epoch, now_ms) {
                Ok(appended) => {
                    self.append_times.observe(begun.elapsed());
                    self.waiters.appended(appended.log_end, appended.bytes as u64);
                }
                Err(error) => return self.not_replicated(log, fetched, &error),
            }
            if self.config.load().log.flush_mode == FlushMode::Group {
                self.flusher.request(&self.flush, Arc::clone(&self.wake));
            }
        }
        let mut role = self.role.lock();
        let Role::Follows(follower) = &mut *role else { return Took::Over };
        follower.on_log(self.log_end());
        let high_watermark = follower.high_watermark();
        let raise_log_start_to = follower.raise_log_start_to();
        if high_watermark > self.high_watermark() {
            self.advance(high_watermark);
        }
        drop(role);
        match raise_log_start_to.map_or(Ok(()), |offset| log.raise_log_start(offset).map(drop)) {
            Ok(()) => Took::On,
            Err(failed) => self.failed(log, &failed),
        }
    }

    fn not_replicated(&self, log: &Log, fetched: &FetchedPartition, error: &ReplicateError) -> Took {
        let log_name = log.name();
        match error {
            ReplicateError::Corrupt { offset, .. } if *offset < fetched.high_watermark => {
                tracing::error!(
                    log = %log_name, %error,
                    "the leader's replica is damaged below the high watermark; this one is kept and does not follow until another broker leads"
                );
                Took::Over
            }
            ReplicateError::LaterEpoch { .. } => {
                tracing::warn!(log = %log_name, %error, "what the former leader sent is not appended");
                Took::Later
            }
            ReplicateError::Corrupt { .. } | ReplicateError::EpochWentBack { .. } => {
                tracing::error!(log = %log_name, %error, "what the leader sent is not appended; it is fetched again");
                Took::Later
            }
            ReplicateError::NotContiguous { .. } => {
                tracing::warn!(log = %log_name, %error, "what the leader sent does not follow; it is fetched again");
                Took::Later
            }
            ReplicateError::NoSpace { .. } => {
                tracing::error!(log = %log_name, %error, "no room for what the leader sent");
                Took::Later
            }
            ReplicateError::Storage(failed) => self.failed(log, failed),
        }
    }

    /// The log was cut: what was known beyond its end is not so. Called with the appender held.
    fn after_cut(&self, log: &Log, cut: Result<(), TruncateError>) -> Took {
        match cut {
            Ok(()) => {
                let mut role = self.role.lock();
                let Role::Follows(follower) = &mut *role else { return Took::Over };
                let end = self.log_end();
                follower.on_log(end);
                let high_watermark = follower.high_watermark();
                if high_watermark < self.high_watermark() {
                    tracing::error!(
                        log = %log.name(), high_watermark, before = self.high_watermark(),
                        "committed records were cut: the leader was elected uncleanly"
                    );
                }
                self.high_watermark.store(high_watermark, Ordering::Release);
                self.waiters.truncated(end.log_end, high_watermark);
                Took::Anew
            }
            Err(TruncateError::Storage(failed)) => self.failed(log, &failed),
            Err(error) => {
                tracing::error!(log = %log.name(), %error, "cannot be cut back; tried again");
                Took::Later
            }
        }
    }

    fn failed(&self, log: &Log, failed: &DirFailed) -> Took {
        tracing::error!(log = %log.name(), error = %failed, "the replica is offline");
        self.waiters.end(NotCommitted::Storage);
        Took::Over
    }
}

fn answer(fetched: &FetchedPartition) -> FetchAnswer {
    match (fetched.error, fetched.diverging) {
        (None, None) => FetchAnswer::Fetched { high_watermark: fetched.high_watermark, log_start: fetched.log_start },
        (None, Some((epoch, end_offset))) => FetchAnswer::Diverging(Diverging { epoch, end_offset }),
        (Some(FetchError::NotReplica), _) => FetchAnswer::Refused(FetchRefused::NotReplica),
        (Some(FetchError::StaleBroker), _) => FetchAnswer::Refused(FetchRefused::StaleBroker { known: -1, given: -1 }),
        (Some(FetchError::FencedLeaderEpoch), _) => FetchAnswer::Refused(FetchRefused::FencedLeaderEpoch),
        (Some(FetchError::UnknownLeaderEpoch), _) => FetchAnswer::Refused(FetchRefused::UnknownLeaderEpoch),
        (Some(FetchError::OffsetOutOfRange { log_start, log_end }), _) => {
            FetchAnswer::Refused(FetchRefused::Offset { log_start, log_end })
        }
        (Some(FetchError::NotLeader | FetchError::Storage), _) => FetchAnswer::Failed,
    }
}
