//! The partitions of this broker, by topic id and index: what is open, what is not and why, and who gets which role.
//!
//! One place follows the metadata ([`Manager::follow`]) and changes what is open, under one lock. What a broker holds is opened
//! at start, in parallel, so that recovery is over when the listeners open; roles are given only once this life of the broker is
//! registered ([`Manager::begin`]). A replica that comes later is opened with the image that has it, unless it is the only one:
//! such a log is opened when it is first asked for, so that a thousand idle partitions cost nothing. A replica that is taken
//! away is deleted, with the topic or without.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sluice_cluster::{Image, PartitionRegistration, Topic};
use sluice_protocol::{ErrorCode, Uuid};
use sluice_storage::{Log, LogDirs, MarkCleanError, OpenLogError, PartitionDir, PlaceError, Replica};
use tokio::sync::watch;

use super::{Fetchers, Partition, PartitionConfig, Proposals, Rates, Throttles};
use crate::metrics::{Durations, ReplicaLag};
use crate::plugins::GateMarks;
use crate::rpc::PartitionId;
use crate::slow;

/// What the manager needs to know of the broker.
pub(crate) struct ManagerConfig {
    pub(crate) node_id: i32,
    /// The metadata of this moment.
    pub(crate) image: Box<dyn Fn() -> Arc<Image> + Send + Sync>,
    /// A topic's configuration, over the broker's defaults.
    pub(crate) resolve: Box<dyn Fn(&Topic) -> PartitionConfig + Send + Sync>,
    /// How fast replicas may be copied, as the metadata has it.
    pub(crate) rates: Box<dyn Fn(&Image) -> Rates + Send + Sync>,
    /// Where it is noted how long appends take.
    pub(crate) append_times: Durations,
    pub(crate) now_ms: fn() -> i64,
}

/// Opens, finds and closes partitions, and gives them their roles.
pub(crate) struct Manager {
    config: ManagerConfig,
    dirs: LogDirs,
    /// What was this broker's when it started: its logs may be in a directory that is away.
    before: OnceLock<HashSet<PartitionId>>,
    marks: Arc<GateMarks>,
    fetchers: Fetchers,
    proposals: Arc<Proposals>,
    open: ArcSwap<HashMap<PartitionId, Arc<Partition>>>,
    /// Held while logs are opened or closed, and while roles are given.
    changing: Mutex<Changing>,
    /// Up to where in the log of the metadata that was done.
    applied_seq: AtomicU64,
    /// This life of the broker is registered: what the metadata gives it is meant for it.
    begun: AtomicBool,
    /// What [`Manager::monotonic_ms`] counts from.
    origin: Instant,
}

#[derive(Default)]
struct Changing {
    /// Logs that do not open, and why.
    offline: HashMap<PartitionId, String>,
    /// Logs that did not open and may when it is tried again.
    unopened: HashSet<PartitionId>,
    /// The image that everything open was last given.
    applied: Arc<Image>,
}

/// Logs opened side by side. After a kill each waits for one sync of the disk, which takes many at once: 5,000 logs came back in
/// 2.5 s with sixteen and in 14 s with two, on two busy cores.
const OPENING_THREADS: usize = 16;

/// Why a partition is not served here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartitionError {
    /// The topic has no such partition.
    #[error("there is no such partition")]
    Unknown,
    /// This broker does not lead it, or, where a follower would do, has no replica of it.
    #[error("this broker does not lead it")]
    NotLeader,
    /// Its log does not open.
    #[error("it is offline: {0}")]
    Offline(String),
}

impl PartitionError {
    /// Kafka's code for it.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown => ErrorCode::UnknownTopicOrPartition,
            Self::NotLeader => ErrorCode::NotLeaderOrFollower,
            Self::Offline(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// Why a log did not open, and whether trying again can change that.
struct NotOpened {
    why: String,
    for_good: bool,
}

impl NotOpened {
    fn for_good(why: &dyn std::error::Error) -> Self {
        Self { why: why.to_string(), for_good: true }
    }
}

/// Why the broker cannot start on its logs.
#[derive(Debug, thiserror::Error)]
#[error("the log directory failed while logs were opened: {0}")]
pub struct OpenAllError(String);

/// A partition and what the metadata says of it.
#[derive(Clone, Copy)]
struct Held<'a> {
    topic: &'a Arc<Topic>,
    index: i32,
    registration: &'a PartitionRegistration,
}

impl<'a> Held<'a> {
    fn key(self) -> PartitionId {
        PartitionId { topic: self.topic.id, index: self.index }
    }

    fn all(topic: &'a Arc<Topic>) -> impl Iterator<Item = Self> {
        topic.partitions.iter().zip(0..).map(move |(registration, index)| Self { topic, index, registration })
    }

    fn find(image: &'a Image, key: PartitionId) -> Option<Self> {
        let topic = image.topic_by_id(key.topic)?;
        let registration = topic.partitions.get(usize::try_from(key.index).ok()?)?;
        Some(Self { topic, index: key.index, registration })
    }
}

impl Manager {
    pub(crate) fn new(
        config: ManagerConfig,
        dirs: LogDirs,
        marks: Arc<GateMarks>,
        fetchers: Fetchers,
        proposals: Arc<Proposals>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            dirs,
            before: OnceLock::new(),
            marks,
            fetchers,
            proposals,
            open: ArcSwap::default(),
            changing: Mutex::default(),
            applied_seq: AtomicU64::new(0),
            begun: AtomicBool::new(false),
            origin: Instant::now(),
        })
    }

    /// Milliseconds that only go forward, for the decisions.
    pub(super) fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// A partition of a topic, if this broker leads it.
    pub(crate) fn get(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, PartitionError> {
        let partition = self.replica(topic, index)?;
        if partition.leads() {
            return Ok(partition);
        }
        // Who comes may have heard of it from another broker, before its role was given to the partition here.
        let image = (self.config.image)();
        let leads = |held: Held<'_>| held.registration.leader == self.config.node_id;
        if Held::find(&image, partition.key()).is_some_and(leads) {
            self.keep_up_with(&image);
        }
        if partition.leads() { Ok(partition) } else { Err(PartitionError::NotLeader) }
    }

    /// Does now what this image asks for, if that was not done yet.
    fn keep_up_with(&self, image: &Image) {
        if self.applied_seq.load(Ordering::Acquire) < image.next_seq() {
            slow::in_place(|| self.apply(&mut self.changing.lock()));
        }
    }

    /// A partition of a topic, if this broker has a replica of it.
    pub(crate) fn replica(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, PartitionError> {
        let key = PartitionId { topic: topic.id, index };
        if let Some(partition) = self.open.load().get(&key) {
            return Ok(Arc::clone(partition));
        }
        let position = usize::try_from(index).map_err(|_| PartitionError::Unknown)?;
        let registration = topic.partitions.get(position).ok_or(PartitionError::Unknown)?;
        if !registration.replicas.contains(&self.config.node_id) {
            return Err(PartitionError::NotLeader);
        }
        slow::in_place(|| self.open_late(key))
    }

    /// A partition that is open.
    pub(crate) fn find(&self, key: PartitionId) -> Option<Arc<Partition>> {
        self.open.load().get(&key).cloned()
    }

    /// Opens a log that is asked for the first time.
    fn open_late(&self, key: PartitionId) -> Result<Arc<Partition>, PartitionError> {
        let mut changing = self.changing.lock();
        if let Some(partition) = self.find(key) {
            return Ok(partition);
        }
        if let Some(why) = changing.offline.get(&key) {
            return Err(PartitionError::Offline(why.clone()));
        }
        // Read under the lock: a topic that was deleted while this request was on its way must not come back as a folder, and
        // one that was deleted and made again must find its name free.
        let image = (self.config.image)();
        let held = Held::find(&image, key).ok_or(PartitionError::Unknown)?;
        if !held.registration.replicas.contains(&self.config.node_id) {
            return Err(PartitionError::NotLeader);
        }
        self.retire(&image, &mut changing);
        self.open_these(&image, &[held], &mut changing);
        match (self.find(key), changing.offline.get(&key)) {
            (Some(partition), _) => Ok(partition),
            (None, Some(why)) => Err(PartitionError::Offline(why.clone())),
            (None, None) => Err(PartitionError::Offline("its log did not open; it is tried again".to_owned())),
        }
    }

    /// Opens the logs of everything this broker has a replica of. Ones that are damaged stay offline and say so; the others
    /// serve. Folders of what is no more, or held by others, are removed: they were taken away while this broker was.
    pub(crate) fn open_all(&self, image: &Image) -> Result<(), OpenAllError> {
        let mut changing = self.changing.lock();
        self.remove_strays(image);
        let local = self.config.node_id;
        let held: Vec<Held<'_>> =
            image.topics().flat_map(Held::all).filter(|held| held.registration.replicas.contains(&local)).collect();
        self.before.get_or_init(|| held.iter().map(|held| held.key()).collect());
        self.open_these(image, &held, &mut changing);
        match self.dirs.failed().last() {
            Some(failed) if self.dirs.all_failed() => Err(OpenAllError(failed.to_string())),
            _ => Ok(()),
        }
    }

    /// Opens logs side by side and gives them their roles. Called with `changing` held.
    fn open_these(&self, image: &Image, held: &[Held<'_>], changing: &mut Changing) {
        let next = AtomicUsize::new(0);
        let opened = Mutex::new(Vec::with_capacity(held.len()));
        let failed = Mutex::new(Vec::new());
        let unopened = Mutex::new(Vec::new());
        let open = |held: &Held<'_>| match self.open_one(image, *held) {
            Ok(partition) => opened.lock().push(partition),
            Err(NotOpened { why, for_good: true }) => failed.lock().push((held.key(), why)),
            Err(NotOpened { for_good: false, .. }) => unopened.lock().push(held.key()),
        };
        if let [only] = held {
            open(only);
        } else {
            std::thread::scope(|scope| {
                for _ in 0..OPENING_THREADS.min(held.len()) {
                    scope.spawn(|| {
                        while let Some(held) = held.get(next.fetch_add(1, Ordering::Relaxed)) {
                            open(held);
                        }
                    });
                }
            });
        }
        changing.offline.extend(failed.into_inner());
        changing.unopened.extend(unopened.into_inner());
        let opened = opened.into_inner();
        for partition in &opened {
            changing.unopened.remove(&partition.key());
            if let Some(held) = Held::find(image, partition.key()) {
                self.give_role(image, partition, held, (self.config.resolve)(held.topic));
            }
        }
        let mut open = HashMap::clone(&self.open.load());
        open.extend(opened.into_iter().map(|partition| (partition.key(), partition)));
        self.open.store(Arc::new(open));
    }

    fn open_one(&self, image: &Image, held: Held<'_>) -> Result<Arc<Partition>, NotOpened> {
        let Held { topic, index, .. } = held;
        let dir = PartitionDir::new(&topic.name, index, topic.id).map_err(|error| NotOpened::for_good(&error))?;
        let config = (self.config.resolve)(topic);
        let known = self.before.get().is_some_and(|before| before.contains(&held.key()));
        let replica = if known { Replica::Known } else { Replica::New };
        let place = self.dirs.place(&dir, replica).map_err(|error| {
            tracing::error!(log = %dir, %error, "the partition stays offline");
            match error {
                PlaceError::Failed(_) | PlaceError::MayBeAway { .. } => NotOpened::for_good(&error),
            }
        })?;
        let open = || Log::open(place, &dir, config.log.clone(), (self.config.now_ms)());
        let opened = match open() {
            // A broker that was killed between the deletion of a topic and that of its folder.
            Err(OpenLogError::OtherTopic { found, .. }) if image.topic_by_id(found).is_none() => {
                if let Ok(stray) = PartitionDir::new(&topic.name, index, found) {
                    self.remove(&stray);
                }
                open()
            }
            opened => opened,
        };
        let (log, recovery) = opened.map_err(|error| {
            tracing::error!(log = %dir, %error, "the partition stays offline, and nothing of it was cut");
            match &error {
                OpenLogError::Damaged { .. } | OpenLogError::OtherTopic { .. } => NotOpened::for_good(&error),
                OpenLogError::AlreadyOpen { .. } | OpenLogError::Io { .. } | OpenLogError::Failed(_) => {
                    NotOpened { why: error.to_string(), for_good: false }
                }
            }
        })?;
        if recovery.truncated_bytes > 0 {
            tracing::warn!(log = %dir, bytes = recovery.truncated_bytes, "recovery cut a torn tail");
        }
        let parts = super::Parts {
            gate: self.marks.of(topic.id),
            append_times: self.config.append_times.clone(),
            flusher: self.dirs.flusher(&log).clone(),
            proposals: Arc::clone(&self.proposals),
        };
        Ok(Partition::open(self.config.node_id, held.key(), held.registration, log, config, parts))
    }

    fn remove(&self, stray: &PartitionDir) {
        match self.dirs.remove(stray) {
            Ok(()) => tracing::info!(log = %stray, "removed: it is no replica of this broker's any more"),
            Err(error) => {
                tracing::error!(log = %stray, %error, "not removed, though it is no replica of this broker's");
            }
        }
    }

    /// Removes the folders of what this broker no longer holds, those too whose logs did not open.
    fn remove_strays(&self, image: &Image) {
        let local = self.config.node_id;
        let (removed, failed) = self.dirs.remove_strays(|found| {
            let key = PartitionId { topic: found.topic_id(), index: found.partition() };
            !Held::find(image, key).is_some_and(|held| held.registration.replicas.contains(&local))
        });
        for stray in removed {
            tracing::info!(log = %stray, "removed: it is no replica of this broker's any more");
        }
        for error in failed {
            tracing::error!(%error, "folders that are no replicas of this broker's are not removed");
        }
    }

    /// Tells a partition what the metadata says of it, and whom to follow.
    fn give_role(&self, image: &Image, partition: &Arc<Partition>, held: Held<'_>, config: PartitionConfig) {
        let begun = self.begun.load(Ordering::Acquire);
        let registration = held.registration;
        if begun && registration.leader == self.config.node_id && held.topic.gate.is_some() {
            // Its chain may not be made here yet: nothing gets in past it.
            self.marks.set(held.topic.id, image.next_seq());
        }
        partition.take(registration, config, begun, self.monotonic_ms());
        let nobody = [self.config.node_id, PartitionRegistration::NO_LEADER];
        if begun && !nobody.contains(&registration.leader) {
            self.fetchers.follow(partition, registration.leader, registration.leader_epoch);
        } else {
            self.fetchers.leave(partition.key());
        }
    }

    /// This life of the broker is registered: from now on it leads and follows what the metadata says. Must be called within the
    /// runtime.
    pub(crate) fn begin(&self) {
        let mut changing = self.changing.lock();
        self.begun.store(true, Ordering::Release);
        changing.applied = Arc::default();
        self.apply(&mut changing);
    }

    /// This broker's bounds on copying.
    pub(super) fn throttles(&self) -> &Arc<Throttles> {
        self.fetchers.throttles()
    }

    /// Every partition open now.
    pub(crate) fn all(&self) -> Arc<HashMap<PartitionId, Arc<Partition>>> {
        self.open.load_full()
    }

    /// How far the followers of all partitions led here are behind at most.
    pub(crate) fn replica_lag_max(&self) -> ReplicaLag {
        let now_ms = self.monotonic_ms();
        let open = self.open.load();
        open.values().map(|partition| partition.replica_lag_max(now_ms)).fold(ReplicaLag::default(), ReplicaLag::max)
    }

    /// Replicas whose logs do not open, or are in a directory that has failed.
    pub(crate) fn offline(&self) -> HashSet<PartitionId> {
        let failed = self.dirs.offline();
        let failed = failed.iter().map(|log| PartitionId { topic: log.topic_id(), index: log.partition() });
        failed.chain(self.changing.lock().offline.keys().copied()).collect()
    }

    /// Log directories that do not serve.
    pub(crate) fn offline_log_dirs(&self) -> usize {
        self.dirs.failed().count() + self.dirs.away().len()
    }

    /// Whether there is nothing left to write to.
    pub(super) fn no_directory_works(&self) -> bool {
        self.dirs.all_failed()
    }

    /// What the metadata says of a partition.
    pub(super) fn registration<'a>(&self, image: &'a Image, key: PartitionId) -> Option<&'a PartitionRegistration> {
        Held::find(image, key).map(|held| held.registration)
    }

    /// This broker.
    pub(super) fn node_id(&self) -> i32 {
        self.config.node_id
    }

    /// Waits until no append to these topics is under way that began before this call.
    pub(crate) fn wait_for_appends(&self, topics: &[Uuid]) {
        let topics: HashSet<&Uuid> = topics.iter().collect();
        for partition in self.open.load().values().filter(|partition| topics.contains(&partition.topic_id())) {
            partition.wait_for_append();
        }
    }

    /// Follows the metadata: roles, replicas that come and go, configurations, and topics that are gone.
    pub(crate) async fn follow(self: Arc<Self>, mut changed: watch::Receiver<u64>) {
        while changed.changed().await.is_ok() {
            slow::in_place(|| self.apply(&mut self.changing.lock()));
        }
    }

    /// Brings everything in line with the image of this moment. It is read under the lock: with an older one, a topic made
    /// meanwhile and open already would look deleted.
    fn apply(&self, changing: &mut Changing) {
        let image = (self.config.image)();
        self.retire(&image, changing);
        self.throttles().set((self.config.rates)(&image));
        let applied = std::mem::replace(&mut changing.applied, Arc::clone(&image));
        let local = self.config.node_id;
        let mut missing = Vec::new();
        for topic in image.topics() {
            if applied.topic_by_id(topic.id).is_some_and(|known| Arc::ptr_eq(known, topic)) {
                continue;
            }
            let config = (self.config.resolve)(topic);
            for held in Held::all(topic).filter(|held| held.registration.replicas.contains(&local)) {
                match self.find(held.key()) {
                    Some(partition) => self.give_role(&image, &partition, held, config.clone()),
                    None if held.registration.replicas.len() > 1 && !changing.offline.contains_key(&held.key()) => {
                        missing.push(held);
                    }
                    None => {}
                }
            }
        }
        if !missing.is_empty() {
            self.open_these(&image, &missing, changing);
        }
        self.applied_seq.store(image.next_seq(), Ordering::Release);
    }

    /// Closes and deletes what this broker no longer holds. Called with `changing` held, so that a topic made again under the
    /// same name finds its folder gone.
    fn retire(&self, image: &Image, changing: &mut Changing) {
        let local = self.config.node_id;
        let is_held =
            |key: &PartitionId| Held::find(image, *key).is_some_and(|held| held.registration.replicas.contains(&local));
        let offline = changing.offline.len();
        changing.offline.retain(|key, _| is_held(key));
        changing.unopened.retain(is_held);
        if changing.offline.len() < offline {
            self.remove_strays(image);
        }
        let open = self.open.load();
        if open.keys().all(is_held) {
            return;
        }
        let (kept, gone): (HashMap<_, _>, HashMap<_, _>) =
            HashMap::clone(&open).into_iter().partition(|(key, _)| is_held(key));
        self.open.store(Arc::new(kept));
        let logs = gone.into_iter().filter_map(|(key, partition)| {
            self.fetchers.leave(key);
            partition.close()
        });
        let (deleted, failed) = self.dirs.delete(logs.collect());
        for log in deleted {
            tracing::info!(%log, "deleted: it is no replica of this broker's any more");
        }
        for error in failed {
            tracing::error!(%error, "not everything is deleted that is no replica of this broker's any more");
        }
    }

    /// Keeps house every `interval`: rolling and retention. Ends with the process.
    pub(crate) async fn keep_house(self: Arc<Self>, interval: Duration) {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            slow::in_place(|| {
                let now_ms = (self.config.now_ms)();
                for partition in self.all().values() {
                    partition.keep_house(now_ms);
                }
                self.open_again();
            });
        }
    }

    /// Tries those again that did not open for want of room or of files: nobody may ask for a follower's.
    fn open_again(&self) {
        let mut changing = self.changing.lock();
        if changing.unopened.is_empty() {
            return;
        }
        let image = (self.config.image)();
        let keys = std::mem::take(&mut changing.unopened);
        let held: Vec<Held<'_>> = keys.iter().filter_map(|key| Held::find(&image, *key)).collect();
        let local = self.config.node_id;
        let held: Vec<Held<'_>> = held.into_iter().filter(|held| held.registration.replicas.contains(&local)).collect();
        self.open_these(&image, &held, &mut changing);
    }

    /// Closes every log and writes the clean marker, the last act of an orderly end.
    pub(crate) fn close(&self) -> Result<(), MarkCleanError> {
        let _held = self.changing.lock();
        let open = self.open.swap(Arc::default());
        for (key, partition) in open.iter() {
            self.fetchers.leave(*key);
            let Some(log) = partition.close() else { continue };
            let name = log.name().clone();
            if let Err(error) = log.close_clean() {
                tracing::error!(log = %name, %error, "not closed cleanly");
            }
        }
        self.dirs.mark_clean()
    }
}
