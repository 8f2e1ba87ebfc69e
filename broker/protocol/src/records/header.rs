//! The 61 bytes that head a record batch v2, and the checksum over most of them.
//!
//! ```text
//!  0 base_offset i64      | 12 partition_leader_epoch i32 | 21 attributes i16         | 35 max_timestamp i64  | 53 base_sequence i32
//!  8 batch_length i32     | 16 magic i8                   | 23 last_offset_delta i32  | 43 producer_id i64    | 57 count i32
//!                         | 17 crc u32                    | 27 base_timestamp i64     | 51 producer_epoch i16 | 61 records...
//! ```
//! All big-endian. `batch_length` counts what follows it. The checksum is CRC-32C of everything from `attributes` to the end
//! of the batch, so the broker assigns offset and leader epoch in place without touching it (KIP-98; Kafka's
//! `DefaultRecordBatch`).

use bytes::{Buf, BufMut};
use crc_fast::{CrcAlgorithm, Digest};

use super::{BatchError, Compression};

/// Bytes of the header of a record batch v2, from `base_offset` to `count`.
pub const HEADER_LEN: usize = 61;

/// Bytes before the part that `batch_length` counts: `base_offset` and `batch_length` itself.
pub const LOG_OVERHEAD: usize = 12;

/// The format of record batches since Kafka 0.11, the only one served (KIP-896).
pub const MAGIC: i8 = 2;

/// The producer id of a batch whose producer is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;

/// The epoch that goes with [`NO_PRODUCER_ID`].
pub const NO_PRODUCER_EPOCH: i16 = -1;

/// The base sequence that goes with [`NO_PRODUCER_ID`].
pub const NO_SEQUENCE: i32 = -1;

/// The timestamp of a batch without records.
pub const NO_TIMESTAMP: i64 = -1;

/// Where the checksummed part starts: at `attributes`.
const CRC_FROM: usize = 21;

/// What `batch_length` is at least: the rest of a header.
const MIN_BATCH_LENGTH: i32 = (HEADER_LEN - LOG_OVERHEAD) as i32;

const CODEC_MASK: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// Who wrote the timestamps of a batch (KIP-32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer: each record's is the base timestamp plus its delta.
    CreateTime,
    /// The broker at append: `max_timestamp` is that of every record, whatever the deltas say.
    LogAppendTime,
}

/// The header of a record batch v2, field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the batch's span's first; 0 from a producer, assigned at append.
    pub base_offset: i64,
    /// Bytes of the batch after this field.
    pub batch_length: i32,
    /// Epoch of the leader that appended it; outside the checksum.
    pub partition_leader_epoch: i32,
    /// Format of the batch, 2.
    pub magic: i8,
    /// CRC-32C from the attributes to the end.
    pub crc: u32,
    /// Codec, timestamp type, transactional and control bits.
    pub attributes: i16,
    /// Last offset of the span, less the base. The span stays when records are removed.
    pub last_offset_delta: i32,
    /// What timestamp deltas count from, in milliseconds since 1970.
    pub base_timestamp: i64,
    /// The greatest timestamp of the batch.
    pub max_timestamp: i64,
    /// The idempotent producer's id, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the span's first record, or -1.
    pub base_sequence: i32,
    /// Records in the body: `last_offset_delta + 1` from a producer, fewer once some were removed.
    pub count: i32,
}

impl BatchHeader {
    /// Reads a header. Checks what the rest of the fields rest on, magic and length; not the checksum, and no rule for
    /// producers ([`super::validate_from_producer`]).
    ///
    /// # Errors
    /// [`BatchError::Magic`] and [`BatchError::Length`].
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, BatchError> {
        let mut from = &bytes[..];
        let header = Self {
            base_offset: from.get_i64(),
            batch_length: from.get_i32(),
            partition_leader_epoch: from.get_i32(),
            magic: from.get_i8(),
            crc: from.get_u32(),
            attributes: from.get_i16(),
            last_offset_delta: from.get_i32(),
            base_timestamp: from.get_i64(),
            max_timestamp: from.get_i64(),
            producer_id: from.get_i64(),
            producer_epoch: from.get_i16(),
            base_sequence: from.get_i32(),
            count: from.get_i32(),
        };
        if header.magic != MAGIC {
            return Err(BatchError::Magic { magic: header.magic });
        }
        if header.batch_length < MIN_BATCH_LENGTH {
            return Err(BatchError::Length { batch_length: header.batch_length });
        }
        Ok(header)
    }

    /// The header as it stands in a log or on the wire.
    pub fn to_bytes(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut to = &mut bytes[..];
        to.put_i64(self.base_offset);
        to.put_i32(self.batch_length);
        to.put_i32(self.partition_leader_epoch);
        to.put_i8(self.magic);
        to.put_u32(self.crc);
        to.put_i16(self.attributes);
        to.put_i32(self.last_offset_delta);
        to.put_i64(self.base_timestamp);
        to.put_i64(self.max_timestamp);
        to.put_i64(self.producer_id);
        to.put_i16(self.producer_epoch);
        to.put_i32(self.base_sequence);
        to.put_i32(self.count);
        bytes
    }

    /// Bytes of the whole batch, header included.
    pub fn size(&self) -> usize {
        LOG_OVERHEAD + usize::try_from(self.batch_length).unwrap_or(0)
    }

    /// Bytes of the batch after the header.
    pub fn body_len(&self) -> usize {
        self.size().saturating_sub(HEADER_LEN)
    }

    /// The last offset of the span, whether or not a record has it.
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// Where the next batch starts, at the earliest.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The sequence of the span's last record: it wraps from `i32::MAX` to 0 as producers' sequences do. -1 without one.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return NO_SEQUENCE;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// The codec of the body.
    ///
    /// # Errors
    /// [`BatchError::UnknownCodec`] for the three values that mean nothing.
    pub fn compression(&self) -> Result<Compression, BatchError> {
        let id = (self.attributes & CODEC_MASK) as u8;
        Compression::from_id(id).ok_or(BatchError::UnknownCodec { id })
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether the batch is the broker's own (a transaction's end), which clients skip.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Who wrote the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether an idempotent producer wrote it.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    pub(super) fn set_compression(&mut self, codec: Compression) {
        self.attributes = (self.attributes & !CODEC_MASK) | i16::from(codec.id());
    }

    pub(super) fn set_log_append_time(&mut self, now: i64) {
        self.attributes |= LOG_APPEND_TIME;
        self.max_timestamp = now;
    }

    pub(super) fn set_control(&mut self) {
        self.attributes |= CONTROL;
    }

    pub(super) fn set_transactional(&mut self) {
        self.attributes |= TRANSACTIONAL;
    }
}

/// The checksum of a batch, taken piece by piece.
pub struct BatchCrc(Digest);

impl BatchCrc {
    /// Starts with the checksummed part of the header.
    pub fn new(header: &[u8; HEADER_LEN]) -> Self {
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        digest.update(&header[CRC_FROM..]);
        Self(digest)
    }

    /// Goes on with the next bytes of the body.
    pub fn update(&mut self, body: &[u8]) {
        self.0.update(body);
    }

    /// The checksum of everything so far.
    pub fn finish(&self) -> u32 {
        self.0.finalize() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BatchHeader {
        BatchHeader {
            base_offset: 0x0102_0304_0506_0708,
            batch_length: 100,
            partition_leader_epoch: 7,
            magic: 2,
            crc: 0xdead_beef,
            attributes: 0b1_1100,
            last_offset_delta: 9,
            base_timestamp: 1_700_000_000_000,
            max_timestamp: 1_700_000_000_900,
            producer_id: 4000,
            producer_epoch: 3,
            base_sequence: 17,
            count: 10,
        }
    }

    #[test]
    fn fields_stand_where_kafka_has_them() {
        let bytes = header().to_bytes();
        assert_eq!(bytes[0..8], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes[8..12], 100i32.to_be_bytes());
        assert_eq!(bytes[12..16], 7i32.to_be_bytes());
        assert_eq!(bytes[16], 2);
        assert_eq!(bytes[17..21], 0xdead_beefu32.to_be_bytes());
        assert_eq!(bytes[21..23], [0, 0b1_1100]);
        assert_eq!(bytes[23..27], 9i32.to_be_bytes());
        assert_eq!(bytes[27..35], 1_700_000_000_000i64.to_be_bytes());
        assert_eq!(bytes[35..43], 1_700_000_000_900i64.to_be_bytes());
        assert_eq!(bytes[43..51], 4000i64.to_be_bytes());
        assert_eq!(bytes[51..53], 3i16.to_be_bytes());
        assert_eq!(bytes[53..57], 17i32.to_be_bytes());
        assert_eq!(bytes[57..61], 10i32.to_be_bytes());
        assert_eq!(BatchHeader::parse(&bytes), Ok(header()));
    }

    #[test]
    fn attributes_are_read_bit_by_bit() {
        let header = header();
        assert_eq!(header.compression(), Ok(Compression::Zstd));
        assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
        assert!(header.is_transactional() && !header.is_control() && header.has_producer_id());
        for id in 5..8 {
            let unknown = BatchHeader { attributes: id, ..header };
            assert_eq!(unknown.compression(), Err(BatchError::UnknownCodec { id: id as u8 }));
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for magic in [-1, 0, 1, 3, i8::MAX] {
            let bytes = BatchHeader { magic, ..header() }.to_bytes();
            assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::Magic { magic }));
        }
        for batch_length in [i32::MIN, -1, 0, 48] {
            let bytes = BatchHeader { batch_length, ..header() }.to_bytes();
            assert_eq!(BatchHeader::parse(&bytes), Err(BatchError::Length { batch_length }));
        }
        let least =
            BatchHeader::parse(&BatchHeader { batch_length: 49, ..header() }.to_bytes()).expect("a bare header");
        assert_eq!((least.size(), least.body_len()), (HEADER_LEN, 0));
    }

    #[test]
    fn sequences_wrap_and_offsets_do_not() {
        let last = |base_sequence, last_offset_delta| {
            BatchHeader { base_sequence, last_offset_delta, ..header() }.last_sequence()
        };
        assert_eq!(last(0, 0), 0);
        assert_eq!(last(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(last(i32::MAX, 1), 0);
        assert_eq!(last(i32::MAX - 2, 9), 6);
        assert_eq!(last(NO_SEQUENCE, 9), NO_SEQUENCE);

        let far = BatchHeader { base_offset: i64::MAX, ..header() };
        assert_eq!(far.next_offset(), i64::MAX);
    }

    #[test]
    fn the_checksum_is_castagnoli_over_attributes_and_body() {
        let bytes = header().to_bytes();
        let mut crc = BatchCrc::new(&bytes);
        crc.update(b"body ");
        crc.update(b"in pieces");
        assert_eq!(crc.finish(), crc_fast::crc32_iscsi(&[&bytes[21..], b"body in pieces"].concat()));
        assert_eq!(crc_fast::crc32_iscsi(b"123456789"), 0xe306_9283, "the check value of CRC-32C");

        let moved = BatchHeader { base_offset: 5, partition_leader_epoch: 9, ..header() }.to_bytes();
        assert_eq!(BatchCrc::new(&moved).finish(), BatchCrc::new(&bytes).finish(), "offset and epoch lie outside");
    }
}
