//! How everything the cluster keeps with its coordinator is written: a version byte, a CRC-32C over the rest, the content by
//! postcard. Damage and later versions are told apart from content.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes that are none of ours.
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

/// Raised when what is sealed could not be read as an older version would.
const VERSION: u8 = 1;
/// Version and checksum.
const PREFIX_LEN: usize = 5;

/// The bytes of a value, with version and checksum before them.
#[must_use]
pub fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    // Room for version and checksum first; the content is written behind them. Postcard fails only where a type cannot tell
    // its length or the writer is full: neither is so for a Vec and for our types.
    let mut bytes = vec![VERSION, 0, 0, 0, 0];
    bytes = postcard::to_extend(value, bytes).expect("records of known length into a growing buffer");
    let crc = crc32c(&bytes[PREFIX_LEN..]);
    bytes[1..PREFIX_LEN].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The value of bytes that [`seal`] wrote.
pub fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
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
        Ok((_, rest)) => Err(DecodeError::Content { reason: format!("{} bytes are left over", rest.len()) }),
        Err(error) => Err(DecodeError::Content { reason: error.to_string() }),
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    // The algorithm's register is 64 bits wide for all of them; a CRC-32 leaves the upper half empty.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
