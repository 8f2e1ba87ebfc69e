//! Cutting a log back: what a follower does when its leader's log turns out to be another (KIP-101, KIP-320).
//!
//! The recovery point on disk goes back first. A crash in between then finds a longer log and no durable batch missing, and the
//! leader is asked again.

use std::io;
use std::sync::Arc;

use super::{ALLOCATE_FIRST, Active, AppendError, Log};
use crate::durability::LogPoint;
use crate::leader_epoch::LeaderEpochs;
use crate::partition_dir::Kind;
use crate::reader::find;
use crate::recovery::{OpenLogError, replay_producers};
use crate::scan::{HEADER_WINDOW, Scan, ScanError};
use crate::segment::Segment;

impl Log {
    /// Removes the batch that holds `offset` and all after it, and returns the log's end: `offset`, or the base offset of that
    /// batch. An offset at or beyond the end changes nothing; one before the start leaves an empty log.
    ///
    /// # Errors
    /// The directory has failed: this is no write to be half done.
    pub fn truncate_to(&mut self, offset: i64, now_ms: i64) -> Result<i64, AppendError> {
        self.folder.dir.check()?;
        if offset >= self.reader.log_end_offset() {
            return Ok(self.reader.log_end_offset());
        }
        let kept = Vec::clone(&self.reader.segments());
        let holding = kept.partition_point(|segment| segment.base_offset <= offset).saturating_sub(1);
        let cut = &kept[holding];
        let point = place_of(cut, offset).map_err(|error| self.fail_truncation(error))?;

        self.durability.cut_back(point);
        self.folder.dir.checkpoint()?;
        let segment = Arc::new(Segment::existing(Arc::clone(&self.folder), cut.base_offset, point.position));
        self.reader.set_log_end(point.offset);
        let segments: Vec<_> = kept[..holding].iter().cloned().chain([Arc::clone(&segment)]).collect();
        self.reader.set_segments(segments.clone());
        let mut epochs = LeaderEpochs::clone(&self.reader.epochs());
        epochs.truncate(point.offset);
        self.reader.set_epochs(epochs);
        self.durability.epochs_changed();

        self.remove_beyond(&kept[holding + 1..], &segment, point)
            .map_err(|error| self.fail_truncation(ScanError::Io(error)))?;
        let bounds = self.reader.log_start_offset()..point.offset;
        self.producers = replay_producers(&self.folder, &segments, bounds, &self.snapshots, now_ms).map_err(
            |error| match error {
                OpenLogError::Failed(failed) => AppendError::Storage(failed),
                other => self.fail_truncation(ScanError::Io(io::Error::other(other.to_string()))),
            },
        )?;
        self.active = Active { segment, since_ms: None, allocated: point.position, step: ALLOCATE_FIRST };
        Ok(point.offset)
    }

    /// Removes segments, the newest first so that a crash leaves no hole, then the end of the one that stays.
    fn remove_beyond(&mut self, gone: &[Arc<Segment>], cut: &Segment, point: LogPoint) -> io::Result<()> {
        let log_start = self.reader.log_start_offset();
        self.snapshots.keep_within(&self.folder, log_start, point.offset)?;
        let disk = self.folder.disk();
        for segment in gone.iter().rev() {
            segment.remove()?;
            disk.sync_dir(&self.folder.path)?;
        }
        for kind in [Kind::OffsetIndex, Kind::TimeIndex] {
            crate::disk::remove_if_there(disk, &self.folder.file_at(cut.base_offset, kind))?;
        }
        disk.sync_dir(&self.folder.path)?;
        cut.file()?.truncate(point.position)?;
        cut.set_unsynced();
        Ok(())
    }

    fn fail_truncation(&self, error: ScanError) -> AppendError {
        let error = match error {
            ScanError::Io(error) => error,
            damaged @ ScanError::Damaged { .. } => io::Error::other(damaged.to_string()),
        };
        self.folder.dir.fail("truncate", error).into()
    }
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
