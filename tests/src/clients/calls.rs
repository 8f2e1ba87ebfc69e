//! Kafka's calls as tests make them on a raw connection: one topic, one partition, the newest version.

use sluice_protocol::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreatableTopicResult};
use sluice_protocol::messages::fetch::{FetchPartition, FetchTopic, PartitionData};
use sluice_protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopic};
use sluice_protocol::messages::metadata::{MetadataRequestTopic, MetadataResponseTopic};
use sluice_protocol::messages::produce::{PartitionProduceData, PartitionProduceResponse, TopicProduceData};
use sluice_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    ProduceRequest,
};
use sluice_protocol::records::{Batch, BatchBuilder, BatchHeader, Chunks, Compression, Part};
use sluice_protocol::{ErrorCode, Uuid};

use crate::clients::Connection;

/// Milliseconds a request may take at the broker.
const TIMEOUT_MS: i32 = 30_000;

/// A version of Produce that names topics, and that brokers before 4.0 have too; from 13 on they have ids.
const PRODUCE_BY_NAME: i16 = 11;

/// The last version of Fetch that names topics.
const FETCH_BY_NAME: i16 = 12;

/// When all records of tests were made: the first event of the earthquakes, milliseconds since 1970.
pub const TIMESTAMP: i64 = 1_517_966_773_840;

const NO_HEADERS: [(&str, Option<&str>); 0] = [];

/// A batch of values, not compressed.
pub fn batch<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> BatchBuilder {
    compressed(Compression::None, values)
}

/// A batch of values.
pub fn compressed<V: AsRef<[u8]>>(codec: Compression, values: impl IntoIterator<Item = V>) -> BatchBuilder {
    let mut batch = BatchBuilder::new(codec);
    for value in values {
        batch.push(TIMESTAMP, None, Some(value.as_ref()), NO_HEADERS);
    }
    batch
}

/// The bytes of a batch with its header altered and the checksum made right again.
pub fn altered(mut batch: Batch, alter: impl FnOnce(&mut BatchHeader)) -> Chunks {
    alter(&mut batch.header);
    batch.header.crc = batch.crc();
    Chunks::from(batch.to_parts())
}

impl Connection {
    /// Creates a topic of one partition.
    #[track_caller]
    pub fn create_topic(&mut self, name: &str, configs: &[(&str, &str)]) -> CreatableTopicResult {
        let configs =
            configs.iter().map(|&(name, value)| CreatableTopicConfig { name: name.into(), value: Some(value.into()) });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: 1,
            replication_factor: 1,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let request =
            CreateTopicsRequest { topics: vec![topic], timeout_ms: TIMEOUT_MS, ..CreateTopicsRequest::default() };
        self.ask(7, &request).topics.remove(0)
    }

    /// Deletes a topic.
    #[track_caller]
    pub fn delete_topic(&mut self, name: &str) -> ErrorCode {
        let request = DeleteTopicsRequest {
            topic_names: vec![name.into()],
            timeout_ms: TIMEOUT_MS,
            ..DeleteTopicsRequest::default()
        };
        self.ask(5, &request).responses.remove(0).error_code
    }

    /// Asks for one topic by name, without making it.
    #[track_caller]
    pub fn metadata(&mut self, name: &str) -> MetadataResponseTopic {
        let wanted = MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: Some(vec![wanted]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        self.ask(12, &request).topics.remove(0)
    }

    /// Produces a records field, whatever is in it, to partition 0 with `acks=all`.
    #[track_caller]
    pub fn produce(&mut self, topic: &str, records: impl Into<Chunks>) -> PartitionProduceResponse {
        self.produce_acks(topic, -1, records)
    }

    /// As [`Self::produce`], with acknowledgements of all (-1) or of the leader alone (1).
    #[track_caller]
    pub fn produce_acks(&mut self, topic: &str, acks: i16, records: impl Into<Chunks>) -> PartitionProduceResponse {
        let request = produce_request(topic, acks, Some(records.into()));
        self.ask(PRODUCE_BY_NAME, &request).responses.remove(0).partition_responses.remove(0)
    }

    /// Produces in any version, by name or by id as that version does.
    #[track_caller]
    pub fn produce_in(
        &mut self,
        version: i16,
        topic: &MetadataResponseTopic,
        records: impl Into<Chunks>,
    ) -> PartitionProduceResponse {
        let mut request = produce_request(topic.name.as_deref().unwrap_or_default(), -1, Some(records.into()));
        request.topic_data[0].topic_id = topic.topic_id;
        self.ask(version, &request).responses.remove(0).partition_responses.remove(0)
    }

    /// A producer id of the cluster's, never given to anybody else.
    #[track_caller]
    pub fn producer_id(&mut self) -> i64 {
        let request = InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..InitProducerIdRequest::default() };
        let given = self.ask(4, &request);
        assert_eq!(given.error_code, ErrorCode::None);
        given.producer_id
    }

    /// Produces with `acks=0`: nothing comes back.
    #[track_caller]
    pub fn produce_unanswered(&mut self, topic: &str, records: impl Into<Chunks>) {
        self.send(PRODUCE_BY_NAME, &produce_request(topic, 0, Some(records.into())));
    }

    /// Fetches partition 0 by name from an offset, without waiting.
    #[track_caller]
    pub fn fetch(&mut self, topic: &str, offset: i64) -> PartitionData {
        self.fetch_waiting(topic, offset, 0)
    }

    /// Fetches, waiting up to `max_wait_ms` for a record.
    #[track_caller]
    pub fn fetch_waiting(&mut self, topic: &str, offset: i64, max_wait_ms: i32) -> PartitionData {
        let topic =
            FetchTopic { topic: topic.into(), partitions: vec![fetch_partition(offset)], ..FetchTopic::default() };
        self.fetch_topic(FETCH_BY_NAME, topic, max_wait_ms)
    }

    /// Fetches partition 0 of the topic with an id.
    #[track_caller]
    pub fn fetch_by_id(&mut self, topic_id: Uuid, offset: i64) -> PartitionData {
        let topic = FetchTopic { topic_id, partitions: vec![fetch_partition(offset)], ..FetchTopic::default() };
        self.fetch_topic(16, topic, 0)
    }

    /// Fetches from an offset in any version, by name or by id as that version does.
    #[track_caller]
    pub fn fetch_in(&mut self, version: i16, topic: &MetadataResponseTopic, offset: i64) -> PartitionData {
        let topic = FetchTopic {
            topic: topic.name.clone().unwrap_or_default(),
            topic_id: topic.topic_id,
            partitions: vec![fetch_partition(offset)],
        };
        self.fetch_topic(version, topic, 0)
    }

    fn fetch_topic(&mut self, version: i16, topic: FetchTopic, max_wait_ms: i32) -> PartitionData {
        let request = FetchRequest { max_wait_ms, min_bytes: 1, topics: vec![topic], ..FetchRequest::default() };
        let mut answer = self.ask(version, &request);
        assert_eq!(answer.error_code, ErrorCode::None, "the request as a whole");
        answer.responses.remove(0).partitions.remove(0)
    }

    /// The offset of a timestamp in partition 0: -1 for the end, -2 for the beginning.
    #[track_caller]
    pub fn list_offset(&mut self, topic: &str, timestamp: i64) -> ListOffsetsPartitionResponse {
        self.list_offset_in(8, topic, timestamp)
    }

    /// As [`Self::list_offset`], in any version.
    #[track_caller]
    pub fn list_offset_in(&mut self, version: i16, topic: &str, timestamp: i64) -> ListOffsetsPartitionResponse {
        let partition = ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() };
        let topic = ListOffsetsTopic { name: topic.into(), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
        self.ask(version, &request).topics.remove(0).partitions.remove(0)
    }
}

/// The batches of a fetch answer.
pub fn batches(partition: &PartitionData) -> Vec<Batch> {
    let bytes = partition.records.iter().map(|part| match part {
        Part::Bytes(bytes) => bytes.clone(),
        Part::File(_) => unreachable!("what came over the wire is bytes"),
    });
    Batch::split(Chunks::from(bytes.collect::<Vec<_>>())).expect("a fetch answer holds whole batches")
}

/// The offsets and values in a fetch answer from `offset` on, as a consumer would give them out.
pub fn values(partition: &PartitionData, offset: i64) -> Vec<(i64, String)> {
    let decoded = batches(partition).into_iter().filter(|batch| !batch.header.is_control()).map(|batch| {
        batch.verify_crc().expect("the checksum is right");
        batch.decode(DECODED_BYTES_MAX).expect("a batch from the broker decodes")
    });
    let of_batch = |batch: sluice_protocol::records::DecodedBatch| {
        let base = batch.header().base_offset;
        let record = |record: sluice_protocol::records::Record<'_>| {
            (
                base + i64::from(record.offset_delta),
                String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned(),
            )
        };
        batch.iter().map(|result| record(result.expect("a record"))).collect::<Vec<_>>()
    };
    decoded.flat_map(of_batch).filter(|&(at, _)| at >= offset).collect()
}

/// What a batch in a test may expand to.
const DECODED_BYTES_MAX: usize = 64 << 20;

fn fetch_partition(fetch_offset: i64) -> FetchPartition {
    FetchPartition { fetch_offset, partition_max_bytes: 1 << 20, ..FetchPartition::default() }
}

fn produce_request(topic: &str, acks: i16, records: Option<Chunks>) -> ProduceRequest {
    let data = PartitionProduceData { index: 0, records };
    let topic = TopicProduceData { name: topic.into(), partition_data: vec![data], ..TopicProduceData::default() };
    ProduceRequest { acks, timeout_ms: TIMEOUT_MS, topic_data: vec![topic], ..ProduceRequest::default() }
}
