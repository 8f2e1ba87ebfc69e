//! Snapshots of the image in the coordinator, so that the log doesn't grow for ever and a new broker doesn't read all of it.
//!
//! A snapshot is written beside the log in parts that fit a node each, and means nothing until the head names it. Two are kept: who
//! began to read the older one when the newer was named can finish. Entries before the older one are deleted. Whoever finds an
//! entry gone begins again with the snapshot that the head names.
//!
//! Every write checks that the controller's epoch is still ours, the deletions too: a deposed controller that comes back must not
//! clear away what its successor counts on.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use sluice_cluster::Image;
use sluice_cluster::metadata::batch::SnapshotAt;
use sluice_cluster::metadata::snapshot::{SnapshotError, decode, encode};

use super::coordinator::{Change, Lifetime, NODE_BYTES_MAX, ReadError, Refusal, Session, WriteError};
use super::seat::Seat;
use super::znodes::{CONTROLLER_EPOCH, META_LOG, META_SNAP, chunk, entry, snapshot};

/// When the log has grown enough for a snapshot: since the last one, by either measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotEvery {
    /// Entries. The names of those that two snapshots leave behind have to fit one answer of ZooKeeper, which is 1 MiB.
    pub entries: u64,
    /// Bytes of entries.
    pub bytes: u64,
}

impl Default for SnapshotEvery {
    fn default() -> Self {
        Self { entries: 10_000, bytes: 16 << 20 }
    }
}

/// What has been added to the log since a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Grown {
    entries: u64,
    bytes: u64,
}

impl Grown {
    pub(super) fn add(&mut self, entry_bytes: usize) {
        self.entries += 1;
        self.bytes += entry_bytes as u64;
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }

    pub(super) fn is_enough(&self, every: SnapshotEvery) -> bool {
        self.entries >= every.entries || self.bytes >= every.bytes
    }
}

/// Why no image came from a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReadSnapshotError {
    #[error(transparent)]
    Unavailable(#[from] ReadError),
    /// A part of it is not there.
    #[error("part {index} of it is missing")]
    Missing { index: u32 },
    #[error(transparent)]
    Damaged(#[from] SnapshotError),
    /// It is of another place in the log.
    #[error("it is the image before entry {found}")]
    Elsewhere { found: u64 },
}

/// Bytes of a part: as much as a write may have.
const CHUNK_BYTES: usize = NODE_BYTES_MAX;

/// Parts read at once: 4 MiB of answers under way.
const READS_IN_FLIGHT: usize = 8;

/// Nodes deleted by one write. Each takes some hundred bytes of it.
const DELETED_AT_ONCE: usize = 256;

/// Writes the image beside the log. The head still has to name it.
pub(super) async fn write(session: &dyn Session, seat: Seat, image: &Image) -> Result<SnapshotAt, WriteError> {
    // Clusters that were founded before there were snapshots don't have it.
    match session.multi(vec![create(META_SNAP.to_owned(), Vec::new())]).await {
        Ok(()) | Err(WriteError::Refused { refusal: Refusal::Exists, .. }) => {}
        Err(error) => return Err(error),
    }
    let bytes = crate::slow::in_place(|| encode(image));
    let seq = image.next_seq();
    session.multi(vec![check(seat), create(snapshot(seq), Vec::new())]).await?;
    let mut chunks = 0;
    for part in bytes.chunks(CHUNK_BYTES) {
        session.multi(vec![check(seat), create(chunk(seq, chunks), part.to_vec())]).await?;
        chunks += 1;
    }
    Ok(SnapshotAt { next_seq: seq, chunks })
}

/// The image of a snapshot that the head names.
pub(super) async fn read(session: &dyn Session, at: SnapshotAt) -> Result<Image, ReadSnapshotError> {
    let reads = stream::iter(0..at.chunks).map(|index| async move {
        let node = session.read(&chunk(at.next_seq, index)).await?;
        node.map(|node| node.data).ok_or(ReadSnapshotError::Missing { index })
    });
    let parts: Vec<Vec<u8>> = reads.buffered(READS_IN_FLIGHT).try_collect().await?;
    let image = crate::slow::in_place(|| decode(&parts.concat()))?;
    if image.next_seq() != at.next_seq {
        return Err(ReadSnapshotError::Elsewhere { found: image.next_seq() });
    }
    Ok(image)
}

/// Deletes what nobody reads any more, now that the head names the snapshot before entry `named`.
pub(super) async fn tidy(session: Arc<dyn Session>, seat: Seat, named: u64) -> Result<(), String> {
    let failed = |error: WriteError| error.to_string();
    let children = async |path: &str| {
        let names = session.children(path).await.map_err(|error| error.to_string())?;
        let mut seqs: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        seqs.sort_unstable();
        Ok::<_, String>(seqs)
    };
    let snapshots = children(META_SNAP).await?;
    let Some(&older) = snapshots.iter().rev().find(|seq| **seq < named) else { return Ok(()) };
    for stale in snapshots.into_iter().filter(|seq| *seq != named && *seq != older) {
        let path = snapshot(stale);
        let parts = session.children(&path).await.map_err(|error| error.to_string())?;
        let parts = parts.iter().map(|part| delete(format!("{path}/{part}")));
        let all: Vec<Change> = parts.chain([delete(path.clone())]).collect();
        delete_all(session.as_ref(), seat, &all).await.map_err(failed)?;
    }
    let entries: Vec<Change> =
        children(META_LOG).await?.into_iter().filter(|seq| *seq < older).map(|seq| delete(entry(seq))).collect();
    delete_all(session.as_ref(), seat, &entries).await.map_err(failed)
}

async fn delete_all(session: &dyn Session, seat: Seat, all: &[Change]) -> Result<(), WriteError> {
    for some in all.chunks(DELETED_AT_ONCE) {
        session.multi([check(seat)].into_iter().chain(some.iter().cloned()).collect()).await?;
    }
    Ok(())
}

fn check(seat: Seat) -> Change {
    Change::Check { path: CONTROLLER_EPOCH.to_owned(), version: seat.epoch_version }
}

fn create(path: String, data: Vec<u8>) -> Change {
    Change::Create { path, data, lifetime: Lifetime::Persistent }
}

/// Parts and entries are written once.
fn delete(path: String) -> Change {
    Change::Delete { path, version: 0 }
}
