//! What can be wrong with the bytes of a record batch.

use super::Compression;

/// Why bytes are not a record batch, or a batch not what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end inside a batch.
    #[error("a batch needs {needed} bytes and {left} are left")]
    Truncated {
        /// Bytes the batch has by its own account, or a header has.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// The length field is shorter than a header, so not a length.
    #[error("batch length {batch_length} is shorter than a header")]
    Length {
        /// What the field says.
        batch_length: i32,
    },
    /// Not record batch v2: a message set of Kafka before 0.11 (magic 0 or 1), or no batch at all.
    #[error("magic {magic}, only record batches of magic 2 are served")]
    Magic {
        /// What the field says.
        magic: i8,
    },
    /// The checksum does not match the bytes.
    #[error("checksum {stored:#010x} in the header, {computed:#010x} of the bytes")]
    Crc {
        /// What the header says.
        stored: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The attributes name a codec that does not exist.
    #[error("unknown codec {id}")]
    UnknownCodec {
        /// The codec bits of the attributes, 5 to 7.
        id: u8,
    },
    /// The body is not what its codec writes.
    #[error("the {codec} body does not decompress: {cause}")]
    Decompress {
        /// The codec of the batch.
        codec: Compression,
        /// What the codec said.
        cause: String,
    },
    /// The records take more than the limit, decompressed. Found while decompressing, not after.
    #[error("more than {limit} bytes of records in the batch")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The header counts more records than its body could hold, fewer than none, or others than are there.
    #[error("the header counts {declared} records, the body has {found}")]
    Count {
        /// What the header says.
        declared: i32,
        /// Records found, or the most that could be there.
        found: usize,
    },
    /// Bytes after the last record the header counts.
    #[error("{bytes} bytes after the last record")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// A record is malformed.
    #[error("record {index}: {fault}")]
    Record {
        /// Its place in the batch, from 0.
        index: usize,
        /// What is wrong with it.
        fault: RecordFault,
    },
}

/// What is wrong with one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// A variable-length integer has more bytes than its type allows, or bits beyond it.
    #[error("a variable-length integer overflows")]
    VarintOverflow,
    /// The bytes end inside the record or inside one of its fields.
    #[error("{needed} bytes are wanted where {left} are left")]
    Truncated {
        /// Bytes the field says it has.
        needed: usize,
        /// Bytes there are.
        left: usize,
    },
    /// A length or count below its least value.
    #[error("negative length {length}")]
    NegativeLength {
        /// What the field says.
        length: i32,
    },
    /// The fields end before the record does.
    #[error("{bytes} bytes after the last field")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// A header's key is null or not UTF-8.
    #[error("the key of a header is not a string")]
    HeaderKey,
    /// The offset delta does not rise, or lies beyond the batch.
    #[error("offset delta {offset_delta} after {previous}, in a batch that ends at {last_offset_delta}")]
    OffsetDelta {
        /// This record's.
        offset_delta: i32,
        /// The record's before it, -1 for the first.
        previous: i32,
        /// The batch's last.
        last_offset_delta: i32,
    },
}
