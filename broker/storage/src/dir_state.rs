//! What the logs of one directory share: its disk, its failure, what it knows of each partition, and what it has to remove.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::checkpoint::{self, Naming};
use crate::disk::{Disk, is_no_space, remove_if_there};
use crate::durability::{Durability, LogPoint};
use crate::log_dir::{DirFailed, MarkCleanError};
use crate::manifest::{self, CleanEnd, PartitionLine};
use crate::partition_dir::{Folder, PartitionDir};
use crate::segment::Segment;

/// The recovery points, in the directory.
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-checkpoint";

/// How each log ended, in the directory, if all ended cleanly.
pub(crate) const CLEAN_SHUTDOWN: &str = "clean-shutdown";

/// What the logs of a directory share.
#[derive(Debug)]
pub(crate) struct DirState {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
    failed: OnceLock<DirFailed>,
    partitions: Mutex<BTreeMap<String, Held>>,
    written_points: Mutex<Vec<String>>,
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
    /// There since the start, not opened yet.
    Found(Found),
    /// Durable up to here once, and without a folder at the start.
    Gone(PartitionLine<LogPoint>),
    /// Open now.
    Open(Arc<Durability>),
    /// Closed cleanly.
    Closed(CleanEnd),
    /// Dropped without being closed; durable up to here.
    Dropped(PartitionLine<LogPoint>),
}

/// What the last run left to know about a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) point: Option<PartitionLine<LogPoint>>,
    pub(crate) clean_end: Option<CleanEnd>,
}

impl Held {
    fn clean_end(&self) -> Option<&CleanEnd> {
        match self {
            Self::Found(found) => found.clean_end.as_ref(),
            Self::Closed(end) => Some(end),
            Self::Open(_) | Self::Dropped(_) | Self::Gone(_) => None,
        }
    }

    fn point(&self) -> Option<PartitionLine<LogPoint>> {
        match self {
            Self::Found(found) => match &found.clean_end {
                Some(end) => Some(manifest::point_of(end)),
                None => found.point.clone(),
            },
            Self::Open(log) => Some(point_line(log)),
            Self::Closed(end) => Some(manifest::point_of(end)),
            Self::Dropped(point) | Self::Gone(point) => Some(point.clone()),
        }
    }
}

fn point_line(log: &Durability) -> PartitionLine<LogPoint> {
    PartitionLine {
        folder: log.folder.name.to_string(),
        topic_id: log.folder.name.topic_id(),
        value: log.recovery_point(),
    }
}

impl DirState {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: PathBuf, partitions: BTreeMap<String, Held>) -> Self {
        Self {
            disk,
            path,
            failed: OnceLock::new(),
            partitions: Mutex::new(partitions),
            written_points: Mutex::default(),
            doomed: Mutex::default(),
            sweeping: Mutex::default(),
            marked_clean: AtomicBool::new(false),
        }
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
        self.failed
            .get_or_init(|| {
                tracing::error!(
                    dir = %self.path.display(), during, error = %cause,
                    "log directory failed: nothing is written to it until the broker is started again"
                );
                DirFailed { path: self.path.clone(), during, cause: Arc::new(cause) }
            })
            .clone()
    }

    /// What is known of a partition about to be opened; `None` while its log is open.
    pub(crate) fn found(&self, partition: &PartitionDir) -> Option<Found> {
        self.spare(partition);
        match self.partitions.lock().get(&partition.to_string()) {
            None => Some(Found::default()),
            Some(Held::Open(_)) => None,
            Some(held) => Some(Found {
                point: held.point().filter(|line| line.topic_id == partition.topic_id()),
                clean_end: held.clean_end().filter(|line| line.topic_id == partition.topic_id()).cloned(),
            }),
        }
    }

    /// Takes note of a log that was opened, closed or dropped.
    pub(crate) fn hold(&self, partition: &PartitionDir, held: Held) {
        self.partitions.lock().insert(partition.to_string(), held);
    }

    /// Writes down how every log ended. The last act of a run.
    pub(crate) fn mark_clean(&self) -> Result<(), MarkCleanError> {
        self.sweep_doomed()?;
        self.checkpoint()?;
        let mut lines = Vec::new();
        for (name, held) in &*self.partitions.lock() {
            if matches!(held, Held::Gone(_)) {
                continue;
            }
            let Some(end) = held.clean_end() else {
                return Err(MarkCleanError::NotClosed { partition: name.clone() });
            };
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
    fn spare(&self, partition: &PartitionDir) {
        self.doomed.lock().retain(|doomed| doomed.folder.name != *partition);
        drop(self.sweeping.lock());
    }

    /// Removes the doomed segments' files.
    ///
    /// Oldest first, each removal durable before the next: a crash brings back newer ones at most, so a log has no hole. And
    /// the segment that stays has a durable name first, or a crash could leave a log without any, which would start at 0.
    pub(crate) fn sweep_doomed(&self) -> Result<(), DirFailed> {
        loop {
            let sweeping = self.sweeping.lock();
            self.check()?;
            let Some(doomed) = self.doomed.lock().pop_front() else {
                return Ok(());
            };
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

    /// Forgets a log dropped without being closed, but not how far it is durable.
    pub(crate) fn drop_log(&self, log: &Durability) {
        self.hold(&log.folder.name, Held::Dropped(point_line(log)));
    }

    /// Forgets a partition and removes its folder. A crash in between leaves a folder that the next start sweeps.
    pub(crate) fn forget(&self, partition: &PartitionDir) -> Result<(), DirFailed> {
        self.partitions.lock().remove(&partition.to_string());
        self.remove_folder(partition)
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

    /// Writes down the recovery points, when they are others than those on disk.
    pub(crate) fn checkpoint(&self) -> Result<(), DirFailed> {
        self.check()?;
        let mut written = self.written_points.lock();
        let mut points = BTreeMap::new();
        let mut open = Vec::new();
        for (name, held) in &*self.partitions.lock() {
            match held {
                Held::Open(log) => open.push(Arc::clone(log)),
                other => points.extend(other.point().map(|point| (name.clone(), point))),
            }
        }
        // Asked outside the lock: one of them may be in the middle of a sync.
        points.extend(open.iter().map(|log| (log.folder.name.to_string(), point_line(log))));
        let lines: Vec<String> = points.values().map(PartitionLine::<LogPoint>::to_line).collect();
        if lines == *written {
            return Ok(());
        }
        let content = checkpoint::encode(manifest::POINTS_TITLE, lines.iter().cloned());
        let path = self.path.join(RECOVERY_POINTS);
        match checkpoint::replace(&*self.disk, &path, &content, Naming::Durable) {
            Ok(()) => {
                *written = lines;
                Ok(())
            }
            Err(error) if is_no_space(&error) => {
                tracing::warn!(dir = %self.path.display(), "no room to write down the recovery points");
                Ok(())
            }
            Err(error) => Err(self.fail("checkpoint", error)),
        }
    }
}
