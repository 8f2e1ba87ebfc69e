//! The partitions that this broker leads, by topic id and index.
//!
//! Logs are opened at start, in parallel, so that recovery is over when the listeners open; a topic made later opens its logs
//! when they are first asked for. Only [`Manager::follow`] closes them, when the metadata no longer has their topic.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sluice_cluster::{Image, Topic};
use sluice_protocol::{ErrorCode, Uuid};
use sluice_storage::{Log, LogDir, MarkCleanError, OpenLogError, PartitionDir};

use super::{Led, Partition, PartitionConfig};
use crate::coordination::Metadata;
use crate::plugins::GateMarks;
use crate::slow;

/// What the manager needs to know of the configuration.
pub(crate) struct ManagerConfig {
    pub(crate) node_id: i32,
    /// A topic's configuration, over the broker's defaults.
    pub(crate) resolve: Box<dyn Fn(&Topic) -> PartitionConfig + Send + Sync>,
    pub(crate) now_ms: fn() -> i64,
}

/// Opens, finds and closes partitions.
pub(crate) struct Manager {
    config: ManagerConfig,
    dir: LogDir,
    metadata: Metadata,
    marks: Arc<GateMarks>,
    open: ArcSwap<HashMap<Key, Arc<Partition>>>,
    /// Held while logs are opened or closed.
    changing: Mutex<Offline>,
}

type Key = (Uuid, i32);

/// Logs that do not open, and why.
type Offline = HashMap<Key, String>;

/// Logs opened side by side. After a kill each waits for one sync of the disk, which takes many at once: 5,000 logs came back in
/// 2.5 s with sixteen and in 14 s with two, on two busy cores.
const OPENING_THREADS: usize = 16;

/// Why a partition is not served here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PartitionError {
    /// The topic has no such partition.
    #[error("there is no such partition")]
    Unknown,
    /// Another broker leads it.
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

impl Manager {
    pub(crate) fn new(config: ManagerConfig, dir: LogDir, metadata: Metadata, marks: Arc<GateMarks>) -> Arc<Self> {
        Arc::new(Self { config, dir, metadata, marks, open: ArcSwap::default(), changing: Mutex::default() })
    }

    /// A partition of a topic, if this broker serves it.
    pub(crate) fn get(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, PartitionError> {
        if let Some(partition) = self.open.load().get(&(topic.id, index)) {
            return Ok(Arc::clone(partition));
        }
        let position = usize::try_from(index).map_err(|_| PartitionError::Unknown)?;
        let registration = topic.partitions.get(position).ok_or(PartitionError::Unknown)?;
        if registration.leader != self.config.node_id {
            return Err(PartitionError::NotLeader);
        }
        slow::in_place(|| self.open_late(topic, index))
    }

    /// Opens a log that is asked for the first time.
    fn open_late(&self, topic: &Topic, index: i32) -> Result<Arc<Partition>, PartitionError> {
        let mut offline = self.changing.lock();
        if let Some(partition) = self.open.load().get(&(topic.id, index)) {
            return Ok(Arc::clone(partition));
        }
        if let Some(why) = offline.get(&(topic.id, index)) {
            return Err(PartitionError::Offline(why.clone()));
        }
        // Read under the lock: a topic that was deleted while this request was on its way must not come back as a folder, and
        // one that was deleted and made again must find its name free.
        let image = self.metadata.image();
        if image.topic_by_id(topic.id).is_none() {
            return Err(PartitionError::Unknown);
        }
        self.retire(&image, &mut offline);
        match self.open_one(&image, topic, index) {
            Ok(partition) => {
                self.insert([Arc::clone(&partition)]);
                Ok(partition)
            }
            Err(NotOpened { why, for_good }) => {
                if for_good {
                    offline.insert((topic.id, index), why.clone());
                }
                Err(PartitionError::Offline(why))
            }
        }
    }

    /// Opens the logs of everything this broker leads. Ones that are damaged stay offline and say so; the others serve.
    /// Folders of topics that are no more are removed: they were deleted while this broker was away.
    pub(crate) fn open_all(&self, image: &Image, found: &[PartitionDir]) -> Result<(), OpenAllError> {
        let mut offline = self.changing.lock();
        for stray in found.iter().filter(|found| image.topic_by_id(found.topic_id()).is_none()) {
            self.remove(stray);
        }
        let led: Vec<(&Arc<Topic>, i32)> = image
            .topics()
            .flat_map(|topic| topic.partitions.iter().zip(0..).map(move |(partition, index)| (topic, partition, index)))
            .filter(|(_, partition, _)| partition.leader == self.config.node_id)
            .map(|(topic, _, index)| (topic, index))
            .collect();
        let next = AtomicUsize::new(0);
        let opened = Mutex::new(Vec::with_capacity(led.len()));
        let failed = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..OPENING_THREADS.min(led.len()) {
                scope.spawn(|| {
                    while let Some((topic, index)) = led.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match self.open_one(image, topic, *index) {
                            Ok(partition) => opened.lock().push(partition),
                            Err(NotOpened { why, for_good: true }) => failed.lock().push(((topic.id, *index), why)),
                            // It is tried again when it is asked for.
                            Err(NotOpened { for_good: false, .. }) => {}
                        }
                    }
                });
            }
        });
        offline.extend(failed.into_inner());
        self.insert(opened.into_inner());
        match self.dir.failed() {
            None => Ok(()),
            Some(failed) => Err(OpenAllError(failed.to_string())),
        }
    }

    fn open_one(&self, image: &Image, topic: &Topic, index: i32) -> Result<Arc<Partition>, NotOpened> {
        let registration = usize::try_from(index).ok().and_then(|index| topic.partitions.get(index));
        let registration = registration.ok_or_else(|| NotOpened::for_good(&PartitionError::Unknown))?;
        let dir = PartitionDir::new(&topic.name, index, topic.id).map_err(|error| NotOpened::for_good(&error))?;
        let config = (self.config.resolve)(topic);
        let open = || Log::open(&self.dir, &dir, config.log.clone(), (self.config.now_ms)());
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
        let flusher = self.dir.flusher().clone();
        let gate = self.marks.of(topic.id);
        Ok(Partition::lead(self.config.node_id, Led { topic, index, registration }, log, config, gate, flusher))
    }

    fn remove(&self, stray: &PartitionDir) {
        match self.dir.remove(stray) {
            Ok(()) => tracing::info!(log = %stray, "removed: its topic was deleted"),
            Err(error) => tracing::error!(log = %stray, %error, "not removed, though its topic was deleted"),
        }
    }

    /// Called with `changing` held.
    fn insert(&self, partitions: impl IntoIterator<Item = Arc<Partition>>) {
        let mut open = HashMap::clone(&self.open.load());
        open.extend(partitions.into_iter().map(|partition| ((partition.topic_id(), partition.index()), partition)));
        self.open.store(Arc::new(open));
    }

    /// Every partition served now.
    pub(crate) fn all(&self) -> Arc<HashMap<Key, Arc<Partition>>> {
        self.open.load_full()
    }

    /// Logs that do not open.
    pub(crate) fn offline_count(&self) -> usize {
        self.changing.lock().len()
    }

    /// Waits until no append to these topics is under way that began before this call.
    pub(crate) fn wait_for_appends(&self, topics: &[Uuid]) {
        let topics: HashSet<&Uuid> = topics.iter().collect();
        for partition in self.open.load().values().filter(|partition| topics.contains(&partition.topic_id())) {
            partition.wait_for_append();
        }
    }

    /// Follows the metadata: configurations, leader epochs, and topics that are gone.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut changed = self.metadata.changed();
        while changed.changed().await.is_ok() {
            slow::in_place(|| self.apply());
        }
    }

    fn apply(&self) {
        let mut offline = self.changing.lock();
        // Read under the lock: with an older image, a topic made meanwhile and open already would look deleted.
        let image = self.metadata.image();
        self.retire(&image, &mut offline);
        for ((topic, index), partition) in self.open.load().iter() {
            let Some(topic) = image.topic_by_id(*topic) else { continue };
            let registration = usize::try_from(*index).ok().and_then(|index| topic.partitions.get(index));
            if let Some(registration) = registration {
                partition.reconfigure((self.config.resolve)(topic), registration);
            }
        }
    }

    /// Closes and deletes what the metadata no longer has. Called with `changing` held, so that a topic made again under the
    /// same name finds its folder gone.
    fn retire(&self, image: &Image, offline: &mut Offline) {
        offline.retain(|(topic, _), _| image.topic_by_id(*topic).is_some());
        let open = self.open.load();
        if open.keys().all(|(topic, _)| image.topic_by_id(*topic).is_some()) {
            return;
        }
        let (kept, gone): (HashMap<_, _>, HashMap<_, _>) =
            HashMap::clone(&open).into_iter().partition(|((topic, _), _)| image.topic_by_id(*topic).is_some());
        self.open.store(Arc::new(kept));
        for log in gone.values().filter_map(|partition| partition.close()) {
            let name = log.name().clone();
            match log.delete() {
                Ok(()) => tracing::info!(log = %name, "deleted with its topic"),
                Err(error) => tracing::error!(log = %name, %error, "not deleted"),
            }
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
            });
        }
    }

    /// Closes every log and writes the clean marker, the last act of an orderly end.
    pub(crate) fn close(&self) -> Result<(), MarkCleanError> {
        let _held = self.changing.lock();
        let open = self.open.swap(Arc::default());
        for log in open.values().filter_map(|partition| partition.close()) {
            let name = log.name().clone();
            if let Err(error) = log.close_clean() {
                tracing::error!(log = %name, %error, "not closed cleanly");
            }
        }
        self.dir.mark_clean()
    }
}
