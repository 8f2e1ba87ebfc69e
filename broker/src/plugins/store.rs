//! Where plugins' binaries lie: an internal topic, in chunks, each checked by the digest of the whole.
//!
//! One record a chunk, one chunk a batch. The key is the digest (32 bytes) and the chunk's number (`u32`, big endian), the value
//! the chunk, and a header `chunks` says how many there are. The metadata log names digests only, so a binary that is not
//! whole, or not what its digest says, is not there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use sluice_cluster::decide::{CreateTopicError, CreateTopics, INTERNAL_REPLICAS_MAX, NewTopic, Placement};
use sluice_protocol::records::{Batch, BatchBuilder, BatchError, Chunks, Compression};
use sluice_storage::Appended;

use crate::coordination::Metadata;
use crate::partition::{AppendRefused, Manager, NotCommitted, Partition, PartitionError, Passed, Placed};
use crate::slow;

/// The topic of plugins' binaries.
pub(crate) const STORE_TOPIC: &str = "__sluice_plugins";

/// Bytes of a chunk: a batch with it stays below the default `max.message.bytes`.
const CHUNK_BYTES: usize = 512 << 10;

/// Bytes of the topic read at a time.
const READ_BYTES: usize = 4 << 20;

/// How long a binary may take to become durable.
const COMMIT_TIME_MAX: Duration = Duration::from_secs(30);

/// Most bytes one chunk's batch can decompress to; they are stored as they are.
const BATCH_BYTES_MAX: usize = 2 * CHUNK_BYTES;

/// Reads and writes binaries.
pub(crate) struct Store {
    metadata: Metadata,
    partitions: Arc<Manager>,
    now_ms: fn() -> i64,
}

/// Why a binary cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("its binary is not stored on this broker")]
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
}

impl Store {
    pub(crate) fn new(metadata: Metadata, partitions: Arc<Manager>, now_ms: fn() -> i64) -> Self {
        Self { metadata, partitions, now_ms }
    }

    /// The binary with that digest.
    pub(crate) async fn read(&self, digest: [u8; 32]) -> Result<Bytes, StoreError> {
        let partition = self.partition().ok_or(StoreError::Missing)??;
        slow::in_place(|| find(&partition, digest))
    }

    /// Stores a binary and returns when it is durable. One that is there already is not stored again.
    pub(crate) async fn write(&self, digest: [u8; 32], wasm: &Bytes) -> Result<(), StoreError> {
        match self.read(digest).await {
            Err(StoreError::Missing) => {}
            found => return found.map(drop),
        }
        self.make_topic().await?;
        let partition = self.partition().ok_or(StoreError::Missing)??;
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
        Some(self.partitions.get(topic, 0))
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
    if wasm.is_empty() || Sha256::digest(&wasm)[..] != digest {
        return Err(StoreError::Missing);
    }
    Ok(wasm.freeze())
}
