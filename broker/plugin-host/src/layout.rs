//! The packed batch, layout v1 (`wit/batch-layout.md`): columns in one buffer, little-endian, only those the plugin
//! asked for.
//!
//! A batch is read once, record by record, into pieces that each fit a share of the plugin's memory, and a piece is
//! written column by column. Most batches are one piece.

use std::iter::Peekable;

use sluice_protocol::records::{BatchError, DecodedBatch, Record, Records, TimestampType};

use crate::{error::PluginError, limits::Limits};

/// Where a batch stands.
#[derive(Debug, Clone, Copy)]
pub struct BatchContext<'a> {
    /// The topic's name; of a view, the view's.
    pub topic: &'a str,
    /// The partition's index.
    pub partition: i32,
    /// Offset of the batch's span; [`NO_OFFSET`] in a gate, where offsets are not given yet.
    pub base_offset: i64,
}

/// The base offset of a batch that is not in the log yet.
pub const NO_OFFSET: i64 = -1;

/// What a plugin asked to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Columns {
    pub(crate) keys: bool,
    pub(crate) values: bool,
    pub(crate) headers: bool,
    pub(crate) timestamps: bool,
}

impl Columns {
    fn bits(self) -> u16 {
        u16::from(self.keys)
            | u16::from(self.values) << 1
            | u16::from(self.headers) << 2
            | u16::from(self.timestamps) << 3
    }
}

const MAGIC: [u8; 4] = *b"SLB1";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 40;
const FLAG_LOG_APPEND_TIME: u32 = 1;
/// Every column starts at a multiple of this.
const ALIGNMENT: usize = 8;
/// The top bit of an end says null.
const NULL: u32 = 1 << 31;

/// Records of one call. What is gathered of them before they are written takes some 80 bytes each, so a piece's worth
/// stays within 5 MiB.
const PIECE_RECORDS_MAX: usize = 64 * 1024;

/// The records that cross in one call.
pub(crate) struct Piece<'a> {
    records: Vec<Record<'a>>,
    /// Upper bound of the packed length.
    bytes: usize,
}

impl Piece<'_> {
    pub(crate) fn count(&self) -> usize {
        self.records.len()
    }
}

/// The next piece of a batch: as many records as fit into `bytes_max` packed, one at least; `None` at the end. A single
/// record may be over `bytes_max`: whether it fits the plugin at all is told when it is packed.
pub(crate) fn next_piece<'a>(
    cx: &BatchContext<'_>,
    columns: Columns,
    records: &mut Peekable<Records<'a>>,
    bytes_max: usize,
) -> Result<Option<Piece<'a>>, BatchError> {
    let mut piece = Piece {
        records: Vec::with_capacity(records.size_hint().1.unwrap_or(0).min(PIECE_RECORDS_MAX)),
        bytes: fixed_bytes(cx),
    };
    while piece.records.len() < PIECE_RECORDS_MAX {
        let fits = match records.peek() {
            None => break,
            Some(Err(_)) => true,
            Some(Ok(record)) => {
                let bytes = record_bytes(record, columns);
                let fits = piece.records.is_empty() || piece.bytes + bytes <= bytes_max;
                if fits {
                    piece.bytes += bytes;
                }
                fits
            }
        };
        if !fits {
            break;
        }
        match records.next() {
            None => break,
            Some(record) => piece.records.push(record?),
        }
    }
    Ok(if piece.records.is_empty() { None } else { Some(piece) })
}

/// Header, topic, and what aligning six columns may add.
fn fixed_bytes(cx: &BatchContext<'_>) -> usize {
    HEADER_BYTES + cx.topic.len() + 7 * ALIGNMENT
}

fn record_bytes(record: &Record<'_>, columns: Columns) -> usize {
    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let mut bytes = 4;
    if columns.timestamps {
        bytes += 8;
    }
    if columns.keys {
        bytes += 4 + len(record.key);
    }
    if columns.values {
        bytes += 4 + len(record.value);
    }
    if columns.headers {
        bytes += 4 + record.headers.map(|(name, value)| 8 + name.len() + len(value)).sum::<usize>();
    }
    bytes
}

impl Piece<'_> {
    /// Writes the piece into `buffer`, from its beginning. A piece over the plugin's memory is a single record, and is
    /// told so unwritten.
    pub(crate) fn pack(
        &self,
        buffer: &mut Vec<u8>,
        cx: &BatchContext<'_>,
        batch: &DecodedBatch,
        columns: Columns,
        memory_bytes: usize,
    ) -> Result<(), PluginError> {
        buffer.clear();
        // Lengths and ends are below 2^31 with it, as the greatest limit of memory is.
        let limit = memory_bytes.min(Limits::MEMORY_BYTES_MAX);
        if self.bytes > limit {
            return Err(PluginError::RecordTooLarge { bytes: self.bytes, limit });
        }
        buffer.reserve(self.bytes);
        let header = batch.header();
        let log_append_time = header.timestamp_type() == TimestampType::LogAppendTime;
        put_header(buffer, cx, header.base_timestamp, columns, self.records.len(), log_append_time);
        let records = &self.records;
        column(buffer, records, |record| record.offset_delta.to_le_bytes());
        if columns.timestamps {
            column(buffer, records, |record| batch.timestamp(record).to_le_bytes());
        }
        if columns.keys {
            blobs(buffer, records, |record| record.key);
        }
        if columns.values {
            blobs(buffer, records, |record| record.value);
        }
        if columns.headers {
            headers(buffer, records);
        }
        debug_assert!(buffer.len() <= self.bytes, "the bound holds");
        Ok(())
    }
}

fn put_header(
    buffer: &mut Vec<u8>,
    cx: &BatchContext<'_>,
    base_timestamp: i64,
    columns: Columns,
    count: usize,
    log_append_time: bool,
) {
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&VERSION.to_le_bytes());
    buffer.extend_from_slice(&columns.bits().to_le_bytes());
    buffer.extend_from_slice(&word(count));
    buffer.extend_from_slice(&cx.partition.to_le_bytes());
    buffer.extend_from_slice(&cx.base_offset.to_le_bytes());
    buffer.extend_from_slice(&base_timestamp.to_le_bytes());
    buffer.extend_from_slice(&(if log_append_time { FLAG_LOG_APPEND_TIME } else { 0 }).to_le_bytes());
    buffer.extend_from_slice(&word(cx.topic.len()));
    buffer.extend_from_slice(cx.topic.as_bytes());
}

/// A column of `N` bytes a record.
fn column<'a, const N: usize>(buffer: &mut Vec<u8>, records: &[Record<'a>], of: impl Fn(&Record<'a>) -> [u8; N]) {
    let rows = reserve(buffer, records.len(), N);
    for (row, record) in buffer[rows..].as_chunks_mut::<N>().0.iter_mut().zip(records) {
        *row = of(record);
    }
}

/// A column of byte strings: their ends, then their bytes.
fn blobs<'a>(buffer: &mut Vec<u8>, records: &[Record<'a>], of: impl Fn(&Record<'a>) -> Option<&'a [u8]>) {
    let ends = reserve(buffer, records.len(), 4);
    let blob = buffer.len();
    for (index, record) in records.iter().enumerate() {
        let bytes = of(record);
        buffer.extend_from_slice(bytes.unwrap_or_default());
        let end = end(buffer.len() - blob, bytes.is_none());
        buffer[ends + index * 4..][..4].copy_from_slice(&end);
    }
}

/// Headers: how many up to each record; ends of all names; ends of all values; the names; the values.
fn headers(buffer: &mut Vec<u8>, records: &[Record<'_>]) {
    let counts = reserve(buffer, records.len(), 4);
    let mut count = 0;
    for (index, record) in records.iter().enumerate() {
        count += record.headers.len();
        buffer[counts + index * 4..][..4].copy_from_slice(&word(count));
    }
    let name_ends = buffer.len();
    buffer.resize(name_ends + 2 * 4 * count, 0);
    let value_ends = name_ends + 4 * count;
    let all = || records.iter().flat_map(|record| record.headers);

    let names = buffer.len();
    for (index, (name, _)) in all().enumerate() {
        buffer.extend_from_slice(name.as_bytes());
        let end = end(buffer.len() - names, false);
        buffer[name_ends + index * 4..][..4].copy_from_slice(&end);
    }
    align(buffer);
    let values = buffer.len();
    for (index, (_, value)) in all().enumerate() {
        buffer.extend_from_slice(value.unwrap_or_default());
        let end = end(buffer.len() - values, value.is_none());
        buffer[value_ends + index * 4..][..4].copy_from_slice(&end);
    }
}

/// Starts a column: room for `rows` of `width` bytes, zeroed, at the next multiple of [`ALIGNMENT`]. Returns where it
/// starts.
fn reserve(buffer: &mut Vec<u8>, rows: usize, width: usize) -> usize {
    align(buffer);
    let start = buffer.len();
    buffer.resize(start + rows * width, 0);
    start
}

fn align(buffer: &mut Vec<u8>) {
    buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
}

fn end(at: usize, null: bool) -> [u8; 4] {
    (u32_of(at) | if null { NULL } else { 0 }).to_le_bytes()
}

fn word(n: usize) -> [u8; 4] {
    u32_of(n).to_le_bytes()
}

/// Everything counted here is less than the length of the whole, and that was held below 2^31.
fn u32_of(n: usize) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| unreachable!("{n} is below 2^31"))
}

#[cfg(test)]
mod tests;
