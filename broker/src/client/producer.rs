//! An idempotent producer: `acks=all`, one batch in flight at a time, sent again until the broker says what came of it.
//!
//! A batch that may or may not have been stored is sent again with the same sequence, and the broker knows it again. So
//! nothing is lost and nothing is there twice, for as long as this producer lives.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;
use sluice_protocol::{
    messages::{
        InitProducerIdRequest, PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
    },
    records::{BatchBuilder, Chunks, Compression},
};

use super::{Client, ClientError, RETRY_FOR, RETRY_PAUSE, TopicInfo, topics::refused};

/// A record to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Its timestamp, milliseconds since 1970.
    pub timestamp: i64,
}

/// Where a batch was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The offset of its first record.
    pub base_offset: i64,
}

/// Writes records.
#[derive(Debug)]
pub struct Producer {
    producer_id: i64,
    producer_epoch: i16,
    codec: Compression,
    /// The next sequence of each partition.
    sequences: HashMap<(String, i32), i32>,
}

/// Every in-sync replica.
const ALL: i16 = -1;

impl Producer {
    /// Gets a producer id from the cluster.
    pub async fn new(client: &mut Client, codec: Compression) -> Result<Self, ClientError> {
        let request = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..InitProducerIdRequest::default() };
        let give_up = Instant::now() + RETRY_FOR;
        loop {
            // An id that was given and not heard of is nobody's.
            let answered = client.ask(&request).await;
            let given = answered
                .and_then(|answer| refused("a producer id".to_owned(), answer.error_code, None).map(|()| answer));
            match given {
                Ok(answer) => {
                    let (producer_id, producer_epoch) = (answer.producer_id, answer.producer_epoch);
                    return Ok(Self { producer_id, producer_epoch, codec, sequences: HashMap::new() });
                }
                Err(error) if error.is_retriable() && Instant::now() < give_up => tokio::time::sleep(RETRY_PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends the records, at least one, as one batch to one partition and waits until all in-sync replicas have it.
    ///
    /// After an error that is not a refusal it is not known whether the batch was stored; the producer has given up.
    pub async fn send(
        &mut self,
        client: &mut Client,
        topic: &mut TopicInfo,
        partition: i32,
        records: &[NewRecord],
    ) -> Result<Stored, ClientError> {
        assert!(!records.is_empty(), "no broker takes an empty batch");
        let place = (topic.name.clone(), partition);
        let sequence = self.sequences.get(&place).copied().unwrap_or(0);
        let mut builder = BatchBuilder::new(self.codec);
        for record in records {
            let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
            builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), headers);
        }
        builder.producer(self.producer_id, self.producer_epoch, sequence);
        let batch = Chunks::from(builder.build());
        let give_up = Instant::now() + RETRY_FOR;
        loop {
            let sent = send_once(client, topic, partition, batch.clone()).await;
            match sent {
                Ok(stored) => {
                    let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
                    self.sequences.insert(place, after(sequence, count));
                    return Ok(stored);
                }
                Err(error) if error.is_retriable() && Instant::now() < give_up => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                    // A new leader, perhaps, or the same one after a restart. If nobody can be asked, the next turn finds out.
                    client.refresh(topic).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

async fn send_once(
    client: &mut Client,
    topic: &TopicInfo,
    partition: i32,
    batch: Chunks,
) -> Result<Stored, ClientError> {
    let leader = topic.partitions.iter().find(|info| info.partition == partition).map(|info| info.leader);
    let leader = leader.ok_or_else(|| ClientError::NoPartition {
        topic: topic.name.clone(),
        partition,
        partitions: topic.partitions.len(),
    })?;
    let request = ProduceRequest {
        transactional_id: None,
        acks: ALL,
        timeout_ms: i32::try_from(client.config.request_timeout.as_millis()).unwrap_or(i32::MAX),
        topic_data: vec![TopicProduceData {
            name: topic.name.clone(),
            topic_id: topic.id,
            partition_data: vec![PartitionProduceData { index: partition, records: Some(batch) }],
        }],
    };
    let answer = client.ask_broker(leader, &request).await?;
    let answers = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
    let answer: PartitionProduceResponse = answers.into_iter().next().unwrap_or_default();
    if answer.error_code.is_none() {
        return Ok(Stored { base_offset: answer.base_offset });
    }
    Err(ClientError::RecordsRefused {
        what: format!("{}-{partition}", topic.name),
        code: answer.error_code,
        message: answer.error_message,
        records: answer
            .record_errors
            .into_iter()
            .map(|error| (error.batch_index, error.batch_index_error_message))
            .collect(),
    })
}

/// Sequences count up to 2^31 - 1 and go on from 0.
fn after(sequence: i32, count: i32) -> i32 {
    let next = (i64::from(sequence) + i64::from(count)) % (i64::from(i32::MAX) + 1);
    i32::try_from(next).unwrap_or(0) // cannot fail after the remainder
}

#[cfg(test)]
mod unit {
    #[test]
    fn sequences_wrap_to_zero() {
        for (sequence, count, next) in [(0, 5, 5), (i32::MAX, 1, 0), (i32::MAX - 1, 5, 3)] {
            assert_eq!(super::after(sequence, count), next);
        }
    }
}
