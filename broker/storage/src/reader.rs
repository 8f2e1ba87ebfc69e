//! Reading a log: by anyone, at any time, without a lock.
//!
//! The appender publishes in this order: bytes, index, the segment's size, the log's end. A reader takes them the other way
//! round, so everything below the end it saw is there. The list of segments is swapped whole; a segment that retention removed
//! meanwhile is still read by those who opened it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::{ArcSwap, Guard};
use sluice_protocol::records::{FileRange, ReadAt};

use crate::leader_epoch::LeaderEpochs;
use crate::manifest::LogOffsets;
use crate::partition_dir::{Folder, Kind};
use crate::scan::{Damage, Found, HEADER_WINDOW, Scan, ScanError};
use crate::segment::Segment;

/// What readers see of a log.
#[derive(Debug)]
pub struct LogReader {
    folder: Arc<Folder>,
    segments: ArcSwap<Vec<Arc<Segment>>>,
    epochs: ArcSwap<LeaderEpochs>,
    log_start: AtomicI64,
    log_end: AtomicI64,
    durable: AtomicI64,
    high_watermark: AtomicI64,
}

/// Whole batches, as they stand in the files.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// Where they are, in order of offsets; one range a segment.
    pub parts: Vec<FileRange>,
    /// Base offset of the first batch: at or before the offset asked for. The offset asked for when there is none.
    pub first_offset: i64,
    /// Where the next read goes on.
    pub next_offset: i64,
    /// Bytes of all parts.
    pub bytes: usize,
}

/// Why a log does not read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The offset is none of the log's.
    #[error("offset {offset} is outside {log_start}..={log_end}")]
    OutOfRange {
        /// What was asked for.
        offset: i64,
        /// The first offset of the log.
        log_start: i64,
        /// The offset after its last.
        log_end: i64,
    },
    /// The disk does not read.
    #[error("{} does not read", file.display())]
    Storage {
        /// The segment.
        file: PathBuf,
        /// What the disk said.
        #[source]
        cause: Arc<io::Error>,
    },
    /// The file holds something other than what was written.
    #[error("{} is damaged at byte {position}: {damage}", file.display())]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in it.
        position: u64,
        /// What is wrong there.
        damage: Damage,
    },
}

impl LogReader {
    pub(crate) fn new(
        folder: Arc<Folder>,
        segments: Vec<Arc<Segment>>,
        epochs: LeaderEpochs,
        log_end: i64,
        durable: i64,
        known: Option<LogOffsets>,
    ) -> Self {
        let first = segments.first().map_or(0, |first| first.base_offset);
        // An old note may be of a log that was longer.
        let log_start = known.map_or(first, |known| known.log_start.min(log_end).max(first));
        let high_watermark = known.map_or(log_start, |known| known.high_watermark.min(log_end).max(log_start));
        Self {
            folder,
            segments: ArcSwap::from_pointee(segments),
            epochs: ArcSwap::from_pointee(epochs),
            log_start: AtomicI64::new(log_start),
            log_end: AtomicI64::new(log_end),
            durable: AtomicI64::new(durable),
            high_watermark: AtomicI64::new(high_watermark),
        }
    }

    /// The first offset that is kept.
    pub fn log_start_offset(&self) -> i64 {
        self.log_start.load(Ordering::Acquire)
    }

    /// The offset after the last batch appended.
    pub fn log_end_offset(&self) -> i64 {
        self.log_end.load(Ordering::Acquire)
    }

    /// The offset up to which the log survives a power cut.
    pub fn durable_offset(&self) -> i64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Up to where the log's records are known to be committed: what [`LogReader::note_high_watermark`] was told, in this life
    /// or, written down within [`CHECKPOINT_INTERVAL`](crate::CHECKPOINT_INTERVAL), in the one before. Never outside the log.
    pub fn known_high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire).min(self.log_end_offset()).max(self.log_start_offset())
    }

    /// Takes note of a high watermark, to be known after a restart. Costs a store in memory.
    pub fn note_high_watermark(&self, offset: i64) {
        self.high_watermark.store(offset, Ordering::Release);
    }

    /// The leader epoch of the newest batch; `None` in a log never written to.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.load().latest()
    }

    /// The greatest leader epoch not above `epoch`, and the offset after its last batch; `None` when `epoch` is above all,
    /// that of a reign begun by [`Log::begin_epoch`](crate::Log::begin_epoch) included (KIP-320's "undefined").
    pub fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.load().end_of(epoch, self.log_end_offset())
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.segments.load().iter().map(|segment| segment.size()).sum()
    }

    /// Files held open for the log: none once it was idle for two rounds of [`Log::retain`](crate::Log::retain).
    pub fn open_files(&self) -> usize {
        self.segments.load().iter().filter(|segment| segment.is_open()).count()
    }

    /// Finds whole batches from the one with `offset` on, below `up_to`, at most `max_bytes` of them; with `at_least_one` the
    /// first even when it is larger, so that a consumer always gets on (KIP-74). Reads headers, not records.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] for an offset below the start or above the end; the end itself reads as nothing.
    pub fn read(&self, offset: i64, max_bytes: usize, up_to: i64, at_least_one: bool) -> Result<Slice, ReadError> {
        let mut tried = self.segments.load();
        loop {
            let read = self.read_in(&tried, offset, max_bytes, up_to, at_least_one);
            let now = self.segments.load();
            match read {
                // Removed between looking up the segment and opening it.
                Err(ReadError::Storage { cause, .. })
                    if cause.kind() == io::ErrorKind::NotFound && !Arc::ptr_eq(&tried, &now) =>
                {
                    tried = now;
                }
                other => return other,
            }
        }
    }

    fn read_in(
        &self,
        segments: &[Arc<Segment>],
        offset: i64,
        max_bytes: usize,
        up_to: i64,
        at_least_one: bool,
    ) -> Result<Slice, ReadError> {
        let (log_start, log_end) = (self.log_start_offset(), self.log_end_offset());
        let holding = segments.partition_point(|segment| segment.base_offset <= offset);
        if offset < log_start || offset > log_end || holding == 0 {
            return Err(ReadError::OutOfRange { offset, log_start, log_end });
        }
        let up_to = up_to.min(log_end);
        let mut slice = Slice { first_offset: offset, next_offset: offset, ..Slice::default() };
        for segment in &segments[holding - 1..] {
            let first = slice.parts.is_empty();
            // The run before stopped short of this segment: the next batch of its own did not fit.
            let gap = !first && segment.base_offset != slice.next_offset;
            if gap || slice.next_offset >= up_to {
                break;
            }
            let left = max_bytes - slice.bytes.min(max_bytes);
            let whole = self
                .whole_batches(segment, slice.next_offset, left, up_to, at_least_one && first)
                .map_err(|error| self.read_error(segment, error))?;
            let Some(run) = whole else { break };
            if first {
                slice.first_offset = run.first_offset;
            }
            slice.next_offset = run.next_offset;
            slice.bytes += run.range.len;
            slice.parts.push(run.range);
        }
        Ok(slice)
    }

    /// The run of whole batches of one segment that a read may have; `None` when not even the first fits.
    fn whole_batches(
        &self,
        segment: &Segment,
        offset: i64,
        max_bytes: usize,
        up_to: i64,
        at_least_one: bool,
    ) -> Result<Option<Run>, ScanError> {
        let indexes = segment.indexes()?;
        let file = segment.file()?;
        let start = indexes.offsets.floor(offset);
        let mut scan = Scan::new(&*file, (start.offset, start.position), segment.size(), HEADER_WINDOW);
        let Some(first) = find(&mut scan, |found| found.header.last_offset() >= offset)? else {
            return Ok(None);
        };
        let fits = first.header.size() <= max_bytes || at_least_one;
        if !fits || first.header.next_offset() > up_to {
            return Ok(None);
        }
        let limit = first.position + max_bytes as u64;
        let (mut next_offset, mut end) = (scan.next_offset(), scan.position());
        let near = indexes.offsets.floor_within(up_to, limit);
        if near.position > end {
            scan.skip_to(near.offset, near.position);
            (next_offset, end) = (near.offset, near.position);
        }
        while end < limit {
            match scan.next()? {
                Some(found) if found.end() <= limit && found.header.next_offset() <= up_to => {
                    (next_offset, end) = (scan.next_offset(), scan.position());
                }
                _ => break,
            }
        }
        Ok(Some(Run {
            first_offset: first.header.base_offset,
            next_offset,
            range: FileRange {
                file: file as Arc<dyn ReadAt>,
                position: first.position,
                len: (end - first.position) as usize,
            },
        }))
    }

    pub(crate) fn read_error(&self, segment: &Segment, error: ScanError) -> ReadError {
        let file = self.folder.file_at(segment.base_offset, Kind::Log);
        match error {
            ScanError::Io(cause) => ReadError::Storage { file, cause: Arc::new(cause) },
            ScanError::Damaged { position, damage } => ReadError::Damaged { file, position, damage },
        }
    }

    pub(crate) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    pub(crate) fn segments(&self) -> Guard<Arc<Vec<Arc<Segment>>>> {
        self.segments.load()
    }

    pub(crate) fn has_segment(&self, base_offset: i64) -> bool {
        self.segments.load().iter().any(|segment| segment.base_offset == base_offset)
    }

    pub(crate) fn epochs(&self) -> Guard<Arc<LeaderEpochs>> {
        self.epochs.load()
    }

    pub(crate) fn set_epochs(&self, epochs: LeaderEpochs) {
        self.epochs.store(Arc::new(epochs));
    }

    pub(crate) fn set_log_end(&self, offset: i64) {
        self.log_end.store(offset, Ordering::Release);
    }

    pub(crate) fn set_durable(&self, offset: i64) {
        self.durable.store(offset, Ordering::Release);
    }

    /// Swaps the list of segments; the start moves first, so that nobody looks for what is about to go.
    pub(crate) fn set_segments(&self, segments: Vec<Arc<Segment>>) {
        if let Some(first) = segments.first() {
            self.log_start.fetch_max(first.base_offset, Ordering::AcqRel);
        }
        self.segments.store(Arc::new(segments));
    }

    /// Moves the start up, within what the segments hold.
    pub(crate) fn raise_log_start(&self, offset: i64) {
        self.log_start.fetch_max(offset, Ordering::AcqRel);
    }

    /// Moves the end down, and the start with it if it lies beyond.
    pub(crate) fn truncate(&self, log_end: i64, segments: Vec<Arc<Segment>>) {
        self.log_start.fetch_min(log_end, Ordering::AcqRel);
        self.set_log_end(log_end);
        self.segments.store(Arc::new(segments));
        self.high_watermark.fetch_min(log_end, Ordering::AcqRel);
    }

    /// Makes the log an empty one that starts at `offset`. Meanwhile readers find nothing in range, or nothing at all.
    pub(crate) fn start_over(&self, offset: i64, segment: Arc<Segment>) {
        self.set_log_end(offset.min(self.log_end_offset()));
        self.segments.store(Arc::new(vec![segment]));
        self.log_start.store(offset, Ordering::Release);
        self.set_log_end(offset);
        self.note_high_watermark(offset);
    }
}

/// A run of batches in one file.
struct Run {
    first_offset: i64,
    next_offset: i64,
    range: FileRange,
}

/// The next batch of a walk that `wanted` takes.
pub(crate) fn find(scan: &mut Scan<'_>, wanted: impl Fn(&Found) -> bool) -> Result<Option<Found>, ScanError> {
    while let Some(found) = scan.next()? {
        if wanted(&found) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
