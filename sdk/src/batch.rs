//! Reading a packed batch in place: [`Batch::parse`] finds the columns, [`Record`] is an index into them.
//!
//! Invariants: nothing is copied and nothing is allocated; a column that is not there is never mistaken for one full of
//! nulls. The host wrote the batch, and a plugin may trust it: `parse` checks that each column lies inside the bytes,
//! and leaves the ends within a column to the bounds checks of Rust's slices.

use std::fmt;
use std::str;

use crate::Kind;
use crate::layout::{BATCH_HEADER_LEN, BATCH_MAGIC, COLUMN_ALIGN, Columns, LOG_APPEND_TIME, NULL_BIT, VERSION};

/// Records of one partition, in offset order, as the broker handed them over in one call.
///
/// A batch of a producer that is too large for the plugin's memory comes in several calls, cut between records.
#[derive(Debug)]
pub struct Batch<'a> {
    topic: &'a str,
    partition: i32,
    base_offset: i64,
    base_timestamp: i64,
    log_append_time: bool,
    columns: Columns,
    offset_deltas: &'a [[u8; 4]],
    timestamps: &'a [[u8; 8]],
    keys: Column<'a>,
    values: Column<'a>,
    headers: HeaderColumn<'a>,
}

/// Why bytes are not a batch that this SDK reads: they were packed by a host of another layout, or not by a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutError {
    /// The first four bytes are others.
    Magic([u8; 4]),
    /// A layout that is not v1.
    Version(u16),
    /// Columns that layout v1 does not have.
    Columns(u16),
    /// `wanted` bytes at `at`, of `len`.
    Short {
        /// Where the bytes should start.
        at: usize,
        /// How many there should be.
        wanted: usize,
        /// How long the batch is.
        len: usize,
    },
    /// The topic's name or a header's.
    NotUtf8,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "a batch starts with SLB1, not with {found:?}"),
            Self::Version(found) => write!(f, "batch layout {found}; this plugin was built for layout {VERSION}"),
            Self::Columns(found) => write!(f, "columns {found:#06x} are not all of layout {VERSION}"),
            Self::Short { at, wanted, len } => write!(f, "{wanted} bytes at {at} of a batch of {len}"),
            Self::NotUtf8 => f.write_str("a name is not UTF-8"),
        }
    }
}

impl std::error::Error for LayoutError {}

impl<'a> Batch<'a> {
    /// Finds the columns of a packed batch.
    pub fn parse(packed: &'a [u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader { packed, at: 0 };
        let magic = reader.array::<4>()?;
        if magic != BATCH_MAGIC {
            return Err(LayoutError::Magic(magic));
        }
        let version = u16::from_le_bytes(reader.array()?);
        if version != VERSION {
            return Err(LayoutError::Version(version));
        }
        let bits = u16::from_le_bytes(reader.array()?);
        let columns = Columns::from_bits(bits).ok_or(LayoutError::Columns(bits))?;
        let count = reader.length()?;
        let partition = i32::from_le_bytes(reader.array()?);
        let base_offset = i64::from_le_bytes(reader.array()?);
        let base_timestamp = i64::from_le_bytes(reader.array()?);
        let flags = u32::from_le_bytes(reader.array()?);
        let topic_len = reader.length()?;
        debug_assert_eq!(reader.at, BATCH_HEADER_LEN, "the fields above are the header");
        let topic = str::from_utf8(reader.bytes(topic_len)?).map_err(|_| LayoutError::NotUtf8)?;

        reader.align()?;
        let offset_deltas = reader.words(count)?;
        let timestamps = reader.column(columns.has(Columns::TIMESTAMPS), |r| r.words(count))?;
        let keys = reader.column(columns.has(Columns::KEYS), |r| Column::read(r, count))?;
        let values = reader.column(columns.has(Columns::VALUES), |r| Column::read(r, count))?;
        let headers = reader.column(columns.has(Columns::HEADERS), |r| HeaderColumn::read(r, count))?;
        Ok(Self {
            topic,
            partition,
            base_offset,
            base_timestamp,
            log_append_time: flags & LOG_APPEND_TIME != 0,
            columns,
            offset_deltas,
            timestamps,
            keys,
            values,
            headers,
        })
    }

    /// How many records there are. At least one in what a broker sends.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offset_deltas.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offset_deltas.is_empty()
    }

    /// The topic the records are written to (gate) or that is seen through the view.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The partition they belong to.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// The batch's first timestamp, in milliseconds since 1970. The only clock a plugin has: the same records give the same answer.
    #[must_use]
    pub fn base_timestamp(&self) -> i64 {
        self.base_timestamp
    }

    /// Whether the timestamps are those of the broker's append, and not the producer's.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.log_append_time
    }

    /// Where the plugin is bound: a gate's records have no offsets yet.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.base_offset < 0 { Kind::Gate } else { Kind::View }
    }

    /// The columns that crossed: those the plugin asked for.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.columns
    }

    /// The record at `index`, counted from 0. Panics beyond the last.
    #[must_use]
    pub fn record(&'a self, index: usize) -> Record<'a> {
        assert!(index < self.len(), "record {index} of {}", self.len());
        Record { batch: self, index }
    }

    /// The records, first to last.
    #[must_use]
    pub fn records(&'a self) -> Records<'a> {
        Records { batch: self, next: 0 }
    }

    /// All values one after the other, for those who scan them at once; [`Batch::value_range`] says where each lies.
    /// Panics if values were not asked for.
    #[must_use]
    pub fn values_blob(&self) -> &'a [u8] {
        self.demand(Columns::VALUES, "values");
        self.values.blob
    }

    /// Where the value at `index` lies in [`Batch::values_blob`]; none when it is null. Panics as that does.
    #[must_use]
    pub fn value_range(&self, index: usize) -> Option<std::ops::Range<usize>> {
        self.demand(Columns::VALUES, "values");
        self.values.range(index)
    }

    /// A column that did not cross is a mistake in the plugin, which its first test shows; null would hide it.
    #[inline]
    #[track_caller]
    fn demand(&self, column: Columns, name: &str) {
        assert!(
            self.columns.has(column),
            "the plugin did not ask for {name}: add them to columns(...) of its #[plugin] attribute"
        );
    }
}

/// One record, borrowed from its batch. Reading a field costs when it is read, and only then.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    batch: &'a Batch<'a>,
    index: usize,
}

impl<'a> Record<'a> {
    /// Its place in the batch, from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The batch it is in.
    #[must_use]
    pub fn batch(&self) -> &'a Batch<'a> {
        self.batch
    }

    /// The topic it is written to (gate) or that is seen through the view.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        self.batch.topic
    }

    /// Its partition.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.batch.partition
    }

    /// Its offset. None in a gate, where records have none yet.
    #[must_use]
    pub fn offset(&self) -> Option<i64> {
        let delta = i32::from_le_bytes(self.batch.offset_deltas[self.index]);
        (self.batch.kind() == Kind::View).then(|| self.batch.base_offset + i64::from(delta))
    }

    /// Its timestamp, in milliseconds since 1970. Panics if timestamps were not asked for.
    #[must_use]
    #[track_caller]
    pub fn timestamp(&self) -> i64 {
        self.batch.demand(Columns::TIMESTAMPS, "timestamps");
        i64::from_le_bytes(self.batch.timestamps[self.index])
    }

    /// Its key; none when it is null. Panics if keys were not asked for.
    #[must_use]
    #[track_caller]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.batch.demand(Columns::KEYS, "keys");
        self.batch.keys.get(self.index)
    }

    /// Its value; none when it is null (a tombstone, on a compacted topic). Panics if values were not asked for.
    #[must_use]
    #[track_caller]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.batch.demand(Columns::VALUES, "values");
        self.batch.values.get(self.index)
    }

    /// Its headers, in order; a name may come more than once. Panics if headers were not asked for.
    #[must_use]
    #[track_caller]
    pub fn headers(&self) -> Headers<'a> {
        self.batch.demand(Columns::HEADERS, "headers");
        let column = self.batch.headers;
        Headers { column, next: column.first_of(self.index), end: word(column.counts, self.index) as usize }
    }

    /// The last header of that name, which is the one Kafka's clients call the value of a header. Panics as [`Record::headers`] does.
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<Header<'a>> {
        self.headers().filter(|header| header.name == name).last()
    }
}

/// The records of a batch, first to last.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    batch: &'a Batch<'a>,
    next: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let index = self.next;
        (index < self.batch.len()).then(|| {
            self.next += 1;
            Record { batch: self.batch, index }
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batch.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Records<'_> {}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value, which may be null.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in order.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    column: HeaderColumn<'a>,
    next: usize,
    end: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        (self.next < self.end).then(|| {
            let index = self.next;
            self.next += 1;
            let (start, end) = span(self.column.name_ends, index);
            Header { name: &self.column.names[start..end], value: self.column.values.get(index) }
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Keys or values: where each ends, and the bytes of all.
#[derive(Debug, Clone, Copy, Default)]
struct Column<'a> {
    ends: &'a [[u8; 4]],
    blob: &'a [u8],
}

impl<'a> Column<'a> {
    fn read(reader: &mut Reader<'a>, count: usize) -> Result<Self, LayoutError> {
        let ends = reader.words(count)?;
        Ok(Self { ends, blob: reader.bytes(blob_len(ends))? })
    }

    #[inline]
    fn range(&self, index: usize) -> Option<std::ops::Range<usize>> {
        let (start, end) = span(self.ends, index);
        (word(self.ends, index) & NULL_BIT == 0).then_some(start..end)
    }

    #[inline]
    fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.range(index).map(|range| &self.blob[range])
    }
}

/// Headers of all records: how many up to each record, and two columns over all of them.
#[derive(Debug, Clone, Copy, Default)]
struct HeaderColumn<'a> {
    counts: &'a [[u8; 4]],
    name_ends: &'a [[u8; 4]],
    names: &'a str,
    values: Column<'a>,
}

impl<'a> HeaderColumn<'a> {
    fn read(reader: &mut Reader<'a>, count: usize) -> Result<Self, LayoutError> {
        let counts = reader.words(count)?;
        let headers = counts.last().map_or(0, |last| u32::from_le_bytes(*last) as usize);
        let name_ends = reader.words(headers)?;
        let value_ends = reader.words(headers)?;
        let names = str::from_utf8(reader.bytes(blob_len(name_ends))?).map_err(|_| LayoutError::NotUtf8)?;
        reader.align()?;
        let blob = reader.bytes(blob_len(value_ends))?;
        Ok(Self { counts, name_ends, names, values: Column { ends: value_ends, blob } })
    }

    fn first_of(&self, record: usize) -> usize {
        if record == 0 { 0 } else { word(self.counts, record - 1) as usize }
    }
}

#[inline]
fn word(words: &[[u8; 4]], index: usize) -> u32 {
    u32::from_le_bytes(words[index])
}

/// From where to where item `index` reaches.
#[inline]
fn span(ends: &[[u8; 4]], index: usize) -> (usize, usize) {
    let start = if index == 0 { 0 } else { word(ends, index - 1) & !NULL_BIT };
    (start as usize, (word(ends, index) & !NULL_BIT) as usize)
}

fn blob_len(ends: &[[u8; 4]]) -> usize {
    ends.last().map_or(0, |last| (u32::from_le_bytes(*last) & !NULL_BIT) as usize)
}

/// A place in the packed bytes.
struct Reader<'a> {
    packed: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, wanted: usize) -> Result<&'a [u8], LayoutError> {
        let short = LayoutError::Short { at: self.at, wanted, len: self.packed.len() };
        let end = self.at.checked_add(wanted).ok_or(short)?;
        let bytes = self.packed.get(self.at..end).ok_or(short)?;
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LayoutError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    fn length(&mut self) -> Result<usize, LayoutError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn words<const N: usize>(&mut self, count: usize) -> Result<&'a [[u8; N]], LayoutError> {
        let short = LayoutError::Short { at: self.at, wanted: usize::MAX, len: self.packed.len() };
        let (words, _) = self.bytes(count.checked_mul(N).ok_or(short)?)?.as_chunks::<N>();
        Ok(words)
    }

    fn align(&mut self) -> Result<(), LayoutError> {
        let padding = self.at.next_multiple_of(COLUMN_ALIGN) - self.at;
        self.bytes(padding).map(drop)
    }

    /// The column that starts at the next aligned byte, if the batch has it.
    fn column<T: Default>(
        &mut self,
        present: bool,
        read: impl FnOnce(&mut Self) -> Result<T, LayoutError>,
    ) -> Result<T, LayoutError> {
        if !present {
            return Ok(T::default());
        }
        self.align()?;
        read(self)
    }
}
