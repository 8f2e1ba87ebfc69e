//! A batch of records as one entry of the metadata log, and the log's head.
//!
//! ```text
//!   entry:  version u8 | crc32c u32 LE | controller_epoch, nonce, previous hash, records   (postcard)
//!   head:   version u8 | crc32c u32 LE | next_seq, hash, snapshot                          (postcard)
//! ```
//! Each entry names the SHA-256 of the whole entry before it, so two logs that agree on one hash agree on all that came before,
//! and a coordinator restored from an old copy can't pass for the log a broker has seen. The nonce tells one's own entry from
//! another's when an append's outcome is unknown.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::image::{Image, ReplayError};
use super::record::MetadataRecord;

/// The SHA-256 of an entry, and through it of all entries before.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

/// One entry of the metadata log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The epoch of the controller that wrote it.
    pub controller_epoch: i32,
    /// Random: this attempt to append and no other.
    pub nonce: u64,
    /// The hash of the entry before; zeroes before the first.
    pub previous: Hash,
    /// What changes.
    pub records: Vec<MetadataRecord>,
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The number the next entry gets.
    pub next_seq: u64,
    /// The hash of the last entry.
    pub hash: Hash,
    /// The newest snapshot, if there is one: entries before it may be gone.
    pub snapshot: Option<SnapshotAt>,
}

/// Where a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotAt {
    /// The first entry that is not in it.
    pub next_seq: u64,
    /// Chunks it was written in.
    pub chunks: u32,
}

/// Bytes that are no entry, head or snapshot of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not even version and checksum.
    #[error("{len} bytes are too few")]
    TooShort {
        /// How many there are.
        len: usize,
    },
    /// Written by a later version of the broker, or not by one at all.
    #[error("version {version} is not known")]
    Version {
        /// The version byte.
        version: u8,
    },
    /// Damaged.
    #[error("checksum {found:08x}, the bytes have {computed:08x}")]
    Crc {
        /// As written.
        found: u32,
        /// As it should be.
        computed: u32,
    },
    /// The checksum holds but the content doesn't parse: a record of a later version.
    #[error("content does not parse: {reason}")]
    Content {
        /// What the decoder said.
        reason: String,
    },
}

/// An entry can't be the next one of this image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The bytes are no entry.
    #[error("entry {seq}: {cause}")]
    Decode {
        /// Its number.
        seq: u64,
        /// Why not.
        #[source]
        cause: DecodeError,
    },
    /// It continues another log.
    #[error("entry {seq} follows {found}, but {known} is known")]
    Chain {
        /// Its number.
        seq: u64,
        /// The hash it names.
        found: Hash,
        /// The hash it should name.
        known: Hash,
    },
    /// One of its records doesn't fit.
    #[error("entry {seq}: {cause}")]
    Replay {
        /// Its number.
        seq: u64,
        /// Why not.
        #[source]
        cause: ReplayError,
    },
}

impl Entry {
    /// The bytes to store, and their hash.
    #[must_use]
    pub fn encode(&self) -> (Vec<u8>, Hash) {
        let bytes = seal(self);
        let hash = Hash::of(&bytes);
        (bytes, hash)
    }

    /// Reads what [`Entry::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        unseal(bytes)
    }
}

impl Head {
    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        seal(self)
    }

    /// Reads what [`Head::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        unseal(bytes)
    }
}

impl Image {
    /// The image after the entry that comes next. This one stays as it is, whatever happens.
    pub fn after(&self, entry: &[u8]) -> Result<Self, ApplyError> {
        let seq = self.next_seq();
        let hash = Hash::of(entry);
        let entry = Entry::decode(entry).map_err(|cause| ApplyError::Decode { seq, cause })?;
        if entry.previous != self.hash() {
            return Err(ApplyError::Chain {
                seq,
                found: entry.previous,
                known: self.hash(),
            });
        }
        let mut image = self.clone();
        for record in &entry.records {
            image
                .replay(record)
                .map_err(|cause| ApplyError::Replay { seq, cause })?;
        }
        image.applied(seq + 1, hash);
        Ok(image)
    }
}

impl Hash {
    /// The hash of an entry's bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Eight digits tell logs apart for a reader; comparisons use all of it.
        self.0[..4]
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The version of everything in the metadata log. Raised when what it holds could not be read as an older version would.
const VERSION: u8 = 1;
/// Version and checksum.
const PREFIX_LEN: usize = 5;

pub(super) fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    // Room for version and checksum first; the content is written behind them. Postcard fails only where a type cannot tell
    // its length or the writer is full: neither is so for a Vec and for our types.
    let mut bytes = vec![VERSION, 0, 0, 0, 0];
    bytes =
        postcard::to_extend(value, bytes).expect("records of known length into a growing buffer");
    let crc = crc32c(&bytes[PREFIX_LEN..]);
    bytes[1..PREFIX_LEN].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let Some((prefix, content)) = bytes.split_first_chunk::<PREFIX_LEN>() else {
        return Err(DecodeError::TooShort { len: bytes.len() });
    };
    let [version, crc @ ..] = *prefix;
    if version != VERSION {
        return Err(DecodeError::Version { version });
    }
    let (found, computed) = (u32::from_le_bytes(crc), crc32c(content));
    if found != computed {
        return Err(DecodeError::Crc { found, computed });
    }
    match postcard::take_from_bytes(content) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(DecodeError::Content {
            reason: format!("{} bytes are left over", rest.len()),
        }),
        Err(error) => Err(DecodeError::Content {
            reason: error.to_string(),
        }),
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    // The algorithm's register is 64 bits wide for all of them; a CRC-32 leaves the upper half empty.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests;
