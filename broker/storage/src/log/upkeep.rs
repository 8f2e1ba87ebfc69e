//! Keeping a log in shape: segments rolled by size and age, old ones given up, idle files let go.
//!
//! Segments leave the list here; their files go with the next sweep of the directory, off the partition's lock.

use std::io;
use std::sync::Arc;

use super::write::Unwritten;
use super::{Active, AppendError, Log};
use crate::dir_state::Doomed;
use crate::disk::is_no_space;
use crate::leader_epoch::LeaderEpochs;
use crate::log_dir::DirFailed;
use crate::retention::{self, Facts};
use crate::scan::{HEADER_WINDOW, Scan, ScanError};
use crate::segment::{NO_NEWEST, Segment};

/// What retention did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Segments that left the log.
    pub segments: usize,
    /// Their bytes. The files go with the next sweep of the directory.
    pub bytes: u64,
}

impl Log {
    /// Rolls the active segment when it is older than `segment.ms`: called from time to time, for logs nobody writes to.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn roll_if_due(&mut self, now_ms: i64) -> Result<(), AppendError> {
        self.folder.dir.check()?;
        if self.is_due(now_ms)? {
            self.roll(0)?;
        }
        Ok(())
    }

    /// Takes out what retention keeps no longer, forgets idle producers, lets go of idle files. Nothing from `up_to` on goes:
    /// what is not committed is somebody's to fetch yet. Called from time to time; the files of what goes are removed by the
    /// directory, off this path.
    ///
    /// # Errors
    /// As [`Log::append`]. A segment whose age cannot be read keeps its place.
    pub fn retain(&mut self, now_ms: i64, up_to: i64) -> Result<Retained, AppendError> {
        self.roll_if_due(now_ms)?;
        self.producers.expire(now_ms, self.config.producer_id_expiration_ms);
        let segments = Vec::clone(&self.reader.segments());
        let facts: Vec<Facts> = segments.iter().map(|segment| self.facts(segment)).collect();
        // A segment ends where the next begins, the active one with the log.
        let ends = segments.iter().skip(1).map(|segment| segment.base_offset).chain([self.reader.log_end_offset()]);
        let committed = ends.take_while(|end| *end <= up_to).count();
        let expired = retention::expired(&facts, &self.config, now_ms).min(committed);
        if expired == segments.len() {
            // All of it, the active segment too: an empty one takes its place and keeps the log's end.
            self.roll(0)?;
        }
        let retained = self.take_out(expired);
        let last = self.reader.segments().len() - 1;
        for (i, segment) in self.reader.segments().iter().enumerate() {
            segment.release_idle(i == last);
        }
        Ok(retained)
    }

    /// Gives up what lies below `offset`, as the partition's leader has: reads below are out of range from here on, and segments
    /// wholly below leave the log. An offset beyond the end gives up everything; one below the start changes nothing.
    ///
    /// # Errors
    /// The directory has failed.
    pub fn raise_log_start(&mut self, offset: i64) -> Result<Retained, DirFailed> {
        self.folder.dir.check()?;
        let offset = offset.min(self.reader.log_end_offset());
        if offset <= self.reader.log_start_offset() {
            return Ok(Retained::default());
        }
        self.reader.raise_log_start(offset);
        let segments = Vec::clone(&self.reader.segments());
        // A segment ends where the next begins; the active one stays.
        let below = segments.windows(2).take_while(|pair| pair[1].base_offset <= offset).count();
        Ok(self.take_out(below))
    }

    /// Whether the active segment has been written to for `segment.ms`.
    pub(super) fn is_due(&mut self, now_ms: i64) -> Result<bool, Unwritten> {
        if self.active.segment.size() == 0 {
            return Ok(false);
        }
        let since = match self.active.since_ms {
            Some(since) => since,
            None => *self.active.since_ms.insert(self.first_written(now_ms)?),
        };
        Ok(now_ms.saturating_sub(since) >= self.config.segment_ms)
    }

    /// When the active segment got its first batch, by that batch's own time: what is left of it after a restart.
    fn first_written(&self, now_ms: i64) -> Result<i64, DirFailed> {
        let segment = &self.active.segment;
        let first = segment
            .file()
            .map_err(ScanError::Io)
            .and_then(|file| Scan::new(&*file, (segment.base_offset, 0), segment.size(), HEADER_WINDOW).next());
        match first {
            Ok(Some(found)) if found.header.max_timestamp >= 0 => Ok(found.header.max_timestamp.min(now_ms)),
            Err(ScanError::Io(error)) => Err(self.folder.dir.fail("read", error)),
            // Damage is for its readers to hear of. The segment's time counts from now.
            _ => Ok(now_ms),
        }
    }

    /// Seals the active segment and makes the next one. With no room for it, nothing has happened.
    pub(super) fn roll(&mut self, size: u64) -> Result<(), Unwritten> {
        let log_end = self.reader.log_end_offset();
        if log_end == self.active.segment.base_offset {
            return Ok(());
        }
        let next =
            Segment::create(Arc::clone(&self.folder), log_end).map_err(|error| self.refuse("roll", size, error))?;
        self.trim().map_err(|error| self.folder.dir.fail("roll", error))?;
        let saved = self.active.segment.save_indexes(log_end).and_then(|()| self.save_snapshot());
        match saved {
            // Both are made anew from the batches when they are missed.
            Err(error) if is_no_space(&error) => {}
            other => other.map_err(|error| self.folder.dir.fail("roll", error))?,
        }
        let next = Arc::new(next);
        self.durability.names_changed();
        let mut segments = Vec::clone(&self.reader.segments());
        segments.push(Arc::clone(&next));
        self.reader.set_segments(segments);
        self.active = Active { segment: next, since_ms: None, allocated: 0, step: self.active.step };
        Ok(())
    }

    /// Gives back what was allocated ahead.
    pub(super) fn trim(&mut self) -> io::Result<()> {
        let size = self.active.segment.size();
        if self.active.allocated > size {
            self.active.segment.file()?.truncate(size)?;
            self.active.allocated = size;
        }
        Ok(())
    }

    /// Writes the producers' windows down, as of the log's end.
    pub(super) fn save_snapshot(&mut self) -> io::Result<()> {
        let segments = self.reader.segments();
        let starts = |offset| segments.binary_search_by_key(&offset, |segment| segment.base_offset).is_ok();
        self.snapshots.save(&self.folder, self.reader.log_end_offset(), &self.producers, starts)
    }

    fn facts(&self, segment: &Segment) -> Facts {
        let newest = segment.greatest_timestamp().unwrap_or_else(|error| {
            tracing::warn!(
                partition = %self.folder.name, segment = segment.base_offset, %error,
                "the age of a segment does not read; it stays"
            );
            NO_NEWEST
        });
        Facts { size: segment.size(), newest_timestamp: (newest >= 0).then_some(newest) }
    }

    /// Takes the oldest segments out of the log.
    fn take_out(&mut self, count: usize) -> Retained {
        if count == 0 {
            return Retained::default();
        }
        let mut kept = Vec::clone(&self.reader.segments());
        let gone: Vec<_> = kept.drain(..count).collect();
        let bytes = gone.iter().map(|segment| segment.size()).sum();
        self.reader.set_segments(kept);
        let mut epochs = LeaderEpochs::clone(&self.reader.epochs());
        epochs.forget_before(self.reader.log_start_offset());
        if epochs != **self.reader.epochs() {
            self.reader.set_epochs(epochs);
            self.durability.epochs_changed();
        }
        self.snapshots.forget(|offset| gone.iter().any(|segment| segment.base_offset == offset));
        self.folder.dir.doom(Doomed { folder: Arc::clone(&self.folder), segments: gone });
        Retained { segments: count, bytes }
    }
}
