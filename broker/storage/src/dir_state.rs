//! What the logs of one directory share: its disk, its failure, what it knows of each partition, and what it has to remove.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sluice_protocol::Uuid;

use crate::checkpoint::{self, Naming};
use crate::disk::{Disk, DiskFile, is_no_space, remove_if_there};
use crate::durability::{Durability, LogPoint};
use crate::log_dir::{DirFailed, MarkCleanError};
use crate::manifest::{self, CleanEnd, LogOffsets, PartitionLine};
use crate::partition_dir::{Folder, PartitionDir};
use crate::segment::Segment;

/// The recovery points, in the directory.
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-checkpoint";

/// The logs' high watermarks and starts, in the directory.
pub(crate) const OFFSETS: &str = "replication-offset-checkpoint";

/// How each log ended, in the directory, if all ended cleanly.
pub(crate) const CLEAN_SHUTDOWN: &str = "clean-shutdown";

/// Who is told when a directory fails.
#[derive(Clone)]
pub(crate) struct OnFailure(pub(crate) Arc<dyn Fn(&DirFailed) + Send + Sync>);

impl fmt::Debug for OnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFailure")
    }
}

/// Told how long each sync of batches took. Called on the thread that waited for it: it notes that and returns.
pub trait SyncObserver: fmt::Debug + Send + Sync {
    /// The disk took so long to make a file of batches durable.
    fn synced(&self, took: Duration);
}

/// What the logs of a directory share.
#[derive(Debug)]
pub(crate) struct DirState {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    on_sync: Option<Arc<dyn SyncObserver>>,
    failed: OnceLock<DirFailed>,
    on_failure: OnceLock<OnFailure>,
    partitions: Mutex<BTreeMap<String, Held>>,
    written: Mutex<Written>,
    doomed: Mutex<VecDeque<Doomed>>,
    /// Held while one of the doomed is removed.
    sweeping: Mutex<()>,
    marked_clean: AtomicBool,
}

/// Segments that retention took out of a log, oldest first, and that still have their files.
#[derive(Debug)]
pub(crate) struct Doomed {
    pub(crate) folder: Arc<Folder>,
    pub(crate) segments: Vec<Arc<Segment>>,
}

/// What the directory knows of a partition's log.
#[derive(Debug)]
pub(crate) enum Held {
    /// Open now.
    Open(Arc<Durability>),
    /// Not opened yet, closed, or dropped.
    Resting(Known),
    /// Written down once, and without a folder at the start.
    Gone(Known),
}

/// What is known of a log that is not open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Whose its folder is; `None` when that was never made durable.
    pub(crate) topic_id: Option<Uuid>,
    /// How far it is durable.
    pub(crate) point: Option<PartitionLine<LogPoint>>,
    pub(crate) offsets: Option<PartitionLine<LogOffsets>>,
    /// How it ended, if it was closed; its point is its end then.
    pub(crate) clean_end: Option<CleanEnd>,
}

/// What the directory's files say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) points: BTreeMap<String, PartitionLine<LogPoint>>,
    pub(crate) offsets: BTreeMap<String, PartitionLine<LogOffsets>>,
}

impl Known {
    /// Of a log that is open, or was until now.
    fn of(log: &Durability) -> Self {
        let (folder, topic_id) = (log.folder.name.to_string(), log.folder.name.topic_id());
        Self {
            topic_id: Some(topic_id),
            point: log.recovery_point().map(|value| PartitionLine { folder: folder.clone(), topic_id, value }),
            offsets: Some(PartitionLine { folder, topic_id, value: log.offsets() }),
            clean_end: None,
        }
    }

    /// What of it is of this topic.
    fn of_topic(&self, topic_id: Uuid) -> Self {
        Self {
            topic_id: self.topic_id,
            point: self.point.clone().filter(|line| line.topic_id == topic_id),
            offsets: self.offsets.clone().filter(|line| line.topic_id == topic_id),
            clean_end: self.clean_end.clone().filter(|line| line.topic_id == topic_id),
        }
    }

    fn point(&self) -> Option<PartitionLine<LogPoint>> {
        self.clean_end.as_ref().map(manifest::point_of).or_else(|| self.point.clone())
    }
}

impl DirState {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        on_sync: Option<Arc<dyn SyncObserver>>,
        partitions: BTreeMap<String, Held>,
        written: Written,
    ) -> Self {
        Self {
            disk,
            path,
            on_sync,
            failed: OnceLock::new(),
            on_failure: OnceLock::new(),
            partitions: Mutex::new(partitions),
            written: Mutex::new(written),
            doomed: Mutex::default(),
            sweeping: Mutex::default(),
            marked_clean: AtomicBool::new(false),
        }
    }

    /// Makes a file of batches durable.
    pub(crate) fn sync(&self, file: &dyn DiskFile) -> io::Result<()> {
        let begun = Instant::now();
        file.sync_data()?;
        if let Some(observer) = &self.on_sync {
            observer.synced(begun.elapsed());
        }
        Ok(())
    }

    /// What failed it, if something did.
    pub(crate) fn failed(&self) -> Option<&DirFailed> {
        self.failed.get()
    }

    /// Whether the directory still works.
    pub(crate) fn check(&self) -> Result<(), DirFailed> {
        self.failed.get().map_or(Ok(()), |failed| Err(failed.clone()))
    }

    /// Fails the directory for good. The first failure is the one everybody hears of.
    pub(crate) fn fail(&self, during: &'static str, cause: io::Error) -> DirFailed {
        let mut first = false;
        let failed = self.failed.get_or_init(|| {
            first = true;
            tracing::error!(
                dir = %self.path.display(), during, error = %cause,
                "log directory failed: nothing is written to it until the broker is started again"
            );
            DirFailed { path: self.path.clone(), during, cause: Arc::new(cause) }
        });
        if first && let Some(OnFailure(told)) = self.on_failure.get() {
            told(failed);
        }
        failed.clone()
    }

    /// Has `told` called once, when the directory fails; not for a failure that is past.
    pub(crate) fn on_failure(&self, told: OnFailure) {
        let already = self.on_failure.set(told).is_err();
        debug_assert!(!already, "one owner is told");
    }

    /// What is known of a partition about to be opened; `None` while its log is open.
    pub(crate) fn known(&self, partition: &PartitionDir) -> Option<Known> {
        self.spare(partition);
        match self.partitions.lock().get(&partition.to_string()) {
            None => Some(Known::default()),
            Some(Held::Open(_)) => None,
            Some(Held::Resting(known) | Held::Gone(known)) => Some(known.of_topic(partition.topic_id())),
        }
    }

    /// Takes note of a log that is open now.
    pub(crate) fn opened(&self, log: &Arc<Durability>) {
        self.hold(&log.folder.name, Held::Open(Arc::clone(log)));
    }

    /// Takes note of a log that was closed.
    pub(crate) fn closed(&self, log: &Durability, end: CleanEnd) {
        self.hold(&log.folder.name, Held::Resting(Known { clean_end: Some(end), ..Known::of(log) }));
    }

    /// Forgets a log dropped without being closed, but not how far it is durable.
    pub(crate) fn dropped(&self, log: &Durability) {
        self.hold(&log.folder.name, Held::Resting(Known::of(log)));
    }

    /// Takes note of a log that is not open and becomes an empty one at `point`; what is known of it then.
    pub(crate) fn start_over(&self, partition: &PartitionDir, point: LogPoint) -> Known {
        let (folder, topic_id) = (partition.to_string(), partition.topic_id());
        let point = Some(PartitionLine { folder, topic_id, value: point });
        let known = Known { topic_id: Some(topic_id), point, ..Known::default() };
        self.hold(partition, Held::Resting(known.clone()));
        known
    }

    fn hold(&self, partition: &PartitionDir, held: Held) {
        self.partitions.lock().insert(partition.to_string(), held);
    }

    /// Writes down how every log ended. The last act of a run.
    pub(crate) fn mark_clean(&self) -> Result<(), MarkCleanError> {
        self.sweep_doomed()?;
        self.checkpoint()?;
        let mut lines = Vec::new();
        for (name, held) in &*self.partitions.lock() {
            let end = match held {
                Held::Gone(_) => continue,
                Held::Resting(known) => known.clean_end.as_ref(),
                Held::Open(_) => None,
            };
            let end = end.ok_or_else(|| MarkCleanError::NotClosed { partition: name.clone() })?;
            lines.push(end.to_line());
        }
        let content = checkpoint::encode(manifest::CLEAN_TITLE, lines.into_iter());
        let marked = self.disk.sync_dir(&self.path).and_then(|()| {
            checkpoint::replace(&*self.disk, &self.path.join(CLEAN_SHUTDOWN), &content, Naming::Durable)
        });
        marked.map_err(|error| self.fail("clean shutdown", error))?;
        self.marked_clean.store(true, Ordering::Release);
        Ok(())
    }

    /// A log is about to be written: the end is not clean any more.
    pub(crate) fn unmark_clean(&self) -> io::Result<()> {
        if self.marked_clean.swap(false, Ordering::AcqRel) {
            remove_if_there(&*self.disk, &self.path.join(CLEAN_SHUTDOWN))?;
            self.disk.sync_dir(&self.path)?;
        }
        Ok(())
    }

    /// Takes segments to remove, off the path of their log.
    pub(crate) fn doom(&self, doomed: Doomed) {
        self.doomed.lock().push_back(doomed);
    }

    /// Leaves a partition's doomed segments alone: its folder goes away, or is read again as it stands.
    pub(crate) fn spare(&self, partition: &PartitionDir) {
        self.doomed.lock().retain(|doomed| doomed.folder.name != *partition);
        drop(self.sweeping.lock());
    }

    /// Removes the doomed segments' files.
    ///
    /// Oldest first, each removal durable before the next: a crash brings back newer ones at most, so a log has no hole. And
    /// the segment that stays has a durable name first, and the log a recovery point: one without is taken for new, and what
    /// is there of it for the rest of a log that lost its beginning.
    pub(crate) fn sweep_doomed(&self) -> Result<(), DirFailed> {
        loop {
            let sweeping = self.sweeping.lock();
            self.check()?;
            let Some(doomed) = self.doomed.lock().pop_front() else {
                return Ok(());
            };
            if self.ensure_point(&doomed.folder.name)? == Checkpointed::NoSpace {
                // Of a log this young there is little to win.
                self.doomed.lock().push_front(doomed);
                return Ok(());
            }
            let folder = &doomed.folder.path;
            let swept = self.disk.sync_dir(folder).and_then(|()| {
                doomed.segments.iter().try_for_each(|segment| {
                    segment.remove()?;
                    self.disk.sync_dir(folder)
                })
            });
            drop(sweeping);
            swept.map_err(|error| self.fail("delete", error))?;
        }
    }

    /// Forgets partitions and removes their folders. What the disk knows of them goes first: by a recovery point that outlived
    /// its log, the one that is made under the same name later would be taken for lost, or for cut short. A crash in between
    /// leaves folders that the next start sweeps.
    pub(crate) fn forget(&self, partitions: &[PartitionDir]) -> Result<(), DirFailed> {
        let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        {
            let mut known = self.partitions.lock();
            names.iter().for_each(|name| drop(known.remove(name)));
        }
        let is_written = {
            let written = self.written.lock();
            names.iter().any(|name| written.points.contains_key(name) || written.offsets.contains_key(name))
        };
        let known = if is_written { self.write_down()? } else { Checkpointed::Done };
        partitions.iter().try_for_each(|partition| self.remove_folder(partition))?;
        match known {
            Checkpointed::Done => Ok(()),
            // Now there is.
            Checkpointed::NoSpace => self.checkpoint(),
        }
    }

    /// Makes sure that the disk knows a recovery point of a log.
    pub(crate) fn ensure_point(&self, partition: &PartitionDir) -> Result<Checkpointed, DirFailed> {
        let name = partition.to_string();
        if self.written.lock().points.contains_key(&name) {
            return Ok(Checkpointed::Done);
        }
        let open = match self.partitions.lock().get(&name) {
            Some(Held::Open(log)) => Some(Arc::clone(log)),
            _ => None,
        };
        if let Some(log) = open {
            log.sync()?;
        }
        let written = self.write_down()?;
        let known = self.written.lock().points.contains_key(&name);
        Ok(if known { written } else { Checkpointed::NoSpace })
    }

    /// The partitions that have a folder here, but for those whose topic nobody knows.
    pub(crate) fn partitions(&self) -> Vec<PartitionDir> {
        let partitions = self.partitions.lock();
        let here = partitions.iter().filter_map(|(name, held)| match held {
            Held::Open(log) => Some(log.folder.name.clone()),
            Held::Resting(known) => PartitionDir::parse(name, known.topic_id?),
            Held::Gone(_) => None,
        });
        here.collect()
    }

    /// Whether a folder of that name is here, of whichever topic.
    pub(crate) fn has_folder(&self, partition: &PartitionDir) -> bool {
        matches!(self.partitions.lock().get(&partition.to_string()), Some(Held::Open(_) | Held::Resting(_)))
    }

    /// Whether a log is open in the partition's folder.
    pub(crate) fn is_open(&self, partition: &PartitionDir) -> bool {
        matches!(self.partitions.lock().get(&partition.to_string()), Some(Held::Open(_)))
    }

    fn remove_folder(&self, partition: &PartitionDir) -> Result<(), DirFailed> {
        self.check()?;
        self.spare(partition);
        let doomed = self.path.join(partition.deleted_name());
        let removed = self
            .disk
            .rename(&self.path.join(partition.to_string()), &doomed)
            .and_then(|()| self.disk.sync_dir(&self.path))
            .and_then(|()| self.disk.remove_dir_all(&doomed));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.fail("delete", error)),
            _ => Ok(()),
        }
    }

    /// The logs that are open now.
    pub(crate) fn open_logs(&self) -> Vec<Arc<Durability>> {
        self.partitions
            .lock()
            .values()
            .filter_map(|held| match held {
                Held::Open(log) => Some(Arc::clone(log)),
                _ => None,
            })
            .collect()
    }

    /// Writes down the recovery points and offsets, where they are others than those on disk.
    pub(crate) fn checkpoint(&self) -> Result<(), DirFailed> {
        if let Checkpointed::NoSpace = self.write_down()? {
            tracing::warn!(dir = %self.path.display(), "no room to write down the recovery points");
        }
        Ok(())
    }

    /// Makes sure that the disk knows no recovery point of this log, or none beyond `point`: before what lies there is removed.
    pub(crate) fn take_back_point(&self, log: &Durability, point: Option<LogPoint>) -> Result<Checkpointed, DirFailed> {
        let written = self.written.lock().points.get(&log.folder.name.to_string()).map(|line| line.value.offset);
        let beyond = match (written, point) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(written), Some(point)) => written > point.offset,
        };
        if beyond { self.write_down() } else { Ok(Checkpointed::Done) }
    }

    fn write_down(&self) -> Result<Checkpointed, DirFailed> {
        self.check()?;
        let mut written = self.written.lock();
        let mut known = Vec::new();
        let mut open = Vec::new();
        for (name, held) in &*self.partitions.lock() {
            match held {
                Held::Open(log) => open.push((name.clone(), Arc::clone(log))),
                Held::Resting(resting) | Held::Gone(resting) => known.push((name.clone(), resting.clone())),
            }
        }
        // Asked outside the lock: one of them may be in the middle of a sync.
        known.extend(open.into_iter().map(|(name, log)| (name, Known::of(&log))));
        let mut now = Written::default();
        for (name, known) in known {
            if let Some(point) = known.point() {
                now.points.insert(name.clone(), point);
            }
            if let Some(offsets) = known.offsets {
                now.offsets.insert(name, offsets);
            }
        }
        if *written == now {
            return Ok(Checkpointed::Done);
        }
        let points = now.points.values().map(PartitionLine::<LogPoint>::to_line);
        let offsets = now.offsets.values().map(PartitionLine::<LogOffsets>::to_line);
        // What a crash leaves of them is the old or the new, each for itself: neither rests on the other.
        let replaced = self
            .replace(RECOVERY_POINTS, &checkpoint::encode(manifest::POINTS_TITLE, points))
            .and_then(|()| self.replace(OFFSETS, &checkpoint::encode(manifest::OFFSETS_TITLE, offsets)))
            .and_then(|()| self.disk.sync_dir(&self.path));
        match replaced {
            Ok(()) => {
                *written = now;
                Ok(Checkpointed::Done)
            }
            Err(error) if is_no_space(&error) => Ok(Checkpointed::NoSpace),
            Err(error) => Err(self.fail("checkpoint", error)),
        }
    }

    /// Writes one of the directory's files; the caller syncs the directory.
    fn replace(&self, file: &str, content: &[u8]) -> io::Result<()> {
        checkpoint::replace(&*self.disk, &self.path.join(file), content, Naming::Later)
    }
}

/// Whether the directory's files say what is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checkpointed {
    Done,
    /// There was no room: they say what was so before.
    NoSpace,
}
