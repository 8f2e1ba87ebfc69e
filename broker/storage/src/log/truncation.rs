//! Cutting a log back: what a follower does when its leader's log turns out to be another (KIP-101, KIP-320), or to begin where
//! its own has not come yet.
//!
//! ```text
//!   windows as of the cut ──> no recovery point beyond it ──> the files ──> what is left, synced ──> the log goes on
//!   (read; nothing changed)   (on disk, if one was)           (announced first, if they are several)
//! ```
//! A crash leaves the log as it was or as it was to become. When this returns all that is left is durable, the cut too: or a
//! batch of the old log could come back with the power, between batches of the new.

use std::io;
use std::sync::Arc;

use super::write::ALLOCATE_FIRST;
use super::{Active, Log};
use crate::dir_state::Checkpointed;
use crate::disk::is_no_space;
use crate::durability::LogPoint;
use crate::leader_epoch::LeaderEpochs;
use crate::log_dir::DirFailed;
use crate::partition_dir::{Folder, Kind};
use crate::producer_state::Producers;
use crate::reader::{ReadError, find};
use crate::recovery::{OpenLogError, replay_producers};
use crate::scan::{HEADER_WINDOW, Scan, ScanError};
use crate::segment::Segment;
use crate::truncation::Truncation;

/// Why a log is not truncated. It is as before.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// The disk has no room for the few bytes that say what is to be removed.
    #[error("no room to truncate {partition}")]
    NoSpace {
        /// The partition's folder.
        partition: String,
    },
    /// What would stay does not read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The producers' windows do not read.
    #[error(transparent)]
    Windows(OpenLogError),
    /// The directory has failed.
    #[error(transparent)]
    Storage(#[from] DirFailed),
}

impl Log {
    /// Removes the batch that holds `offset` and all after it, and returns the log's end: `offset`, or the base offset of that
    /// batch. An offset before the start leaves an empty log; one at or beyond the end removes no batch. Producers' windows,
    /// leader epochs and the high watermark are as they were at that end.
    ///
    /// # Errors
    /// [`TruncateError`]; the log is then as before.
    pub fn truncate_to(&mut self, offset: i64, now_ms: i64) -> Result<i64, TruncateError> {
        self.folder.dir.check()?;
        if offset >= self.reader.log_end_offset() {
            self.end_reign();
            return Ok(self.reader.log_end_offset());
        }
        let mut kept = Vec::clone(&self.reader.segments());
        let holding = kept.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1);
        let cut = &kept[holding];
        let point = place_of(cut, offset).map_err(|error| self.reader.read_error(cut, error))?;
        let bounds = kept[0].base_offset..point.offset;
        let producers =
            replay_producers(&self.folder, &kept, bounds, &self.snapshots, now_ms).map_err(TruncateError::Windows)?;
        let several = holding + 1 < kept.len();
        let segment = Arc::new(Segment::existing(Arc::clone(&self.folder), point.segment, point.position));
        kept.truncate(holding);
        kept.push(Arc::clone(&segment));

        let mut epochs = LeaderEpochs::clone(&self.reader.epochs());
        epochs.truncate(point.offset);
        let truncation = Truncation::To(point);
        self.announce(truncation, several)?;
        if epochs != **self.reader.epochs() {
            self.durability.epochs_changed();
        }
        let committed = self.reader.known_high_watermark() > point.offset;
        let (reader, folder) = (Arc::clone(&self.reader), Arc::clone(&self.folder));
        let snapshots = &mut self.snapshots;
        self.durability.truncate(point, || {
            reader.truncate(point.offset, kept);
            reader.set_epochs(epochs);
            if several {
                snapshots.forget(|taken| taken > point.offset);
                return truncation.apply(&folder);
            }
            let file = segment.file()?;
            let fewer = snapshots.keep(&folder, |taken| taken <= point.offset)?;
            let indexes = remove_indexes(&folder, point.segment)?;
            if fewer || indexes {
                folder.disk().sync_dir(&folder.path)?;
            }
            segment.set_unsynced();
            file.truncate(point.position)
        })?;
        self.go_on(segment, producers);
        if several || committed {
            // An old note of offsets must not outlive the announcement, nor what it was about.
            self.folder.dir.checkpoint()?;
        }
        if several {
            self.finish()?;
        }
        Ok(point.offset)
    }

    /// Empties the log and has it start at `offset`, where the partition's leader begins: no batch, window or epoch of before
    /// is known any more.
    ///
    /// # Errors
    /// As [`Log::truncate_to`].
    pub fn start_at(&mut self, offset: i64) -> Result<(), TruncateError> {
        self.folder.dir.check()?;
        let truncation = Truncation::StartAt(offset);
        // What retention gave up goes with the rest, and is not to be swept once its name is another segment's.
        self.folder.dir.spare(&self.folder.name);
        self.announce(truncation, true)?;
        self.durability.epochs_changed();
        let segment = Arc::new(Segment::existing(Arc::clone(&self.folder), offset, 0));
        let (reader, folder) = (Arc::clone(&self.reader), Arc::clone(&self.folder));
        let snapshots = &mut self.snapshots;
        self.durability.truncate(truncation.end(), || {
            reader.start_over(offset, Arc::clone(&segment));
            reader.set_epochs(LeaderEpochs::default());
            snapshots.forget(|_| true);
            truncation.apply(&folder)
        })?;
        self.go_on(Arc::clone(&self.reader.segments()[0]), Producers::default());
        // Its point is on the disk before the announcement goes: a log that begins beyond 0 without one has lost its beginning.
        if self.folder.dir.ensure_point(&self.folder.name)? == Checkpointed::NoSpace {
            let error = io::ErrorKind::StorageFull.into();
            return Err(self.folder.dir.fail("truncate", error).into());
        }
        self.folder.dir.checkpoint()?;
        self.finish()?;
        Ok(())
    }

    /// Says on disk what is about to happen, so far as a crash in the middle has to be told.
    fn announce(&self, truncation: Truncation, in_the_folder: bool) -> Result<(), TruncateError> {
        let point = match truncation {
            Truncation::To(point) => Some(point),
            Truncation::StartAt(_) => None,
        };
        self.durability.announce_truncation(point);
        let announced = match self.folder.dir.take_back_point(&self.durability, point)? {
            Checkpointed::NoSpace => Err(io::ErrorKind::StorageFull.into()),
            Checkpointed::Done if in_the_folder => truncation.announce(&self.folder),
            Checkpointed::Done => Ok(()),
        };
        announced.map_err(|error| {
            if is_no_space(&error) {
                self.durability.give_up_truncation();
                TruncateError::NoSpace { partition: self.folder.name.to_string() }
            } else {
                self.folder.dir.fail("truncate", error).into()
            }
        })
    }

    /// The log is written to at its new end from here on.
    fn go_on(&mut self, segment: Arc<Segment>, producers: Producers) {
        let position = segment.size();
        self.active = Active { segment, since_ms: None, allocated: position, step: ALLOCATE_FIRST };
        self.producers = producers;
        self.written_down = None;
    }

    /// Takes the announcement back.
    fn finish(&self) -> Result<(), DirFailed> {
        Truncation::finish(&self.folder).map_err(|error| self.folder.dir.fail("truncate", error))
    }
}

/// Removes the index files of a segment; whether there were any.
fn remove_indexes(folder: &Folder, base_offset: i64) -> io::Result<bool> {
    let mut removed = false;
    for kind in [Kind::OffsetIndex, Kind::TimeIndex] {
        match folder.disk().remove_file(&folder.file_at(base_offset, kind)) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// Where the batch that holds `offset` starts.
fn place_of(segment: &Segment, offset: i64) -> Result<LogPoint, ScanError> {
    let start = segment.indexes()?.offsets.floor(offset);
    let file = segment.file()?;
    let mut scan = Scan::new(&*file, (start.offset, start.position), segment.size(), HEADER_WINDOW);
    let found = find(&mut scan, |found| found.header.last_offset() >= offset)?;
    let (offset, position) = match found {
        Some(found) => (found.header.base_offset, found.position),
        None => (scan.next_offset(), scan.position()),
    };
    Ok(LogPoint { offset, segment: segment.base_offset, position })
}
