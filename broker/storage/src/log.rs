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

use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;
use sluice_protocol::records::BatchHeader;

use crate::config::LogConfig;
use crate::dir_state::DirState;
use crate::disk::is_no_space;
use crate::durability::Durability;
use crate::flusher::FlushHandle;
use crate::leader_epoch::LeaderEpochs;
use crate::log_dir::{DirFailed, LogDir};
use crate::manifest::{CleanEnd, LogEnd};
use crate::partition_dir::{Folder, PartitionDir};
use crate::producer_state::{Producers, Sequence, SequenceError};
use crate::reader::LogReader;
use crate::recovery::{self, OpenLogError, Recovery};
use crate::segment::Segment;
use crate::snapshots::Snapshots;

mod replicated;
mod truncation;
mod upkeep;
mod write;

pub use replicated::{AppendedReplicated, ReplicateError};
pub use truncation::TruncateError;
pub use upkeep::Retained;
use write::{ALLOCATE_FIRST, Unwritten};

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
            recovered.durable.map_or(0, |durable| durable.offset),
            recovered.offsets,
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
        if recovered.durable.is_some_and(|durable| durable != tail || recovered.names_new || recovered.epochs_new) {
            // What was just scanned may be in the page cache only; and batches that come must not be held against epochs of
            // batches that are no more.
            durability.sync()?;
        }
        reader.segments().iter().for_each(|segment| segment.close());
        folder.dir.opened(&durability);
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
        let log_start = log.reader.log_start_offset();
        Ok((log, Recovery { log_start, ..recovered.recovery }))
    }

    /// The partition.
    pub fn name(&self) -> &PartitionDir {
        &self.folder.name
    }

    /// The directory it is in.
    pub(crate) fn dir(&self) -> &Arc<DirState> {
        &self.folder.dir
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
        if let Some(current) = self.reader.epochs().reigning().filter(|reigning| *reigning > leader_epoch) {
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
        let position = self.active.segment.size();
        self.write_batch(&header, body)?;
        self.note(&header, position, &indexes, now_ms);
        self.publish(position + size, header.next_offset(), now_ms);
        Ok(Appended::New {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_end: header.next_offset(),
        })
    }

    /// Begins a leader's reign, before its first append. Followers whose logs end in an epoch that this log has no batch of then
    /// learn where theirs parts from it, whether or not anything is written in this reign (Kafka's `assignEpochStartOffset`).
    pub fn begin_epoch(&mut self, leader_epoch: i32) {
        let mut epochs = LeaderEpochs::clone(&self.reader.epochs());
        epochs.begin(leader_epoch, self.reader.log_end_offset());
        self.reader.set_epochs(epochs);
    }

    /// Up to where the log's records were known to be committed when it was opened, or are by now; within the log.
    pub fn known_high_watermark(&self) -> i64 {
        self.reader.known_high_watermark()
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
        self.folder.dir.closed(&self.durability, end);
        Ok(())
    }

    /// It is about to be removed: nothing of it is made durable any more. Gives its name.
    pub(crate) fn give_up(mut self) -> PartitionDir {
        self.closed = true;
        self.durability.delete();
        self.folder.name.clone()
    }

    fn write_batch(&mut self, header: &BatchHeader, body: &[Bytes]) -> Result<(), Unwritten> {
        let size = header.size() as u64;
        let header = header.to_bytes();
        if body.len() < SLICES_INLINE {
            let mut slices = [IoSlice::new(&[]); SLICES_INLINE];
            slices[0] = IoSlice::new(&header);
            for (slice, piece) in slices[1..].iter_mut().zip(body) {
                *slice = IoSlice::new(piece);
            }
            self.write(&mut slices[..=body.len()], size)
        } else {
            let mut slices = Vec::with_capacity(body.len() + 1);
            slices.push(IoSlice::new(&header));
            slices.extend(body.iter().map(|piece| IoSlice::new(piece)));
            self.write(&mut slices, size)
        }
    }
}

impl From<Unwritten> for AppendError {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::NoSpace { partition, size } => Self::NoSpace { partition, size },
            Unwritten::Failed(failed) => Self::Storage(failed),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if !self.closed {
            self.folder.dir.dropped(&self.durability);
        }
    }
}

#[cfg(test)]
mod tests;
