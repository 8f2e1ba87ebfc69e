//! Snapshots of the metadata beside its log, as the broker's coordinator keeps them: written, then named by the head, and what is
//! before the one that was named until then is deleted. Who is new, or finds its next entry gone, begins with the one that the head
//! names, and has to come to the same image as whoever read everything.

use std::rc::Rc;

use super::super::happened::Happened;
use super::super::oracle::{CONTROLLER_EPOCH, LOG_PREFIX};
use super::super::zookeeper::session::{Session, Unavailable, WriteError};
use super::super::zookeeper::{Change, Refusal};
use super::Process;
use super::membership::entry;
use super::seat::Seat;
use crate::Image;
use crate::metadata::batch::SnapshotAt;
use crate::metadata::snapshot::{decode, encode};

pub(in super::super) const META_SNAP: &str = "/meta/snap";

/// Nodes deleted by one write.
const DELETED_AT_ONCE: usize = 8;

/// Writes the image beside the log; the head still has to name it. Parts that an earlier reign left there are the same.
pub(super) async fn write(
    session: &Session,
    seat: Seat,
    image: &Image,
    parts: usize,
) -> Result<SnapshotAt, WriteError> {
    let (bytes, next_seq) = (encode(image), image.next_seq());
    let mut chunks = 0;
    for part in bytes.chunks(bytes.len().div_ceil(parts)) {
        let create = Change::Create { path: node(next_seq, chunks), data: part.to_vec(), ephemeral: false };
        match session.multi(vec![check(seat), create]).await {
            Ok(()) | Err(WriteError::Refused(_, Refusal::Exists)) => chunks += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(SnapshotAt { next_seq, chunks })
}

/// Deletes entries before `kept`, and the snapshots before it, now that the head names one that is later.
pub(super) async fn tidy(session: &Session, seat: Seat, kept: u64) -> Result<(), Unavailable> {
    let mut stale = Vec::new();
    for (folder, first) in [(LOG_PREFIX.trim_end_matches('/'), entry(kept)), (META_SNAP, node(kept, 0))] {
        let (names, _) = session.children_and_watch(folder).await?;
        stale.extend(names.iter().map(|name| format!("{folder}/{name}")).filter(|path| *path < first));
    }
    for some in stale.chunks(DELETED_AT_ONCE) {
        let deletes = some.iter().map(|path| Change::Delete { path: path.clone(), version: 0 });
        session.multi([check(seat)].into_iter().chain(deletes).collect()).await.map_err(|_| Unavailable)?;
    }
    Ok(())
}

impl Process {
    /// Begins with a snapshot in place of what was replayed here so far.
    pub(super) async fn load(self: &Rc<Self>, session: &Session, at: SnapshotAt) -> Result<(), Unavailable> {
        let mut bytes = Vec::new();
        for index in 0..at.chunks {
            bytes.extend(session.read(&node(at.next_seq, index)).await?.ok_or(Unavailable)?.data);
        }
        let image = decode(&bytes).expect("a snapshot, as it was written");
        assert_eq!(image.next_seq(), at.next_seq, "the snapshot is of where the head says");
        // Unless more was replayed meanwhile.
        if image.next_seq() > self.image.borrow().next_seq() {
            note!(self.world, "broker {} begins with the snapshot before entry {}", self.id, at.next_seq);
            self.world.tally.count(Happened::SnapshotRead);
            self.publish(image);
        }
        Ok(())
    }
}

/// In the order of the log: places are as long as each other.
fn node(next_seq: u64, part: u32) -> String {
    format!("{META_SNAP}/{next_seq:020}-{part}")
}

fn check(seat: Seat) -> Change {
    Change::Check { path: CONTROLLER_EPOCH.to_owned(), version: seat.epoch_version }
}
