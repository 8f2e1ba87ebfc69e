//! What a follower appends: its leader's batches, checked and stored byte for byte.
//!
//! Offsets and epochs are the leader's, and lie outside the checksums; they are held against this log instead. An answer is
//! checked whole before anything of it is written, then written with one call for each segment it falls into, almost always
//! one. Records are read by the checksum alone, and copied by the write.

use std::io::IoSlice;

use bytes::Bytes;
use sluice_protocol::records::{BatchCrc, BatchError, BatchHeader, Chunks, HEADER_LEN};

use super::Log;
use super::write::Unwritten;
use crate::leader_epoch::LeaderEpochs;
use crate::log_dir::DirFailed;
use crate::scan::{Damage, check_span};

/// What a follower's append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendedReplicated {
    /// The log's end now.
    pub log_end: i64,
    /// Bytes appended.
    pub bytes: usize,
}

/// Why a leader's batches are not appended. Nothing of them is in the log, but for what [`ReplicateError::NoSpace`] says.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplicateError {
    /// Bytes are no batch, or not the one they were: the leader's disk, or the way from there.
    #[error("the batch at offset {offset} is damaged: {damage}")]
    Corrupt {
        /// Where the batch would have gone.
        offset: i64,
        /// What is wrong with it.
        damage: Damage,
    },
    /// A batch does not follow the one before it.
    #[error("a batch at offset {found} where {expected} follows")]
    NotContiguous {
        /// The log's end, or the end of the batch before.
        expected: i64,
        /// The batch's base offset.
        found: i64,
    },
    /// A batch is of an older epoch than the one before it: not what a leader's log can hold.
    #[error("the batch at offset {offset} is of leader epoch {found}, after one of {current}")]
    EpochWentBack {
        /// The batch's base offset.
        offset: i64,
        /// The epoch before it.
        current: i32,
        /// Its own.
        found: i32,
    },
    /// A batch is of a later epoch than the reign that is followed: the leader was deposed, and its file holds the next one's
    /// records by now.
    #[error("the batch at offset {offset} is of leader epoch {found}, and {leader_epoch} is followed")]
    LaterEpoch {
        /// The batch's base offset.
        offset: i64,
        /// The epoch that is followed.
        leader_epoch: i32,
        /// Its own.
        found: i32,
    },
    /// The disk is full. Of batches that fall into several segments, those before the full one may be in the log; its end says
    /// how far.
    #[error("no room for {size} bytes in {partition}")]
    NoSpace {
        /// The partition's folder.
        partition: String,
        /// Bytes there is no room for.
        size: u64,
    },
    /// The directory has failed.
    #[error(transparent)]
    Storage(#[from] DirFailed),
}

impl From<Unwritten> for ReplicateError {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::NoSpace { partition, size } => Self::NoSpace { partition, size },
            Unwritten::Failed(failed) => Self::Storage(failed),
        }
    }
}

impl Log {
    /// Appends whole batches as the partition's leader has them: the first starts at the log's end, each follows the one before
    /// it, and none is of an older epoch, nor of one after `leader_epoch`, in which the leader is followed. Checksums are
    /// compared, records not looked at.
    ///
    /// # Errors
    /// [`ReplicateError`]; the log is then as before, except where that says otherwise.
    pub fn append_replicated(
        &mut self,
        batches: &Chunks,
        leader_epoch: i32,
        now_ms: i64,
    ) -> Result<AppendedReplicated, ReplicateError> {
        self.folder.dir.check()?;
        let log_end = self.reader.log_end_offset();
        let headers = check(batches, log_end, self.reader.latest_epoch(), leader_epoch)?;
        if !headers.is_empty() {
            self.end_reign();
            if self.is_due(now_ms)? {
                self.roll(batches.len() as u64)?;
            }
        }
        let mut from = 0;
        let mut rest = &headers[..];
        while let Some(first) = rest.first() {
            if self.is_full_for(first) {
                self.roll(first.size() as u64)?;
            }
            let (count, bytes) = self.fitting(rest);
            self.append_run(&rest[..count], batches, from, bytes, now_ms)?;
            from += bytes;
            rest = &rest[count..];
        }
        Ok(AppendedReplicated { log_end: self.reader.log_end_offset(), bytes: batches.len() })
    }

    /// Forgets a reign of this broker's own that wrote nothing: another leads now.
    pub(super) fn end_reign(&self) {
        if self.reader.epochs().has_begun() {
            let mut epochs = LeaderEpochs::clone(&self.reader.epochs());
            epochs.end_reign();
            self.reader.set_epochs(epochs);
        }
    }

    /// How many of these batches go into the active segment, and their bytes; at least one.
    fn fitting(&self, batches: &[BatchHeader]) -> (usize, usize) {
        let mut bytes = 0;
        let before = self.active.segment.size();
        let count = batches
            .iter()
            .take_while(|batch| {
                let fits = bytes == 0 || self.fits_behind(before + bytes as u64, batch);
                if fits {
                    bytes += batch.size();
                }
                fits
            })
            .count();
        (count, bytes)
    }

    /// Appends batches to the active segment: `bytes` of the answer, `from` there on.
    fn append_run(
        &mut self,
        run: &[BatchHeader],
        answer: &Chunks,
        from: usize,
        bytes: usize,
        now_ms: i64,
    ) -> Result<(), Unwritten> {
        // Before the bytes: from there on nothing may fail.
        let indexes = self.active_indexes()?;
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(answer.parts().len());
        slices.extend(within(answer.parts(), from, bytes).map(IoSlice::new));
        self.write(&mut slices, bytes as u64)?;
        let mut position = self.active.segment.size();
        let mut next_offset = self.reader.log_end_offset();
        for batch in run {
            self.note(batch, position, &indexes, now_ms);
            position += batch.size() as u64;
            next_offset = batch.next_offset();
        }
        self.publish(position, next_offset, now_ms);
        Ok(())
    }
}

/// The pieces of `len` bytes, `from` there on.
fn within(parts: &[Bytes], from: usize, len: usize) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    parts.iter().filter_map(move |part| {
        let (before, after) = (start, start + part.len());
        start = after;
        let (cut, end) = (from.max(before), (from + len).min(after));
        (cut < end).then(|| &part[cut - before..end - before])
    })
}

/// Reads the headers of an answer's batches, and holds each against the one before it and its checksum.
fn check(
    answer: &Chunks,
    log_end: i64,
    latest_epoch: Option<i32>,
    leader_epoch: i32,
) -> Result<Vec<BatchHeader>, ReplicateError> {
    let mut headers = Vec::new();
    let mut bytes = Bytewise { parts: answer.parts(), at: 0 };
    let mut left = answer.len();
    let (mut expected, mut current) = (log_end, latest_epoch);
    while left > 0 {
        let header =
            check_batch(&mut bytes, left).map_err(|damage| ReplicateError::Corrupt { offset: expected, damage })?;
        left -= header.size();
        if header.base_offset != expected {
            return Err(ReplicateError::NotContiguous { expected, found: header.base_offset });
        }
        let found = header.partition_leader_epoch;
        if let Some(current) = current.filter(|current| *current > found) {
            return Err(ReplicateError::EpochWentBack { offset: expected, current, found });
        }
        if found > leader_epoch {
            return Err(ReplicateError::LaterEpoch { offset: expected, leader_epoch, found });
        }
        (expected, current) = (header.next_offset(), Some(found));
        headers.push(header);
    }
    Ok(headers)
}

/// The next batch's header, once its bytes are those of its checksum.
fn check_batch(bytes: &mut Bytewise<'_>, left: usize) -> Result<BatchHeader, Damage> {
    let truncated = |needed: usize| Damage::Truncated { needed: needed as u64, left: left as u64 };
    if left < HEADER_LEN {
        return Err(truncated(HEADER_LEN));
    }
    let mut head = [0; HEADER_LEN];
    let mut filled = 0;
    bytes.take(HEADER_LEN, |piece| {
        head[filled..filled + piece.len()].copy_from_slice(piece);
        filled += piece.len();
    });
    let header = BatchHeader::parse(&head).map_err(Damage::Batch)?;
    if header.size() > left {
        return Err(truncated(header.size()));
    }
    check_span(&header)?;
    let mut crc = BatchCrc::new(&head);
    bytes.take(header.body_len(), |piece| crc.update(piece));
    let (stored, computed) = (header.crc, crc.finish());
    if stored == computed { Ok(header) } else { Err(Damage::Batch(BatchError::Crc { stored, computed })) }
}

/// A walk over bytes in pieces.
struct Bytewise<'a> {
    /// The piece it is in, and those after it.
    parts: &'a [Bytes],
    /// Where in that piece.
    at: usize,
}

impl Bytewise<'_> {
    /// Shows the next `len` bytes, of which there are as many.
    fn take(&mut self, mut len: usize, mut show: impl FnMut(&[u8])) {
        while len > 0
            && let Some((part, after)) = self.parts.split_first()
        {
            let taken = len.min(part.len() - self.at);
            show(&part[self.at..self.at + taken]);
            len -= taken;
            self.at += taken;
            if self.at == part.len() {
                (self.parts, self.at) = (after, 0);
            }
        }
    }
}
