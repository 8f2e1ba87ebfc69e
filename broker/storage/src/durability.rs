//! How far one log is durable, and making it so.
//!
//! ```text
//!      recovery point          tail = log end
//!   ---------|--------------------|
//!    durable '--- written, not yet synced
//! ```
//! The appender moves the tail; whoever syncs moves the recovery point to the tail as it was before the sync began. What a
//! batch needs to be found again is synced with it: the segment's name, the folder's, the leader epochs.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::checkpoint::{self, Naming};
use crate::disk::{DiskFile, is_no_space};
use crate::flusher::Waiting;
use crate::leader_epoch;
use crate::log_dir::DirFailed;
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

/// How far a log is written and durable; shared by its appender, the flusher and the checkpoints of its directory.
#[derive(Debug)]
pub(crate) struct Durability {
    pub(crate) folder: Arc<Folder>,
    reader: Arc<LogReader>,
    tail: Mutex<LogPoint>,
    /// Held while syncing, so that no second sync finds nothing left to do and says so before the first is done.
    recovery_point: Mutex<LogPoint>,
    unsynced: Unsynced,
    pub(crate) waiting: Mutex<Waiting>,
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
    pub(crate) fn new(reader: Arc<LogReader>, tail: LogPoint, recovery_point: LogPoint) -> Self {
        Self {
            folder: Arc::clone(reader.folder()),
            reader,
            tail: Mutex::new(tail),
            recovery_point: Mutex::new(recovery_point),
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
    pub(crate) fn recovery_point(&self) -> LogPoint {
        *self.recovery_point.lock()
    }

    /// Whether something written is not durable.
    pub(crate) fn is_behind(&self) -> bool {
        let recovery_point = self.recovery_point();
        *self.tail.lock() != recovery_point
    }

    /// The log will end at `point`, before anything beyond it is removed: nothing after it counts as durable any more.
    pub(crate) fn cut_back(&self, point: LogPoint) {
        let mut recovery_point = self.recovery_point.lock();
        let mut tail = self.tail.lock();
        *tail = point;
        if recovery_point.offset > point.offset {
            *recovery_point = point;
            self.reader.set_durable(point.offset);
        }
    }

    /// Makes everything durable that was written before the call, and returns the offset up to which that is.
    ///
    /// # Errors
    /// The directory has failed, now or before: after an `fdatasync` that failed, a second one that succeeds proves nothing.
    pub(crate) fn sync(&self) -> Result<i64, DirFailed> {
        let mut recovery_point = self.recovery_point.lock();
        self.folder.dir.check()?;
        let tail = *self.tail.lock();
        match self.sync_up_to(tail, recovery_point.segment) {
            Ok(()) => {}
            // Nothing that was written is in doubt: small files beside the log have no room yet. Whoever waits goes on waiting.
            Err(NotSynced::NoSpace) => return Ok(recovery_point.offset),
            Err(NotSynced::Io(error)) => return Err(self.folder.dir.fail("sync", error)),
        }
        *recovery_point = tail;
        self.reader.set_durable(tail.offset);
        Ok(tail.offset)
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
            let path = self.folder.file(leader_epoch::FILE);
            let content = self.reader.epochs().to_file();
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
