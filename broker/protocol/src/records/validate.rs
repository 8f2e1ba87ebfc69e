//! What a producer may send, as far as headers tell: the records stay compressed.
//!
//! The rules are Kafka's (`LogValidator.validateBatch`, `UnifiedLog.analyzeAndValidateRecords`, `ProduceRequest`), without
//! those that read records. Where Kafka is silent and a batch would mislead whoever reads it later, we refuse by name.

use super::{Batch, BatchError, Chunks, Compression, TimestampType};

/// The attribute bits that mean something in a producer's batch: codec, timestamp type, transactional, control.
const KNOWN_ATTRIBUTES: i16 = 0b11_1111;

/// Why a producer's batch is refused. Kafka's error for each is named: the broker answers with that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Nothing, or null, where a batch should be. INVALID_RECORD.
    #[error("no record batch for the partition")]
    NoBatch,
    /// More bytes after the first batch: a second one, or something else. INVALID_RECORD.
    #[error("{bytes} bytes after the first record batch: a partition takes exactly one a request")]
    NotOneBatch {
        /// How many.
        bytes: usize,
    },
    /// Message format 0 or 1, or none we know. INVALID_RECORD, as Kafka has it since Produce 3. (Its
    /// UNSUPPORTED_FOR_MESSAGE_FORMAT is for topics kept in an old format, of which there are none here.)
    #[error("magic {magic}: only record batches of magic 2 are taken")]
    Magic {
        /// What the batch says.
        magic: i8,
    },
    /// The bytes are not a whole batch, or the checksum does not match them. CORRUPT_MESSAGE, which producers retry.
    #[error("the batch arrived damaged: {0}")]
    Corrupt(BatchError),
    /// A codec that does not exist. UNSUPPORTED_COMPRESSION_TYPE.
    #[error("unknown codec {id}")]
    UnknownCodec {
        /// The codec bits of the attributes.
        id: u8,
    },
    /// Bits without a meaning, or the delete horizon, which only compaction sets (KIP-534). INVALID_RECORD.
    #[error("attributes {attributes:#06x} have bits that are not a producer's")]
    Attributes {
        /// The attributes.
        attributes: i16,
    },
    /// No records, fewer than none, or other than the span of offsets has room for. INVALID_RECORD.
    #[error("{count} records over offsets 0 to {last_offset_delta}")]
    Count {
        /// Records by the header.
        count: i32,
        /// The last offset by the header.
        last_offset_delta: i32,
    },
    /// The end of a transaction is the broker's to write. INVALID_RECORD.
    #[error("clients do not write control batches")]
    Control,
    /// An idempotent producer without a place in its sequence. INVALID_RECORD.
    #[error("sequence {base_sequence} and epoch {producer_epoch} of producer {producer_id}")]
    Sequence {
        /// The producer.
        producer_id: i64,
        /// Its epoch.
        producer_epoch: i16,
        /// The batch's first sequence.
        base_sequence: i32,
    },
    /// Part of a transaction, but of nobody's. INVALID_RECORD.
    #[error("a transactional batch without a producer id")]
    TransactionalWithoutProducer,
    /// The timestamps claim to be the broker's. INVALID_TIMESTAMP.
    #[error("timestamp type LogAppendTime, which is the broker's to set")]
    TimestampType,
}

impl From<BatchError> for Invalid {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Magic { magic } => Self::Magic { magic },
            BatchError::UnknownCodec { id } => Self::UnknownCodec { id },
            other => Self::Corrupt(other),
        }
    }
}

impl Batch {
    /// The one batch of a partition's records field, checked by [`validate_from_producer`].
    ///
    /// # Errors
    /// What is wrong with it, or that there is none, or more.
    pub fn from_producer(records: Option<&Chunks>) -> Result<Self, Invalid> {
        let records = records.filter(|records| !records.is_empty()).ok_or(Invalid::NoBatch)?;
        let (batch, bytes) = Self::first_of(records)?;
        if bytes > 0 {
            return Err(Invalid::NotOneBatch { bytes });
        }
        validate_from_producer(&batch)?;
        Ok(batch)
    }
}

/// Checks what a header tells of a producer's batch, and the checksum over all of it. Not checked: the size
/// (`max.message.bytes`), the records, the producer's window; those need what only the broker knows.
///
/// The checksum comes first: when it is wrong no field means anything, and the answer is the retriable one.
///
/// # Errors
/// The first rule it breaks.
pub fn validate_from_producer(batch: &Batch) -> Result<(), Invalid> {
    batch.verify_crc()?;
    let header = &batch.header;
    header.compression()?;
    if header.count <= 0 || header.last_offset_delta != header.count - 1 {
        return Err(Invalid::Count { count: header.count, last_offset_delta: header.last_offset_delta });
    }
    let most = match header.compression()? {
        Compression::None => header.body_len() / RECORD_BYTES_MIN,
        Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => COMPRESSED_RECORDS_MAX,
    };
    if usize::try_from(header.count).is_ok_and(|count| count > most) {
        return Err(Invalid::Count { count: header.count, last_offset_delta: header.last_offset_delta });
    }
    if header.is_control() {
        return Err(Invalid::Control);
    }
    if header.attributes & !KNOWN_ATTRIBUTES != 0 {
        return Err(Invalid::Attributes { attributes: header.attributes });
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(Invalid::TimestampType);
    }
    if header.has_producer_id() && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err(Invalid::Sequence {
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        });
    }
    if header.is_transactional() && !header.has_producer_id() {
        return Err(Invalid::TransactionalWithoutProducer);
    }
    Ok(())
}

/// The shortest record: its length, attributes, two deltas, no key, no value, no headers, a byte each.
const RECORD_BYTES_MIN: usize = 7;

/// Records that a compressed batch may say it has: far above what fits into `max.message.bytes`, far below what would use up a
/// partition's offsets with batches of a few bytes.
const COMPRESSED_RECORDS_MAX: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{BatchBuilder, BatchHeader, Compression, NO_HEADERS};
    use super::*;

    /// Two records of an idempotent producer.
    fn sound() -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(1, None, Some(b"one"), NO_HEADERS).push(2, None, Some(b"two"), NO_HEADERS);
        builder.producer(7, 0, 0).build_batch()
    }

    /// What is said of a sound batch after this change to its header, the checksum made right again.
    fn judge(change: impl FnOnce(&mut BatchHeader)) -> Result<(), Invalid> {
        let mut batch = sound();
        change(&mut batch.header);
        batch.header.crc = batch.crc();
        validate_from_producer(&batch)
    }

    #[test]
    fn sound_batches_pass() {
        assert_eq!(judge(|_| ()), Ok(()));
        assert_eq!(judge(|h| h.attributes |= 1 << 4), Ok(()), "transactional, with a producer");
        assert_eq!(judge(|h| h.base_sequence = i32::MAX), Ok(()), "the sequence wraps within it");
        assert_eq!(judge(|h| (h.producer_id, h.producer_epoch, h.base_sequence) = (-1, -1, -1)), Ok(()));
        for codec in Compression::ALL {
            assert_eq!(judge(|h| h.attributes |= i16::from(codec.id())), Ok(()), "bodies are not looked at");
        }
    }

    #[test]
    fn each_rule_has_its_name() {
        let count = |count, last_offset_delta| Err(Invalid::Count { count, last_offset_delta });
        assert_eq!(judge(|h| h.count = 0), count(0, 1));
        assert_eq!(judge(|h| h.count = -2), count(-2, 1));
        assert_eq!(judge(|h| h.count = 1), count(1, 1));
        assert_eq!(judge(|h| h.last_offset_delta = 0), count(2, 0));
        assert_eq!(judge(|h| h.last_offset_delta = -1), count(2, -1));
        assert_eq!(judge(|h| (h.count, h.last_offset_delta) = (0, -1)), count(0, -1));
        assert_eq!(judge(|h| (h.count, h.last_offset_delta) = (i32::MIN, i32::MAX)), count(i32::MIN, i32::MAX));
        assert_eq!(judge(|h| h.base_offset = 5), Ok(()), "it is the broker's to give, as Kafka takes it");
        assert_eq!(judge(|h| h.attributes = 5), Err(Invalid::UnknownCodec { id: 5 }));
        assert_eq!(judge(|h| h.attributes = 1 << 3), Err(Invalid::TimestampType));
        assert_eq!(judge(|h| h.attributes = 1 << 5), Err(Invalid::Control));
        for bit in 6..16 {
            let attributes = (1u16 << bit) as i16;
            assert_eq!(judge(|h| h.attributes = attributes), Err(Invalid::Attributes { attributes }));
        }
        let sequence =
            |producer_epoch, base_sequence| Err(Invalid::Sequence { producer_id: 7, producer_epoch, base_sequence });
        assert_eq!(judge(|h| h.base_sequence = -1), sequence(0, -1));
        assert_eq!(judge(|h| h.producer_epoch = -1), sequence(-1, 0));
        let nobodys = judge(|h| (h.producer_id, h.attributes) = (-1, 1 << 4));
        assert_eq!(nobodys, Err(Invalid::TransactionalWithoutProducer));
    }

    #[test]
    fn damage_comes_before_every_other_rule() {
        let mut batch = sound();
        batch.header.count = 0;
        assert!(matches!(validate_from_producer(&batch), Err(Invalid::Corrupt(BatchError::Crc { .. }))));
    }

    #[test]
    fn a_partition_takes_exactly_one_batch() {
        let bytes = Bytes::from(sound().to_parts().concat());
        let from_producer = |bytes: &[u8]| Batch::from_producer(Some(&Chunks::from(Bytes::copy_from_slice(bytes))));
        assert_eq!(from_producer(&bytes), Ok(sound()));
        assert_eq!(Batch::from_producer(None), Err(Invalid::NoBatch));
        assert_eq!(from_producer(b""), Err(Invalid::NoBatch));
        assert_eq!(from_producer(&bytes.repeat(2)), Err(Invalid::NotOneBatch { bytes: bytes.len() }));
        assert_eq!(from_producer(&[&bytes[..], &[0]].concat()), Err(Invalid::NotOneBatch { bytes: 1 }));
        for len in 1..bytes.len() {
            let cut = from_producer(&bytes[..len]);
            assert!(matches!(cut, Err(Invalid::Corrupt(BatchError::Truncated { .. }))), "cut at {len}: {cut:?}");
        }
        let mut old = bytes.to_vec();
        old[16] = 1;
        assert_eq!(from_producer(&old), Err(Invalid::Magic { magic: 1 }));
        let mut short = bytes.to_vec();
        short[8..12].copy_from_slice(&7i32.to_be_bytes());
        assert_eq!(from_producer(&short), Err(Invalid::Corrupt(BatchError::Length { batch_length: 7 })));
    }
}
