//! Where plugins' binaries lie: an internal topic, in chunks, each checked by the digest of the whole.
//!
//! One record a chunk, one chunk a batch. The key is the digest (32 bytes) and the chunk's number (`u32`, big endian), the value
//! the chunk, and a header `chunks` says how many there are. The metadata log names digests only, so a binary that is not
//! whole, or not what its digest says, is not there.
//!
//! The topic has one partition, and three replicas where there are brokers enough. Whoever takes a binary in has the leader
//! keep it; whoever needs one reads its own replica, and asks the others where it has none or is behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use sluice_cluster::decide::{CreateTopicError, CreateTopics, INTERNAL_REPLICAS_MAX, NewTopic, Placement};
use sluice_protocol::records::{Batch, BatchBuilder, BatchError, Chunks, Compression};
use sluice_storage::Appended;
use tokio::time::{Instant, sleep};

use crate::coordination::Metadata;
use crate::partition::{AppendRefused, Manager, NotCommitted, Partition, PartitionError, Passed, Placed};
use crate::rpc::messages::PluginBinary;
use crate::rpc::{Call, Peers, Reply};
use crate::slow;

/// The topic of plugins' binaries.
pub(crate) const STORE_TOPIC: &str = "__sluice_plugins";

/// The topic's one partition.
const PARTITION: i32 = 0;

/// Bytes of a chunk: a batch with it stays below the default `max.message.bytes`.
const CHUNK_BYTES: usize = 512 << 10;

/// Bytes of the topic read at a time.
const READ_BYTES: usize = 4 << 20;

/// How long a binary may take to become durable.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long another broker may take to store a binary, or to give one: less than after which its connection is given up.
const REMOTE_TIME_MAX: Duration = Duration::from_secs(14);

/// How long a leader of the topic is looked for, and how often.
const LEADER_WITHIN: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Most bytes one chunk's batch can decompress to; they are stored as they are.
const BATCH_BYTES_MAX: usize = 2 * CHUNK_BYTES;

/// Reads and writes binaries.
pub(crate) struct Store {
    pub(crate) node_id: i32,
    pub(crate) metadata: Metadata,
    pub(crate) partitions: Arc<Manager>,
    pub(crate) peers: Peers,
    pub(crate) now_ms: fn() -> i64,
}

/// Why a binary cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("its binary is not stored on any broker that answers")]
    Missing,
    #[error("the topic {STORE_TOPIC} cannot be made: {0}")]
    Topic(String),
    #[error("the topic {STORE_TOPIC} is not served here: {0}")]
    Partition(#[from] PartitionError),
    #[error("the topic {STORE_TOPIC} cannot be read: {0}")]
    Read(String),
    #[error("the topic {STORE_TOPIC} holds a damaged batch: {0}")]
    Damaged(#[from] BatchError),
    #[error("it was refused by the log: {0}")]
    Append(#[from] AppendRefused),
    #[error("it is not durable: {0}")]
    NotCommitted(#[from] NotCommitted),
    #[error("it was not durable within {} s", COMMIT_TIME_MAX.as_secs())]
    Late,
    #[error("the topic {STORE_TOPIC} has no leader now")]
    NoLeader,
    #[error("broker {leader}, which leads the topic {STORE_TOPIC}, does not store it: {why}")]
    Leader { leader: i32, why: String },
    #[error("it is not what its digest says")]
    OtherDigest,
}

impl Store {
    /// The binary with that digest, from here or from another broker.
    pub(crate) async fn read(&self, digest: [u8; 32]) -> Result<Bytes, StoreError> {
        let here = self.read_here(digest).await;
        let Err(error) = here else { return here };
        for broker in self.holders() {
            let asked = self.peers.call(broker, Call::ReadPlugin { digest }, REMOTE_TIME_MAX).await;
            match asked {
                Ok(Reply::PluginRead(Ok(PluginBinary(wasm)))) if is_of(&wasm, digest) => return Ok(wasm.into()),
                // The next may have it.
                answer => tracing::debug!(broker, ?answer, "a plugin's binary is not there"),
            }
        }
        Err(error)
    }

    /// The binary with that digest, from this broker's own replica.
    pub(crate) async fn read_here(&self, digest: [u8; 32]) -> Result<Bytes, StoreError> {
        let image = self.metadata.image();
        let topic = image.topic(STORE_TOPIC).filter(|topic| topic.internal).ok_or(StoreError::Missing)?;
        match self.partitions.replica(topic, PARTITION) {
            Ok(partition) => slow::in_place(|| find(&partition, digest)),
            Err(PartitionError::NotLeader | PartitionError::Unknown) => Err(StoreError::Missing),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the leader store a binary, and returns when it is durable. One that is there already is not stored again.
    pub(crate) async fn write(&self, digest: [u8; 32], wasm: &Bytes) -> Result<(), StoreError> {
        self.make_topic().await?;
        let give_up = Instant::now() + LEADER_WITHIN;
        loop {
            let error = match self.leader() {
                Some(leader) if leader == self.node_id => match self.write_here(digest, wasm).await {
                    Err(error @ StoreError::Partition(PartitionError::NotLeader)) => error,
                    written => return written,
                },
                Some(leader) => {
                    let call = Call::StorePlugin { digest, wasm: wasm.to_vec() };
                    let why = match self.peers.call(leader, call, REMOTE_TIME_MAX).await {
                        Ok(Reply::PluginStored(Ok(()))) => return Ok(()),
                        Ok(Reply::PluginStored(Err(failed))) => failed.to_string(),
                        Ok(_) => "it answered something else".to_owned(),
                        Err(error) => error.to_string(),
                    };
                    StoreError::Leader { leader, why }
                }
                None => StoreError::NoLeader,
            };
            // A binary that is stored twice is one: asking again is safe, whatever became of the last time.
            if Instant::now() >= give_up {
                return Err(error);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Who leads the topic's partition.
    fn leader(&self) -> Option<i32> {
        let image = self.metadata.image();
        let partition = image.topic(STORE_TOPIC)?.partitions.first()?;
        (partition.leader >= 0).then_some(partition.leader)
    }

    /// Other brokers that have a replica, the leader first.
    fn holders(&self) -> Vec<i32> {
        let image = self.metadata.image();
        let Some(partition) = image.topic(STORE_TOPIC).and_then(|topic| topic.partitions.first()) else {
            return Vec::new();
        };
        let others = partition.replicas.iter().copied().filter(|id| *id != partition.leader);
        std::iter::once(partition.leader).chain(others).filter(|id| *id >= 0 && *id != self.node_id).collect()
    }

    /// Stores a binary as the leader.
    pub(crate) async fn write_here(&self, digest: [u8; 32], wasm: &Bytes) -> Result<(), StoreError> {
        if !is_of(wasm, digest) {
            return Err(StoreError::OtherDigest);
        }
        let partition = self.partition().ok_or(StoreError::Missing)??;
        match slow::in_place(|| find(&partition, digest)) {
            Err(StoreError::Missing) => {}
            found => return found.map(drop),
        }
        let chunks = wasm.len().div_ceil(CHUNK_BYTES);
        let mut last = None;
        for index in 0..chunks {
            let chunk = wasm.slice(index * CHUNK_BYTES..wasm.len().min((index + 1) * CHUNK_BYTES));
            let batch = chunk_batch(digest, index, chunks, &chunk, (self.now_ms)());
            let Placed { at, leader_epoch } = partition.append(&batch, Passed::NoGate, (self.now_ms)())?;
            if let Appended::New { log_end, .. } = at {
                last = Some((log_end, leader_epoch));
            }
        }
        let Some((end, leader_epoch)) = last else { return Ok(()) };
        let committed = tokio::time::timeout(COMMIT_TIME_MAX, partition.waiters().committed(end, leader_epoch));
        committed.await.map_err(|_| StoreError::Late)?.unwrap_or(Err(NotCommitted::Gone))?;
        Ok(())
    }

    fn partition(&self) -> Option<Result<Arc<Partition>, PartitionError>> {
        let image = self.metadata.image();
        let topic = image.topic(STORE_TOPIC).filter(|topic| topic.internal)?;
        Some(self.partitions.get(topic, PARTITION))
    }

    async fn make_topic(&self) -> Result<(), StoreError> {
        if self.metadata.image().topic(STORE_TOPIC).is_some() {
            return Ok(());
        }
        let topic = NewTopic {
            name: STORE_TOPIC.to_owned(),
            placement: Placement::Widest { partitions: 1, replication_factor_max: INTERNAL_REPLICAS_MAX },
            configs: [("retention.ms", "-1"), ("retention.bytes", "-1"), ("sluice.flush.mode", "group")]
                .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
                .to_vec(),
            internal: true,
        };
        let made = self.metadata.submit(CreateTopics { topics: vec![topic], validate_only: false }).await;
        let made = made.map_err(|error| StoreError::Topic(error.to_string()))?;
        match made.into_iter().find_map(|(_, made)| made.err()) {
            // Another push made it in the meantime.
            None | Some(CreateTopicError::Exists { .. }) => Ok(()),
            Some(error) => Err(StoreError::Topic(error.to_string())),
        }
    }
}

fn key(digest: [u8; 32], index: usize) -> Vec<u8> {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    [&digest[..], &index.to_be_bytes()].concat()
}

fn chunk_batch(digest: [u8; 32], index: usize, chunks: usize, chunk: &[u8], now_ms: i64) -> Batch {
    let count = chunks.to_string();
    let mut batch = BatchBuilder::new(Compression::None);
    batch.push(now_ms, Some(&key(digest, index)[..]), Some(chunk), [("chunks", Some(count.as_bytes()))]);
    batch.build_batch()
}

/// Puts a binary together out of its chunks; the last copy of each counts.
fn find(partition: &Partition, digest: [u8; 32]) -> Result<Bytes, StoreError> {
    let mut chunks: BTreeMap<Vec<u8>, Bytes> = BTreeMap::new();
    let mut wanted = usize::MAX;
    let mut offset = partition.reader().log_start_offset();
    let end = partition.high_watermark();
    while offset < end && chunks.len() < wanted {
        let read = partition.reader().read(offset, READ_BYTES, end, true);
        let slice = read.map_err(|error| StoreError::Read(error.to_string()))?;
        if slice.bytes == 0 {
            break;
        }
        let mut bytes = Chunks::new();
        for range in &slice.parts {
            bytes.push(range.read().map_err(|error| StoreError::Read(error.to_string()))?);
        }
        for batch in Batch::split(bytes)? {
            offset = batch.header.next_offset();
            batch.verify_crc()?;
            for record in batch.decode(BATCH_BYTES_MAX)?.iter() {
                let record = record?;
                let (Some(key), Some(chunk)) = (record.key, record.value) else { continue };
                if !key.starts_with(&digest) {
                    continue;
                }
                let count = record.headers.into_iter().find(|(name, _)| *name == "chunks").and_then(|(_, count)| count);
                let count = count.and_then(|count| std::str::from_utf8(count).ok()?.parse().ok());
                wanted = count.unwrap_or(wanted);
                chunks.insert(key.to_vec(), Bytes::copy_from_slice(chunk));
            }
        }
    }
    let mut wasm = BytesMut::with_capacity(chunks.values().map(Bytes::len).sum());
    for chunk in chunks.values() {
        wasm.extend_from_slice(chunk);
    }
    if wasm.is_empty() || !is_of(&wasm, digest) {
        return Err(StoreError::Missing);
    }
    Ok(wasm.freeze())
}

fn is_of(wasm: &[u8], digest: [u8; 32]) -> bool {
    Sha256::digest(wasm)[..] == digest
}
