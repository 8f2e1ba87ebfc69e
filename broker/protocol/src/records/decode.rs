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
        let records = if self.body.is_empty() { Bytes::new() } else { codec.decompress(&self.body, limit)? };
        let most = records.len() / MIN_RECORD_LEN;
        match usize::try_from(self.header.count) {
            Ok(count) if count <= most => Ok(DecodedBatch { header: self.header, records }),
            _ => Err(BatchError::Count { declared: self.header.count, found: most }),
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
            fields: Fields { rest: &self.records },
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
            TimestampType::CreateTime => self.header.base_timestamp.saturating_add(record.timestamp_delta),
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
    #[inline(always)]
    fn read(&mut self) -> Result<Option<Record<'a>>, BatchError> {
        let left = self.fields.rest.len();
        if self.index == self.count || left == 0 {
            return match (self.count - self.index, left) {
                (0, 0) => Ok(None),
                (0, bytes) => Err(BatchError::TrailingBytes { bytes }),
                _ => Err(BatchError::Count { declared: self.count as i32, found: self.index }),
            };
        }
        let record = self.fields.record().and_then(|record| self.in_order(record));
        let record = record.map_err(|fault| BatchError::Record { index: self.index, fault })?;
        self.previous = record.offset_delta;
        self.index += 1;
        Ok(Some(record))
    }

    #[inline(always)]
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

    #[inline]
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

/// Bytes read field by field. Inlined by order: a field is a byte or two, and handing each result over through memory took a
/// third of the time of reading a record (measured).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline(always)]
    fn record(&mut self) -> Result<Record<'a>, RecordFault> {
        let length = self.length()?;
        let mut fields = Fields { rest: self.take(length)? };
        let _attributes = fields.take(1)?; // unused since the format exists
        let timestamp_delta = fields.varlong()?;
        let offset_delta = fields.varint()?;
        let key = fields.nullable()?;
        let value = fields.nullable()?;
        let count = fields.length()?;
        let headers = Headers { left: count, fields };
        for _ in 0..count {
            fields.header()?;
        }
        match fields.rest.len() {
            0 => Ok(Record { offset_delta, timestamp_delta, key, value, headers }),
            bytes => Err(RecordFault::TrailingBytes { bytes }),
        }
    }

    fn header(&mut self) -> Result<(&'a str, Option<&'a [u8]>), RecordFault> {
        let key = self.nullable()?.ok_or(RecordFault::HeaderKey)?;
        let key = str::from_utf8(key).map_err(|_| RecordFault::HeaderKey)?;
        Ok((key, self.nullable()?))
    }

    #[inline(always)]
    fn take(&mut self, n: usize) -> Result<&'a [u8], RecordFault> {
        let fault = RecordFault::Truncated { needed: n, left: self.rest.len() };
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(fault)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline(always)]
    fn length(&mut self) -> Result<usize, RecordFault> {
        let length = self.varint()?;
        usize::try_from(length).map_err(|_| RecordFault::NegativeLength { length })
    }

    #[inline(always)]
    fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordFault> {
        match self.varint()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| RecordFault::NegativeLength { length })?;
                self.take(length).map(Some)
            }
        }
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<i32, RecordFault> {
        let raw = self.unsigned(u64::from(u32::MAX))? as u32;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    #[inline(always)]
    fn varlong(&mut self) -> Result<i64, RecordFault> {
        let raw = self.unsigned(u64::MAX)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Deltas and lengths take a byte or two, nearly all of them; the rest goes the long way.
    #[inline(always)]
    fn unsigned(&mut self, most: u64) -> Result<u64, RecordFault> {
        let (value, rest) = match *self.rest {
            [byte @ ..0x80, ref rest @ ..] => (u64::from(byte), rest),
            [low, high @ ..0x80, ref rest @ ..] => (u64::from(low & 0x7f) | u64::from(high) << 7, rest),
            _ => return self.unsigned_of_any_length(most),
        };
        self.rest = rest;
        Ok(value)
    }

    /// Seven bits a byte, the value at most `most`, which is all ones.
    fn unsigned_of_any_length(&mut self, most: u64) -> Result<u64, RecordFault> {
        let (mut value, mut room) = (0, most);
        for (at, &byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7f);
            if bits > room {
                return Err(RecordFault::VarintOverflow);
            }
            value |= bits << (7 * at);
            if byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
            room >>= 7;
            if room == 0 {
                return Err(RecordFault::VarintOverflow);
            }
        }
        Err(RecordFault::Truncated { needed: self.rest.len() + 1, left: self.rest.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, Chunks, Compression};
    use super::*;

    /// A batch whose header counts `count` records up to `last_offset_delta`, over a body of these bytes.
    fn batch(count: i32, last_offset_delta: i32, body: &[u8]) -> Batch {
        let mut batch = BatchBuilder::new(Compression::None).build_batch();
        batch.header.count = count;
        batch.header.last_offset_delta = last_offset_delta;
        batch.body = Chunks::from(Bytes::copy_from_slice(body));
        batch
    }

    fn read(batch: &Batch) -> Result<usize, BatchError> {
        let decoded = batch.decode(1 << 20)?;
        let mut records = decoded.iter();
        let read = records.by_ref().collect::<Result<Vec<_>, _>>();
        assert!(records.next().is_none(), "nothing follows the end or an error");
        read.map(|records| records.len())
    }

    #[track_caller]
    fn check_fault(body: &[u8], fault: RecordFault) {
        assert_eq!(read(&batch(1, 0, body)), Err(BatchError::Record { index: 0, fault }));
    }

    /// Null key, null value, no headers, offset delta 0.
    const LEAST: [u8; 7] = [12, 0, 0, 0, 1, 1, 0];
    const SECOND: [u8; 7] = [12, 0, 0, 2, 1, 1, 0];

    #[test]
    fn the_least_record_is_seven_bytes() {
        assert_eq!(LEAST.len(), MIN_RECORD_LEN);
        let batch = batch(1, 0, &LEAST);
        let decoded = batch.decode(7).expect("seven bytes");
        let record = decoded.iter().next().expect("one").expect("well formed");
        assert_eq!((record.key, record.value, record.headers.count()), (None, None, 0));
        assert_eq!(batch.decode(6).expect_err("seven bytes"), BatchError::TooLarge { limit: 6 });
    }

    #[test]
    fn counts_are_proved() {
        let two = [LEAST, SECOND].concat();
        let count = |declared, found| Err(BatchError::Count { declared, found });
        assert_eq!(read(&batch(2, 1, &two)), Ok(2));
        assert_eq!(read(&batch(0, 5, &[])), Ok(0), "emptied by compaction");
        assert_eq!(read(&batch(1, 1, &two)), Err(BatchError::TrailingBytes { bytes: 7 }));
        assert_eq!(read(&batch(0, 1, &two)), Err(BatchError::TrailingBytes { bytes: 14 }));
        assert_eq!(read(&batch(3, 2, &two)), count(3, 2));
        assert_eq!(read(&batch(i32::MAX, 1, &two)), count(i32::MAX, 2), "refused before anyone allocates by it");
        assert_eq!(read(&batch(-1, 1, &two)), count(-1, 2));
        // Room for a second by its bytes, but they are the first's.
        let wide = [&[26, 0, 0, 0, 14][..], b"a key..", &[1, 0]].concat();
        assert_eq!(read(&batch(2, 1, &wide)), count(2, 1));
    }

    #[test]
    fn offsets_rise_and_stay_within_the_batch() {
        let fault = |offset_delta, previous, last_offset_delta| RecordFault::OffsetDelta {
            offset_delta,
            previous,
            last_offset_delta,
        };
        assert_eq!(read(&batch(1, 9, &SECOND)), Ok(1), "a gap, as compaction leaves");
        let again = batch(2, 9, &[SECOND, SECOND].concat());
        assert_eq!(read(&again), Err(BatchError::Record { index: 1, fault: fault(1, 1, 9) }));
        let back = batch(2, 9, &[SECOND, LEAST].concat());
        assert_eq!(read(&back), Err(BatchError::Record { index: 1, fault: fault(0, 1, 9) }));
        check_fault(&SECOND, fault(1, -1, 0));
        check_fault(&[12, 0, 0, 1, 1, 1, 0], fault(-1, -1, 0));
    }

    #[test]
    fn malformed_records_are_named() {
        let truncated = |needed, left| RecordFault::Truncated { needed, left };
        // (what, bytes, fault), each of seven bytes or more so that the count is believed
        let overlong = RecordFault::VarintOverflow;
        check_fault(&[0x80, 0x80, 0x80, 0x80, 0x80, 0, 0], overlong); // a length of six bytes
        check_fault(&[0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0], overlong); // a length of 33 bits
        check_fault(&[0x80; 9], overlong);
        check_fault(&[&[24, 0][..], &[0xff; 9], &[0x02], &[0]].concat(), overlong); // a timestamp of 65 bits
        check_fault(&[&[26, 0][..], &[0x80; 10], &[0, 0]].concat(), overlong); // a timestamp of eleven bytes
        check_fault(&[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0], truncated(i32::MAX as usize, 2));
        check_fault(&[1, 0, 0, 0, 1, 1, 0], RecordFault::NegativeLength { length: -1 });
        check_fault(&[0, 0, 0, 0, 1, 1, 0], truncated(1, 0)); // no attributes
        check_fault(&[12, 0, 0, 0, 3, 1, 0], RecordFault::NegativeLength { length: -2 });
        check_fault(&[12, 0, 0, 0, 20, 1, 0], truncated(10, 2)); // a key beyond the record
        check_fault(&[12, 0, 0, 0, 1, 20, 0], truncated(10, 1)); // a value beyond it
        check_fault(&[12, 0, 0, 0, 1, 1, 1], RecordFault::NegativeLength { length: -1 });
        check_fault(&[12, 0, 0, 0, 1, 1, 2], truncated(1, 0)); // a header that is not there
        check_fault(&[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f], truncated(1, 0)); // 2^31 - 1 of them
        check_fault(&[16, 0, 0, 0, 1, 1, 2, 1, 1], RecordFault::HeaderKey); // null
        check_fault(&[18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1], RecordFault::HeaderKey); // not UTF-8
        check_fault(&[14, 0, 0, 0, 1, 1, 0, 9], RecordFault::TrailingBytes { bytes: 1 });
        check_fault(&[12, 0, 0, 0, 1, 1, 0x80], truncated(2, 1)); // a varint without its end
    }

    #[test]
    fn the_widest_integers_are_read() {
        let body = [&[34][..], &[0], &[0xff; 9], &[1], &[0], &[1], &[1], &[0x80, 0x80, 0], &[]].concat();
        let decoded = batch(1, 0, &body).decode(1 << 10).expect("room");
        let record = decoded.iter().next().expect("one").expect("well formed, one integer longer than need be");
        assert_eq!(record.timestamp_delta, i64::MIN);
    }
}
