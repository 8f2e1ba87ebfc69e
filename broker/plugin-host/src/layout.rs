//! The packed batch, layout v1 (`wit/batch-layout.md`): columns in one buffer, little-endian, only those the plugin
//! asked for.
//!
//! Records are read once, front to back, and each goes into its columns as it is read. Where the first column of byte
//! strings starts is known beforehand, so it is written in place; those behind it are gathered beside the buffer and
//! added at the end. A batch that may not fit a share of the plugin's memory is read through before, to see where to
//! cut it between records; most batches fit by their size alone.

use std::vec;

use sluice_protocol::records::{BatchError, DecodedBatch, Record, Records, TimestampType};

use crate::{
    error::PluginError,
    limits::{BATCH_SHARE_OF_MEMORY, Limits},
};

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
        let Self { keys, values, headers, timestamps } = self;
        u16::from(keys) | u16::from(values) << 1 | u16::from(headers) << 2 | u16::from(timestamps) << 3
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

/// A batch on its way to a plugin, in as many calls as it takes.
pub(crate) struct Pieces<'a> {
    cx: &'a BatchContext<'a>,
    columns: Columns,
    batch: &'a DecodedBatch,
    records: Records<'a>,
    /// How many records cross in each call still to come.
    counts: vec::IntoIter<usize>,
}

impl<'a> Pieces<'a> {
    /// Cuts a batch so that each piece takes a share of `memory_bytes` at most; a record above the share crosses alone,
    /// and one above the memory is an error. Of a batch without records there is no piece.
    pub(crate) fn of(
        cx: &'a BatchContext<'a>,
        columns: Columns,
        batch: &'a DecodedBatch,
        memory_bytes: usize,
    ) -> Result<Self, PluginError> {
        // Lengths and ends are below 2^31 with it.
        let memory_bytes = memory_bytes.min(Limits::MEMORY_BYTES_MAX);
        let share = memory_bytes / BATCH_SHARE_OF_MEMORY;
        let counts = if batch.is_empty() {
            Vec::new()
        } else if bytes_at_most(cx, columns, batch) <= share {
            vec![batch.len()]
        } else {
            cut(cx, columns, batch, share, memory_bytes)?
        };
        Ok(Self { cx, columns, batch, records: batch.iter(), counts: counts.into_iter() })
    }

    /// Packs the next piece and says how many records it has; `None` after the last.
    pub(crate) fn pack_next(&mut self, packer: &mut Packer) -> Result<Option<usize>, BatchError> {
        let Some(count) = self.counts.next() else { return Ok(None) };
        packer.pack(self, count)?;
        if self.counts.len() == 0 {
            // What stands behind the last record is found here, before the plugin is asked about a batch that is none.
            self.records.next().transpose()?;
        }
        Ok(Some(count))
    }
}

/// A bound of the packed length that takes no reading: whatever is packed of a record's bytes is among the batch's, and
/// a header, of two bytes at least, takes eight beside its own.
fn bytes_at_most(cx: &BatchContext<'_>, columns: Columns, batch: &DecodedBatch) -> usize {
    let widest = 4 + 8 + 4 + 4 + 4;
    let times = if columns.headers { 1 + 4 } else { 1 };
    fixed_bytes(cx)
        .saturating_add(batch.len().saturating_mul(widest))
        .saturating_add(batch.size().saturating_mul(times))
}

/// Reads a batch through and says how many records go into each piece.
fn cut(
    cx: &BatchContext<'_>,
    columns: Columns,
    batch: &DecodedBatch,
    share: usize,
    memory_bytes: usize,
) -> Result<Vec<usize>, PluginError> {
    let fixed = fixed_bytes(cx);
    let (mut counts, mut count, mut bytes) = (Vec::new(), 0, fixed);
    for record in batch {
        let of_record = record_bytes(&record?, columns);
        if fixed + of_record > memory_bytes {
            return Err(PluginError::RecordTooLarge { bytes: fixed + of_record, limit: memory_bytes });
        }
        if count > 0 && bytes + of_record > share {
            counts.push(count);
            (count, bytes) = (0, fixed);
        }
        count += 1;
        bytes += of_record;
    }
    counts.push(count);
    Ok(counts)
}

/// Header, topic, and what aligning the columns may add.
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

/// The buffers that pieces are packed in, kept from piece to piece.
#[derive(Default)]
pub(crate) struct Packer {
    /// The piece, once it is packed.
    pub(crate) packed: Vec<u8>,
    /// The values' column, when the keys' is before it.
    values: Vec<u8>,
    headers: HeaderColumns,
}

/// The headers' columns before their number is known.
#[derive(Default)]
struct HeaderColumns {
    /// How many up to each record.
    counts: Vec<u8>,
    name_ends: Vec<u8>,
    value_ends: Vec<u8>,
    names: Vec<u8>,
    values: Vec<u8>,
}

impl Packer {
    /// Whether its buffers are small enough to be kept from batch to batch.
    pub(crate) fn is_at_most(&self, bytes: usize) -> bool {
        let Self { packed, values, headers: HeaderColumns { counts, name_ends, value_ends, names, values: others } } =
            self;
        [packed, values, counts, name_ends, value_ends, names, others]
            .iter()
            .map(|buffer| buffer.capacity())
            .sum::<usize>()
            <= bytes
    }

    /// Packs the next `count` records of `from`.
    fn pack(&mut self, from: &mut Pieces<'_>, count: usize) -> Result<(), BatchError> {
        let Pieces { cx, columns, batch, records, .. } = from;
        let Self { packed, values, headers } = self;
        packed.clear();
        values.clear();
        headers.clear();
        put_header(packed, cx, batch, *columns, count);
        let deltas = reserve(packed, count, 4);
        let timestamps = if columns.timestamps { reserve(packed, count, 8) } else { 0 };
        let key_column = columns.keys.then(|| Blobs::start(packed, count));
        let value_column =
            columns.values.then(|| Blobs::start(if columns.keys { &mut *values } else { &mut *packed }, count));
        for index in 0..count {
            let record = records
                .next()
                .unwrap_or_else(|| Err(BatchError::Count { declared: batch.header().count, found: index }))?;
            put(packed, deltas, index, record.offset_delta.to_le_bytes());
            if columns.timestamps {
                put(packed, timestamps, index, batch.timestamp(&record).to_le_bytes());
            }
            if let Some(column) = &key_column {
                column.push(packed, index, record.key);
            }
            if let Some(column) = &value_column {
                column.push(if columns.keys { values } else { packed }, index, record.value);
            }
            if columns.headers {
                headers.push(&record);
            }
        }
        if columns.keys && columns.values {
            align(packed);
            packed.extend_from_slice(values);
        }
        if columns.headers {
            headers.append_to(packed);
        }
        Ok(())
    }
}

fn put_header(packed: &mut Vec<u8>, cx: &BatchContext<'_>, batch: &DecodedBatch, columns: Columns, count: usize) {
    let header = batch.header();
    let flags = if header.timestamp_type() == TimestampType::LogAppendTime { FLAG_LOG_APPEND_TIME } else { 0 };
    packed.extend_from_slice(&MAGIC);
    packed.extend_from_slice(&VERSION.to_le_bytes());
    packed.extend_from_slice(&columns.bits().to_le_bytes());
    packed.extend_from_slice(&word(count));
    packed.extend_from_slice(&cx.partition.to_le_bytes());
    packed.extend_from_slice(&cx.base_offset.to_le_bytes());
    packed.extend_from_slice(&header.base_timestamp.to_le_bytes());
    packed.extend_from_slice(&flags.to_le_bytes());
    packed.extend_from_slice(&word(cx.topic.len()));
    packed.extend_from_slice(cx.topic.as_bytes());
}

/// A column of byte strings that is being written: their ends, then their bytes, which end with the buffer for now.
struct Blobs {
    ends: usize,
    blob: usize,
}

impl Blobs {
    fn start(buffer: &mut Vec<u8>, count: usize) -> Self {
        let ends = reserve(buffer, count, 4);
        Self { ends, blob: buffer.len() }
    }

    fn push(&self, buffer: &mut Vec<u8>, index: usize, bytes: Option<&[u8]>) {
        buffer.extend_from_slice(bytes.unwrap_or_default());
        let end = end(buffer.len() - self.blob, bytes.is_none());
        put(buffer, self.ends, index, end);
    }
}

impl HeaderColumns {
    fn clear(&mut self) {
        let Self { counts, name_ends, value_ends, names, values } = self;
        for column in [counts, name_ends, value_ends, names, values] {
            column.clear();
        }
    }

    fn push(&mut self, record: &Record<'_>) {
        for (name, value) in record.headers {
            self.names.extend_from_slice(name.as_bytes());
            self.name_ends.extend_from_slice(&end(self.names.len(), false));
            self.values.extend_from_slice(value.unwrap_or_default());
            self.value_ends.extend_from_slice(&end(self.values.len(), value.is_none()));
        }
        self.counts.extend_from_slice(&word(self.name_ends.len() / 4));
    }

    fn append_to(&self, packed: &mut Vec<u8>) {
        align(packed);
        for column in [&self.counts, &self.name_ends, &self.value_ends, &self.names] {
            packed.extend_from_slice(column);
        }
        align(packed);
        packed.extend_from_slice(&self.values);
    }
}

/// Starts a column: room for `rows` of `width` bytes, zeroed, at the next multiple of [`ALIGNMENT`]. Returns where.
fn reserve(buffer: &mut Vec<u8>, rows: usize, width: usize) -> usize {
    align(buffer);
    let start = buffer.len();
    buffer.resize(start + rows * width, 0);
    start
}

/// Writes a row of a column that starts at `column`.
fn put<const N: usize>(buffer: &mut [u8], column: usize, index: usize, row: [u8; N]) {
    buffer[column + index * N..][..N].copy_from_slice(&row);
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
