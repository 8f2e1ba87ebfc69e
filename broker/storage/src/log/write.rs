//! The appender's way to the disk: room taken ahead, one `pwritev`, and all of it or nothing.

use std::io::{self, IoSlice};
use std::sync::Arc;

use sluice_protocol::records::BatchHeader;

use super::Log;
use crate::config::SEGMENT_BYTES_MAX;
use crate::disk::{DiskFile, is_no_space};
use crate::durability::LogPoint;
use crate::indexes::Indexes;
use crate::leader_epoch::LeaderEpochs;
use crate::log_dir::DirFailed;
use crate::scan::ScanError;

/// Why nothing was written.
#[derive(Debug)]
pub(super) enum Unwritten {
    /// The disk is full. The log is as it was.
    NoSpace {
        /// The partition's folder.
        partition: String,
        /// Bytes there is no room for.
        size: u64,
    },
    /// The directory has failed.
    Failed(DirFailed),
}

impl From<DirFailed> for Unwritten {
    fn from(failed: DirFailed) -> Self {
        Self::Failed(failed)
    }
}

/// The first step of allocation ahead, doubled with each: small logs waste little, busy ones seldom ask (25 to 30 % less CPU an
/// append than growing the file with each, measured on ext4).
pub(super) const ALLOCATE_FIRST: u64 = 1 << 20;

/// The last.
const ALLOCATE_MOST: u64 = 64 << 20;

impl Log {
    /// `segment.bytes`, within what positions can count.
    pub(super) fn segment_bytes(&self) -> u32 {
        self.config.segment_bytes.min(SEGMENT_BYTES_MAX)
    }

    /// Whether a batch has to go into a new segment.
    pub(super) fn is_full_for(&self, batch: &BatchHeader) -> bool {
        let size = self.active.segment.size();
        size > 0 && !self.fits_behind(size, batch)
    }

    /// Whether a batch still belongs into the active segment, behind so many bytes: its offsets count too, because the indexes
    /// keep them in 32 bits.
    pub(super) fn fits_behind(&self, bytes: u64, batch: &BatchHeader) -> bool {
        bytes + batch.size() as u64 <= u64::from(self.segment_bytes())
            && batch.last_offset() - self.active.segment.base_offset <= i64::from(i32::MAX)
    }

    /// One `pwritev` behind the last batch. When there is no room for all of it, none of it stays.
    pub(super) fn write(&mut self, slices: &mut [IoSlice<'_>], size: u64) -> Result<(), Unwritten> {
        let position = self.active.segment.size();
        let file = self.active.segment.file().map_err(|error| self.folder.dir.fail("open", error))?;
        self.allocate(&*file, size)?;
        file.write_all_at(slices, position).map_err(|error| match self.cut_to(&*file, position, &error) {
            Ok(()) => self.refuse("append", size, error),
            Err(failed) => failed.into(),
        })
    }

    /// Takes blocks for the next `size` bytes and some more; as few as needed when the disk is nearly full.
    fn allocate(&mut self, file: &dyn DiskFile, size: u64) -> Result<(), Unwritten> {
        let position = self.active.segment.size();
        let end = position + size;
        if end <= self.active.allocated {
            return Ok(());
        }
        let limit = u64::from(self.segment_bytes()).max(end);
        let mut ahead = self.active.step.max(size);
        loop {
            let len = (position + ahead).clamp(end, limit);
            let error = match file.allocate(len) {
                Ok(()) => {
                    self.active.allocated = len;
                    self.active.step = (self.active.step * 2).min(ALLOCATE_MOST);
                    return Ok(());
                }
                // Then each append makes the file longer.
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                    self.active.allocated = u64::MAX;
                    return Ok(());
                }
                Err(error) => error,
            };
            // A refused allocation may have taken some blocks.
            self.cut_to(file, position, &error)?;
            if !is_no_space(&error) || len == end {
                return Err(self.refuse("allocate", size, error));
            }
            ahead /= 2;
        }
    }

    /// Cuts the file back to whole batches after the disk ran full.
    fn cut_to(&mut self, file: &dyn DiskFile, position: u64, why: &io::Error) -> Result<(), DirFailed> {
        if is_no_space(why) {
            file.truncate(position).map_err(|error| self.folder.dir.fail("truncate", error))?;
            self.active.allocated = position;
            // Or a power cut might bring it back, once the segment is sealed and nobody expects it.
            self.active.segment.set_unsynced();
        }
        Ok(())
    }

    /// What a refused write means: a full disk, which passes, or a failed directory.
    pub(super) fn refuse(&self, during: &'static str, size: u64, error: io::Error) -> Unwritten {
        if is_no_space(&error) {
            Unwritten::NoSpace { partition: self.folder.name.to_string(), size }
        } else {
            self.folder.dir.fail(during, error).into()
        }
    }

    /// Takes a batch just written at `position` into the tables: indexes, epochs, the producers' windows.
    pub(super) fn note(&mut self, batch: &BatchHeader, position: u64, indexes: &Indexes, now_ms: i64) {
        indexes.note(batch, position, self.config.index_interval_bytes);
        self.active.segment.note_timestamp(batch.max_timestamp);
        let epochs = self.reader.epochs();
        if epochs.latest() != Some(batch.partition_leader_epoch) {
            let mut epochs = LeaderEpochs::clone(&epochs);
            epochs.note(batch.partition_leader_epoch, batch.base_offset);
            self.reader.set_epochs(epochs);
            self.durability.epochs_changed();
        }
        self.producers.replay(batch, now_ms);
    }

    /// Lets readers and the flusher know of what was written and noted up to byte `end`.
    pub(super) fn publish(&mut self, end: u64, next_offset: i64, now_ms: i64) {
        let segment = &self.active.segment;
        if segment.size() == 0 {
            self.active.since_ms = Some(now_ms);
        }
        segment.set_unsynced();
        segment.set_size(end);
        self.reader.set_log_end(next_offset);
        self.durability.appended(LogPoint { offset: next_offset, segment: segment.base_offset, position: end });
    }

    /// The indexes the next batch is noted in; read in when the log was closed cleanly and this is its first batch since.
    pub(super) fn active_indexes(&self) -> Result<Arc<Indexes>, DirFailed> {
        self.active.segment.indexes().map_err(|error| {
            let error = match error {
                ScanError::Io(error) => error,
                damaged @ ScanError::Damaged { .. } => io::Error::other(damaged.to_string()),
            };
            self.folder.dir.fail("index", error)
        })
    }
}
