//! A log directory: one disk's worth of partitions, owned by one broker at a time.
//!
//! ```text
//!   data/
//!     .lock                        held exclusively while the broker runs
//!     meta.properties              whose folder this is: cluster, broker, directory
//!     recovery-point-checkpoint    how far each log is known to be durable
//!     replication-offset-checkpoint    each log's high watermark and start
//!     clean-shutdown               how each log ended; written last, removed first
//!     orders-0/ orders-1/ ...
//! ```
//! After an error of the disk the directory is failed for good: what it holds in memory may not be what it holds on disk, and
//! only a new start finds out. Running out of room is no such error.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluice_protocol::Uuid;

use crate::checkpoint::{self, Naming};
use crate::dir_state::{CLEAN_SHUTDOWN, DirState, Held, Known, OFFSETS, RECOVERY_POINTS, SyncObserver, Written};
use crate::disk::{Disk, LockGuard, RealDisk, read_whole, remove_if_there};
use crate::flusher::{FlushThreads, Flusher};
use crate::housekeeping::Housekeeping;
use crate::log::Log;
use crate::manifest::{self, LogOffsets, PartitionLine};
use crate::meta_properties::{self, MetaProperties};
use crate::partition_dir::{DELETED, Metadata, PartitionDir, read_metadata};

/// Who opens a log directory.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The cluster the broker is part of.
    pub cluster_id: String,
    /// The broker.
    pub broker_id: i32,
    /// The id the directory gets when it is new: random, and the caller's, because randomness is none of storage's business.
    pub new_directory_id: Uuid,
}

/// How a log directory does its work.
#[derive(Debug, Clone)]
pub struct LogDirOptions {
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// How long the recovery points may be older than the logs; `None` leaves it to [`LogDir::checkpoint`].
    pub checkpoint_interval: Option<Duration>,
    /// Who is told how long syncs take.
    pub on_sync: Option<Arc<dyn SyncObserver>>,
}

/// The longest between two writes of the recovery points. Kafka takes a minute (`log.flush.offset.checkpoint.interval.ms`); what
/// lies above the point is checked byte by byte after a crash, at about 1 GB/s, so ten seconds of writing are scanned in about
/// as long. They are written down up to ten times as often where that costs next to nothing: durable batches above the point
/// that have rotted when the broker comes back from a crash cannot be told from a write that never finished.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

impl Default for LogDirOptions {
    fn default() -> Self {
        Self { disk: Arc::new(RealDisk), checkpoint_interval: Some(CHECKPOINT_INTERVAL), on_sync: None }
    }
}

/// What was found in a log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Whether the last run ended cleanly and every log is in its manifest. If not, the broker registers as unclean.
    pub clean: bool,
    /// The directory's id.
    pub directory_id: Uuid,
    /// The partitions that have a folder here.
    pub partitions: Vec<PartitionDir>,
}

/// Why a log directory does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another broker, or another directory entry of this one, has it.
    #[error("{} is in use by another broker", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another cluster.
    #[error("{} belongs to cluster {found}, this broker to {expected}", path.display())]
    OtherCluster {
        /// The directory.
        path: PathBuf,
        /// The cluster in its `meta.properties`.
        found: String,
        /// The broker's.
        expected: String,
    },
    /// It belongs to another broker of the cluster.
    #[error("{} belongs to broker {found}, this is broker {expected}", path.display())]
    OtherBroker {
        /// The directory.
        path: PathBuf,
        /// The broker in its `meta.properties`.
        found: i32,
        /// This one.
        expected: i32,
    },
    /// It has partitions and nothing says whose they are.
    #[error("{} holds {partition} and no meta.properties", path.display())]
    NoIdentity {
        /// The directory.
        path: PathBuf,
        /// A partition's folder in it.
        partition: String,
    },
    /// Two directories of a broker hold the same partition: one is a copy, or was away and had its partitions made anew. One
    /// of the two folders has to go, and only who knows how they came to be can say which.
    #[error("{partition} is in {} and in {}", first.display(), second.display())]
    Twice {
        /// The partition's folder.
        partition: String,
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// One of its own files is damaged.
    #[error("{} is damaged", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
    },
    /// The disk refused.
    #[error("{}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What it said.
        #[source]
        cause: io::Error,
    },
}

/// A log directory failed; nothing is written to it any more in this life of the broker.
#[derive(Debug, Clone, thiserror::Error)]
#[error("log directory {} failed at {during}", path.display())]
pub struct DirFailed {
    /// The directory.
    pub path: PathBuf,
    /// What was being done.
    pub during: &'static str,
    /// What the disk said.
    #[source]
    pub cause: Arc<io::Error>,
}

/// Why a directory is not marked clean.
#[derive(Debug, thiserror::Error)]
pub enum MarkCleanError {
    /// A log is open, was dropped without being closed, or was found after an unclean end and never opened.
    #[error("{partition} was not closed cleanly")]
    NotClosed {
        /// Its folder.
        partition: String,
    },
    /// The directory has failed.
    #[error(transparent)]
    Failed(#[from] DirFailed),
}

/// A log directory, locked. Dropping it stops its threads and lets go of the lock; that alone is no clean end.
#[derive(Debug)]
pub struct LogDir {
    // In this order: the threads end before the lock is let go.
    housekeeping: Mutex<Option<Housekeeping>>,
    threads: FlushThreads,
    state: Arc<DirState>,
    _lock: Box<dyn LockGuard>,
}

/// A log directory that is locked and not opened yet: a broker must know whose it is before it joins a cluster, and joins the
/// cluster before it serves from it.
#[derive(Debug)]
pub struct LockedLogDir {
    path: PathBuf,
    options: LogDirOptions,
    lock: Box<dyn LockGuard>,
    owner: Option<Owner>,
    folders: BTreeMap<String, Option<Uuid>>,
    clean: bool,
}

/// Whose a log directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The cluster.
    pub cluster_id: String,
    /// The broker.
    pub broker_id: i32,
    /// The directory itself.
    pub directory_id: Uuid,
}

impl LockedLogDir {
    /// Locks a directory on the machine's own disk, made if need be.
    ///
    /// # Errors
    /// [`OpenError`] says who has it or what is wrong with it.
    pub fn lock(path: &Path) -> Result<Self, OpenError> {
        Self::lock_with(path, LogDirOptions::default())
    }

    /// Locks a directory on any disk.
    ///
    /// # Errors
    /// As [`LockedLogDir::lock`].
    pub fn lock_with(path: &Path, options: LogDirOptions) -> Result<Self, OpenError> {
        let disk = &*options.disk;
        let io = |cause| OpenError::Io { path: path.to_owned(), cause };
        make_durably(disk, path).map_err(io)?;
        let lock = disk.lock(&path.join(LOCK)).map_err(|cause| match cause.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked { path: path.to_owned() },
            _ => io(cause),
        })?;
        let folders = sweep(disk, path).map_err(io)?;
        let owner = read_owner(disk, path, &folders)?;
        let ends = read_lines(disk, &path.join(CLEAN_SHUTDOWN), manifest::read_clean_ends)?;
        let clean = ends.is_some() && folders.keys().all(|name| listed(ends.as_ref(), name));
        Ok(Self { path: path.to_owned(), options, lock, owner, folders, clean })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is; nobody's while it is new.
    pub fn owner(&self) -> Option<&Owner> {
        self.owner.as_ref()
    }

    /// Whether the last run ended cleanly and every log is in its manifest.
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Opens it for its owner, who becomes so if it is new.
    ///
    /// # Errors
    /// [`OpenError`] says whose it is or what is wrong with it.
    pub fn open(self, identity: &Identity) -> Result<(LogDir, Opened), OpenError> {
        let Self { path, options, lock, owner, folders, clean } = self;
        let path = path.as_path();
        let disk = options.disk;
        let io = |cause| OpenError::Io { path: path.to_owned(), cause };
        let directory_id = match owner {
            Some(owner) => check_owner(path, owner, identity)?,
            None => take_possession(&*disk, path, identity)?,
        };
        let points = read_lines(&*disk, &path.join(RECOVERY_POINTS), manifest::read_points)?;
        let ends = read_lines(&*disk, &path.join(CLEAN_SHUTDOWN), manifest::read_clean_ends)?;
        let offsets = read_offsets(&*disk, &path.join(OFFSETS)).map_err(io)?;
        let (mut points, mut ends) = (points.unwrap_or_default(), ends.unwrap_or_default());
        let written = Written { points: points.clone(), offsets: offsets.clone() };
        let mut offsets = offsets;
        let opened = Opened {
            clean,
            directory_id,
            partitions: folders.iter().filter_map(|(name, topic_id)| PartitionDir::parse(name, (*topic_id)?)).collect(),
        };
        let mut partitions: BTreeMap<String, Held> = folders
            .into_iter()
            .map(|(name, topic_id)| {
                let known = Known {
                    topic_id,
                    point: take(&mut points, &name, topic_id),
                    offsets: take(&mut offsets, &name, topic_id),
                    clean_end: take(&mut ends, &name, topic_id),
                };
                (name, Held::Resting(known))
            })
            .collect();
        // What was durable and has no folder any more: deleted, or lost.
        partitions.extend(
            points
                .into_iter()
                .map(|(name, point)| (name, Held::Gone(Known { point: Some(point), ..Known::default() }))),
        );
        // From here on the end was not clean, whatever happens.
        remove_if_there(&*disk, &path.join(CLEAN_SHUTDOWN)).and_then(|()| disk.sync_dir(path)).map_err(io)?;

        let state = Arc::new(DirState::new(disk, path.to_owned(), options.on_sync, partitions, written));
        let threads = FlushThreads::start().map_err(io)?;
        let housekeeping = options
            .checkpoint_interval
            .map(|every| Housekeeping::start(Arc::clone(&state), threads.flusher().clone(), every))
            .transpose()
            .map_err(io)?;
        let dir = LogDir { housekeeping: Mutex::new(housekeeping), threads, state, _lock: lock };
        Ok((dir, opened))
    }
}

impl LogDir {
    /// Opens a directory on the machine's own disk, made if need be, by one who knows beforehand what cluster it is of.
    ///
    /// # Errors
    /// [`OpenError`] says whose it is or what is wrong with it.
    pub fn open(path: &Path, identity: &Identity) -> Result<(Self, Opened), OpenError> {
        LockedLogDir::lock(path)?.open(identity)
    }

    /// Opens a directory on any disk.
    ///
    /// # Errors
    /// As [`LogDir::open`].
    pub fn open_with(path: &Path, identity: &Identity, options: LogDirOptions) -> Result<(Self, Opened), OpenError> {
        LockedLogDir::lock_with(path, options)?.open(identity)
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.state.path
    }

    /// Where flushes are asked for.
    pub fn flusher(&self) -> &Flusher {
        self.threads.flusher()
    }

    /// What failed it, if something did.
    pub fn failed(&self) -> Option<&DirFailed> {
        self.state.failed()
    }

    /// Writes down how far each log is durable, as happens by itself within [`CHECKPOINT_INTERVAL`]. Recovery scans from there.
    ///
    /// # Errors
    /// The directory has failed. When there is no room the points on disk stay as they were.
    pub fn checkpoint(&self) -> Result<(), DirFailed> {
        self.state.checkpoint()
    }

    /// Removes the files that retention has given up, as happens by itself within [`CHECKPOINT_INTERVAL`].
    ///
    /// # Errors
    /// The directory has failed.
    pub fn sweep(&self) -> Result<(), DirFailed> {
        self.state.sweep_doomed()
    }

    /// Removes the folder of a partition that has no open log: its topic is gone, or another of its name has come.
    ///
    /// # Errors
    /// The directory has failed.
    ///
    /// # Panics
    /// When a log is open on it; [`Self::delete`] is for those.
    pub fn remove(&self, partition: &PartitionDir) -> Result<(), DirFailed> {
        assert!(!self.state.is_open(partition), "{partition} is removed while its log is open");
        self.state.forget(std::slice::from_ref(partition))
    }

    /// Removes logs of this directory and their folders. Readers that have files open read on.
    ///
    /// # Errors
    /// The directory has failed.
    pub fn delete(&self, logs: Vec<Log>) -> Result<(), DirFailed> {
        let names: Vec<PartitionDir> = logs.into_iter().map(Log::give_up).collect();
        self.state.forget(&names)
    }

    /// The partitions that have a folder here.
    pub fn partitions(&self) -> Vec<PartitionDir> {
        self.state.partitions()
    }

    /// Removes the folders of partitions that are not this broker's any more and have no open log: their topics were deleted,
    /// or their replicas moved, while it was away or while their logs did not open. Returns which.
    ///
    /// # Errors
    /// The directory has failed.
    pub fn remove_strays(&self, is_stray: impl Fn(&PartitionDir) -> bool) -> Result<Vec<PartitionDir>, DirFailed> {
        let mut strays = self.partitions();
        strays.retain(|partition| !self.state.is_open(partition) && is_stray(partition));
        self.state.forget(&strays)?;
        Ok(strays)
    }

    /// Says that every log ended cleanly, so that the next start need not look at them: the last act of a run.
    ///
    /// # Errors
    /// [`MarkCleanError`]; the next start then is an unclean one.
    pub fn mark_clean(&self) -> Result<(), MarkCleanError> {
        drop(self.housekeeping.lock().take());
        self.state.mark_clean()
    }

    pub(crate) fn state(&self) -> &Arc<DirState> {
        &self.state
    }
}

const LOCK: &str = ".lock";

/// Makes a folder and those above it that are not there, each with a durable name.
fn make_durably(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.list(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other.map(drop),
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    if above != path {
        make_durably(disk, above)?;
    }
    disk.create_dir_all(path)?;
    disk.sync_dir(above)
}

/// Finishes what a crash interrupted, and lists the partitions' folders with their topics' ids.
fn sweep(disk: &dyn Disk, path: &Path) -> io::Result<BTreeMap<String, Option<Uuid>>> {
    let mut folders = BTreeMap::new();
    for entry in disk.list(path)? {
        let inside = path.join(&entry.name);
        match entry.len {
            None if entry.name.ends_with(DELETED) => disk.remove_dir_all(&inside)?,
            None if PartitionDir::parse(&entry.name, Uuid::ZERO).is_some() => {
                let topic_id = match read_metadata(disk, &inside)? {
                    Metadata::Topic(id) => Some(id),
                    Metadata::Absent | Metadata::Unreadable => None,
                };
                folders.insert(entry.name, topic_id);
            }
            Some(_) if entry.name.ends_with(checkpoint::UNFINISHED) => disk.remove_file(&inside)?,
            _ => {}
        }
    }
    Ok(folders)
}

fn read_owner(
    disk: &dyn Disk,
    path: &Path,
    folders: &BTreeMap<String, Option<Uuid>>,
) -> Result<Option<Owner>, OpenError> {
    let file = path.join(meta_properties::FILE);
    let content = match read_whole(disk, &file) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match folders.keys().next() {
                Some(partition) => Err(OpenError::NoIdentity { path: path.to_owned(), partition: partition.clone() }),
                None => Ok(None),
            };
        }
        Err(cause) => return Err(OpenError::Io { path: path.to_owned(), cause }),
    };
    match MetaProperties::from_file(&content) {
        Some(MetaProperties { cluster_id, broker_id, directory_id }) => {
            Ok(Some(Owner { cluster_id, broker_id, directory_id }))
        }
        None => Err(OpenError::Damaged { file }),
    }
}

/// A new directory becomes its broker's.
fn take_possession(disk: &dyn Disk, path: &Path, identity: &Identity) -> Result<Uuid, OpenError> {
    let fresh = MetaProperties {
        cluster_id: identity.cluster_id.clone(),
        broker_id: identity.broker_id,
        directory_id: identity.new_directory_id,
    };
    let file = path.join(meta_properties::FILE);
    checkpoint::replace(disk, &file, fresh.to_file().as_bytes(), Naming::Durable)
        .map_err(|cause| OpenError::Io { path: path.to_owned(), cause })?;
    Ok(fresh.directory_id)
}

fn check_owner(path: &Path, owner: Owner, identity: &Identity) -> Result<Uuid, OpenError> {
    if owner.cluster_id != identity.cluster_id {
        return Err(OpenError::OtherCluster {
            path: path.to_owned(),
            found: owner.cluster_id,
            expected: identity.cluster_id.clone(),
        });
    }
    if owner.broker_id != identity.broker_id {
        return Err(OpenError::OtherBroker {
            path: path.to_owned(),
            found: owner.broker_id,
            expected: identity.broker_id,
        });
    }
    Ok(owner.directory_id)
}

type Lines<T> = BTreeMap<String, PartitionLine<T>>;

/// Reads one of the directory's own files; `None` when it is not there.
fn read_lines<T>(
    disk: &dyn Disk,
    file: &Path,
    read: impl Fn(&[u8]) -> Option<Lines<T>>,
) -> Result<Option<Lines<T>>, OpenError> {
    match read_whole(disk, file) {
        Ok(content) => match read(&content) {
            Some(lines) => Ok(Some(lines)),
            None => Err(OpenError::Damaged { file: file.to_owned() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(OpenError::Io { path: file.to_owned(), cause }),
    }
}

/// Reads the logs' offsets. Damaged, they are as if they were not there: nothing but waiting is saved by them.
fn read_offsets(disk: &dyn Disk, file: &Path) -> io::Result<Lines<LogOffsets>> {
    match read_whole(disk, file) {
        Ok(content) => Ok(manifest::read_offsets(&content).unwrap_or_else(|| {
            tracing::warn!(file = %file.display(), "damaged, and passed over: high watermarks are learnt anew");
            Lines::new()
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Lines::new()),
        Err(error) => Err(error),
    }
}

fn listed<T>(lines: Option<&Lines<T>>, name: &str) -> bool {
    lines.is_some_and(|lines| lines.contains_key(name))
}

/// The line of a folder, if it is about the topic that is there now.
fn take<T>(lines: &mut Lines<T>, name: &str, topic_id: Option<Uuid>) -> Option<PartitionLine<T>> {
    lines.remove(name).filter(|line| topic_id.is_none_or(|id| id == line.topic_id))
}
