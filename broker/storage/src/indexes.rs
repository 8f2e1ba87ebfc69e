//! A segment's two indexes and the files they are kept in.
//!
//! ```text
//!   .index      version u8 | base_offset i64 | log_size u64 | end_offset i64
//!               | greatest timestamp i64 | that of a record i64, its batch's offset i64 | crc u32
//!               (offset - base u32, position u32)* | crc u32
//!   .timeindex  version u8 | log_size u64 | (timestamp i64, offset - base u32)* | crc u32
//! ```
//! All big-endian; each CRC-32C covers everything before it. Written when a segment is rolled and at the end of a clean run,
//! never synced: a file that is missing, torn or of another size of the log is made anew from the batches.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bytes::{Buf, BufMut};
use sluice_protocol::records::BatchHeader;

use crate::disk::{Disk, read_whole};
use crate::offset_index::{OffsetIndex, Place};
use crate::partition_dir::{Folder, Kind};
use crate::segment::NO_NEWEST;
use crate::time_index::{TimeEntry, TimeIndex};

/// Offsets and times of one segment, extended by its appender and read by anyone.
#[derive(Debug)]
pub(crate) struct Indexes {
    pub(crate) offsets: OffsetIndex,
    pub(crate) times: TimeIndex,
    base_offset: i64,
    greatest: AtomicI64,
    newest_timestamp: AtomicI64,
    newest_offset: AtomicI64,
    indexed_to: AtomicU64,
}

/// The batch that holds the record with the greatest timestamp. A batch whose records are all gone keeps a timestamp, which
/// counts for retention and not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Newest {
    /// In milliseconds since 1970; [`NO_NEWEST`] without a batch.
    pub(crate) timestamp: i64,
    /// The batch's base offset.
    pub(crate) offset: i64,
}

/// What the head of an index file says of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) log_size: u64,
    pub(crate) end_offset: i64,
    /// The greatest timestamp of any batch, with records or without.
    pub(crate) greatest: i64,
    pub(crate) newest: Newest,
}

impl Indexes {
    pub(crate) const fn new(base_offset: i64) -> Self {
        Self {
            offsets: OffsetIndex::new(base_offset),
            times: TimeIndex::new(base_offset),
            base_offset,
            greatest: AtomicI64::new(NO_NEWEST),
            newest_timestamp: AtomicI64::new(NO_NEWEST),
            newest_offset: AtomicI64::new(base_offset),
            indexed_to: AtomicU64::new(0),
        }
    }

    /// Takes in the batch at `position`: by the appender alone, before it publishes the size.
    pub(crate) fn note(&self, batch: &BatchHeader, position: u64, interval: u32) {
        let newest = self.newest().timestamp;
        if position.saturating_sub(self.indexed_to.load(Ordering::Relaxed)) >= u64::from(interval) && position > 0 {
            if newest != NO_NEWEST {
                self.times.push(TimeEntry { timestamp: newest, offset: batch.base_offset });
            }
            self.offsets.push(Place { offset: batch.base_offset, position });
            self.indexed_to.store(position, Ordering::Relaxed);
        }
        self.greatest.fetch_max(batch.max_timestamp, Ordering::Relaxed);
        if batch.max_timestamp > newest && batch.count > 0 {
            self.newest_offset.store(batch.base_offset, Ordering::Relaxed);
            self.newest_timestamp.store(batch.max_timestamp, Ordering::Release);
        }
    }

    /// The greatest timestamp of any batch, or [`NO_NEWEST`].
    pub(crate) fn greatest(&self) -> i64 {
        self.greatest.load(Ordering::Relaxed)
    }

    /// The batch with the newest record. Read while the appender writes, the two fields may be of different batches.
    pub(crate) fn newest(&self) -> Newest {
        Newest {
            timestamp: self.newest_timestamp.load(Ordering::Acquire),
            offset: self.newest_offset.load(Ordering::Relaxed),
        }
    }

    /// Writes both files.
    pub(crate) fn save(&self, folder: &Folder, log_size: u64, end_offset: i64) -> io::Result<()> {
        let mut offsets = Summary { log_size, end_offset, greatest: self.greatest(), newest: self.newest() }
            .to_bytes(self.base_offset);
        for place in self.offsets.entries() {
            offsets.put_u32((place.offset - self.base_offset) as u32);
            offsets.put_u32(place.position as u32);
        }
        seal(&mut offsets);

        let mut times = vec![VERSION];
        times.put_u64(log_size);
        for entry in self.times.entries() {
            times.put_i64(entry.timestamp);
            times.put_u32((entry.offset - self.base_offset) as u32);
        }
        seal(&mut times);

        let disk = folder.disk();
        write(disk, &folder.file_at(self.base_offset, Kind::OffsetIndex), &offsets)?;
        write(disk, &folder.file_at(self.base_offset, Kind::TimeIndex), &times)
    }

    /// Reads both files back; `None` when they are not those of a log of `log_size` bytes.
    pub(crate) fn load(folder: &Folder, base_offset: i64, log_size: u64) -> io::Result<Option<(Self, Summary)>> {
        let disk = folder.disk();
        let offsets = read_if_there(disk, &folder.file_at(base_offset, Kind::OffsetIndex))?;
        let times = read_if_there(disk, &folder.file_at(base_offset, Kind::TimeIndex))?;
        let (Some(offsets), Some(times)) = (offsets, times) else {
            return Ok(None);
        };
        Ok(Self::decode(&offsets, &times, base_offset, log_size))
    }

    fn decode(offsets: &[u8], times: &[u8], base_offset: i64, log_size: u64) -> Option<(Self, Summary)> {
        let summary = Summary::from_bytes(offsets, base_offset)?;
        if summary.log_size != log_size {
            return None;
        }
        let indexes = Self::new(base_offset);
        let mut rows = unseal(offsets)?.get(SUMMARY_LEN..)?;
        while !rows.is_empty() {
            let place = Place {
                offset: base_offset + i64::from(rows.try_get_u32().ok()?),
                position: u64::from(rows.try_get_u32().ok()?),
            };
            indexes.offsets.push(place);
            indexes.indexed_to.store(place.position, Ordering::Relaxed);
        }
        let mut rows = unseal(times)?;
        if rows.try_get_u8().ok()? != VERSION || rows.try_get_u64().ok()? != log_size {
            return None;
        }
        while !rows.is_empty() {
            indexes.times.push(TimeEntry {
                timestamp: rows.try_get_i64().ok()?,
                offset: base_offset + i64::from(rows.try_get_u32().ok()?),
            });
        }
        indexes.greatest.store(summary.greatest, Ordering::Relaxed);
        indexes.newest_timestamp.store(summary.newest.timestamp, Ordering::Relaxed);
        indexes.newest_offset.store(summary.newest.offset, Ordering::Relaxed);
        Some((indexes, summary))
    }
}

impl Summary {
    /// Reads the head of an index file; `None` when there is none to trust.
    pub(crate) fn load(folder: &Folder, base_offset: i64) -> io::Result<Option<Self>> {
        let path = folder.file_at(base_offset, Kind::OffsetIndex);
        let file = match folder.disk().open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if file.len()? < SUMMARY_LEN as u64 {
            return Ok(None);
        }
        let mut bytes = [0; SUMMARY_LEN];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Self::from_bytes(&bytes, base_offset))
    }

    fn to_bytes(self, base_offset: i64) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.put_i64(base_offset);
        bytes.put_u64(self.log_size);
        bytes.put_i64(self.end_offset);
        bytes.put_i64(self.greatest);
        bytes.put_i64(self.newest.timestamp);
        bytes.put_i64(self.newest.offset);
        seal(&mut bytes);
        debug_assert_eq!(bytes.len(), SUMMARY_LEN);
        bytes
    }

    fn from_bytes(bytes: &[u8], base_offset: i64) -> Option<Self> {
        let mut from = unseal(bytes.get(..SUMMARY_LEN)?)?;
        if from.try_get_u8().ok()? != VERSION || from.try_get_i64().ok()? != base_offset {
            return None;
        }
        Some(Self {
            log_size: from.try_get_u64().ok()?,
            end_offset: from.try_get_i64().ok()?,
            greatest: from.try_get_i64().ok()?,
            newest: Newest { timestamp: from.try_get_i64().ok()?, offset: from.try_get_i64().ok()? },
        })
    }
}

/// The format of both files.
const VERSION: u8 = 1;

/// Bytes of the head of an index file, its checksum included.
const SUMMARY_LEN: usize = 1 + 6 * 8 + 4;

fn seal(bytes: &mut Vec<u8>) {
    let crc = crc_fast::crc32_iscsi(bytes);
    bytes.put_u32(crc);
}

fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    (crc_fast::crc32_iscsi(content) == u32::from_be_bytes(*crc)).then_some(content)
}

fn write(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    disk.create(path)?.write_all_at(&mut [IoSlice::new(content)], 0)
}

fn read_if_there(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_whole(disk, path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
