//! How far one log is durable, and making it so.
//!
//! ```text
//!      recovery point          tail = log end
//!   ---------|--------------------|
//!    durable '--- written, not yet synced
//! ```
//! The appender moves the tail; whoever syncs moves the recovery point to the tail as it was before the sync began. What a
//! batch needs to be found again is synced with it: the segment's name, the folder's, the leader epochs. A truncation moves
//! both back, and no sync runs beside it: what is written where something else was durable is not durable before its own sync.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::checkpoint::{self, Naming};
use crate::disk::{DiskFile, is_no_space, remove_if_there};
use crate::flusher::Waiting;
use crate::leader_epoch;
use crate::log_dir::DirFailed;
use crate::manifest::LogOffsets;
use crate::partition_dir::{Folder, METADATA, metadata_content};
use crate::reader::LogReader;

/// A place between two batches of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogPoint {
    /// The offset of the batch after it.
    pub(crate) offset: i64,
    /// Base offset of the segment it is in.
    pub(crate) segment: i64,
    /// Bytes before it in that segment.
    pub(crate) position: u64,
}

impl LogPoint {
    fn earlier(self, other: Self) -> Self {
        if other.offset < self.offset { other } else { self }
    }
}

/// How far a log is written and durable; shared by its appender, the flusher and the checkpoints of its directory.
#[derive(Debug)]
pub(crate) struct Durability {
    pub(crate) folder: Arc<Folder>,
    reader: Arc<LogReader>,
    tail: Mutex<LogPoint>,
    /// Held while syncing, so that no second sync finds nothing left to do and says so before the first is done.
    synced: Mutex<Synced>,
    unsynced: Unsynced,
    pub(crate) waiting: Mutex<Waiting>,
}

/// How far syncs have come.
#[derive(Debug)]
struct Synced {
    /// `None` until a new log is synced for the first time, its name with it; and while a log is made to start over, because a
    /// point in it would be none in what it becomes.
    recovery_point: Option<LogPoint>,
    /// From the announcement of a truncation to its end, which syncs what is left.
    truncating: bool,
    /// The log is deleted, or about to be: its folder may be gone, and a disk that doesn't find it has not failed.
    deleted: bool,
}

/// What besides batches is not durable yet.
#[derive(Debug, Default)]
struct Unsynced {
    /// The folder and its `partition.metadata`.
    folder: AtomicBool,
    /// Names of segments in the folder.
    names: AtomicBool,
    /// The leader epochs.
    epochs: AtomicBool,
}

impl Durability {
    pub(crate) fn new(reader: Arc<LogReader>, tail: LogPoint, recovery_point: Option<LogPoint>) -> Self {
        Self {
            folder: Arc::clone(reader.folder()),
            reader,
            tail: Mutex::new(tail),
            synced: Mutex::new(Synced { recovery_point, truncating: false, deleted: false }),
            unsynced: Unsynced::default(),
            waiting: Mutex::default(),
        }
    }

    /// The log ends at `tail` now.
    pub(crate) fn appended(&self, tail: LogPoint) {
        *self.tail.lock() = tail;
    }

    /// The partition's folder is new.
    pub(crate) fn folder_made(&self) {
        self.unsynced.folder.store(true, Ordering::Release);
        self.names_changed();
    }

    /// A segment was made or removed.
    pub(crate) fn names_changed(&self) {
        self.unsynced.names.store(true, Ordering::Release);
    }

    /// A leader epoch began.
    pub(crate) fn epochs_changed(&self) {
        self.unsynced.epochs.store(true, Ordering::Release);
    }

    /// Where recovery would start.
    pub(crate) fn recovery_point(&self) -> Option<LogPoint> {
        self.synced.lock().recovery_point
    }

    /// What the directory writes down about the log besides.
    pub(crate) fn offsets(&self) -> LogOffsets {
        LogOffsets { high_watermark: self.reader.known_high_watermark(), log_start: self.reader.log_start_offset() }
    }

    /// Whether something written is not durable.
    pub(crate) fn is_behind(&self) -> bool {
        let recovery_point = self.recovery_point();
        Some(*self.tail.lock()) != recovery_point
    }

    /// Announces that the log will end at `point`, or start over: until that is done or given up, no recovery point beyond is
    /// written down, and nothing is synced. The log itself is as it was.
    pub(crate) fn announce_truncation(&self, point: Option<LogPoint>) {
        let mut synced = self.synced.lock();
        synced.truncating = true;
        synced.recovery_point = synced.recovery_point.zip(point).map(|(durable, point)| durable.earlier(point));
    }

    /// The log will stay as it is after all.
    pub(crate) fn give_up_truncation(&self) {
        self.synced.lock().truncating = false;
    }

    /// The log is about to be deleted. Waits for a sync that is under way; from now on there is none.
    pub(crate) fn delete(&self) {
        self.synced.lock().deleted = true;
    }

    /// Makes the log end at `point` by `cut`, and all of what is left durable.
    pub(crate) fn truncate(&self, point: LogPoint, cut: impl FnOnce() -> io::Result<()>) -> Result<(), DirFailed> {
        let mut synced = self.synced.lock();
        *self.tail.lock() = point;
        self.reader.set_durable(self.reader.durable_offset().min(point.offset));
        let all = i64::MIN;
        match cut().map_err(NotSynced::Io).and_then(|()| self.sync_up_to(point, all)) {
            Ok(()) => {
                synced.recovery_point = Some(point);
                self.reader.set_durable(point.offset);
            }
            Err(NotSynced::NoSpace) => self.drop_epochs().map_err(|error| self.folder.dir.fail("truncate", error))?,
            Err(NotSynced::Io(error)) => return Err(self.folder.dir.fail("truncate", error)),
        }
        synced.truncating = false;
        Ok(())
    }

    /// Removes leader epochs that cannot be written anew for want of room: they name batches that are no more, and held against
    /// those that come in their place these would be taken for damaged. The batches say the same.
    fn drop_epochs(&self) -> io::Result<()> {
        remove_if_there(self.folder.disk(), &self.folder.file(leader_epoch::FILE))?;
        self.folder.disk().sync_dir(&self.folder.path)
    }

    /// Makes everything durable that was written before the call; the reader's durable offset says up to where.
    ///
    /// # Errors
    /// The directory has failed, now or before: after an `fdatasync` that failed, a second one that succeeds proves nothing.
    pub(crate) fn sync(&self) -> Result<(), DirFailed> {
        let mut synced = self.synced.lock();
        self.folder.dir.check()?;
        if synced.truncating || synced.deleted {
            return Ok(());
        }
        let tail = *self.tail.lock();
        match self.sync_up_to(tail, synced.recovery_point.map_or(i64::MIN, |durable| durable.segment)) {
            Ok(()) => {}
            // Nothing that was written is in doubt: small files beside the log have no room yet. Whoever waits goes on waiting.
            Err(NotSynced::NoSpace) => return Ok(()),
            Err(NotSynced::Io(error)) => return Err(self.folder.dir.fail("sync", error)),
        }
        synced.recovery_point = Some(tail);
        self.reader.set_durable(tail.offset);
        Ok(())
    }

    fn sync_up_to(&self, tail: LogPoint, from_segment: i64) -> Result<(), NotSynced> {
        let disk = self.folder.disk();
        // The segments are read after the tail, so they hold all of it.
        for segment in self.reader.segments().iter().rev() {
            if segment.base_offset <= tail.offset {
                match segment.sync() {
                    // Retention removed it after the list was read; there is nothing left to lose.
                    Err(error)
                        if error.kind() == io::ErrorKind::NotFound && !self.reader.has_segment(segment.base_offset) => {
                    }
                    other => other?,
                }
            }
            if segment.base_offset <= from_segment {
                break;
            }
        }
        if self.unsynced.epochs.swap(false, Ordering::AcqRel) {
            let (path, content) = (self.folder.file(leader_epoch::FILE), self.reader.epochs().to_file());
            if let Err(error) = checkpoint::replace(disk, &path, &content, Naming::Later) {
                self.epochs_changed();
                return Err(NotSynced::of_a_new_file(error));
            }
            self.names_changed();
        }
        let new_folder = self.unsynced.folder.swap(false, Ordering::AcqRel);
        if new_folder {
            match write_metadata(&self.folder) {
                Ok(file) => file.sync_data()?,
                Err(error) => {
                    self.folder_made();
                    return Err(NotSynced::of_a_new_file(error));
                }
            }
        }
        if self.unsynced.names.swap(false, Ordering::AcqRel) {
            disk.sync_dir(&self.folder.path)?;
        }
        if new_folder {
            disk.sync_dir(&self.folder.dir.path)?;
        }
        Ok(())
    }
}

/// Why a log is not durable up to its tail.
enum NotSynced {
    /// There is no room for a file of the log's own.
    NoSpace,
    /// The disk failed.
    Io(io::Error),
}

impl NotSynced {
    fn of_a_new_file(error: io::Error) -> Self {
        if is_no_space(&error) { Self::NoSpace } else { Self::Io(error) }
    }
}

impl From<io::Error> for NotSynced {
    /// Also for lack of room: what a sync could not do may have half happened.
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes a folder's `partition.metadata`, whole or not at all; durable once the file answered and the folder are synced.
pub(crate) fn write_metadata(folder: &Folder) -> io::Result<Arc<dyn DiskFile>> {
    let unfinished = folder.file(METADATA).with_added_extension(&checkpoint::UNFINISHED[1..]);
    let file = folder.disk().create(&unfinished)?;
    let content = metadata_content(folder.name.topic_id());
    file.write_all_at(&mut [IoSlice::new(content.as_bytes())], 0)?;
    folder.disk().rename(&unfinished, &folder.file(METADATA))?;
    Ok(file)
}
