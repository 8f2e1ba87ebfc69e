//! Followers' fetches, as their leader answers them: one session a follower, one answer for all its partitions.
//!
//! ```text
//!   fetch n ── take in: what the follower has ──> Leader::on_fetch ──> high watermark, ISR
//!      │                                                                 │
//!      └── wait: news on any partition, fetch n+1, or max_wait <── Watch ┘<── append
//!            └── answer: the partitions with news, raw batches up to the log's END
//! ```
//! A follower names each partition once, and from then on only what changed; the leader keeps where its reading stands and a
//! list of the partitions with news, so that a fetch over a thousand idle partitions costs nothing. Two fetches may be under
//! way: the second, which says what became durable meanwhile, lets the first be answered at once, and waits in its stead.
//!
//! A partition that is named with `max_bytes` is read from its `fetch_offset` on; one that is named with none only says how far
//! the follower has come, and reading goes on where it stands: what is on its way must not be sent twice. Fetches are taken in
//! and answered in the order of their sequence numbers; a gap in them ends the session. What comes of a fetch is said in its own
//! answer or a later one, never in an earlier one: the follower takes that for what came of a reading it has given up.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sluice_cluster::partition::{Diverging, FollowerFetch};
use sluice_protocol::records::{FileRange, Part};
use sluice_storage::ReadError;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::{Manager, Partition, Throttles};
use crate::rpc::{Caller, FetchError, FetchPartition, FetchedPartition, PartitionId, ReplicaFetch, ReplicaFetched};

/// Longest a follower's fetch waits, whatever it asks for: it fetches every `replica.fetch.wait.max.ms`, half a second.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// How long an answer with nothing but a new high watermark waits for records to go with it: a follower needs it only for its
/// own readers, and each would be an exchange of its own otherwise.
const HIGH_WATERMARK_LINGER: Duration = Duration::from_millis(5);

/// Most bytes of one answer, whatever the follower asks for: as Kafka's `replica.fetch.response.max.bytes`.
const ANSWER_BYTES_MAX: usize = 10 << 20;

/// Every follower's session.
pub(crate) struct ReplicaSessions {
    partitions: Arc<Manager>,
    sessions: Mutex<HashMap<i32, Arc<Session>>>,
    next_id: AtomicU64,
}

/// One follower's.
struct Session {
    id: u64,
    follower: i32,
    follower_epoch: i64,
    news: Arc<News>,
    state: Mutex<State>,
    /// Fetches taken in, and fetches answered.
    taken: watch::Sender<u64>,
    answered: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    slots: HashMap<PartitionId, Slot>,
    /// Partitions that are held back by the throttle, and until when.
    held: Option<(Instant, Vec<PartitionId>)>,
    /// What is to be said before anything is read, errors and divergence, and the fetch that it came of.
    replies: Vec<(u64, FetchedPartition)>,
}

/// A partition in a session.
struct Slot {
    partition: Arc<Partition>,
    watch: Arc<Watch>,
    leader_epoch: i32,
    /// The fetch that said where to read.
    since: u64,
    /// Where reading goes on; `None` until the follower, whose log diverges, says where it goes on.
    position: Option<i64>,
    bytes_max: usize,
    /// What the follower was told last.
    told: Option<Told>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    high_watermark: i64,
    log_start: i64,
}

/// The partitions of one session with news.
#[derive(Default)]
struct News {
    keys: Mutex<VecDeque<PartitionId>>,
    /// There are records to send, or an error, and not only a high watermark.
    urgent: AtomicBool,
    notify: Notify,
}

/// One partition's line to a session; the partition has a list of them.
pub(super) struct Watch {
    key: PartitionId,
    news: Arc<News>,
    listed: AtomicBool,
}

impl Watch {
    /// Records came, or the partition is not what it was.
    pub(super) fn appended(&self) {
        self.list();
        if !self.news.urgent.swap(true, Ordering::AcqRel) {
            self.news.notify.notify_one();
        }
    }

    /// The high watermark rose.
    pub(super) fn advanced(&self) {
        if self.list() {
            self.news.notify.notify_one();
        }
    }

    fn list(&self) -> bool {
        let fresh = !self.listed.swap(true, Ordering::AcqRel);
        if fresh {
            self.news.keys.lock().push_back(self.key);
        }
        fresh
    }
}

impl ReplicaSessions {
    pub(crate) fn new(partitions: Arc<Manager>) -> Self {
        Self { partitions, sessions: Mutex::default(), next_id: AtomicU64::new(1) }
    }

    /// Answers a follower's fetch: once there is something to say, or its time is up.
    pub(crate) async fn fetch(&self, from: &Caller, fetch: ReplicaFetch) -> (ReplicaFetched, Vec<Part>) {
        let lost = |session| (ReplicaFetched { session, session_lost: true, partitions: Vec::new() }, Vec::new());
        let wait = Duration::from_millis(fetch.max_wait_ms.into()).min(WAIT_MAX);
        let deadline = Instant::now() + wait;
        let sequence = u64::from(fetch.sequence);
        let Some(session) = self.session(from, &fetch) else { return lost(fetch.session) };
        if !reached(&session.taken, sequence, deadline).await {
            return lost(session.id);
        }
        let max_bytes = usize::try_from(fetch.max_bytes).unwrap_or(usize::MAX).min(ANSWER_BYTES_MAX);
        session.take_in(&self.partitions, sequence, fetch);
        session.taken.send_replace(sequence + 1);
        session.wait(sequence, deadline).await;
        if !reached(&session.answered, sequence, Instant::now() + WAIT_MAX).await {
            return lost(session.id);
        }
        let answer = session.answer(self.partitions.throttles(), sequence, max_bytes);
        session.answered.send_replace(sequence + 1);
        answer
    }

    /// The session a fetch belongs to. A first fetch begins one, and ends the one its follower had.
    fn session(&self, from: &Caller, fetch: &ReplicaFetch) -> Option<Arc<Session>> {
        let mut sessions = self.sessions.lock();
        if fetch.session != 0 {
            let known = sessions.get(&from.id)?;
            let is_it = known.id == fetch.session && known.follower_epoch == from.epoch;
            return is_it.then(|| Arc::clone(known));
        }
        let session = Arc::new(Session {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            follower: from.id,
            follower_epoch: from.epoch,
            news: Arc::default(),
            state: Mutex::default(),
            taken: watch::Sender::new(u64::from(fetch.sequence)),
            answered: watch::Sender::new(u64::from(fetch.sequence)),
        });
        let before = sessions.insert(from.id, Arc::clone(&session));
        // Whoever is in the middle of a fetch of the session before holds it up; nobody else is to wait for that.
        drop(sessions);
        if let Some(before) = before {
            before.end();
        }
        Some(session)
    }
}

/// Waits until it is `sequence`'s turn; not so when it was before, or the fetch before it never came.
async fn reached(counter: &watch::Sender<u64>, sequence: u64, deadline: Instant) -> bool {
    let mut counter = counter.subscribe();
    let turn = tokio::time::timeout_at(deadline, counter.wait_for(|next| *next >= sequence)).await;
    matches!(turn, Ok(Ok(next)) if *next == sequence)
}

impl Session {
    fn take_in(&self, partitions: &Manager, sequence: u64, fetch: ReplicaFetch) {
        let mut state = self.state.lock();
        for key in fetch.forgotten {
            state.forget(&key);
        }
        for wanted in fetch.partitions {
            self.take_in_one(&mut state, partitions, sequence, &wanted);
        }
        if !state.replies.is_empty() && !self.news.urgent.swap(true, Ordering::AcqRel) {
            self.news.notify.notify_one();
        }
    }

    fn take_in_one(&self, state: &mut State, partitions: &Manager, sequence: u64, wanted: &FetchPartition) {
        let key = PartitionId { topic: wanted.topic, index: wanted.index };
        let slot = match state.slot(self, partitions, key) {
            Ok(slot) => slot,
            Err(error) => return state.replies.push((sequence, said(key, Some(error), None))),
        };
        let fetch = FollowerFetch {
            replica: self.follower,
            broker_epoch: self.follower_epoch,
            leader_epoch: wanted.leader_epoch,
            fetch_offset: wanted.fetch_offset,
            durable: wanted.durable,
            last_fetched_epoch: wanted.last_fetched_epoch,
        };
        let reads = wanted.max_bytes > 0;
        match slot.partition.on_follower_fetch(&fetch, partitions.monotonic_ms()) {
            Ok(None) if reads => {
                slot.leader_epoch = wanted.leader_epoch;
                slot.since = sequence;
                slot.position = Some(wanted.fetch_offset);
                slot.bytes_max = usize::try_from(wanted.max_bytes).unwrap_or(usize::MAX);
                slot.told = None;
                slot.watch.advanced();
                if slot.partition.reader().log_end_offset() > wanted.fetch_offset {
                    slot.watch.appended();
                }
            }
            Ok(None) => {}
            Ok(Some(diverging)) => {
                slot.position = None;
                state.replies.push((sequence, said(key, None, Some(diverging))));
            }
            Err(error) => {
                state.forget(&key);
                state.replies.push((sequence, said(key, Some(error), None)));
            }
        }
    }

    /// Waits until there is something to say: see the module's story.
    async fn wait(&self, sequence: u64, deadline: Instant) {
        let mut taken = self.taken.subscribe();
        let mut until = deadline;
        loop {
            if let Some(held_until) = self.release_held() {
                until = until.min(held_until);
            }
            if self.news.urgent.load(Ordering::Acquire) || *taken.borrow_and_update() > sequence + 1 {
                return;
            }
            if !self.news.keys.lock().is_empty() {
                until = until.min(Instant::now() + HIGH_WATERMARK_LINGER);
            }
            tokio::select! {
                () = self.news.notify.notified() => {}
                // The sender is the session's own, and so still there.
                _ = taken.changed() => {}
                // Held partitions are looked at again, if it is for them.
                () = tokio::time::sleep_until(until) => {
                    self.release_held();
                    return;
                }
            }
        }
    }

    /// Lists partitions again that may go on; otherwise says when some may.
    fn release_held(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        let (until, keys) = state.held.take()?;
        if Instant::now() < until {
            state.held = Some((until, keys));
            return Some(until);
        }
        for slot in keys.iter().filter_map(|key| state.slots.get(key)) {
            slot.watch.appended();
        }
        None
    }

    fn answer(&self, throttles: &Throttles, sequence: u64, max_bytes: usize) -> (ReplicaFetched, Vec<Part>) {
        let mut state = self.state.lock();
        self.news.urgent.store(false, Ordering::Release);
        let (replies, early): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.replies).into_iter().partition(|(since, _)| *since <= sequence);
        let mut is_more = !early.is_empty();
        state.replies = early;
        let partitions = replies.into_iter().map(|(_, reply)| reply).collect();
        let mut answer = Answer { partitions, parts: Vec::new(), room: max_bytes };
        let listed = self.news.keys.lock().len();
        for _ in 0..listed {
            if answer.room == 0 {
                is_more = true;
                break;
            }
            let Some(key) = self.news.keys.lock().pop_front() else { break };
            let Some(slot) = state.slots.get_mut(&key) else { continue };
            // Before it is read: what comes meanwhile lists it again.
            slot.watch.listed.store(false, Ordering::Release);
            if slot.since > sequence {
                slot.watch.appended();
                continue;
            }
            let is_throttled = slot.partition.sends_throttled(self.follower);
            let now_ms = throttles.now_ms();
            if is_throttled && let Err(pause) = throttles.leader.room(now_ms) {
                let until = Instant::now() + pause;
                state.held.get_or_insert_with(|| (until, Vec::new())).1.push(key);
                continue;
            }
            let sent = answer.parts.len();
            let read = slot.read(key, &mut answer);
            if is_throttled {
                // What goes beyond the allowance is paid for before anything goes again.
                throttles.leader.record(answer.parts[sent..].iter().map(Part::len).sum(), now_ms);
            }
            match read {
                Ok(true) => slot.watch.appended(),
                Ok(false) => {}
                Err(error) => {
                    answer.partitions.push(said(key, Some(error), None));
                    state.forget(&key);
                }
            }
        }
        if is_more {
            self.news.urgent.store(true, Ordering::Release);
        }
        (ReplicaFetched { session: self.id, session_lost: false, partitions: answer.partitions }, answer.parts)
    }

    /// Lets go of its partitions.
    fn end(&self) {
        let slots = std::mem::take(&mut self.state.lock().slots);
        for slot in slots.into_values() {
            slot.partition.unwatch(&slot.watch);
        }
    }
}

impl Drop for Session {
    /// A fetch that was under way when the session ended may have taken partitions in again.
    fn drop(&mut self) {
        self.end();
    }
}

impl State {
    /// The slot of a partition, made when it is named for the first time.
    fn slot(&mut self, session: &Session, partitions: &Manager, key: PartitionId) -> Result<&mut Slot, FetchError> {
        // Not open yet, if at all: this broker opens what it has a replica of by itself, and the follower asks again.
        let partition = partitions.find(key).ok_or(FetchError::NotLeader)?;
        // Closed and opened again it is another one.
        if self.slots.get(&key).is_some_and(|slot| !Arc::ptr_eq(&slot.partition, &partition)) {
            self.forget(&key);
        }
        Ok(self.slots.entry(key).or_insert_with(|| {
            let watch = Arc::new(Watch { key, news: Arc::clone(&session.news), listed: AtomicBool::new(false) });
            partition.watch(Arc::clone(&watch));
            Slot { leader_epoch: -1, since: 0, position: None, bytes_max: 0, told: None, watch, partition }
        }))
    }

    fn forget(&mut self, key: &PartitionId) {
        if let Some(slot) = self.slots.remove(key) {
            slot.partition.unwatch(&slot.watch);
        }
    }
}

/// An answer in the making.
struct Answer {
    partitions: Vec<FetchedPartition>,
    parts: Vec<Part>,
    room: usize,
}

impl Slot {
    /// Adds what there is to say of a partition. Says whether there is more.
    fn read(&mut self, key: PartitionId, answer: &mut Answer) -> Result<bool, FetchError> {
        let Some(position) = self.position else { return Ok(false) };
        let reader = self.partition.reader();
        self.partition.check_leads(self.leader_epoch)?;
        let told = Told { high_watermark: self.partition.high_watermark(), log_start: reader.log_start_offset() };
        // The first of an answer comes whole, however large its first batch.
        let first = answer.parts.is_empty();
        let slice = reader.read(position, self.bytes_max.min(answer.room), i64::MAX, first).map_err(|error| match error {
            ReadError::OutOfRange { log_start, log_end, .. } => FetchError::OffsetOutOfRange { log_start, log_end },
            ReadError::Storage { .. } | ReadError::Damaged { .. } => {
                tracing::error!(topic = %key.topic, partition = key.index, %error, "a follower's fetch does not read");
                FetchError::Storage
            }
        })?;
        let more = slice.next_offset < reader.log_end_offset();
        if more && slice.bytes == 0 {
            // Its next batch does not fit what is left.
            answer.room = 0;
        }
        if slice.bytes == 0 && self.told == Some(told) {
            return Ok(more);
        }
        self.position = Some(slice.next_offset);
        self.told = Some(told);
        answer.room = answer.room.saturating_sub(slice.bytes);
        answer.partitions.push(FetchedPartition {
            high_watermark: told.high_watermark,
            log_start: told.log_start,
            bytes: u32::try_from(slice.bytes).unwrap_or(u32::MAX),
            ..said(key, None, None)
        });
        answer.parts.extend(slice.parts.into_iter().map(|range: FileRange| Part::File(range)));
        Ok(more)
    }
}

fn said(key: PartitionId, error: Option<FetchError>, diverging: Option<Diverging>) -> FetchedPartition {
    FetchedPartition {
        topic: key.topic,
        index: key.index,
        error,
        high_watermark: -1,
        log_start: -1,
        diverging: diverging.map(|diverging| (diverging.epoch, diverging.end_offset)),
        bytes: 0,
    }
}
