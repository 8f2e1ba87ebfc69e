//! A partition as this broker serves it: its log, where it stands among its replicas, and who waits on it.
//!
//! ```text
//!   produce ──> append ──> storage::Log ──────────────┐ log end
//!                                                     v
//!   flusher thread ── durable offset ──> cluster::Leader ───── high watermark ──> waiters ──> answers
//! ```
//! The appender's lock orders writes and nothing else; readers never take it. An append comes before it is durable, and both
//! acknowledgements and consumers wait on the high watermark that [`Leader`] computes, with one replica as with three.

mod manager;
mod waiters;

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use sluice_cluster::partition::{Leader, LeaderRules, LogEnd, NotEnoughReplicas};
use sluice_cluster::{PartitionRegistration, Topic};
use sluice_protocol::records::{Batch, BatchHeader, TimestampType};
use sluice_protocol::{ErrorCode, Uuid};
use sluice_storage::{
    AppendError, Appended, DirFailed, FlushHandle, FlushMode, Flusher, Log, LogConfig, LogReader, Sequence,
    SequenceError, Wake,
};

use crate::plugins::GateMark;

pub(crate) use manager::{Manager, ManagerConfig, OpenAllError, PartitionError};
pub(crate) use waiters::{ByteClock, FetchWaiter, NotCommitted, Waiters};

/// What a topic's configuration says of its partitions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PartitionConfig {
    pub(crate) log: LogConfig,
    pub(crate) max_message_bytes: usize,
    pub(crate) message_timestamp_type: TimestampType,
    pub(crate) min_insync_replicas: usize,
}

/// One partition led by this broker.
pub(crate) struct Partition {
    topic_id: Uuid,
    index: i32,
    /// Rises when this broker registers anew.
    leader_epoch: AtomicI32,
    config: ArcSwap<PartitionConfig>,
    /// `None` once the log is closed or deleted: whoever still holds the partition cannot write.
    appender: Mutex<Option<Log>>,
    replication: Mutex<Leader>,
    high_watermark: AtomicI64,
    gate: Arc<GateMark>,
    reader: Arc<LogReader>,
    waiters: Waiters,
    flusher: Flusher,
    flush: FlushHandle,
    /// Told by the flusher; one for all appends, so that those that wait for the same sync are told once.
    wake: Wake,
}

/// Which partition is led, and as what.
struct Led<'a> {
    topic: &'a Topic,
    index: i32,
    registration: &'a PartitionRegistration,
}

/// How a batch comes to the log: what stood between the producer and it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passed {
    /// No gate was bound when the batch was looked at.
    NoGate,
    /// It went through a gate, whose chain is pinned by the caller until the append is done.
    Gate,
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
    /// The log refused it.
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl Partition {
    /// Serves `log` as the leader of a partition.
    fn lead(
        node_id: i32,
        led: Led<'_>,
        log: Log,
        config: PartitionConfig,
        gate: Arc<GateMark>,
        flusher: Flusher,
    ) -> Arc<Self> {
        let Led { topic, index, registration } = led;
        let reader = log.reader();
        let replication = Leader::begin(node_id, registration, leader_rules(&config), log_end(&reader, &config), 0, 0);
        let high_watermark = replication.high_watermark();
        Arc::new_cyclic(|this: &Weak<Self>| {
            let this = this.clone();
            Self {
                topic_id: topic.id,
                index,
                leader_epoch: AtomicI32::new(registration.leader_epoch),
                config: ArcSwap::from_pointee(config),
                flush: log.flush_handle(),
                appender: Mutex::new(Some(log)),
                replication: Mutex::new(replication),
                high_watermark: AtomicI64::new(high_watermark),
                gate,
                reader,
                waiters: Waiters::new(high_watermark),
                flusher,
                wake: Arc::new(move |flushed| {
                    if let Some(partition) = this.upgrade() {
                        partition.on_flushed(flushed);
                    }
                }),
            }
        })
    }

    pub(crate) fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    pub(crate) fn index(&self) -> i32 {
        self.index
    }

    pub(crate) fn leader_epoch(&self) -> i32 {
        self.leader_epoch.load(Ordering::Acquire)
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

    /// Whether a fetch may start at `offset`.
    pub(crate) fn check_fetch_offset(&self, offset: i64) -> Result<(), ErrorCode> {
        let readable = self.reader.log_start_offset()..=self.reader.log_end_offset();
        if readable.contains(&offset) { Ok(()) } else { Err(ErrorCode::OffsetOutOfRange) }
    }

    /// Whether `acks=all` can be promised now.
    pub(crate) fn enough_replicas(&self) -> Result<(), NotEnoughReplicas> {
        self.replication.lock().enough_replicas()
    }

    /// Whether a batch is the next of its producer: asked before any plugin runs on it.
    pub(crate) fn check_sequence(&self, header: &BatchHeader) -> Result<Sequence, SequenceError> {
        match &*self.appender.lock() {
            Some(log) => log.check(header),
            // The append will say that it is closed.
            None => Ok(Sequence::New),
        }
    }

    /// Appends a batch, checked and passed. Durability and the high watermark come after: see [`Waiters::committed`].
    pub(crate) fn append(&self, batch: &Batch, passed: Passed, now_ms: i64) -> Result<Appended, AppendRefused> {
        let mut appender = self.appender.lock();
        if passed == Passed::NoGate && self.gate.is_set() {
            return Err(AppendRefused::GateBound);
        }
        let log = appender.as_mut().ok_or(AppendRefused::Closed)?;
        let appended = log.append(batch.header, batch.body.parts(), self.leader_epoch(), now_ms)?;
        if let Appended::New { log_end, .. } = appended {
            self.waiters.appended(log_end, batch.header.size() as u64);
            drop(appender);
            self.count_as_stored(log_end);
        }
        Ok(appended)
    }

    /// What was appended counts as stored at once, or when it is on the disk.
    fn count_as_stored(&self, log_end: i64) {
        match self.config.load().log.flush_mode {
            FlushMode::Group => self.flusher.request(&self.flush, Arc::clone(&self.wake)),
            FlushMode::Os => self.on_stored(log_end),
        }
    }

    fn on_flushed(&self, flushed: Result<(), DirFailed>) {
        match flushed {
            Ok(()) => self.on_stored(self.reader.durable_offset()),
            Err(failed) => {
                tracing::error!(topic = %self.topic_id, partition = self.index, error = %failed, "the log directory failed");
                self.waiters.end(NotCommitted::Storage);
            }
        }
    }

    fn on_stored(&self, end: i64) {
        let mut replication = self.replication.lock();
        // A flush may report an append before its appender came to.
        let log_end = self.reader.log_end_offset().max(replication.log_end());
        replication.on_append(log_end);
        if let Some(high_watermark) = replication.on_durable(end) {
            self.advance(high_watermark);
        }
    }

    /// Called under the lock of `replication`, which makes the watermark rise in order.
    fn advance(&self, high_watermark: i64) {
        self.high_watermark.store(high_watermark, Ordering::Release);
        self.waiters.advanced(high_watermark);
    }

    /// The topic's configuration or the partition's registration changed.
    fn reconfigure(&self, config: PartitionConfig, registration: &PartitionRegistration) {
        self.leader_epoch.fetch_max(registration.leader_epoch, Ordering::AcqRel);
        let mut replication = self.replication.lock();
        let rules = leader_rules(&config);
        if registration.leader_epoch > replication.leader_epoch() {
            let (log, known) = (log_end(&self.reader, &config), replication.high_watermark());
            *replication = Leader::begin(registration.leader, registration, rules, log, known, 0);
        }
        let risen = [replication.on_registration(registration), replication.on_rules(rules)];
        for high_watermark in risen.into_iter().flatten() {
            self.advance(high_watermark);
        }
        drop(replication);
        if **self.config.load() != config {
            if let Some(log) = &mut *self.appender.lock() {
                log.set_config(config.log.clone());
            }
            self.config.store(Arc::new(config));
            // From `group` to `os`, what waits for a sync counts now; the other way it is asked for with the next append.
            self.count_as_stored(self.reader.log_end_offset());
        }
    }

    /// Waits until nobody is in the middle of an append.
    fn wait_for_append(&self) {
        drop(self.appender.lock());
    }

    /// Rolls and retains as the topic's configuration asks.
    fn keep_house(&self, now_ms: i64) {
        let mut appender = self.appender.lock();
        let Some(log) = &mut *appender else { return };
        match log.roll_if_due(now_ms).and_then(|()| log.retain(now_ms)) {
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
        log
    }
}

fn leader_rules(config: &PartitionConfig) -> LeaderRules {
    // With one replica nobody lags.
    LeaderRules { min_insync_replicas: config.min_insync_replicas, replica_lag_time_max_ms: i64::MAX }
}

/// Where the log ends, and how far it counts as stored.
fn log_end(reader: &LogReader, config: &PartitionConfig) -> LogEnd {
    let (log_end, durable) = (reader.log_end_offset(), reader.durable_offset());
    let durable = match config.log.flush_mode {
        FlushMode::Group => durable.min(log_end),
        FlushMode::Os => log_end,
    };
    LogEnd { log_start: reader.log_start_offset(), log_end, durable }
}
