//! What brokers say to each other, and how it is written.
//!
//! ```text
//!   frame:   length u32 | version u8 | correlation u32 | head length u32 | head: one message, postcard | tail: raw bytes
//! ```
//! Numbers of the frame are big-endian. Only an answer to a fetch has a tail: record batches, as they are in the leader's
//! segment files, so that they pass from file to socket and from socket to file without going through serde.
//!
//! The first frame of a connection is a [`Hello`], answered by a [`Greeting`]; both have version [`VERSION_OF_HELLO`], which never
//! changes, and agree on the version of all frames after them. Messages are append-only: postcard numbers variants by their
//! place and knows no optional fields, so a variant is never moved, and a field is never added: what has more to say is a
//! new variant, sent only where the agreed version has it. The golden bytes in the tests hold this.

use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sluice_protocol::Uuid;
use sluice_protocol::records::Chunks;

/// The versions of the messages that this broker speaks.
pub(crate) const VERSIONS: RangeInclusive<u8> = 1..=1;

/// The version of the frames that agree on one.
pub(crate) const VERSION_OF_HELLO: u8 = 0;

/// Bytes of a frame before its head, without its length.
pub(crate) const ENVELOPE_LEN: usize = 1 + 4 + 4;

/// The first words of who connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The lowest and the highest version it speaks.
    pub(crate) versions: (u8, u8),
    /// The cluster it belongs to.
    pub(crate) cluster_id: String,
    /// Its number.
    pub(crate) broker_id: i32,
    /// The epoch of its registration; -1 before it has one.
    pub(crate) broker_epoch: i64,
    /// The number of its process: another after each start.
    pub(crate) life: u64,
}

/// The answer to [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Greeting {
    /// Calls may follow.
    Welcome {
        /// The version of all frames from here on.
        version: u8,
        /// Who is here.
        broker_id: i32,
        /// The epoch of its registration; -1 before it has one.
        broker_epoch: i64,
        /// The number of its process.
        life: u64,
    },
    /// The connection ends.
    Refused(HelloRefused),
}

/// Why a broker is not talked to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum HelloRefused {
    /// It is of another cluster.
    #[error("this broker belongs to cluster {ours}, and the peer to {theirs}")]
    OtherCluster {
        /// The answering broker's.
        ours: String,
        /// The caller's.
        theirs: String,
    },
    /// There is no version that both speak.
    #[error("this broker speaks versions {} to {} of the inter-broker protocol, and the peer {} to {}", ours.0, ours.1, theirs.0, theirs.1)]
    NoCommonVersion {
        /// The answering broker's lowest and highest.
        ours: (u8, u8),
        /// The caller's.
        theirs: (u8, u8),
    },
    /// Its certificate is good and not a broker's.
    #[error(
        "the certificate of {principal} may not join: sluice.broker.principals has the distinguished names of brokers"
    )]
    NotABroker {
        /// Whose certificate it is.
        principal: String,
    },
    /// Two brokers have one number.
    #[error("broker.id {id} is this broker's own")]
    SameId {
        /// The number.
        id: i32,
    },
    /// The first frame says something else, or nothing that can be read.
    #[error("the first frame is not a greeting")]
    NotAHello,
}

/// What one broker asks of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Call {
    /// Make a change to the cluster; only the controller does.
    Change {
        /// The change's `KIND`.
        kind: u16,
        /// The change itself.
        #[serde(with = "raw")]
        body: Vec<u8>,
    },
    /// Records for a follower.
    Fetch(ReplicaFetch),
    /// How far replicas are.
    ReplicaStates {
        /// Which ones.
        partitions: Vec<PartitionId>,
    },
    /// Look whether a broker can be reached from there.
    Probe {
        /// Which one.
        broker: i32,
    },
    /// Keep a plugin's binary; only the leader of their topic can.
    StorePlugin {
        /// The binary's SHA-256.
        digest: [u8; 32],
        /// The binary.
        #[serde(with = "raw")]
        wasm: Vec<u8>,
    },
    /// A plugin's binary.
    ReadPlugin {
        /// Its SHA-256.
        digest: [u8; 32],
    },
    /// How much of the metadata is in force there.
    InForce,
}

/// The answer to a [`Call`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// To [`Call::Change`].
    Change(Result<ChangeAnswer, ChangeFailed>),
    /// To [`Call::Fetch`]. The records are in the tail.
    Fetched(ReplicaFetched),
    /// To [`Call::ReplicaStates`]: of the replicas that are there.
    ReplicaStates(Vec<ReplicaState>),
    /// To [`Call::Probe`].
    Probed(Probed),
    /// To a call that is not understood.
    Error(CallRefused),
    /// To [`Call::StorePlugin`]: it is durable.
    PluginStored(Result<(), PluginFailed>),
    /// To [`Call::ReadPlugin`].
    PluginRead(Result<PluginBinary, PluginFailed>),
    /// To [`Call::InForce`]: the number of the first entry whose gates and views are not.
    InForce(u64),
}

/// A plugin's binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PluginBinary(#[serde(with = "raw")] pub(crate) Vec<u8>);

/// Why a binary is not stored, or not given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum PluginFailed {
    /// This broker does not have it.
    #[error("the broker does not have it")]
    Missing,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// A change's answer, in postcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChangeAnswer(#[serde(with = "raw")] pub(crate) Vec<u8>);

/// Why a forwarded change was not made, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ChangeFailed {
    /// This broker is not the controller.
    #[error("broker is not the controller")]
    NotController {
        /// Who is, as far as it knows.
        controller: Option<i32>,
    },
    /// Not made: the coordinator cannot be reached.
    #[error("the change cannot be made now: {why}")]
    Unavailable {
        /// Why not.
        why: String,
    },
    /// Not made: the decision was no.
    #[error("the change is refused")]
    Refused(
        /// The change's error, in postcard.
        #[serde(with = "raw")]
        Vec<u8>,
    ),
    /// Not made: its records do not fit one append.
    #[error("the change takes {bytes} bytes, and {max} fit")]
    TooLarge {
        /// How much it takes.
        bytes: u64,
        /// How much there may be.
        max: u64,
    },
    /// It may have been made.
    #[error("whether the change was made is not known: {why}")]
    Unknown {
        /// Why not.
        why: String,
    },
}

/// A partition by its topic's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct PartitionId {
    /// The topic.
    #[serde(with = "uuid")]
    pub(crate) topic: Uuid,
    /// The partition's number.
    pub(crate) index: i32,
}

/// A follower's fetch. With a session only what changed is said: partitions that are not mentioned are fetched as before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ReplicaFetch {
    /// The session; 0: none yet, all partitions are in this fetch.
    pub(crate) session: u64,
    /// The number of this fetch within its session, from 0.
    pub(crate) sequence: u32,
    /// How long the leader may wait for `min_bytes`.
    pub(crate) max_wait_ms: u32,
    /// Bytes for which an answer is given at once.
    pub(crate) min_bytes: u32,
    /// Bytes of all partitions together; a first batch that is larger comes whole.
    pub(crate) max_bytes: u32,
    /// The partitions, or those of the session that changed.
    pub(crate) partitions: Vec<FetchPartition>,
    /// Partitions that leave the session.
    pub(crate) forgotten: Vec<PartitionId>,
}

/// One partition of a follower's fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FetchPartition {
    /// The topic.
    #[serde(with = "uuid")]
    pub(crate) topic: Uuid,
    /// The partition's number.
    pub(crate) index: i32,
    /// The leader epoch in which the follower follows.
    pub(crate) leader_epoch: i32,
    /// The follower's log end.
    pub(crate) fetch_offset: i64,
    /// Up to where its log counts as stored.
    pub(crate) durable: i64,
    /// The leader epoch of its last batch; -1 of an empty log.
    pub(crate) last_fetched_epoch: i32,
    /// Bytes of this partition, read from `fetch_offset` on. 0: nothing is asked for anew, this only says how far the follower has
    /// come, and the leader goes on from where it stands.
    pub(crate) max_bytes: u32,
}

/// The answer to a follower's fetch. With a session, partitions without news are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ReplicaFetched {
    /// The session from here on; 0: there is none.
    pub(crate) session: u64,
    /// Whether the session is not known here: the follower names all partitions again.
    pub(crate) session_lost: bool,
    /// The partitions, in the order of their records in the tail.
    pub(crate) partitions: Vec<FetchedPartition>,
}

/// One partition of the answer to a follower's fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FetchedPartition {
    /// The topic.
    #[serde(with = "uuid")]
    pub(crate) topic: Uuid,
    /// The partition's number.
    pub(crate) index: i32,
    /// Why there are no records.
    pub(crate) error: Option<FetchError>,
    /// The leader's high watermark.
    pub(crate) high_watermark: i64,
    /// Where the leader's log starts.
    pub(crate) log_start: i64,
    /// The logs differ: the largest epoch not above the follower's last that the leader has, and where it ends there.
    pub(crate) diverging: Option<(i32, i64)>,
    /// How many bytes of the tail are this partition's.
    pub(crate) bytes: u32,
}

/// Why a follower gets no records of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum FetchError {
    /// There is no such partition here, or it is led elsewhere.
    #[error("not led here")]
    NotLeader,
    /// The follower is in an earlier leader epoch.
    #[error("a later leader epoch has begun")]
    FencedLeaderEpoch,
    /// The follower is in a leader epoch that has not been seen here yet.
    #[error("the leader has not seen this leader epoch yet")]
    UnknownLeaderEpoch,
    /// The follower has no replica of it.
    #[error("the follower is not a replica")]
    NotReplica,
    /// The follower's registration is not the one the cluster knows.
    #[error("the follower's broker epoch is not the one registered")]
    StaleBroker,
    /// The follower's log ends before the leader's starts, or after it ends.
    #[error("the leader's log is from {log_start} to {log_end}")]
    OffsetOutOfRange {
        /// Where the leader's log starts.
        log_start: i64,
        /// Where it ends.
        log_end: i64,
    },
    /// The leader cannot read its log.
    #[error("the leader cannot read its log")]
    Storage,
}

/// How far a replica is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaState {
    /// The topic.
    #[serde(with = "uuid")]
    pub(crate) topic: Uuid,
    /// The partition's number.
    pub(crate) index: i32,
    /// The leader epoch it is in.
    pub(crate) leader_epoch: i32,
    /// The leader epoch of its last batch; -1 of an empty log.
    pub(crate) latest_epoch: i32,
    /// Where its log starts.
    pub(crate) log_start: i64,
    /// Where its log ends.
    pub(crate) log_end: i64,
    /// Its high watermark.
    pub(crate) high_watermark: i64,
    /// Bytes of its log.
    pub(crate) bytes: u64,
}

/// What came of knocking at a broker's door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Probed {
    /// It opened.
    Alive,
    /// The machine says that nobody listens there: the process is gone.
    Refused,
    /// Nothing came back in time: paused, cut off, or its machine is gone.
    Silent,
}

/// Why a call was not even tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum CallRefused {
    /// It cannot be read, or this version does not have it.
    #[error("the call cannot be read: {0}")]
    Malformed(String),
}

/// A frame taken apart.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) version: u8,
    pub(crate) correlation: u32,
    pub(crate) head: Bytes,
    pub(crate) tail: Chunks,
}

/// Why a frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is shorter than what every frame begins with, or than its head.
    #[error("a frame of {len} bytes is cut short")]
    Short {
        /// Its bytes.
        len: usize,
    },
    /// Its head is no message.
    #[error("not a message: {0}")]
    Head(postcard::Error),
    /// Its head has bytes after the message.
    #[error("{0} bytes after the message")]
    Surplus(usize),
    /// The records that the message announces are not those that came.
    #[error("{announced} bytes of records are announced, and {came} came")]
    Tail {
        /// What the message says.
        announced: u64,
        /// What there is.
        came: usize,
    },
}

impl Envelope {
    /// Takes a frame, without its length, apart.
    pub(crate) fn open(mut frame: Chunks) -> Result<Self, Unreadable> {
        let short = Unreadable::Short { len: frame.len() };
        if frame.len() < ENVELOPE_LEN {
            return Err(short);
        }
        let mut fixed = [0; ENVELOPE_LEN];
        frame.split_to(ENVELOPE_LEN).copy_to(&mut fixed, 0);
        let [version, c0, c1, c2, c3, h0, h1, h2, h3] = fixed;
        match usize::try_from(u32::from_be_bytes([h0, h1, h2, h3])) {
            Ok(head) if head <= frame.len() => {
                let head = frame.split_to(head).to_bytes();
                Ok(Self { version, correlation: u32::from_be_bytes([c0, c1, c2, c3]), head, tail: frame })
            }
            _ => Err(short),
        }
    }

    /// The message in the head.
    pub(crate) fn message<M: DeserializeOwned>(&self) -> Result<M, Unreadable> {
        match postcard::take_from_bytes(&self.head).map_err(Unreadable::Head)? {
            (message, []) => Ok(message),
            (_, rest) => Err(Unreadable::Surplus(rest.len())),
        }
    }
}

impl ReplicaFetched {
    /// Whether a tail is as long as this announces.
    pub(crate) fn check(&self, tail: &Chunks) -> Result<(), Unreadable> {
        let announced: u64 = self.partitions.iter().map(|partition| u64::from(partition.bytes)).sum();
        if announced == tail.len() as u64 { Ok(()) } else { Err(Unreadable::Tail { announced, came: tail.len() }) }
    }
}

/// Why a message cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsendable {
    /// It is longer than a frame may be.
    #[error("a message of {bytes} bytes does not fit a frame")]
    TooLong {
        /// Its bytes, those of its tail included.
        bytes: usize,
    },
    /// serde refuses it.
    #[error("cannot be written: {0}")]
    Serialize(postcard::Error),
}

/// A frame, its length included, up to where a tail of `tail` bytes begins.
pub(crate) fn seal(version: u8, correlation: u32, message: &impl Serialize, tail: usize) -> Result<Bytes, Unsendable> {
    let head = postcard::to_allocvec(message).map_err(Unsendable::Serialize)?;
    let bytes = ENVELOPE_LEN + head.len() + tail;
    let too_long = |_| Unsendable::TooLong { bytes };
    let length = i32::try_from(bytes).map_err(too_long)?;
    let head_length = u32::try_from(head.len()).map_err(too_long)?;
    let mut frame = BytesMut::with_capacity(4 + ENVELOPE_LEN + head.len());
    frame.put_i32(length);
    frame.put_u8(version);
    frame.put_u32(correlation);
    frame.put_u32(head_length);
    frame.put_slice(&head);
    Ok(frame.freeze())
}

/// A [`Uuid`] as its sixteen bytes.
mod uuid {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};
    use sluice_protocol::Uuid;

    pub(super) fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
        id.0.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        <[u8; 16]>::deserialize(from).map(Uuid)
    }
}

/// Bytes in one go: serde would take them one by one.
mod raw {
    use std::fmt;

    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        from.deserialize_bytes(Raw)
    }

    struct Raw;

    impl de::Visitor<'_> for Raw {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }
    }
}

#[cfg(test)]
mod tests;
