//! The client against a broker in memory, which speaks the protocol over the real network layer and can be told to fail.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use sluice_protocol::{
    ErrorCode, Message, Reader, Uuid, decode_request_header, encode_response,
    messages::{
        ApiVersion, ApiVersionsResponse, BatchIndexAndErrorMessage, FetchRequest, FetchResponse,
        FetchableTopicResponse, InitProducerIdResponse, ListOffsetsPartitionResponse, ListOffsetsRequest,
        ListOffsetsResponse, ListOffsetsTopicResponse, MetadataResponse, MetadataResponseBroker,
        MetadataResponsePartition, MetadataResponseTopic, PartitionData, PartitionProduceResponse, ProduceRequest,
        ProduceResponse, SUPPORTED, TopicProduceResponse,
    },
    records::{Batch, Chunks, Compression, Part, empty_control_batch},
};

use super::*;
use crate::net::{
    Limits, ListenerConfig, ListenerName, NetConfig, Outcome, Peer, Running, Security, Service, Started, bind,
};

/// One topic `t` with one partition, whose log is a list of batches.
#[derive(Default)]
struct Memory {
    log: Mutex<Vec<Batch>>,
    /// What becomes of the next produce requests; when it is empty they succeed.
    produce: Mutex<VecDeque<Fate>>,
    /// The brokers by their ids and ports, where there are several.
    others: Mutex<Vec<(i32, i32)>>,
    port: Mutex<i32>,
    /// The highest version of ApiVersions that it knows.
    api_versions_max: i16,
}

enum Fate {
    Refuse(ErrorCode),
    /// Stored, but nobody is told: the connection breaks.
    StoreAndDrop,
    NameRecord(i32, &'static str),
}

const TOPIC_ID: Uuid = Uuid([7; 16]);

impl Memory {
    fn store(&self, records: Chunks) -> i64 {
        let mut log = self.log.lock();
        let mut first = -1;
        for mut batch in Batch::split(records).expect("whole batches") {
            let duplicate = log.iter().find(|known| {
                known.header.producer_id == batch.header.producer_id
                    && known.header.base_sequence == batch.header.base_sequence
            });
            if let Some(known) = duplicate {
                return known.header.base_offset;
            }
            batch.header.base_offset = log.last().map_or(0, |last| last.header.next_offset());
            first = batch.header.base_offset;
            log.push(batch);
        }
        first
    }

    fn end(&self) -> i64 {
        self.log.lock().last().map_or(0, |last| last.header.next_offset())
    }

    fn produce(&self, request: ProduceRequest) -> Option<ProduceResponse> {
        let partition =
            request.topic_data.into_iter().flat_map(|topic| topic.partition_data).next().expect("one partition");
        let records = partition.records.expect("records");
        let mut answer = PartitionProduceResponse { index: partition.index, ..PartitionProduceResponse::default() };
        match self.produce.lock().pop_front() {
            None => answer.base_offset = self.store(records),
            Some(Fate::Refuse(code)) => answer.error_code = code,
            Some(Fate::StoreAndDrop) => {
                self.store(records);
                return None;
            }
            Some(Fate::NameRecord(index, message)) => {
                answer.error_code = ErrorCode::InvalidRecord;
                answer.error_message = Some("the gate says no".to_owned());
                answer.record_errors = vec![BatchIndexAndErrorMessage {
                    batch_index: index,
                    batch_index_error_message: Some(message.to_owned()),
                }];
            }
        }
        let topic =
            TopicProduceResponse { name: "t".to_owned(), topic_id: TOPIC_ID, partition_responses: vec![answer] };
        Some(ProduceResponse { responses: vec![topic], ..ProduceResponse::default() })
    }

    fn fetch(&self, request: &FetchRequest) -> FetchResponse {
        let wanted = &request.topics[0].partitions[0];
        let mut records = BytesMut::new();
        for batch in self.log.lock().iter().filter(|batch| batch.header.next_offset() > wanted.fetch_offset) {
            for part in batch.to_parts() {
                records.extend_from_slice(&part);
            }
        }
        // As Kafka may: half a header of a next batch at the end.
        records.extend_from_slice(&[0; 30]);
        let partition = PartitionData {
            partition_index: wanted.partition,
            high_watermark: self.end(),
            records: vec![Part::Bytes(records.freeze())],
            ..PartitionData::default()
        };
        let topic = FetchableTopicResponse { topic: "t".to_owned(), topic_id: TOPIC_ID, partitions: vec![partition] };
        FetchResponse { responses: vec![topic], ..FetchResponse::default() }
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let offset = match request.topics[0].partitions[0].timestamp {
            -2 => 0,
            -1 => self.end(),
            timestamp => {
                let log = self.log.lock();
                log.iter()
                    .find(|batch| batch.header.max_timestamp >= timestamp)
                    .map_or(-1, |batch| batch.header.base_offset)
            }
        };
        let partition_index = request.topics[0].partitions[0].partition_index;
        let partition =
            ListOffsetsPartitionResponse { partition_index, offset, ..ListOffsetsPartitionResponse::default() };
        let topic = ListOffsetsTopicResponse { name: "t".to_owned(), partitions: vec![partition] };
        ListOffsetsResponse { topics: vec![topic], ..ListOffsetsResponse::default() }
    }

    /// Broker `n` leads partition `n - 1`.
    fn metadata(&self) -> MetadataResponse {
        let mut brokers = self.others.lock().clone();
        if brokers.is_empty() {
            brokers.push((1, *self.port.lock()));
        }
        let partition = |&(id, _): &(i32, i32)| MetadataResponsePartition {
            partition_index: id - 1,
            leader_id: id,
            replica_nodes: vec![id],
            isr_nodes: vec![id],
            ..MetadataResponsePartition::default()
        };
        MetadataResponse {
            topics: vec![MetadataResponseTopic {
                name: Some("t".to_owned()),
                topic_id: TOPIC_ID,
                partitions: brokers.iter().map(partition).collect(),
                ..MetadataResponseTopic::default()
            }],
            brokers: brokers
                .into_iter()
                .map(|(node_id, port)| MetadataResponseBroker {
                    node_id,
                    host: "127.0.0.1".to_owned(),
                    port,
                    rack: None,
                })
                .collect(),
            ..MetadataResponse::default()
        }
    }
}

impl Service for Memory {
    type Connection = ();

    fn connected(&self, _: Peer) {}

    async fn start(&self, (): &mut (), frame: Chunks) -> Started {
        let mut reader = Reader::new(frame);
        let header = decode_request_header(&mut reader).expect("a header");
        let (id, version) = (header.correlation_id, header.api_version);
        let answer = match ApiKey::from_code(header.api_key) {
            Some(ApiKey::ApiVersions) if version > self.api_versions_max => {
                encode_response(id, 0, &ApiVersionsResponse::unsupported_version(SUPPORTED))
            }
            Some(ApiKey::ApiVersions) => {
                let api_keys = SUPPORTED.iter().map(|&(key, min, max)| ApiVersion {
                    api_key: key.code(),
                    min_version: min,
                    max_version: max,
                });
                encode_response(
                    id,
                    version,
                    &ApiVersionsResponse { api_keys: api_keys.collect(), ..ApiVersionsResponse::default() },
                )
            }
            Some(ApiKey::Metadata) => encode_response(id, version, &self.metadata()),
            Some(ApiKey::InitProducerId) => encode_response(
                id,
                version,
                &InitProducerIdResponse { producer_id: 5, ..InitProducerIdResponse::default() },
            ),
            Some(ApiKey::Produce) => {
                match self.produce(ProduceRequest::read(&mut reader, version).expect("a request")) {
                    Some(response) => encode_response(id, version, &response),
                    None => return Started::Close("told to".into()),
                }
            }
            Some(ApiKey::Fetch) => {
                encode_response(id, version, &self.fetch(&FetchRequest::read(&mut reader, version).expect("a request")))
            }
            Some(ApiKey::ListOffsets) => encode_response(
                id,
                version,
                &self.list_offsets(&ListOffsetsRequest::read(&mut reader, version).expect("a request")),
            ),
            other => panic!("{other:?} is not asked for here"),
        };
        let answer = answer.expect("encodes");
        Started::Later(Box::pin(async { Outcome::Answer(answer) }))
    }
}

async fn start(memory: Memory) -> (Arc<Memory>, Running, Client) {
    let (memory, running) = serve(memory).await;
    let nobody = "127.0.0.1:1".to_owned();
    let address = format!("127.0.0.1:{}", memory.port.lock());
    let client = Client::connect(ClientConfig::new(vec![nobody, address], None)).await.expect("connects to the second");
    (memory, running, client)
}

async fn serve(memory: Memory) -> (Arc<Memory>, Running) {
    let listener = ListenerConfig {
        name: ListenerName::new("PLAINTEXT"),
        host: "127.0.0.1".to_owned(),
        port: 0,
        advertised: None,
        security: Security::Plaintext,
    };
    let limits = Limits {
        frame_bytes_max: 1 << 20,
        memory_bytes_max: 16 << 20,
        inflight_bytes_max: 4 << 20,
        connections_max: 10,
        connections_per_ip_max: 10,
        idle_max: Duration::from_secs(600),
        frame_age_while_short_max: Duration::from_secs(10),
        handshake_timeout: Duration::from_secs(10),
    };
    let bound = bind(&NetConfig { listeners: vec![listener], limits }).await.expect("a loopback port");
    let address = bound.endpoints()[0].bound;
    let memory = Arc::new(memory);
    *memory.port.lock() = i32::from(address.port());
    let running = bound.serve(Arc::clone(&memory));
    (memory, running)
}

fn new_record(value: &str, timestamp: i64) -> NewRecord {
    NewRecord {
        key: None,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: vec![("h".to_owned(), None), ("h".to_owned(), Some(Bytes::from_static(b"2")))],
        timestamp,
    }
}

/// A broker that knows ApiVersions up to 4.
fn modern() -> Memory {
    Memory { api_versions_max: 4, ..Memory::default() }
}

#[tokio::test]
async fn an_old_broker_is_asked_again_in_version_0() {
    let (_memory, _running, mut client) = start(Memory { api_versions_max: 0, ..Memory::default() }).await;
    assert_eq!(client.topic("t").await.expect("a topic").id, TOPIC_ID);
}

#[tokio::test]
async fn what_is_sent_is_read() {
    let (memory, _running, mut client) = start(modern()).await;
    let mut topic = client.topic("t").await.expect("a topic");
    let mut producer = Producer::new(&mut client, Compression::Zstd).await.expect("a producer id");
    let first = [new_record("a", 1000), new_record("b", 2000)];
    assert_eq!(producer.send(&mut client, &mut topic, 0, &first).await.expect("stored").base_offset, 0);
    memory.log.lock().push(empty_control_batch(2, 9, 0));
    let second = [new_record("c", 3000)];
    assert_eq!(producer.send(&mut client, &mut topic, 0, &second).await.expect("stored").base_offset, 10);

    let check = async |client: &mut Client, start: Start, expected: &[(i64, &str, i64)]| {
        let topic = client.topic("t").await.expect("a topic");
        let mut consumer = Consumer::new(client, topic, &[], start).await.expect("positions");
        assert!(!consumer.is_at_end(), "{start:?}: nothing has been asked yet");
        let records = consumer.poll(client).await.expect("records");
        let seen: Vec<_> = records
            .iter()
            .map(|record| {
                (
                    record.offset,
                    String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned(),
                    record.timestamp,
                )
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(offset, value, timestamp)| (*offset, (*value).to_owned(), *timestamp)).collect();
        assert_eq!(seen, expected, "{start:?}");
        assert!(records.iter().all(|record| record.headers == new_record("", 0).headers), "{start:?}");
        assert!(consumer.is_at_end(), "{start:?}");
        assert!(consumer.poll(client).await.expect("nothing").is_empty(), "{start:?}: nothing twice");
    };
    let all = [(0, "a", 1000), (1, "b", 2000), (10, "c", 3000)];
    check(&mut client, Start::Beginning, &all).await;
    check(&mut client, Start::Offset(1), &all[1..]).await;
    check(&mut client, Start::Offset(5), &all[2..]).await;
    check(&mut client, Start::Offset(-1), &all[2..]).await;
    check(&mut client, Start::Offset(-100), &all).await;
    check(&mut client, Start::Timestamp(2500), &all[2..]).await;
    check(&mut client, Start::Timestamp(9000), &[]).await;
    check(&mut client, Start::End, &[]).await;
}

#[tokio::test]
async fn a_batch_is_sent_again_until_it_is_known_to_be_stored_and_is_stored_once() {
    let (memory, _running, mut client) = start(modern()).await;
    let mut topic = client.topic("t").await.expect("a topic");
    let mut producer = Producer::new(&mut client, Compression::None).await.expect("a producer id");
    memory.produce.lock().extend([Fate::Refuse(ErrorCode::NotLeaderOrFollower), Fate::StoreAndDrop]);
    let stored = producer.send(&mut client, &mut topic, 0, &[new_record("a", 1)]).await.expect("stored in the end");
    assert_eq!((stored.base_offset, memory.end()), (0, 1));
    producer.send(&mut client, &mut topic, 0, &[new_record("b", 1)]).await.expect("stored");
    let log = memory.log.lock();
    assert_eq!(log.iter().map(|batch| batch.header.base_sequence).collect::<Vec<_>>(), [0, 1]);
    assert!(log.iter().all(|batch| batch.header.producer_id == 5));
}

#[tokio::test]
async fn a_refusal_names_the_records_and_costs_no_sequence() {
    let (memory, _running, mut client) = start(modern()).await;
    let mut topic = client.topic("t").await.expect("a topic");
    let mut producer = Producer::new(&mut client, Compression::None).await.expect("a producer id");
    memory.produce.lock().push_back(Fate::NameRecord(1, "no amount"));
    let batch = [new_record("a", 1), new_record("b", 1)];
    match producer.send(&mut client, &mut topic, 0, &batch).await {
        Err(ClientError::RecordsRefused { what, code, records, .. }) => {
            assert_eq!(
                (what.as_str(), code, records),
                ("t-0", ErrorCode::InvalidRecord, vec![(1, Some("no amount".to_owned()))])
            );
        }
        other => panic!("{other:?}"),
    }
    producer.send(&mut client, &mut topic, 0, &batch[..1]).await.expect("stored");
    assert_eq!(memory.log.lock()[0].header.base_sequence, 0);
}

#[tokio::test]
async fn a_partition_that_is_not_there() {
    let (_memory, _running, mut client) = start(modern()).await;
    let mut topic = client.topic("t").await.expect("a topic");
    let error = Consumer::new(&mut client, topic.clone(), &[3], Start::Beginning).await.expect_err("no partition 3");
    assert_eq!(error.to_string(), "topic `t` has no partition 3; it has 1");
    let mut producer = Producer::new(&mut client, Compression::None).await.expect("a producer id");
    let error = producer.send(&mut client, &mut topic, 3, &[new_record("a", 1)]).await.expect_err("no partition 3");
    assert_eq!(error.to_string(), "topic `t` has no partition 3; it has 1");
}

#[tokio::test]
async fn one_of_two_brokers_goes_and_what_the_other_has_is_written_and_read() {
    let (one, first) = serve(modern()).await;
    let (two, second) = serve(modern()).await;
    let brokers = vec![(1, *one.port.lock()), (2, *two.port.lock())];
    *one.others.lock() = brokers.clone();
    *two.others.lock() = brokers;
    let address = format!("127.0.0.1:{}", one.port.lock());
    let mut client = Client::connect(ClientConfig::new(vec![address], None)).await.expect("connects");
    let mut topic = client.topic("t").await.expect("a topic");
    let mut consumer = Consumer::new(&mut client, topic.clone(), &[], Start::Beginning).await.expect("positions");
    let mut producer = Producer::new(&mut client, Compression::None).await.expect("a producer id");
    for partition in [0, 1] {
        producer.send(&mut client, &mut topic, partition, &[new_record("a", 1)]).await.expect("stored");
    }
    let mut read: Vec<i32> =
        consumer.poll(&mut client).await.expect("records").iter().map(|record| record.partition).collect();
    read.sort_unstable();
    assert_eq!(read, [0, 1], "of both leaders, in one go");
    // The one that was asked first goes, and what it was asked is known to the other.
    first.kill().await;
    producer.send(&mut client, &mut topic, 1, &[new_record("b", 1)]).await.expect("stored");
    let records = consumer.poll(&mut client).await.expect("records of the one that is left");
    assert_eq!(records.iter().map(|record| (record.partition, record.offset)).collect::<Vec<_>>(), [(1, 1)]);
    assert_eq!(client.topic("t").await.expect("a topic").partitions.len(), 2);
    producer.send(&mut client, &mut topic, 1, &[new_record("c", 1)]).await.expect("stored");
    assert_eq!(consumer.poll(&mut client).await.expect("goes on").len(), 1);
    Producer::new(&mut client, Compression::None).await.expect("another id");
    second.kill().await;
    let error = client.topics().await.expect_err("nobody is left");
    assert!(matches!(error, ClientError::Connect { .. } | ClientError::Lost { .. }), "{error}");
}
