//! The records of a batch, one after the other, borrowed from its decompressed body.
//!
//! ```text
//!   length varint | attributes i8 | timestamp_delta varlong | offset_delta varint
//!     | key length varint, key | value length varint, value | headers varint, (key length, key, value length, value)*
//! ```
//! Variable-length integers are zigzag, seven bits a byte, low bits first. Length -1 is null. Everything here comes from a
//! producer: each length is compared with the bytes left before it is believed, and nothing is allocated but the body.

use bytes::Bytes;

use super::{Batch, BatchError, BatchHeader, RecordFault, TimestampType};

/// The least a record takes: a byte for each of its seven fields. No body holds more records than its bytes allow.
pub(super) const MIN_RECORD_LEN: usize = 7;

/// A batch with its body decompressed. Records are read when asked for.
#[derive(Debug, Clone)]
pub struct DecodedBatch {
    header: BatchHeader,
    records: Bytes,
}

impl Batch {
    /// Decompresses the body, into `limit` bytes at most. What is malformed inside shows as the records are read.
    ///
    /// # Errors
    /// [`BatchError::UnknownCodec`], [`BatchError::Decompress`], [`BatchError::TooLarge`], and [`BatchError::Count`] when the
    /// header counts fewer than no records or more than the body could hold: whoever allocates by
    /// [`DecodedBatch::len`] allocates less than the body takes.
    pub fn decode(&self, limit: usize) -> Result<DecodedBatch, BatchError> {
        let codec = self.header.compression()?;
        // A batch emptied by compaction or a plugin has no body, whatever codec it once had.
        let records = if self.body.is_empty() {
            Bytes::new()
        } else {
            codec.decompress(&self.body, limit)?
        };
        let most = records.len() / MIN_RECORD_LEN;
        match usize::try_from(self.header.count) {
            Ok(count) if count <= most => Ok(DecodedBatch {
                header: self.header,
                records,
            }),
            _ => Err(BatchError::Count {
                declared: self.header.count,
                found: most,
            }),
        }
    }
}

impl DecodedBatch {
    /// The batch's header.
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// How many records the header counts. Reading them to the end proves it right.
    pub fn len(&self) -> usize {
        usize::try_from(self.header.count).unwrap_or(0)
    }

    /// Whether there are none: a batch that once had some.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the records, decompressed.
    pub const fn size(&self) -> usize {
        self.records.len()
    }

    /// Reads the records in order. Ends after the last, or after the first error: there is no telling where a next record
    /// would start. Having read all without an error, there were as many as the header counts, their offsets rose and lay
    /// within the batch, and no byte was left over.
    pub fn iter(&self) -> Records<'_> {
        Records {
            fields: Fields {
                rest: &self.records,
            },
            count: self.len(),
            index: 0,
            previous: -1,
            last_offset_delta: self.header.last_offset_delta,
            failed: false,
        }
    }

    /// A record's timestamp in milliseconds since 1970: its own, or the batch's when the broker stamped it.
    pub fn timestamp(&self, record: &Record<'_>) -> i64 {
        match self.header.timestamp_type() {
            TimestampType::CreateTime => self
                .header
                .base_timestamp
                .saturating_add(record.timestamp_delta),
            TimestampType::LogAppendTime => self.header.max_timestamp,
        }
    }
}

impl<'a> IntoIterator for &'a DecodedBatch {
    type Item = Result<Record<'a>, BatchError>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// A record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset, less the batch's base offset.
    pub offset_delta: i32,
    /// Its timestamp, less the batch's base timestamp. See [`DecodedBatch::timestamp`].
    pub timestamp_delta: i64,
    /// The key, which may be null.
    pub key: Option<&'a [u8]>,
    /// The value, null for a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers: a list, with its order and its repeated keys.
    pub headers: Headers<'a>,
}

/// The headers of a record: iterates over keys and values, and can be copied to do so again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    left: usize,
    fields: Fields<'a>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // Every header was read once when the record was, so none can fail here.
        self.fields.header().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Reads the records of a [`DecodedBatch`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    fields: Fields<'a>,
    count: usize,
    index: usize,
    previous: i32,
    last_offset_delta: i32,
    failed: bool,
}

impl<'a> Records<'a> {
    fn read(&mut self) -> Result<Option<Record<'a>>, BatchError> {
        let left = self.fields.rest.len();
        if self.index == self.count || left == 0 {
            return match (self.count - self.index, left) {
                (0, 0) => Ok(None),
                (0, bytes) => Err(BatchError::TrailingBytes { bytes }),
                _ => Err(BatchError::Count {
                    declared: self.count as i32,
                    found: self.index,
                }),
            };
        }
        let record = self
            .fields
            .record()
            .and_then(|record| self.in_order(record));
        let record = record.map_err(|fault| BatchError::Record {
            index: self.index,
            fault,
        })?;
        self.previous = record.offset_delta;
        self.index += 1;
        Ok(Some(record))
    }

    fn in_order(&self, record: Record<'a>) -> Result<Record<'a>, RecordFault> {
        let Record { offset_delta, .. } = record;
        if offset_delta > self.previous && offset_delta <= self.last_offset_delta {
            return Ok(record);
        }
        Err(RecordFault::OffsetDelta {
            offset_delta,
            previous: self.previous,
            last_offset_delta: self.last_offset_delta,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.read().transpose();
        self.failed = matches!(next, Some(Err(_)));
        next
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One more than counted: the error at the end.
        (0, Some(self.count - self.index + 1))
    }
}

/// Bytes read field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn record(&mut self) -> Result<Record<'a>, RecordFault> {
        let length = self.length()?;
        let mut fields = Fields {
            rest: self.take(length)?,
        };
        let _attributes = fields.take(1)?; // unused since the format exists
        let timestamp_delta = fields.varlong()?;
        let offset_delta = fields.varint()?;
        let key = fields.nullable()?;
        let value = fields.nullable()?;
        let count = fields.length()?;
        let headers = Headers {
            left: count,
            fields,
        };
        for _ in 0..count {
            fields.header()?;
        }
        match fields.rest.len() {
            0 => Ok(Record {
                offset_delta,
                timestamp_delta,
                key,
                value,
                headers,
            }),
            bytes => Err(RecordFault::TrailingBytes { bytes }),
        }
    }

    fn header(&mut self) -> Result<(&'a str, Option<&'a [u8]>), RecordFault> {
        let key = self.nullable()?.ok_or(RecordFault::HeaderKey)?;
        let key = str::from_utf8(key).map_err(|_| RecordFault::HeaderKey)?;
        Ok((key, self.nullable()?))
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], RecordFault> {
        let fault = RecordFault::Truncated {
            needed: n,
            left: self.rest.len(),
        };
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(fault)?;
        self.rest = rest;
        Ok(taken)
    }

    fn length(&mut self) -> Result<usize, RecordFault> {
        let length = self.varint()?;
        usize::try_from(length).map_err(|_| RecordFault::NegativeLength { length })
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordFault> {
        match self.varint()? {
            -1 => Ok(None),
            length => {
                let length =
                    usize::try_from(length).map_err(|_| RecordFault::NegativeLength { length })?;
                self.take(length).map(Some)
            }
        }
    }

    fn varint(&mut self) -> Result<i32, RecordFault> {
        let raw = self.unsigned(u64::from(u32::MAX))? as u32;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    fn varlong(&mut self) -> Result<i64, RecordFault> {
        let raw = self.unsigned(u64::MAX)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    fn unsigned(&mut self, most: u64) -> Result<u64, RecordFault> {
        let mut value = 0u64;
        let mut shift = 0;
        for (at, &byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            if bits > most >> shift {
                return Err(RecordFault::VarintOverflow);
            }
            value |= bits << shift;
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
            shift += 7;
            if most >> shift == 0 {
                return Err(RecordFault::VarintOverflow);
            }
        }
        Err(RecordFault::Truncated {
            needed: self.rest.len() + 1,
            left: self.rest.len(),
        })
    }
}
