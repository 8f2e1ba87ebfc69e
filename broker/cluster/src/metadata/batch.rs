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

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::image::{Image, ReplayError};
use super::record::MetadataRecord;
use super::sealed::{DecodeError, seal, unseal};

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
            return Err(ApplyError::Chain { seq, found: entry.previous, known: self.hash() });
        }
        let mut image = self.clone();
        for record in &entry.records {
            image.replay(record).map_err(|cause| ApplyError::Replay { seq, cause })?;
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
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
