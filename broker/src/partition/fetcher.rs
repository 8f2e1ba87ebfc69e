//! Following: one task for each broker that leads partitions of ours, fetching all of them in one session.
//!
//! ```text
//!   Manager ── follow / leave ──> Inbox ──> task: fetch n ───────────> leader: waits until there is news
//!   flusher ── durable ─────────────┘         │  fetch n+1: what became durable meanwhile, lets n be answered
//!                                             └<─ answer n: raw batches ──> Partition::replicate ──> log
//! ```
//! The task names a partition once, with `max_bytes`: the leader reads on from there by itself. Later it is named only to say
//! how far its log has come. Whatever breaks that (a log that had to be cut, an answer that does not fit, a leader that does
//! not lead) starts the reading of that partition anew; answers to fetches sent before that are not for it any more. A
//! connection that breaks starts all of them anew, in a new session.
//!
//! A flush is never waited for: the next fetch is under way when what came is made durable, and another reports it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use parking_lot::Mutex;
use sluice_protocol::records::Chunks;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::Partition;
use super::Throttles;
use super::replica::Took;
use crate::rpc::{CallError, FetchPartition, FetchedPartition, PartitionId, Peers, ReplicaFetch, ReplicaFetched};

/// Fetches under way to one leader: one that waits there for news, and one that says what became durable meanwhile.
const IN_FLIGHT_MAX: usize = 2;

/// Between tries of a partition or a connection that failed, doubled each time up to the most: a leader that is about to learn
/// of its leadership is met a moment later, and one that is gone is not met by a storm.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The other side of a fetch; in tests, a manager in the same process.
#[async_trait]
pub(crate) trait Leaders: Send + Sync + 'static {
    async fn fetch(
        &self,
        leader: i32,
        fetch: ReplicaFetch,
        deadline: Duration,
    ) -> Result<(ReplicaFetched, Chunks), CallError>;
}

#[async_trait]
impl Leaders for Peers {
    async fn fetch(
        &self,
        leader: i32,
        fetch: ReplicaFetch,
        deadline: Duration,
    ) -> Result<(ReplicaFetched, Chunks), CallError> {
        Self::fetch(self, leader, fetch, deadline).await
    }
}

/// How followers fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FetcherConfig {
    /// `replica.fetch.wait.max.ms`.
    pub(crate) wait_max: Duration,
    /// `replica.fetch.max.bytes`: of one partition.
    pub(crate) partition_bytes_max: u32,
    /// `replica.fetch.response.max.bytes`: of one answer.
    pub(crate) response_bytes_max: u32,
    /// `replica.socket.timeout.ms`: how long an answer may take beyond the wait.
    pub(crate) answer_timeout: Duration,
    pub(crate) now_ms: fn() -> i64,
}

/// The tasks, and which partition is followed by which.
pub(crate) struct Fetchers {
    config: FetcherConfig,
    leaders: Arc<dyn Leaders>,
    throttles: Arc<Throttles>,
    following: Mutex<Following>,
}

#[derive(Default)]
struct Following {
    /// The tasks, each with what it has to look at.
    inboxes: BTreeMap<i32, (Arc<Inbox>, AbortHandle)>,
    /// The leader of each, and in which epoch.
    leader_of: HashMap<PartitionId, (i32, i32)>,
}

/// What a task has to look at.
#[derive(Default)]
struct Inbox {
    orders: Mutex<Vec<Order>>,
    moved: Mutex<Vec<PartitionId>>,
    notify: Notify,
}

enum Order {
    Follow { partition: Arc<Partition>, leader_epoch: i32 },
    Leave(PartitionId),
}

/// A followed partition's line to its task.
pub(super) struct Reports {
    key: PartitionId,
    inbox: Arc<Inbox>,
    listed: AtomicBool,
}

impl Reports {
    /// Its log grew, or more of it is durable.
    pub(super) fn moved(&self) {
        if !self.listed.swap(true, Ordering::AcqRel) {
            self.inbox.moved.lock().push(self.key);
            self.inbox.notify.notify_one();
        }
    }

    /// The task looks at it: what comes from now on is news again.
    pub(super) fn taken(&self) {
        self.listed.store(false, Ordering::Release);
    }
}

impl Fetchers {
    pub(crate) fn new(config: FetcherConfig, leaders: Arc<dyn Leaders>, throttles: Arc<Throttles>) -> Self {
        Self { config, leaders, throttles, following: Mutex::default() }
    }

    pub(super) fn throttles(&self) -> &Arc<Throttles> {
        &self.throttles
    }

    /// Follows `leader` in `leader_epoch`, and nobody else. Must be called within the runtime.
    pub(super) fn follow(&self, partition: &Arc<Partition>, leader: i32, leader_epoch: i32) {
        let mut following = self.following.lock();
        let key = partition.key();
        match following.leader_of.insert(key, (leader, leader_epoch)) {
            Some(before) if before == (leader, leader_epoch) => return,
            Some((before, _)) if before != leader => following.order(before, Order::Leave(key)),
            Some(_) | None => {}
        }
        let (inbox, _) = following.inboxes.entry(leader).or_insert_with(|| {
            let inbox = Arc::new(Inbox::default());
            let (leaders, throttles) = (Arc::clone(&self.leaders), Arc::clone(&self.throttles));
            let fetcher = Fetcher::new(leader, self.config, leaders, throttles, Arc::clone(&inbox));
            let task = tokio::spawn(fetcher.run());
            (inbox, task.abort_handle())
        });
        partition.report_to(Reports { key, inbox: Arc::clone(inbox), listed: AtomicBool::new(false) });
        following.order(leader, Order::Follow { partition: Arc::clone(partition), leader_epoch });
    }

    /// Follows nobody any more.
    pub(super) fn leave(&self, key: PartitionId) {
        let mut following = self.following.lock();
        if let Some((before, _)) = following.leader_of.remove(&key) {
            following.order(before, Order::Leave(key));
        }
    }
}

impl Drop for Fetchers {
    /// Several brokers may live in one process, and not all of them as long as it.
    fn drop(&mut self) {
        for (_, task) in self.following.get_mut().inboxes.values() {
            task.abort();
        }
    }
}

impl Following {
    fn order(&self, leader: i32, order: Order) {
        if let Some((inbox, _)) = self.inboxes.get(&leader) {
            inbox.orders.lock().push(order);
            inbox.notify.notify_one();
        }
    }
}

/// One task's state.
struct Fetcher {
    leader: i32,
    config: FetcherConfig,
    leaders: Arc<dyn Leaders>,
    throttles: Arc<Throttles>,
    inbox: Arc<Inbox>,
    slots: HashMap<PartitionId, Slot>,
    /// Partitions with something to say in the next fetch.
    due: Vec<PartitionId>,
    forgotten: Vec<PartitionId>,
    /// Partitions to be tried again, and when.
    later: BTreeMap<(Instant, PartitionId), ()>,
    /// 0: none.
    session: u64,
    sequence: u32,
    /// Counts sessions on this side: an answer of an earlier one is not looked at.
    generation: u64,
    failures: u32,
    not_before: Option<Instant>,
}

/// A followed partition.
struct Slot {
    partition: Arc<Partition>,
    leader_epoch: i32,
    /// The fetch in which its reading was started; `None` while it is to be.
    started: Option<u32>,
    /// What was last said of it: log end, and what is durable.
    said: (i64, i64),
    failures: u32,
    /// Throttled: out of the session until then.
    held_until: Option<Instant>,
}

struct Answered {
    generation: u64,
    sequence: u32,
    answer: Result<(ReplicaFetched, Chunks), CallError>,
}

impl Fetcher {
    fn new(
        leader: i32,
        config: FetcherConfig,
        leaders: Arc<dyn Leaders>,
        throttles: Arc<Throttles>,
        inbox: Arc<Inbox>,
    ) -> Self {
        Self {
            leader,
            config,
            leaders,
            throttles,
            inbox,
            slots: HashMap::new(),
            due: Vec::new(),
            forgotten: Vec::new(),
            later: BTreeMap::new(),
            session: 0,
            sequence: 0,
            generation: 0,
            failures: 0,
            not_before: None,
        }
    }

    /// Runs until its broker is gone: an idle task waits for orders and costs nothing.
    async fn run(mut self) {
        let mut in_flight = FuturesOrdered::new();
        loop {
            self.take_orders();
            while self.wants_to_send(in_flight.len()) {
                in_flight.push_back(self.send());
            }
            let wake = self.next_wake();
            tokio::select! {
                Some(answered) = in_flight.next(), if !in_flight.is_empty() => {
                    if !self.on_answer(answered) {
                        in_flight = FuturesOrdered::new();
                    }
                }
                () = self.inbox.notify.notified() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    fn take_orders(&mut self) {
        let now = Instant::now();
        let orders = std::mem::take(&mut *self.inbox.orders.lock());
        for order in orders {
            match order {
                Order::Follow { partition, leader_epoch } => {
                    let key = partition.key();
                    let said = (-1, -1);
                    let slot = Slot { partition, leader_epoch, started: None, said, failures: 0, held_until: None };
                    self.slots.insert(key, slot);
                    self.due.push(key);
                    // The metadata moved on: so may have the leader.
                    self.not_before = None;
                }
                Order::Leave(key) => {
                    if self.slots.remove(&key).is_some() && self.session != 0 {
                        self.forgotten.push(key);
                    }
                }
            }
        }
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, key), ()) = entry.remove_entry();
            self.due.push(key);
        }
        for key in std::mem::take(&mut *self.inbox.moved.lock()) {
            if let Some(slot) = self.slots.get(&key) {
                slot.partition.report_taken();
                self.due.push(key);
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let later = self.later.first_key_value().map(|((at, _), ())| *at);
        // Without partitions nothing is sent, however late it is: a leader that is gone has none.
        let not_before = self.not_before.filter(|_| !self.slots.is_empty());
        [later, not_before].into_iter().flatten().min()
    }

    fn wants_to_send(&mut self, in_flight: usize) -> bool {
        if self.slots.is_empty() {
            return false;
        }
        if let Some(not_before) = self.not_before {
            if Instant::now() < not_before {
                return false;
            }
            self.not_before = None;
        }
        match in_flight {
            // With a session something is being read; without, it takes a partition to begin one.
            0 => self.session != 0 || !self.due.is_empty(),
            in_flight if in_flight < IN_FLIGHT_MAX => self.session != 0 && self.has_news(),
            _ => false,
        }
    }

    /// Whether a fetch would say anything.
    fn has_news(&mut self) -> bool {
        let slots = &self.slots;
        self.due.retain(|key| slots.get(key).is_some_and(Slot::has_news));
        !self.due.is_empty() || !self.forgotten.is_empty()
    }

    fn send(&mut self) -> impl Future<Output = Answered> + use<> {
        let (generation, sequence) = (self.generation, self.sequence);
        let mut partitions = Vec::with_capacity(self.due.len());
        for key in std::mem::take(&mut self.due) {
            if let Some(slot) = self.slots.get_mut(&key) {
                partitions.extend(slot.say(sequence, self.config.partition_bytes_max));
            }
        }
        let fetch = ReplicaFetch {
            session: self.session,
            sequence,
            max_wait_ms: u32::try_from(self.config.wait_max.as_millis()).unwrap_or(u32::MAX),
            // Whatever comes is worth an answer: somebody waits for its acknowledgement.
            min_bytes: 1,
            max_bytes: self.config.response_bytes_max,
            partitions,
            forgotten: std::mem::take(&mut self.forgotten),
        };
        self.sequence += 1;
        let (leaders, leader) = (Arc::clone(&self.leaders), self.leader);
        let deadline = self.config.wait_max + self.config.answer_timeout;
        async move { Answered { generation, sequence, answer: leaders.fetch(leader, fetch, deadline).await } }
    }

    /// Takes an answer in. Says whether the session goes on.
    fn on_answer(&mut self, answered: Answered) -> bool {
        if answered.generation != self.generation {
            return true;
        }
        match answered.answer {
            Ok((fetched, _)) if fetched.session_lost => {
                tracing::debug!(leader = self.leader, "the leader does not know the fetch session");
                self.start_over();
                self.not_before = Some(Instant::now() + RETRY.0);
                false
            }
            Ok((fetched, records)) => {
                if self.failures > 0 {
                    tracing::info!(leader = self.leader, "fetching from the leader again");
                }
                self.failures = 0;
                self.session = fetched.session;
                self.on_fetched(answered.sequence, fetched.partitions, records);
                true
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::warn!(leader = self.leader, %error, "cannot fetch from the leader; trying again");
                }
                self.start_over();
                self.not_before = Some(Instant::now() + pause(self.failures));
                self.failures = self.failures.saturating_add(1);
                false
            }
        }
    }

    /// Everything is named anew, in a new session.
    fn start_over(&mut self) {
        self.session = 0;
        self.sequence = 0;
        self.generation += 1;
        self.forgotten.clear();
        self.due.clear();
        let paused: HashSet<PartitionId> = self.later.keys().map(|(_, key)| *key).collect();
        for (key, slot) in &mut self.slots {
            slot.started = None;
            if !paused.contains(key) {
                self.due.push(*key);
            }
        }
    }

    fn on_fetched(&mut self, sequence: u32, partitions: Vec<FetchedPartition>, mut records: Chunks) {
        let now_ms = (self.config.now_ms)();
        for fetched in partitions {
            // The connection has checked that there are as many bytes as the partitions have together.
            let bytes = records.split_to((fetched.bytes as usize).min(records.len()));
            let key = PartitionId { topic: fetched.topic, index: fetched.index };
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            // Said of a reading that was given up since.
            if slot.started.is_none_or(|started| sequence < started) {
                continue;
            }
            match slot.partition.replicate(slot.leader_epoch, &fetched, &bytes, now_ms) {
                Took::On => {
                    slot.failures = 0;
                    match slot.hold(&self.throttles, bytes.len()) {
                        Some(until) => {
                            self.forgotten.push(key);
                            self.later.insert((until, key), ());
                        }
                        None => self.due.push(key),
                    }
                }
                Took::Anew => {
                    slot.started = None;
                    self.due.push(key);
                }
                Took::Later => {
                    slot.started = None;
                    self.later.insert((Instant::now() + pause(slot.failures), key), ());
                    slot.failures = slot.failures.saturating_add(1);
                }
                // A later image says what to do with it.
                Took::Over => {
                    self.slots.remove(&key);
                    self.forgotten.push(key);
                }
            }
        }
    }
}

impl Slot {
    /// So many bytes came; until when no more may come, if that is so.
    fn hold(&mut self, throttles: &Throttles, bytes: usize) -> Option<Instant> {
        if bytes == 0 || !self.partition.fetches_throttled() {
            return None;
        }
        let now_ms = throttles.now_ms();
        throttles.follower.record(bytes, now_ms);
        let pause = throttles.follower.room(now_ms).err()?;
        self.started = None;
        self.held_until = Some(Instant::now() + pause);
        self.held_until
    }

    fn is_held(&self) -> bool {
        self.held_until.is_some_and(|until| Instant::now() < until)
    }

    fn has_news(&self) -> bool {
        if self.is_held() {
            return false;
        }
        self.started.is_none() || self.partition.position(self.leader_epoch).is_some_and(|at| at.stored() != self.said)
    }

    /// What the next fetch says of it.
    fn say(&mut self, sequence: u32, bytes_max: u32) -> Option<FetchPartition> {
        if self.is_held() {
            return None;
        }
        let at = self.partition.position(self.leader_epoch)?;
        let max_bytes = if self.started.is_none() { bytes_max } else { 0 };
        if self.started.is_some() && at.stored() == self.said {
            return None;
        }
        self.started.get_or_insert(sequence);
        self.said = at.stored();
        let key = self.partition.key();
        Some(FetchPartition {
            topic: key.topic,
            index: key.index,
            leader_epoch: self.leader_epoch,
            fetch_offset: at.log_end,
            durable: at.durable,
            last_fetched_epoch: at.last_epoch,
            max_bytes,
        })
    }
}

/// How long to wait after so many failures on end.
fn pause(failures: u32) -> Duration {
    RETRY.0.saturating_mul(1 << failures.min(16)).min(RETRY.1)
}
