//! The five codecs of a batch's body, each under a bound.
//!
//! A body says little of what it becomes: 32 KiB of zstd can be 1 GiB of records. So every codec decompresses into one
//! buffer, allocated at a size within the caller's limit, and ends with [`BatchError::TooLarge`] where that is too small.
//! A size that a body declares is a hint within the limit, never a promise. Where nothing tells the size, a buffer that
//! proves too small is dropped before a larger one is tried. Beside the buffer stands only what a codec needs to work at
//! all: at most 256 KiB for gzip (window, tables, a header's optional fields), about 100 KiB for zstd (its context), nothing
//! for snappy and lz4.
//!
//! Levels are the defaults of Kafka's `compression.*.level`: a rebuilt batch costs about what its producer paid.

mod gzip;
mod lz4;
mod snappy;
#[cfg(test)]
mod tests;
mod zstd;

use std::fmt;

use bytes::Bytes;

use super::{BatchError, Chunks};

/// How the records of a batch are compressed: the low three bits of its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As they are.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy: written in the framing of the Java library, read in that or bare.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// Zstandard, RFC 8878 (KIP-110).
    Zstd,
}

impl Compression {
    /// Every codec, in the order of their ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this id in the attributes.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// Its id in the attributes.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// Its name in Kafka's `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The records of `body` as they are, at most `limit` bytes of them.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`] as soon as the limit is passed, [`BatchError::Decompress`] when the body is not this codec's.
    pub(super) fn decompress(self, body: &Chunks, limit: usize) -> Result<Bytes, BatchError> {
        let decompress = match self {
            Self::None if body.len() > limit => return Err(BatchError::TooLarge { limit }),
            Self::None => return Ok(body.to_bytes()),
            Self::Gzip => gzip::decompress,
            Self::Snappy => snappy::decompress,
            Self::Lz4 => lz4::decompress,
            Self::Zstd => zstd::decompress,
        };
        match decompress(&body.to_bytes(), limit) {
            Ok(records) => Ok(records.into()),
            Err(Fault::TooLarge) => Err(BatchError::TooLarge { limit }),
            Err(Fault::Malformed(cause)) => Err(BatchError::Decompress { codec: self, cause }),
        }
    }

    /// A body of these records.
    pub(super) fn compress(self, records: Vec<u8>) -> Bytes {
        match self {
            Self::None => records,
            Self::Gzip => gzip::compress(&records),
            Self::Snappy => snappy::compress(&records),
            Self::Lz4 => lz4::compress(&records),
            Self::Zstd => zstd::compress(&records),
        }
        .into()
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a codec gave up.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// The limit is passed, or the body says it would be.
    TooLarge,
    /// The bytes are not the codec's; its words.
    Malformed(String),
}

impl Fault {
    fn malformed(cause: impl fmt::Display) -> Self {
        Self::Malformed(cause.to_string())
    }
}

/// The size of the next buffer to try when `tried` bytes were too few for what could need `most`. Four times: what a body
/// becomes is found in a few attempts, and all attempts together write at most a third more than the last.
fn next_size(tried: usize, most: usize) -> usize {
    tried.saturating_mul(4).clamp(1, most.max(1))
}
