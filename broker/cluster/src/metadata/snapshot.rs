//! An image as bytes: the records that lead to it, in the log's own encoding, so there is one format and one `replay`. Written
//! beside the log by the controller and stored in chunks; [`SnapshotAt`](super::batch::SnapshotAt) in the head says where.

use serde::{Deserialize, Serialize};

use super::batch::Hash;
use super::image::{Image, ReplayError};
use super::record::MetadataRecord;
use super::sealed::{DecodeError, seal, unseal};

/// Bytes that are no snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// They don't parse.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// They don't add up.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// The image as bytes.
#[must_use]
pub fn encode(image: &Image) -> Vec<u8> {
    seal(&Snapshot { next_seq: image.next_seq(), hash: image.hash(), records: image.records() })
}

/// The image that [`encode`] wrote.
pub fn decode(bytes: &[u8]) -> Result<Image, SnapshotError> {
    let snapshot: Snapshot = unseal(bytes)?;
    let mut image = Image::default();
    for record in &snapshot.records {
        image.replay(record)?;
    }
    image.applied(snapshot.next_seq, snapshot.hash);
    Ok(image)
}

#[derive(Serialize, Deserialize)]
struct Snapshot {
    next_seq: u64,
    hash: Hash,
    records: Vec<MetadataRecord>,
}
