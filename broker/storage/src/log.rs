//! One partition's log on one disk: a row of segments, the last of them active.
//!
//! ```text
//!   log_start      recovery point                 log_end
//!       |  sealed        |   sealed     |  active    |
//!       v                v              v            v   zeroes, allocated ahead
//!   ----[================|==============|============]..........> offsets
//!                        '--- may be lost with the power ---'
//! ```
//! Owns: the files, their indexes, the producers' sequence windows. Does not know: replicas, high watermarks, sockets.
//! Written by one appender at a time, under the partition's lock; read by anyone, through [`LogReader`], which never locks.
//! A batch is in the log once it is written; that it is durable is the flusher's business, and whether it counts the
//! replicas'. After an error of the disk the whole directory is failed: a write that failed once may have half happened.

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use sluice_protocol::records::BatchHeader;

use crate::config::{LogConfig, SEGMENT_BYTES_MAX};
use crate::dir_state::{Doomed, Held};
use crate::disk::{DiskFile, is_no_space};
use crate::durability::{Durability, LogPoint};
use crate::flusher::FlushHandle;
use crate::indexes::Indexes;
use crate::leader_epoch::LeaderEpochs;
use crate::log_dir::{DirFailed, LogDir};
use crate::manifest::{CleanEnd, LogEnd};
use crate::partition_dir::{Folder, PartitionDir};
use crate::producer_state::{Producers, Sequence, SequenceError};
use crate::reader::LogReader;
use crate::recovery::{self, OpenLogError, Recovery};
use crate::retention::{self, Facts};
use crate::scan::{HEADER_WINDOW, Scan, ScanError};
use crate::segment::{NO_NEWEST, Segment};
use crate::snapshots::Snapshots;

mod truncation;

/// A partition's log, as its one appender has it.
#[derive(Debug)]
pub struct Log {
    folder: Arc<Folder>,
    config: LogConfig,
    reader: Arc<LogReader>,
    durability: Arc<Durability>,
    producers: Producers,
    snapshots: Snapshots,
    active: Active,
    /// The log's end when it was opened after a clean stop: as long as it is the end, there is nothing to write down.
    written_down: Option<i64>,
    closed: bool,
}

/// The segment that is written to.
#[derive(Debug)]
struct Active {
    segment: Arc<Segment>,
    /// When its first batch was written; `None` while it is empty, or not looked up since the log was opened.
    since_ms: Option<i64>,
    /// Bytes of the file: those written, and zeroes allocated ahead.
    allocated: u64,
    /// What is allocated next.
    step: u64,
}

/// A batch that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It was appended now.
    New {
        /// The offset of its span's first.
        base_offset: i64,
        /// The offset of its span's last.
        last_offset: i64,
        /// The log's end now: the high watermark at which the batch counts.
        log_end: i64,
    },
    /// It was there before, by the same producer and sequence.
    Again {
        /// Where it went the first time.
        base_offset: i64,
        /// The timestamp it got, or -1 where the producer's own were kept.
        log_append_time: i64,
    },
}

/// Why a batch is not appended. Nothing of it is in the log then.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Its sequence does not follow, or its producer's epoch is over.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// It is larger than a segment.
    #[error("a batch of {size} bytes in segments of {segment_bytes}")]
    TooLarge {
        /// Bytes of the batch.
        size: u64,
        /// `segment.bytes`.
        segment_bytes: u32,
    },
    /// A newer leader has written.
    #[error("leader epoch {got} is behind {current}")]
    StaleLeader {
        /// The log's newest epoch.
        current: i32,
        /// The appender's.
        got: i32,
    },
    /// The disk is full. The log is as it was, and serves again once there is room.
    #[error("no room for {size} bytes in {partition}")]
    NoSpace {
        /// The partition's folder.
        partition: String,
        /// Bytes of the batch.
        size: u64,
    },
    /// The directory has failed.
    #[error(transparent)]
    Storage(#[from] DirFailed),
}

/// What retention did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Segments that left the log.
    pub segments: usize,
    /// Their bytes. The files go with the next sweep of the directory.
    pub bytes: u64,
}

/// The first step of allocation ahead, doubled with each: small logs waste little, busy ones seldom ask (25 to 30 % less CPU an
/// append than growing the file with each, measured on ext4).
const ALLOCATE_FIRST: u64 = 1 << 20;

/// The last.
const ALLOCATE_MOST: u64 = 64 << 20;

/// Pieces of a batch written without allocating a list of them: a frame of 1 MiB read in 64 KiB pieces has as many.
const SLICES_INLINE: usize = 18;

impl Log {
    /// Opens the log of a partition, made if it is not there, and recovers it when it was not closed cleanly.
    ///
    /// # Errors
    /// [`OpenLogError::Damaged`] when batches known to be durable are not there any more: nothing is cut then, and the
    /// message says where.
    pub fn open(
        dir: &LogDir,
        name: &PartitionDir,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<(Self, Recovery), OpenLogError> {
        let folder = Folder::new(Arc::clone(dir.state()), name.clone());
        let recovered = recovery::recover(&folder, &config, now_ms)?;
        let tail = recovered.tail();
        let reader = Arc::new(LogReader::new(
            Arc::clone(&folder),
            recovered.segments,
            recovered.epochs,
            tail.offset,
            recovered.durable.offset,
        ));
        let durability = Arc::new(Durability::new(Arc::clone(&reader), tail, recovered.durable));
        if recovered.folder_made {
            durability.folder_made();
        }
        if recovered.names_new {
            durability.names_changed();
        }
        if recovered.epochs_new {
            durability.epochs_changed();
        }
        if recovered.durable != tail {
            // What was just scanned may be in the page cache only.
            durability.sync()?;
        }
        reader.segments().iter().for_each(|segment| segment.close());
        folder.dir.hold(name, Held::Open(Arc::clone(&durability)));
        let segment = Arc::clone(reader.segments().last().expect("a log has a segment"));
        let log = Self {
            active: Active { since_ms: None, allocated: segment.size(), step: ALLOCATE_FIRST, segment },
            folder,
            config,
            reader,
            durability,
            producers: recovered.producers,
            snapshots: recovered.snapshots,
            written_down: recovered.recovery.clean.then_some(tail.offset),
            closed: false,
        };
        Ok((log, recovered.recovery))
    }

    /// The partition.
    pub fn name(&self) -> &PartitionDir {
        &self.folder.name
    }

    /// The settings in force.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Changes the settings; they hold from the next append on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// What readers use. Valid as long as anyone holds it.
    pub fn reader(&self) -> Arc<LogReader> {
        Arc::clone(&self.reader)
    }

    /// What the flusher takes.
    pub fn flush_handle(&self) -> FlushHandle {
        FlushHandle(Arc::clone(&self.durability))
    }

    /// How a batch stands to those its producer sent before: asked before work is put into it, and asked again by
    /// [`Log::append`].
    ///
    /// # Errors
    /// When it may not be appended.
    pub fn check(&self, batch: &BatchHeader) -> Result<Sequence, SequenceError> {
        self.producers.check(batch)
    }

    /// Appends a batch: gives it the next offset and the leader's epoch, in a copy of its header, and writes header and body as
    /// they are. The caller has checked bounds and checksum.
    ///
    /// # Errors
    /// [`AppendError`]; the log is then as before.
    ///
    /// # Panics
    /// When the body is not as long as the header says: such a batch must not reach a log.
    pub fn append(
        &mut self,
        header: BatchHeader,
        body: &[Bytes],
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        assert_eq!(
            body.iter().map(Bytes::len).sum::<usize>(),
            header.body_len(),
            "the body of a batch is as long as its header says"
        );
        self.folder.dir.check()?;
        if let Sequence::Duplicate { base_offset, log_append_time } = self.producers.check(&header)? {
            return Ok(Appended::Again { base_offset, log_append_time });
        }
        if let Some(current) = self.reader.latest_epoch().filter(|latest| *latest > leader_epoch) {
            return Err(AppendError::StaleLeader { current, got: leader_epoch });
        }
        let size = header.size() as u64;
        if size > u64::from(self.segment_bytes()) {
            return Err(AppendError::TooLarge { size, segment_bytes: self.config.segment_bytes });
        }
        let header =
            BatchHeader { base_offset: self.reader.log_end_offset(), partition_leader_epoch: leader_epoch, ..header };
        if self.is_full_for(&header) || self.is_due(now_ms)? {
            self.roll(size)?;
        }
        // Before the bytes: from there on nothing may fail.
        let indexes = self.active_indexes()?;
        self.write(&header, body)?;
        self.publish(&header, &indexes, now_ms);
        Ok(Appended::New {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_end: header.next_offset(),
        })
    }

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

    /// Takes out what retention keeps no longer, forgets idle producers, lets go of idle files. Called from time to time; the
    /// files of what goes are removed by the directory, off this path.
    ///
    /// # Errors
    /// As [`Log::append`]. A segment whose age cannot be read keeps its place.
    pub fn retain(&mut self, now_ms: i64) -> Result<Retained, AppendError> {
        self.roll_if_due(now_ms)?;
        self.producers.expire(now_ms, self.config.producer_id_expiration_ms);
        let segments = Vec::clone(&self.reader.segments());
        let facts: Vec<Facts> = segments.iter().map(|segment| self.facts(segment)).collect();
        let expired = retention::expired(&facts, &self.config, now_ms);
        if expired == segments.len() {
            // All of it, the active segment too: an empty one takes its place and keeps the log's end.
            self.roll(0)?;
        }
        if expired > 0 {
            self.take_out(expired);
        }
        let last = self.reader.segments().len() - 1;
        for (i, segment) in self.reader.segments().iter().enumerate() {
            segment.release_idle(i == last);
        }
        Ok(Retained { segments: expired, bytes: facts[..expired].iter().map(|facts| facts.size).sum() })
    }

    /// Ends the log cleanly: durable, trimmed, with everything written down that the next start would look for.
    ///
    /// # Errors
    /// The directory has failed.
    pub fn close_clean(mut self) -> Result<(), DirFailed> {
        self.durability.sync()?;
        let log_end = self.reader.log_end_offset();
        if self.written_down != Some(log_end) {
            self.trim()
                .and_then(|()| self.active.segment.save_indexes(log_end))
                .and_then(|()| self.save_snapshot())
                .or_else(|error| {
                    // Without room for them the next start makes indexes and windows anew, from the batches.
                    if is_no_space(&error) { Ok(()) } else { Err(error) }
                })
                .map_err(|error| self.folder.dir.fail("close", error))?;
        }
        let end = CleanEnd {
            folder: self.folder.name.to_string(),
            topic_id: self.folder.name.topic_id(),
            value: LogEnd {
                log_end,
                producers: self.producers.len(),
                segments: self.reader.segments().iter().map(|segment| (segment.base_offset, segment.size())).collect(),
            },
        };
        self.closed = true;
        self.folder.dir.hold(&self.folder.name, Held::Closed(end));
        Ok(())
    }

    /// Removes the log and its folder. Readers that have files open read on.
    ///
    /// # Errors
    /// The directory has failed.
    pub fn delete(mut self) -> Result<(), DirFailed> {
        self.closed = true;
        self.folder.dir.forget(&self.folder.name)
    }

    fn segment_bytes(&self) -> u32 {
        self.config.segment_bytes.min(SEGMENT_BYTES_MAX)
    }

    /// Whether a batch has to go into a new segment: for its bytes, or because the indexes count 32 bits of offsets.
    fn is_full_for(&self, header: &BatchHeader) -> bool {
        let (size, base) = (self.active.segment.size(), self.active.segment.base_offset);
        size > 0
            && (size + header.size() as u64 > u64::from(self.segment_bytes())
                || header.last_offset() - base > i64::from(i32::MAX))
    }

    /// Whether the active segment has been written to for `segment.ms`.
    fn is_due(&mut self, now_ms: i64) -> Result<bool, AppendError> {
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
    fn first_written(&self, now_ms: i64) -> Result<i64, AppendError> {
        let segment = &self.active.segment;
        let first = segment
            .file()
            .map_err(ScanError::Io)
            .and_then(|file| Scan::new(&*file, (segment.base_offset, 0), segment.size(), HEADER_WINDOW).next());
        match first {
            Ok(Some(found)) if found.header.max_timestamp >= 0 => Ok(found.header.max_timestamp.min(now_ms)),
            Err(ScanError::Io(error)) => Err(self.folder.dir.fail("read", error).into()),
            // Damage is for its readers to hear of. The segment's time counts from now.
            _ => Ok(now_ms),
        }
    }

    /// Seals the active segment and makes the next one. With no room for it, nothing has happened.
    fn roll(&mut self, size: u64) -> Result<(), AppendError> {
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
    fn trim(&mut self) -> io::Result<()> {
        let size = self.active.segment.size();
        if self.active.allocated > size {
            self.active.segment.file()?.truncate(size)?;
            self.active.allocated = size;
        }
        Ok(())
    }

    fn save_snapshot(&mut self) -> io::Result<()> {
        let log_end = self.reader.log_end_offset();
        self.snapshots.save(&self.folder, log_end, &self.producers)
    }

    /// One `pwritev` behind the last batch. When there is no room for all of it, none of it stays.
    fn write(&mut self, header: &BatchHeader, body: &[Bytes]) -> Result<(), AppendError> {
        let size = header.size() as u64;
        let position = self.active.segment.size();
        let file = self.active.segment.file().map_err(|error| self.folder.dir.fail("open", error))?;
        self.allocate(&*file, size)?;
        let header = header.to_bytes();
        let written = if body.len() < SLICES_INLINE {
            let mut slices = [IoSlice::new(&[]); SLICES_INLINE];
            slices[0] = IoSlice::new(&header);
            for (slice, piece) in slices[1..].iter_mut().zip(body) {
                *slice = IoSlice::new(piece);
            }
            file.write_all_at(&mut slices[..=body.len()], position)
        } else {
            let mut slices = Vec::with_capacity(body.len() + 1);
            slices.push(IoSlice::new(&header));
            slices.extend(body.iter().map(|piece| IoSlice::new(piece)));
            file.write_all_at(&mut slices, position)
        };
        written.map_err(|error| match self.cut_to(&*file, position, &error) {
            Ok(()) => self.refuse("append", size, error),
            Err(failed) => failed.into(),
        })
    }

    /// Takes blocks for the next `size` bytes and some more; as few as needed when the disk is nearly full.
    fn allocate(&mut self, file: &dyn DiskFile, size: u64) -> Result<(), AppendError> {
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
    fn refuse(&self, during: &'static str, size: u64, error: io::Error) -> AppendError {
        if is_no_space(&error) {
            AppendError::NoSpace { partition: self.folder.name.to_string(), size }
        } else {
            self.folder.dir.fail(during, error).into()
        }
    }

    /// Lets readers, the flusher and the producers' windows know of a batch just written.
    fn publish(&mut self, header: &BatchHeader, indexes: &Indexes, now_ms: i64) {
        let Active { segment, since_ms, .. } = &mut self.active;
        let position = segment.size();
        let end = position + header.size() as u64;
        if position == 0 {
            *since_ms = Some(now_ms);
        }
        indexes.note(header, position, self.config.index_interval_bytes);
        segment.note_timestamp(header.max_timestamp);
        segment.set_unsynced();
        segment.set_size(end);
        let epochs = self.reader.epochs();
        if epochs.latest() != Some(header.partition_leader_epoch) {
            let mut epochs = LeaderEpochs::clone(&epochs);
            epochs.note(header.partition_leader_epoch, header.base_offset);
            self.reader.set_epochs(epochs);
            self.durability.epochs_changed();
        }
        self.producers.replay(header, now_ms);
        self.reader.set_log_end(header.next_offset());
        self.durability.appended(LogPoint {
            offset: header.next_offset(),
            segment: segment.base_offset,
            position: end,
        });
    }

    /// The indexes the next batch is noted in; read in when the log was closed cleanly and this is its first batch since.
    fn active_indexes(&self) -> Result<Arc<Indexes>, DirFailed> {
        self.active.segment.indexes().map_err(|error| {
            let error = match error {
                ScanError::Io(error) => error,
                damaged @ ScanError::Damaged { .. } => io::Error::other(damaged.to_string()),
            };
            self.folder.dir.fail("index", error)
        })
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

    fn take_out(&self, expired: usize) {
        let mut kept = Vec::clone(&self.reader.segments());
        let gone: Vec<_> = kept.drain(..expired).collect();
        self.reader.set_segments(kept);
        let mut epochs = LeaderEpochs::clone(&self.reader.epochs());
        epochs.forget_before(self.reader.log_start_offset());
        if epochs != **self.reader.epochs() {
            self.reader.set_epochs(epochs);
            self.durability.epochs_changed();
        }
        self.folder.dir.doom(Doomed { folder: Arc::clone(&self.folder), segments: gone });
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !self.closed {
            self.folder.dir.drop_log(&self.durability);
        }
    }
}

#[cfg(test)]
mod tests;
