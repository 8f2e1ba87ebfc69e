//! The metadata log in the coordinator: entries are read in order and added at the end, and nothing else is ever done to them.
//!
//! An append is one multi: the controller epoch is still ours, the entry is new, the head is where we left it. When its outcome
//! is unknown the log itself is asked: our entry is there, and it was done; it isn't, and the same bytes are sent again, so that
//! a late original collides with them; another's is there, and we are no longer the controller.
//!
//! A reading begins with the snapshot that the head names (`snapshots`) where this broker is new, or so far behind that its next
//! entry is gone.
//!
//! Whoever replays stops for good when the log isn't the one it has seen: shorter, or with another history.

use std::sync::Arc;

use futures::{StreamExt, stream};
use sluice_cluster::metadata::batch::{ApplyError, Entry, Hash, Head, SnapshotAt};
use sluice_cluster::metadata::sealed::DecodeError;
use sluice_cluster::{Image, MetadataRecord};

use super::coordinator::{Change, Lifetime, NODE_BYTES_MAX, Node, ReadError, Refusal, Session, Watch, WriteError};
use super::lag::MetadataLag;
use super::seat::Seat;
use super::seen::Place;
use super::snapshots::{self, Grown, ReadSnapshotError};
use super::znodes::{CONTROLLER_EPOCH, META_HEAD, entry};

/// Bytes of records in one entry: what a write may have, less the head that goes with it and the entry's own frame.
pub(super) const ENTRY_BYTES_MAX: usize = NODE_BYTES_MAX - (1 << 10);

/// Entries asked for at once while replaying: hides the round trips, and 16 MiB of answers at most are under way.
const READS_IN_FLIGHT: usize = 32;

/// An append whose outcome is unknown is sent again this often; what fails so long is a coordinator to be in doubt of.
const APPEND_TRIES: usize = 4;

/// The log, as far as it has been replayed.
#[derive(Debug)]
pub(super) struct MetadataLog {
    session: Arc<dyn Session>,
    image: Image,
    head: Head,
    head_version: i32,
    /// Since the snapshot that the head names, or since the last one was begun.
    grown: Grown,
    /// What came before a snapshot that was begun and is not named.
    begun: Grown,
    /// Told where the log ends, as soon as that is known.
    lag: Arc<MetadataLag>,
}

/// What a reading of the log has come to so far.
struct Replayed {
    image: Image,
    grown: Grown,
}

/// The log is not the one this broker has seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no log, but a cluster.
    #[error("the coordinator has the cluster's id and no metadata log")]
    Missing,
    /// The head can't be read.
    #[error("the head of the metadata log: {0}")]
    Head(#[source] DecodeError),
    /// An entry is not there.
    #[error("entry {seq} of the metadata log is missing; its head says that {next_seq} is the next")]
    MissingEntry {
        /// The entry.
        seq: u64,
        /// Where the head is.
        next_seq: u64,
    },
    /// The snapshot that the head names can't be used.
    #[error("the snapshot of the metadata before entry {seq}: {why}")]
    Snapshot {
        /// The first entry that is not in it.
        seq: u64,
        /// Why not.
        why: String,
    },
    /// An entry doesn't follow.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The log is shorter than it was, or another.
    #[error(
        "the metadata log went back: this broker has seen entry {seen_seq} ({seen_hash}), the coordinator's log ends before \
         entry {found_seq} ({found_hash}); was the coordinator restored from an old copy?"
    )]
    WentBack {
        /// The entry this broker would have read next.
        seen_seq: u64,
        /// The hash of what is before it.
        seen_hash: Hash,
        /// Where the coordinator's log ends, or where it is another.
        found_seq: u64,
        /// The hash there.
        found_hash: Hash,
    },
}

/// Why the log was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CatchUpError {
    #[error(transparent)]
    Unavailable(#[from] ReadError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why an entry was not added, if it was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AppendError {
    /// It was not; another is controller.
    #[error("another controller has taken over")]
    Deposed,
    /// It was not sent.
    #[error("not sent: {why}")]
    NotDone { why: String },
    /// It was, or was not, or will be, unless another controller comes before it.
    #[error("outcome unknown: {why}")]
    Doubt { why: String },
}

impl MetadataLog {
    /// The log behind `image`, which may be empty. Reads nothing yet.
    pub(super) fn new(session: Arc<dyn Session>, image: Image, lag: Arc<MetadataLag>) -> Self {
        Self {
            session,
            image,
            head: Head::default(),
            head_version: 0,
            grown: Grown::default(),
            begun: Grown::default(),
            lag,
        }
    }

    /// The same log after a doubt, perhaps through another session. What has grown since the last snapshot has grown: a broker
    /// that is in doubt time and again still comes to write the next one.
    pub(super) fn again(self, session: Arc<dyn Session>) -> Self {
        let grown = self.grown.and(self.begun);
        Self { session, grown, begun: Grown::default(), ..self }
    }

    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    /// Replays all there is. `seen` is where this broker has been: the log has to pass there.
    pub(super) async fn catch_up(&mut self, seen: Place) -> Result<(), CatchUpError> {
        self.session.sync().await?;
        let node = self.session.read(META_HEAD).await?.ok_or(LogError::Missing)?;
        self.replay(&node, seen).await
    }

    /// Replays all that the server we are connected to has, and gives a watch that fires when there is more.
    pub(super) async fn follow(&mut self, seen: Place) -> Result<Watch, CatchUpError> {
        let (node, watch) = self.session.read_and_watch(META_HEAD).await?;
        match node {
            Some(node) if Head::decode(&node.data).is_ok_and(|head| head.next_seq >= self.image.next_seq()) => {
                self.replay(&node, seen).await?;
            }
            // That server may lag behind another one that we have read from.
            _ => self.catch_up(seen).await?,
        }
        Ok(watch)
    }

    async fn replay(&mut self, node: &Node, seen: Place) -> Result<(), CatchUpError> {
        let head = Head::decode(&node.data).map_err(LogError::Head)?;
        self.lag.ends_at(head.next_seq);
        let known = Place { next_seq: self.image.next_seq(), hash: self.image.hash() };
        for place in [known, seen] {
            if head.next_seq < place.next_seq {
                return Err(went_back(place, head.next_seq, head.hash).into());
            }
        }
        let is_same_snapshot = head.snapshot == self.head.snapshot;
        let mut replayed =
            Replayed { image: self.image.clone(), grown: if is_same_snapshot { self.grown } else { Grown::default() } };
        if let Some(at) = head.snapshot.filter(|_| known.next_seq == 0) {
            replayed = self.load(at, node.version, seen).await?;
        }
        if let Err(error) = self.read_entries(&mut replayed, &head, seen).await {
            let CatchUpError::Log(LogError::MissingEntry { seq, .. }) = error else { return Err(error) };
            match head.snapshot.filter(|at| at.next_seq > seq) {
                Some(at) => replayed = self.load(at, node.version, seen).await?,
                None => return Err(self.unless_moved_on(node.version, error).await?),
            }
            if let Err(error) = self.read_entries(&mut replayed, &head, seen).await {
                return Err(self.unless_moved_on(node.version, error).await?);
            }
        }
        let Replayed { image, grown } = replayed;
        if image.hash() != head.hash {
            let place = Place { next_seq: image.next_seq(), hash: image.hash() };
            return Err(went_back(place, head.next_seq, head.hash).into());
        }
        (self.image, self.head, self.head_version, self.grown) = (image, head, node.version, grown);
        if !is_same_snapshot {
            self.begun = Grown::default();
        }
        Ok(())
    }

    async fn read_entries(&self, replayed: &mut Replayed, head: &Head, seen: Place) -> Result<(), CatchUpError> {
        let session = &self.session;
        let mut entries = stream::iter(replayed.image.next_seq()..head.next_seq)
            .map(|seq| async move { (seq, session.read(&entry(seq)).await) })
            .buffered(READS_IN_FLIGHT);
        while let Some((seq, read)) = entries.next().await {
            let node = read?.ok_or(LogError::MissingEntry { seq, next_seq: head.next_seq })?;
            replayed.image = replayed.image.after(&node.data).map_err(LogError::Apply)?;
            if head.snapshot.is_none_or(|at| seq >= at.next_seq) {
                replayed.grown.add(node.data.len());
            }
            passes(&replayed.image, seen)?;
        }
        Ok(())
    }

    async fn load(&self, at: SnapshotAt, head_version: i32, seen: Place) -> Result<Replayed, CatchUpError> {
        match snapshots::read(self.session.as_ref(), at).await {
            Ok(image) => {
                passes(&image, seen)?;
                Ok(Replayed { image, grown: Grown::default() })
            }
            Err(ReadSnapshotError::Unavailable(error)) => Err(error.into()),
            Err(error) => {
                let error = LogError::Snapshot { seq: at.next_seq, why: error.to_string() };
                Err(self.unless_moved_on(head_version, error.into()).await?)
            }
        }
    }

    /// What is wrong with the log, unless it only is no longer where its head was when this reading began: then it is worth
    /// another one.
    async fn unless_moved_on(&self, head_version: i32, error: CatchUpError) -> Result<CatchUpError, ReadError> {
        self.session.sync().await?;
        let head = self.session.read(META_HEAD).await?;
        let moved_on = head.is_some_and(|head| head.version != head_version);
        Ok(if moved_on { ReadError { why: "the metadata log moved on meanwhile".to_owned() }.into() } else { error })
    }

    /// What was added since the snapshot that the head names.
    pub(super) fn grown(&self) -> Grown {
        self.grown
    }

    /// A snapshot is made of the image as it is now.
    pub(super) fn begin_to_count_anew(&mut self) {
        self.begun = self.begun.and(std::mem::take(&mut self.grown));
    }

    /// Has the head name a snapshot that was written.
    pub(super) async fn name_snapshot(&mut self, seat: Seat, at: SnapshotAt) -> Result<(), AppendError> {
        let head = Head { snapshot: Some(at), ..self.head };
        let changes = vec![
            Change::Check { path: CONTROLLER_EPOCH.to_owned(), version: seat.epoch_version },
            Change::Set { path: META_HEAD.to_owned(), data: head.encode(), version: self.head_version },
        ];
        match self.session.multi(changes).await {
            Ok(()) => {
                self.head = head;
                self.head_version += 1;
                self.begun = Grown::default();
                Ok(())
            }
            Err(WriteError::Refused { refusal, .. }) if is_anothers(&refusal) => Err(AppendError::Deposed),
            Err(error @ (WriteError::Refused { .. } | WriteError::NotConnected | WriteError::TooLarge { .. })) => {
                Err(AppendError::NotDone { why: error.to_string() })
            }
            // Where the head is now is found out with the next seat.
            Err(WriteError::OutcomeUnknown { why }) => Err(AppendError::Doubt { why }),
        }
    }

    /// Adds one entry and replays it.
    pub(super) async fn append(
        &mut self,
        seat: Seat,
        nonce: u64,
        records: Vec<MetadataRecord>,
    ) -> Result<(), AppendError> {
        let seq = self.image.next_seq();
        let (bytes, hash) =
            Entry { controller_epoch: seat.epoch, nonce, previous: self.image.hash(), records }.encode();
        let after = self.image.after(&bytes).expect("records that were decided on this image fit it");
        let head = Head { next_seq: seq + 1, hash, ..self.head };
        let changes = vec![
            Change::Check { path: CONTROLLER_EPOCH.to_owned(), version: seat.epoch_version },
            Change::Create { path: entry(seq), data: bytes.clone(), lifetime: Lifetime::Persistent },
            Change::Set { path: META_HEAD.to_owned(), data: head.encode(), version: self.head_version },
        ];
        self.write(seq, &bytes, changes).await?;
        self.grown.add(bytes.len());
        (self.image, self.head) = (after, head);
        self.head_version += 1;
        Ok(())
    }

    async fn write(&self, seq: u64, bytes: &[u8], changes: Vec<Change>) -> Result<(), AppendError> {
        let mut unknown: Option<String> = None;
        for _ in 0..APPEND_TRIES {
            let refused = match self.session.multi(changes.clone()).await {
                Ok(()) => return Ok(()),
                Err(error @ (WriteError::NotConnected | WriteError::TooLarge { .. })) => {
                    let why = error.to_string();
                    return Err(unknown.map_or(AppendError::NotDone { why }, |why| AppendError::Doubt { why }));
                }
                // If an earlier try is unknown, that may be because it was done.
                Err(error @ WriteError::Refused { .. }) => Some(error),
                Err(WriteError::OutcomeUnknown { why }) => {
                    unknown = Some(why);
                    None
                }
            };
            let doubt = |error: ReadError| AppendError::Doubt { why: error.to_string() };
            self.session.sync().await.map_err(doubt)?;
            match self.session.read(&entry(seq)).await.map_err(doubt)? {
                Some(node) if node.data == bytes => return Ok(()),
                Some(_) => return Err(AppendError::Deposed),
                None => {}
            }
            match refused {
                Some(WriteError::Refused { refusal, .. }) if is_anothers(&refusal) => return Err(AppendError::Deposed),
                Some(error) => {
                    let why = error.to_string();
                    return Err(if unknown.is_some() {
                        AppendError::Doubt { why }
                    } else {
                        AppendError::NotDone { why }
                    });
                }
                None => {}
            }
        }
        Err(AppendError::Doubt { why: unknown.unwrap_or_default() })
    }
}

/// Whether a refusal says that another writes by now. Any other says that the coordinator is not as we left it, or not ours to
/// write: whoever had the seat next would fare no better, and taking it again at once would go on for ever.
fn is_anothers(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::BadVersion | Refusal::Exists => true,
        Refusal::NoNode | Refusal::NotEmpty | Refusal::Denied { .. } => false,
    }
}

/// The image is where this broker has been before, or elsewhere in the log.
fn passes(image: &Image, seen: Place) -> Result<(), LogError> {
    if image.next_seq() == seen.next_seq && image.hash() != seen.hash {
        return Err(went_back(seen, image.next_seq(), image.hash()));
    }
    Ok(())
}

fn went_back(seen: Place, found_seq: u64, found_hash: Hash) -> LogError {
    LogError::WentBack { seen_seq: seen.next_seq, seen_hash: seen.hash, found_seq, found_hash }
}

#[cfg(test)]
mod tests;
