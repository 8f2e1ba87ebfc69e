//! Reads a topic's partitions from given positions, without a group: what is seen once is for the caller to remember.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bytes::Bytes;
use sluice_protocol::{
    messages::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData},
    records::{Batch, BatchHeader, Chunks, HEADER_LEN, Part},
};

use super::{Client, ClientError, RETRY_FOR, RETRY_PAUSE, Start, TopicInfo, topics::refused};

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, milliseconds since 1970.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
}

/// Reads records.
#[derive(Debug)]
pub struct Consumer {
    topic: TopicInfo,
    start: Start,
    /// Partitions whose leaders have not said yet where that is.
    unplaced: BTreeSet<i32>,
    positions: BTreeMap<i32, Position>,
    failing_since: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    next: i64,
    /// The high watermark the leader told last.
    end: Option<i64>,
}

/// How long a broker holds an answer while there is nothing new.
const WAIT: Duration = Duration::from_millis(500);

/// Bytes of records in one answer, in all and of one partition.
const FETCH_BYTES_MAX: i32 = 8 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;

/// Bytes that one batch may decompress to: a broker takes requests of 100 MiB, and text compresses tenfold.
const BATCH_BYTES_MAX: usize = 1 << 30;

impl Consumer {
    /// Reads `partitions` of the topic; all of them if none is given. One that nobody leads is read from `start` once somebody
    /// does.
    pub async fn new(
        client: &mut Client,
        topic: TopicInfo,
        partitions: &[i32],
        start: Start,
    ) -> Result<Self, ClientError> {
        let all: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
        if let Some(&partition) = partitions.iter().find(|partition| !all.contains(partition)) {
            return Err(ClientError::NoPartition { topic: topic.name.clone(), partition, partitions: all.len() });
        }
        let unplaced = if partitions.is_empty() { all } else { partitions.to_vec() }.into_iter().collect();
        let mut consumer = Self { topic, start, unplaced, positions: BTreeMap::new(), failing_since: None };
        match consumer.place(client).await {
            // A leader is going, or about to come: the first poll asks again.
            Err(error) if error.is_retriable() => {}
            placed => placed?,
        }
        Ok(consumer)
    }

    /// Finds where to begin in the partitions in which that is not known yet, those at least whose leaders answer.
    async fn place(&mut self, client: &mut Client) -> Result<(), ClientError> {
        if self.unplaced.is_empty() {
            return Ok(());
        }
        let (found, missing) = client.offsets_as_far_as_known(&self.topic, &self.unplaced, self.start).await;
        for (partition, next) in found {
            self.unplaced.remove(&partition);
            self.positions.insert(partition, Position { next, end: None });
        }
        missing.into_iter().next().map_or(Ok(()), Err)
    }

    /// Fetches once from every leader; empty if nothing has come for a moment. Goes on across restarts of brokers for
    /// half a minute: what other leaders have is read meanwhile, and as long as they have something.
    pub async fn poll(&mut self, client: &mut Client) -> Result<Vec<Consumed>, ClientError> {
        let mut records = Vec::new();
        match self.poll_once(client, &mut records).await {
            Ok(()) => self.failing_since = None,
            Err(error) if error.is_retriable() => {
                let now = Instant::now();
                let failing = now - *self.failing_since.get_or_insert(now);
                if records.is_empty() {
                    if failing > RETRY_FOR {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                client.refresh(&mut self.topic).await;
            }
            Err(error) => return Err(error),
        }
        Ok(records)
    }

    /// The offset that is read next of a partition, if it is read.
    pub fn position(&self, partition: i32) -> Option<i64> {
        self.positions.get(&partition).map(|position| position.next)
    }

    /// Whether everything that was there at the last fetch of each partition has been read.
    pub fn is_at_end(&self) -> bool {
        self.unplaced.is_empty()
            && self.positions.values().all(|position| position.end.is_some_and(|end| position.next >= end))
    }

    /// Reads what there is into `records`, which are kept, then says what failed first.
    async fn poll_once(&mut self, client: &mut Client, records: &mut Vec<Consumed>) -> Result<(), ClientError> {
        let mut failed = self.place(client).await;
        let mut by_leader: BTreeMap<i32, Vec<FetchPartition>> = BTreeMap::new();
        for partition in &self.topic.partitions {
            let Some(position) = self.positions.get(&partition.partition) else { continue };
            by_leader.entry(partition.leader).or_default().push(FetchPartition {
                partition: partition.partition,
                current_leader_epoch: partition.leader_epoch,
                fetch_offset: position.next,
                partition_max_bytes: PARTITION_BYTES_MAX,
                ..FetchPartition::default()
            });
        }
        let request = |partitions| FetchRequest {
            max_wait_ms: i32::try_from(WAIT.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: FETCH_BYTES_MAX,
            topics: vec![FetchTopic { topic: self.topic.name.clone(), topic_id: self.topic.id, partitions }],
            ..FetchRequest::default()
        };
        let requests: Vec<_> =
            by_leader.into_iter().map(|(leader, partitions)| (leader, request(partitions))).collect();
        for answer in client.ask_brokers(&requests).await {
            let taken = self.take_answer(answer, records);
            failed = failed.and(taken);
        }
        failed
    }

    fn take_answer(
        &mut self,
        answer: Result<FetchResponse, ClientError>,
        records: &mut Vec<Consumed>,
    ) -> Result<(), ClientError> {
        let answer = answer?;
        refused(format!("fetching from `{}`", self.topic.name), answer.error_code, None)?;
        let mut failed = Ok(());
        for partition in answer.responses.into_iter().flat_map(|topic| topic.partitions) {
            let taken = self.take(partition, records);
            failed = failed.and(taken);
        }
        failed
    }

    fn take(&mut self, partition: PartitionData, out: &mut Vec<Consumed>) -> Result<(), ClientError> {
        let what = format!("{}-{}", self.topic.name, partition.partition_index);
        refused(what.clone(), partition.error_code, None)?;
        let Some(position) = self.positions.get_mut(&partition.partition_index) else { return Ok(()) };
        position.end = Some(partition.high_watermark);
        let damaged = |cause| ClientError::Damaged { what: what.clone(), cause };
        let mut rest = Chunks::new();
        for part in partition.records {
            match part {
                Part::Bytes(bytes) => rest.push(bytes),
                Part::File(_) => unreachable!("what was read from a socket is bytes"),
            }
        }
        while let Some(batch) = next_batch(&mut rest).map_err(damaged)? {
            batch.verify_crc().map_err(damaged)?;
            if batch.header.next_offset() <= position.next {
                continue; // the batch ends before the position: possible after compaction
            }
            if !batch.header.is_control() {
                let decoded = batch.decode(BATCH_BYTES_MAX).map_err(damaged)?;
                for record in &decoded {
                    let record = record.map_err(damaged)?;
                    let offset = batch.header.base_offset + i64::from(record.offset_delta);
                    if offset >= position.next {
                        out.push(Consumed {
                            partition: partition.partition_index,
                            offset,
                            timestamp: decoded.timestamp(&record),
                            key: record.key.map(Bytes::copy_from_slice),
                            value: record.value.map(Bytes::copy_from_slice),
                            headers: record
                                .headers
                                .map(|(name, value)| (name.to_owned(), value.map(Bytes::copy_from_slice)))
                                .collect(),
                        });
                    }
                }
            }
            position.next = batch.header.next_offset();
        }
        Ok(())
    }
}

/// The first batch of `rest`, if it is there whole: Kafka may cut the last one of an answer.
fn next_batch(rest: &mut Chunks) -> Result<Option<Batch>, sluice_protocol::records::BatchError> {
    if rest.len() < HEADER_LEN {
        return Ok(None);
    }
    let mut header = [0; HEADER_LEN];
    rest.copy_to(&mut header, 0);
    let size = BatchHeader::parse(&header)?.size();
    if rest.len() < size {
        return Ok(None);
    }
    Ok(Batch::split(rest.split_to(size))?.into_iter().next())
}
