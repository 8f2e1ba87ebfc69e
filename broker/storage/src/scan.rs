//! Walks a segment batch by batch, from a known batch to an end, header by header; checksums on request.
//!
//! Recovery, index rebuilding, producers' windows and reads all walk with this, so there is one idea of what a batch in a log
//! is: magic 2, a length that fits, offsets without a gap. Offset, length and leader epoch lie outside the checksum, so they
//! are held against their neighbours instead.

use std::io;

use sluice_protocol::records::{BatchCrc, BatchError, BatchHeader, HEADER_LEN, ReadAt};

/// What a walk reads at a time when it wants headers only: small batches come several to a read, large ones cost little more
/// than their header.
pub(crate) const HEADER_WINDOW: usize = 4 << 10;

/// What a walk reads at a time when it wants every byte: large enough for the disk, small enough for a cache.
pub(crate) const BODY_WINDOW: usize = 256 << 10;

/// A walk over the batches of one segment.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    file: &'a dyn ReadAt,
    /// Where the bytes that count end.
    end: u64,
    position: u64,
    next_offset: i64,
    window: Window,
}

/// A batch the walk came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) header: BatchHeader,
    pub(crate) position: u64,
}

impl Found {
    /// Where the next batch starts.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.header.size() as u64
    }
}

/// Why a walk cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    /// The file does not read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no batch where one has to be.
    #[error("at byte {position}: {damage}")]
    Damaged { position: u64, damage: Damage },
}

/// What is wrong with bytes that should be a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The bytes end inside it.
    #[error("a batch of {needed} bytes, and {left} are left")]
    Truncated {
        /// Bytes it has by its own account.
        needed: u64,
        /// Bytes there are.
        left: u64,
    },
    /// Not a batch, or its checksum is wrong.
    #[error("{0}")]
    Batch(BatchError),
    /// It does not follow the batch before it.
    #[error("base offset {found} where {expected} follows")]
    Offset {
        /// Where the batch before it ends.
        expected: i64,
        /// What it says.
        found: i64,
    },
    /// Its span or record count is impossible.
    #[error("{count} records over {last_offset_delta} offsets after the first")]
    Span {
        /// Records, by its header.
        count: i32,
        /// Offsets after the first, by its header.
        last_offset_delta: i32,
    },
    /// Its leader epoch is not the one recorded for its offset.
    #[error("leader epoch {found} at offset {offset}, recorded as {recorded}")]
    Epoch {
        /// The batch's base offset.
        offset: i64,
        /// The epoch in the leader-epoch checkpoint.
        recorded: i32,
        /// What the batch says.
        found: i32,
    },
    /// A file is shorter than what is known to have been made durable.
    #[error("{len} bytes, of which {durable} were durable")]
    Short {
        /// Bytes of the file.
        len: u64,
        /// Bytes that were known to be on the disk.
        durable: u64,
    },
    /// A file is gone that held durable batches.
    #[error("the file is gone")]
    Missing,
    /// `partition.metadata` holds something else than a topic's id.
    #[error("no topic id")]
    Metadata,
    /// `truncation` says nothing of what the log was to become.
    #[error("no truncation")]
    Truncation,
}

impl<'a> Scan<'a> {
    /// Walks from the batch of base offset `offset` at `from` up to byte `end`.
    pub(crate) fn new(file: &'a dyn ReadAt, (offset, from): (i64, u64), end: u64, window: usize) -> Self {
        Self { file, end, position: from, next_offset: offset, window: Window::new(window) }
    }

    /// Where the next batch would start.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The offset after the last batch walked over.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Goes on at a batch further ahead.
    pub(crate) fn skip_to(&mut self, offset: i64, position: u64) {
        debug_assert!(offset >= self.next_offset && position >= self.position);
        self.next_offset = offset;
        self.position = position;
    }

    /// The next batch; `None` at the end, which is the last byte or the zeroes allocated ahead.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, ScanError> {
        let left = self.end.saturating_sub(self.position);
        if left == 0 {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_LEN];
        let there = &mut bytes[..HEADER_LEN.min(usize::try_from(left).unwrap_or(HEADER_LEN))];
        self.window.read(self.file, there, self.position, self.end)?;
        if there.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if left < HEADER_LEN as u64 {
            return Err(self.damaged(Damage::Truncated { needed: HEADER_LEN as u64, left }));
        }
        let header = BatchHeader::parse(&bytes).map_err(|error| self.damaged(Damage::Batch(error)))?;
        let needed = header.size() as u64;
        if needed > left {
            return Err(self.damaged(Damage::Truncated { needed, left }));
        }
        if header.base_offset != self.next_offset {
            return Err(self.damaged(Damage::Offset { expected: self.next_offset, found: header.base_offset }));
        }
        check_span(&header).map_err(|damage| self.damaged(damage))?;
        let found = Found { header, position: self.position };
        self.position += needed;
        self.next_offset = header.next_offset();
        Ok(Some(found))
    }

    /// Reads the whole of a batch just walked over and compares checksums.
    pub(crate) fn check_crc(&mut self, found: &Found) -> Result<(), ScanError> {
        let mut crc = BatchCrc::new(&found.header.to_bytes());
        let mut at = found.position + HEADER_LEN as u64;
        while at < found.end() {
            let piece = self.window.piece(self.file, at, found.end(), self.end)?;
            crc.update(piece);
            at += piece.len() as u64;
        }
        let (stored, computed) = (found.header.crc, crc.finish());
        if stored == computed {
            return Ok(());
        }
        Err(ScanError::Damaged {
            position: found.position,
            damage: Damage::Batch(BatchError::Crc { stored, computed }),
        })
    }

    /// Steps back before a batch just walked over, which turned out not to belong.
    pub(crate) fn refuse(&mut self, found: &Found, damage: Damage) -> ScanError {
        self.position = found.position;
        self.next_offset = found.header.base_offset;
        self.damaged(damage)
    }

    fn damaged(&self, damage: Damage) -> ScanError {
        ScanError::Damaged { position: self.position, damage }
    }
}

/// Whether a batch's span and record count are possible.
pub(crate) fn check_span(header: &BatchHeader) -> Result<(), Damage> {
    let (count, last_offset_delta) = (header.count, header.last_offset_delta);
    if last_offset_delta < 0 || count < 0 || i64::from(count) > i64::from(last_offset_delta) + 1 {
        return Err(Damage::Span { count, last_offset_delta });
    }
    Ok(())
}

/// The part of the file that was read last.
#[derive(Debug)]
struct Window {
    size: usize,
    bytes: Vec<u8>,
    from: u64,
}

impl Window {
    const fn new(size: usize) -> Self {
        Self { size, bytes: Vec::new(), from: 0 }
    }

    /// Copies the bytes at `position`, all of which lie below `end`.
    fn read(&mut self, file: &dyn ReadAt, into: &mut [u8], position: u64, end: u64) -> io::Result<()> {
        let mut filled = 0;
        while filled < into.len() {
            let at = position + filled as u64;
            let piece = self.piece(file, at, position + into.len() as u64, end)?;
            into[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        }
        Ok(())
    }

    /// Some of the bytes from `from` to `to`, at least one; read ahead up to `end`.
    fn piece(&mut self, file: &dyn ReadAt, from: u64, to: u64, end: u64) -> io::Result<&[u8]> {
        let buffered = self.from..self.from + self.bytes.len() as u64;
        if !buffered.contains(&from) {
            let len = (end - from).min(self.size as u64) as usize;
            self.bytes.resize(len, 0);
            self.from = from;
            if let Err(error) = file.read_exact_at(&mut self.bytes, from) {
                self.bytes.clear();
                return Err(error);
            }
        }
        let start = (from - self.from) as usize;
        let stop = (to - self.from).min(self.bytes.len() as u64) as usize;
        Ok(&self.bytes[start..stop])
    }
}
