//! A partition as this broker serves it: its log, its role among the replicas, and who waits on it.
//!
//! ```text
//!   LEADER    produce ──> append ──> storage::Log ── log end ──────────────┬──> Watch ──> followers' sessions
//!                                                                         v
//!             flusher thread, followers' fetches ── durable ──> cluster::Leader ── high watermark ──> waiters ──> answers
//!
//!   FOLLOWER  Fetcher ──> raw batches ──> replicate ──> storage::Log ── durable ──> told to the leader in the next fetch
//! ```
//! In reading order:
//! - [`Partition`] (this file): what both roles share, and the leader's append.
//! - `role`: how a partition comes to lead or to follow, and what it takes from flushes, followers and the metadata.
//! - `waiters`: producers and consumers, waiting on the high watermark.
//! - `manager`: every partition of this broker; the one that opens, closes and hands out roles.
//! - `sessions`: followers' fetches answered. `fetcher`, `replica`: fetching as a follower. `proposals`: changes of the ISR.
//! - `throttles`: how fast replicas are copied. `failures`: replicas that cannot be served here, given up.
//!
//! The appender's lock orders writes and changes of role; readers never take it. What the role decides has a lock of its own,
//! taken after the appender's where both are held, so that a follower's fetch does not wait for a write.

mod failures;
mod fetcher;
mod manager;
mod proposals;
mod replica;
mod role;
mod sessions;
mod throttles;
mod waiters;

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use parking_lot::Mutex;
use sluice_cluster::PartitionRegistration;
use sluice_cluster::partition::{Follower, FollowerFetch, LeaderRules};
use sluice_protocol::records::{Batch, BatchHeader, TimestampType};
use sluice_protocol::{ErrorCode, Uuid};
use sluice_storage::{
    AppendError, Appended, FlushHandle, FlushMode, Flusher, Log, LogConfig, LogReader, Sequence, Wake,
};

use crate::metrics::Durations;
use crate::plugins::GateMark;
use crate::rpc::{PartitionId, ReplicaState};

pub(crate) use failures::Failures;
use fetcher::Reports;
pub(crate) use fetcher::{FetcherConfig, Fetchers};
pub(crate) use manager::{Manager, ManagerConfig, OpenAllError, PartitionError};
pub(crate) use proposals::{Controller, IsrChanges, Proposals};
use role::{Role, what_counts};
pub(crate) use sessions::ReplicaSessions;
use sessions::Watch;
pub(crate) use throttles::{Rates, Throttled, Throttles};
pub(crate) use waiters::{ByteClock, FetchWaiter, NotCommitted, Waiters};

/// What a topic's configuration says of its partitions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PartitionConfig {
    pub(crate) log: LogConfig,
    pub(crate) max_message_bytes: usize,
    pub(crate) message_timestamp_type: TimestampType,
    pub(crate) leader: LeaderRules,
    pub(crate) throttled: Throttled,
}

/// One partition with a replica on this broker.
pub(crate) struct Partition {
    local: i32,
    key: PartitionId,
    /// The epoch of the registration in force here.
    leader_epoch: AtomicI32,
    /// Whether this broker leads in it. Changes under the appender's lock only.
    leads: AtomicBool,
    /// Whether this replica is in the ISR, as the metadata has it.
    in_sync: AtomicBool,
    config: ArcSwap<PartitionConfig>,
    /// `None` once the log is closed or deleted: whoever still holds the partition cannot write.
    appender: Mutex<Option<Log>>,
    role: Mutex<Role>,
    high_watermark: AtomicI64,
    gate: Arc<GateMark>,
    reader: Arc<LogReader>,
    waiters: Waiters,
    /// The sessions of followers that read here.
    watches: ArcSwap<Vec<Arc<Watch>>>,
    /// Where the fetcher hears of this partition, once there is one.
    reports: ArcSwapOption<Reports>,
    proposals: Arc<Proposals>,
    /// How long appends take, of all partitions.
    append_times: Durations,
    flusher: Flusher,
    flush: FlushHandle,
    /// Told by the flusher; one for all appends, so that those that wait for the same sync are told once.
    wake: Wake,
}

/// What a partition shares with others.
struct Parts {
    gate: Arc<GateMark>,
    append_times: Durations,
    flusher: Flusher,
    proposals: Arc<Proposals>,
}

/// How a batch comes to the log: what stood between the producer and it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    /// No gate was bound when the batch was looked at.
    NoGate,
    /// It went through a gate, whose chain is pinned by the caller until the append is done.
    Gate,
}

/// A batch in the log, and the reign in which it is there: see [`Waiters::committed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed<T> {
    pub(crate) at: T,
    pub(crate) leader_epoch: i32,
}

/// Why a batch did not enter the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendRefused {
    /// A gate was bound after the batch was looked at: it has to go through it.
    #[error("a gate was bound meanwhile")]
    GateBound,
    /// The partition was deleted, or the broker is shutting down.
    #[error("the partition is closed")]
    Closed,
    /// Another broker leads by now.
    #[error("this broker does not lead the partition")]
    NotLeader,
    /// The log refused it.
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl Partition {
    /// Opens for business with `log`, and follows until it is told its role; see [`Partition::take`].
    fn open(
        local: i32,
        key: PartitionId,
        registration: &PartitionRegistration,
        log: Log,
        config: PartitionConfig,
        parts: Parts,
    ) -> Arc<Self> {
        let reader = log.reader();
        let end = what_counts(&reader, config.log.flush_mode);
        let follower = Follower::begin(local, registration, end, reader.known_high_watermark());
        let high_watermark = follower.high_watermark();
        let Parts { gate, append_times, flusher, proposals } = parts;
        Arc::new_cyclic(|this: &Weak<Self>| {
            let this = this.clone();
            Self {
                local,
                key,
                leader_epoch: AtomicI32::new(-1),
                leads: AtomicBool::new(false),
                in_sync: AtomicBool::new(registration.isr.contains(&local)),
                config: ArcSwap::from_pointee(config),
                flush: log.flush_handle(),
                appender: Mutex::new(Some(log)),
                role: Mutex::new(Role::Follows(follower)),
                high_watermark: AtomicI64::new(high_watermark),
                gate,
                reader,
                waiters: Waiters::new(high_watermark),
                watches: ArcSwap::default(),
                reports: ArcSwapOption::empty(),
                proposals,
                append_times,
                flusher,
                wake: Arc::new(move |flushed| {
                    if let Some(partition) = this.upgrade() {
                        partition.on_flushed(flushed);
                    }
                }),
            }
        })
    }

    pub(crate) fn key(&self) -> PartitionId {
        self.key
    }

    pub(crate) fn topic_id(&self) -> Uuid {
        self.key.topic
    }

    pub(crate) fn index(&self) -> i32 {
        self.key.index
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
    }

    /// Whether this broker leads it.
    pub(crate) fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    pub(crate) fn config(&self) -> Guard<Arc<PartitionConfig>> {
        self.config.load()
    }

    pub(crate) fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    pub(crate) fn reader(&self) -> &LogReader {
        &self.reader
    }

    pub(crate) fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// How far this replica is, for who has to choose among replicas.
    pub(crate) fn state(&self) -> ReplicaState {
        ReplicaState {
            topic: self.key.topic,
            index: self.key.index,
            leader_epoch: self.leader_epoch(),
            latest_epoch: self.reader.latest_epoch().unwrap_or(FollowerFetch::EMPTY),
            log_start: self.reader.log_start_offset(),
            log_end: self.reader.log_end_offset(),
            high_watermark: self.high_watermark(),
            bytes: self.reader.size(),
        }
    }

    /// Whether records have to pass a gate to get in here.
    pub(crate) fn is_gated(&self) -> bool {
        self.gate.is_set()
    }

    /// What a client that knows of another leader epoch is told (KIP-320). -1 is a client that knows of none.
    pub(crate) fn check_leader_epoch(&self, known: i32) -> Option<ErrorCode> {
        match known {
            -1 => None,
            known if known < self.leader_epoch() => Some(ErrorCode::FencedLeaderEpoch),
            known if known > self.leader_epoch() => Some(ErrorCode::UnknownLeaderEpoch),
            _ => None,
        }
    }

    /// Whether a fetch may start at `offset`. A follower that is behind what its client has read elsewhere is asked again, not
    /// taken for a log that was cut (KIP-392).
    pub(crate) fn check_fetch_offset(&self, offset: i64) -> Result<(), ErrorCode> {
        let readable = self.reader.log_start_offset()..=self.reader.log_end_offset();
        match readable.contains(&offset) {
            true => Ok(()),
            false if !self.leads() && offset > *readable.end() => Err(ErrorCode::OffsetNotAvailable),
            false => Err(ErrorCode::OffsetOutOfRange),
        }
    }

    /// Whether a batch is the next of its producer: asked before any plugin runs on it.
    pub(crate) fn check_sequence(&self, header: &BatchHeader) -> Result<Placed<Sequence>, AppendRefused> {
        let appender = self.appender.lock();
        let log = appender.as_ref().ok_or(AppendRefused::Closed)?;
        if !self.leads() {
            // What a follower knows of producers is cut with its log: it is not for them to hear.
            return Err(AppendRefused::NotLeader);
        }
        let at = log.check(header).map_err(AppendError::from)?;
        Ok(Placed { at, leader_epoch: self.leader_epoch() })
    }

    /// Appends a batch, checked and passed. Durability and the high watermark come after: see [`Waiters::committed`].
    pub(crate) fn append(&self, batch: &Batch, passed: Passed, now_ms: i64) -> Result<Placed<Appended>, AppendRefused> {
        let mut appender = self.appender.lock();
        if passed == Passed::NoGate && self.gate.is_set() {
            return Err(AppendRefused::GateBound);
        }
        let log = appender.as_mut().ok_or(AppendRefused::Closed)?;
        if !self.leads() {
            return Err(AppendRefused::NotLeader);
        }
        let leader_epoch = self.leader_epoch();
        let begun = Instant::now();
        let at = log.append(batch.header, batch.body.parts(), leader_epoch, now_ms)?;
        if let Appended::New { log_end, .. } = at {
            self.append_times.observe(begun.elapsed());
            self.waiters.appended(log_end, batch.header.size() as u64);
            drop(appender);
            for watch in &**self.watches.load() {
                watch.appended();
            }
            self.count_as_stored();
        }
        Ok(Placed { at, leader_epoch })
    }

    /// What was appended counts as stored at once, or when it is on the disk.
    fn count_as_stored(&self) {
        match self.config.load().log.flush_mode {
            FlushMode::Group => self.flusher.request(&self.flush, Arc::clone(&self.wake)),
            FlushMode::Os => self.on_stored(),
        }
    }

    /// Called under the lock of `role`, which makes the watermark rise in order.
    fn advance(&self, high_watermark: i64) {
        self.high_watermark.store(high_watermark, Ordering::Release);
        self.reader.note_high_watermark(high_watermark);
        self.waiters.advanced(high_watermark);
        for watch in &**self.watches.load() {
            watch.advanced();
        }
    }

    /// A follower's session reads here.
    fn watch(&self, watch: Arc<Watch>) {
        self.watches.rcu(|watches| {
            let mut watches = Vec::clone(watches);
            watches.push(Arc::clone(&watch));
            watches
        });
    }

    fn unwatch(&self, gone: &Arc<Watch>) {
        self.watches
            .rcu(|watches| -> Vec<_> { watches.iter().filter(|watch| !Arc::ptr_eq(watch, gone)).cloned().collect() });
    }

    /// Waits until nobody is in the middle of an append.
    fn wait_for_append(&self) {
        drop(self.appender.lock());
    }

    /// Rolls and retains as the topic's configuration asks. What goes is the leader's to say, and followers give up what it has
    /// given up: a consumer that is sent to a follower finds there what the leader has.
    fn keep_house(&self, now_ms: i64) {
        let mut appender = self.appender.lock();
        let Some(log) = &mut *appender else { return };
        let up_to = if self.leads() { self.high_watermark() } else { self.reader.log_start_offset() };
        match log.roll_if_due(now_ms).and_then(|()| log.retain(now_ms, up_to)) {
            Ok(retained) if retained.segments > 0 => {
                tracing::info!(log = %log.name(), segments = retained.segments, bytes = retained.bytes, "retention");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(log = %log.name(), %error, "retention failed"),
        }
    }

    /// Takes the log out, so that nobody writes any more, and lets go of everybody who waits.
    fn close(&self) -> Option<Log> {
        let log = self.appender.lock().take();
        self.waiters.end(NotCommitted::Gone);
        for watch in &**self.watches.load() {
            watch.appended();
        }
        log
    }
}

#[cfg(test)]
mod tests;
