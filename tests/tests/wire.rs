//! The protocol as a client sees it, call by call and version by version, on a raw connection.

use std::time::{Duration, Instant};

use sluice_protocol::messages::metadata::MetadataRequestTopic;
use sluice_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeConfigsRequest, DescribeConfigsResource,
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FindCoordinatorRequest, InitProducerIdRequest,
    ListOffsetsRequest, MetadataRequest, MetadataResponse, ProduceRequest, SUPPORTED,
};
use sluice_protocol::records::Chunks;
use sluice_protocol::{ApiKey, ErrorCode, Message, Request, decode_response};
use sluice_tests::Sluice;
use sluice_tests::clients::Connection;
use sluice_tests::clients::calls::{TIMESTAMP, altered, batch, batches, values};

/// A resource of DescribeConfigs: a topic.
const TOPIC: i8 = 2;

/// A broker with a topic of one partition, and a connection to it.
fn broker_with(topic: &str) -> (Sluice, Connection) {
    let sluice = Sluice::start();
    let mut connection = sluice.connection();
    assert_eq!(connection.create_topic(topic, &[]).error_code, ErrorCode::None);
    (sluice, connection)
}

#[test]
fn api_versions_tells_what_the_codec_has_in_every_version() {
    let sluice = Sluice::start();
    let mut connection = sluice.connection();
    let told = |answer: ApiVersionsResponse| {
        let keys = answer.api_keys.into_iter().map(|one| (one.api_key, one.min_version, one.max_version));
        (answer.error_code, keys.collect::<Vec<_>>())
    };
    let supported: Vec<_> = SUPPORTED.iter().map(|&(key, first, last)| (key.code(), first, last)).collect();
    let named = ApiVersionsRequest { client_software_name: "tests".into(), client_software_version: "1".into() };
    for version in ApiVersionsRequest::VERSIONS {
        assert_eq!(told(connection.ask(version, &named)), (ErrorCode::None, supported.clone()), "version {version}");
    }
    // Header version 2 of an ApiVersions to come: who asks does not know that we do not know it (KIP-511).
    connection.write_frame(b"\0\x12\0\x63\0\0\0\x07\0\x02me\0").expect("the broker reads");
    let frame = Chunks::from(bytes::Bytes::from(connection.read_frame().expect("it is answered in version 0")));
    let (correlation_id, answer) = decode_response::<ApiVersionsResponse>(frame, 0).expect("version 0");
    assert_eq!(correlation_id, 7);
    assert_eq!(told(answer), (ErrorCode::UnsupportedVersion, supported));
}

#[test]
fn produce_and_fetch_in_every_version() {
    let (_sluice, mut connection) = broker_with("versions");
    let topic = connection.metadata("versions");
    let mut stored = Vec::new();
    for version in offered::<ProduceRequest>(&mut connection) {
        let answer = connection.produce_in(version, &topic, batch([format!("{version}")]).build());
        assert_eq!(answer.error_code, ErrorCode::None, "Produce {version}: {:?}", answer.error_message);
        stored.push((answer.base_offset, version.to_string()));
    }
    for version in offered::<FetchRequest>(&mut connection) {
        let answer = connection.fetch_in(version, &topic, 0);
        assert_eq!(answer.error_code, ErrorCode::None, "Fetch {version}");
        assert_eq!(values(&answer, 0), stored, "Fetch {version}");
    }
}

#[test]
fn metadata_in_every_version_by_name_and_by_id() {
    let (_sluice, mut connection) = broker_with("known");
    let id = connection.metadata("known").topic_id;
    for version in offered::<MetadataRequest>(&mut connection) {
        let all = MetadataRequest { topics: (version == 0).then(Vec::new), ..MetadataRequest::default() };
        let answer = connection.ask(version, &all);
        assert!(answer.topics.iter().any(|topic| topic.name.as_deref() == Some("known")), "version {version}");
        assert_eq!(answer.brokers.len(), 1, "version {version}");
        if version >= 12 {
            let by_id = MetadataRequestTopic { topic_id: id, name: None };
            let answer =
                connection.ask(version, &MetadataRequest { topics: Some(vec![by_id]), ..MetadataRequest::default() });
            assert_eq!(answer.topics[0].name.as_deref(), Some("known"), "version {version}");
        }
    }
}

#[test]
fn metadata_of_all_topics_as_librdkafka_asks_for_it() {
    let (_sluice, mut connection) = broker_with("known");
    // Version 13, no client id; then null topics in a placeholder of four bytes, of which librdkafka 2.12.1 takes none back.
    connection.write_frame(b"\0\x03\0\x0d\0\0\0\x07\xff\xff\0\0\0\0\0\0\0\0").expect("the broker reads");
    let frame = Chunks::from(bytes::Bytes::from(connection.read_frame().expect("it is answered")));
    let (_, answer) = decode_response::<MetadataResponse>(frame, 13).expect("version 13");
    assert_eq!(answer.topics.iter().map(|topic| topic.name.as_deref()).collect::<Vec<_>>(), [Some("known")]);
}

#[test]
fn requests_sent_together_are_answered_in_their_order() {
    let (_sluice, mut connection) = broker_with("ordered");
    let partition = FetchPartition { partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    let topic = FetchTopic { topic: "ordered".into(), partitions: vec![partition], ..FetchTopic::default() };
    let waiting = FetchRequest { max_wait_ms: 300, min_bytes: 1, topics: vec![topic], ..FetchRequest::default() };
    let mut pipelined = Pipeline::after(&mut connection);
    pipelined.send(11, &waiting);
    for _ in 0..50 {
        pipelined.send(0, &ApiVersionsRequest::default());
    }
    let first: FetchResponse = pipelined.answer(11);
    assert_eq!(first.responses[0].partitions[0].error_code, ErrorCode::None);
    for _ in 0..50 {
        pipelined.answer::<ApiVersionsResponse>(0);
    }
}

#[test]
fn an_error_of_a_producer_that_waits_for_no_answer_closes_its_connection() {
    let (_sluice, mut connection) = broker_with("silent");
    connection.produce_unanswered("silent", batch(["fine"]).build());
    let stored = connection.fetch_waiting("silent", 0, 30_000);
    assert_eq!(values(&stored, 0), [(0, "fine".to_owned())], "and a good one is stored");
    connection
        .produce_unanswered("silent", altered(batch(["bad"]).build_batch(), |header| header.last_offset_delta = 5));
    assert!(connection.is_closed());
}

#[test]
fn topics_are_made_by_those_who_ask_for_them_and_may() {
    let sluice = Sluice::start();
    let mut connection = sluice.connection();
    assert_eq!(connection.metadata("new").error_code, ErrorCode::UnknownTopicOrPartition);
    let wanted = MetadataRequestTopic { name: Some("new".into()), ..MetadataRequestTopic::default() };
    let made = connection.ask(9, &MetadataRequest { topics: Some(vec![wanted]), ..MetadataRequest::default() });
    assert!([ErrorCode::None, ErrorCode::LeaderNotAvailable].contains(&made.topics[0].error_code));
    assert_eq!(connection.produce("new", batch(["first"]).build()).base_offset, 0);
}

#[test]
fn topics_are_not_made_when_the_broker_says_so() {
    let sluice = Sluice::builder().set("auto.create.topics.enable", false).start();
    let mut connection = sluice.connection();
    let wanted = MetadataRequestTopic { name: Some("new".into()), ..MetadataRequestTopic::default() };
    let answer = connection.ask(9, &MetadataRequest { topics: Some(vec![wanted]), ..MetadataRequest::default() });
    assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicOrPartition);
}

#[test]
fn a_fetch_gives_its_first_batch_whole_however_little_it_asks_for() {
    let (_sluice, mut connection) = broker_with("small");
    let sent = batch(["x".repeat(100_000), "y".repeat(100_000)]).build();
    connection.produce("small", sent.clone());
    connection.produce("small", sent);
    let partition = FetchPartition { partition_max_bytes: 1, ..FetchPartition::default() };
    let topic = FetchTopic { topic: "small".into(), partitions: vec![partition], ..FetchTopic::default() };
    let request = FetchRequest { max_bytes: 1, min_bytes: 1, topics: vec![topic], ..FetchRequest::default() };
    let answer = connection.ask(11, &request).responses.remove(0).partitions.remove(0);
    assert_eq!(batches(&answer).len(), 1, "one, and all of it");
}

#[test]
fn a_fetch_waits_for_as_many_bytes_as_it_asks_for() {
    let (sluice, mut connection) = broker_with("slow");
    let fetch = |min_bytes, max_wait_ms| {
        let partition = FetchPartition { partition_max_bytes: 1 << 20, ..FetchPartition::default() };
        let topic = FetchTopic { topic: "slow".into(), partitions: vec![partition], ..FetchTopic::default() };
        FetchRequest { max_wait_ms, min_bytes, topics: vec![topic], ..FetchRequest::default() }
    };
    let asked = Instant::now();
    connection.ask(11, &fetch(1, 200));
    assert!(asked.elapsed() >= Duration::from_millis(200), "there was nothing to answer with");
    let mut pipelined = Pipeline::after(&mut connection);
    pipelined.send(11, &fetch(1000, 30_000));
    let mut producer = sluice.connection();
    let stored = (0..20).map(|_| producer.produce("slow", batch(["z".repeat(100)]).build()).base_offset);
    let last = stored.last().expect("twenty");
    let answer: FetchResponse = pipelined.answer(11);
    let read = values(&answer.responses[0].partitions[0], 0);
    assert!(
        (6..=20).contains(&read.len()),
        "enough for 1000 bytes, answered as soon as they were there: {}",
        read.len()
    );
    assert_eq!(last, 19);
}

#[test]
fn offsets_by_timestamp_and_at_both_ends() {
    let (_sluice, mut connection) = broker_with("times");
    for (n, timestamp) in [TIMESTAMP, TIMESTAMP + 1_000, TIMESTAMP + 2_000].into_iter().enumerate() {
        let records = altered(batch([format!("{n}")]).build_batch(), |header| {
            (header.base_timestamp, header.max_timestamp) = (timestamp, timestamp);
        });
        connection.produce("times", records);
    }
    let mut at = |timestamp| {
        let found = connection.list_offset("times", timestamp);
        assert_eq!(found.error_code, ErrorCode::None, "{timestamp}");
        found.offset
    };
    assert_eq!(at(-2), 0, "earliest");
    assert_eq!(at(-1), 3, "latest");
    assert_eq!(at(-3), 2, "of the greatest timestamp");
    assert_eq!(at(TIMESTAMP), 0);
    assert_eq!(at(TIMESTAMP + 1), 1);
    assert_eq!(at(TIMESTAMP + 2_000), 2);
    assert_eq!(at(TIMESTAMP + 2_001), -1, "none so late");
    for version in offered::<ListOffsetsRequest>(&mut connection) {
        assert_eq!(connection.list_offset_in(version, "times", -1).offset, 3, "ListOffsets {version}");
    }
}

#[test]
fn a_fetch_from_outside_of_the_log_is_out_of_range() {
    let (_sluice, mut connection) = broker_with("short");
    connection.produce("short", batch(["only"]).build());
    assert_eq!(connection.fetch("short", 2).error_code, ErrorCode::OffsetOutOfRange);
    assert_eq!(connection.fetch("short", -1).error_code, ErrorCode::OffsetOutOfRange);
    assert_eq!(connection.fetch("short", 1).error_code, ErrorCode::None, "its end is inside");
}

#[test]
fn a_deleted_topic_is_gone_and_its_id_with_it() {
    let (_sluice, mut connection) = broker_with("gone");
    let first = connection.metadata("gone");
    connection.produce("gone", batch(["old"]).build());
    assert_eq!(connection.delete_topic("gone"), ErrorCode::None);
    assert_eq!(connection.metadata("gone").error_code, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(connection.create_topic("gone", &[]).error_code, ErrorCode::None);
    let second = connection.metadata("gone");
    assert_ne!(first.topic_id, second.topic_id);
    assert_eq!(connection.list_offset("gone", -1).offset, 0, "nothing of the old one is in the new");
    assert_eq!(connection.fetch_in(16, &first, 0).error_code, ErrorCode::UnknownTopicId);
}

#[test]
fn configs_are_described_with_where_they_come_from() {
    let sluice = Sluice::start();
    let mut connection = sluice.connection();
    assert_eq!(connection.create_topic("set", &[("retention.ms", "1234567")]).error_code, ErrorCode::None);
    let resource = DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: "set".into(),
        ..DescribeConfigsResource::default()
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    for version in offered::<DescribeConfigsRequest>(&mut connection) {
        let mut described = connection.ask(version, &request);
        let configs = described.results.remove(0).configs;
        let find = |name: &str| configs.iter().find(|config| config.name == name).expect("a config of topics");
        let (set, left) = (find("retention.ms"), find("max.message.bytes"));
        assert_eq!(
            (set.value.as_deref(), set.config_source),
            (Some("1234567"), 1),
            "the topic's own, version {version}"
        );
        assert_eq!(left.config_source, 5, "a default, version {version}");
    }
}

#[test]
fn the_cluster_is_described_as_metadata_has_it() {
    let sluice = Sluice::start();
    let mut connection = sluice.connection();
    let metadata = connection.ask(9, &MetadataRequest { topics: Some(Vec::new()), ..MetadataRequest::default() });
    let described = connection.ask(0, &DescribeClusterRequest::default());
    assert_eq!(Some(&described.cluster_id), metadata.cluster_id.as_ref());
    assert_eq!(described.cluster_id, sluice.cluster_id());
    let broker = &described.brokers[0];
    assert_eq!(format!("{}:{}", broker.host, broker.port), sluice.bootstrap());
    assert_eq!((broker.broker_id, described.controller_id), (1, metadata.controller_id));
}

#[test]
fn nobody_coordinates_groups_yet_and_says_so() {
    let sluice = Sluice::start();
    let mut connection = sluice.connection();
    for version in FindCoordinatorRequest::VERSIONS {
        let request = match version {
            0..=3 => FindCoordinatorRequest { key: "group".into(), ..FindCoordinatorRequest::default() },
            _ => FindCoordinatorRequest { coordinator_keys: vec!["group".into()], ..FindCoordinatorRequest::default() },
        };
        let answer = connection.ask(version, &request);
        let code = answer.coordinators.first().map_or(answer.error_code, |coordinator| coordinator.error_code);
        assert_eq!(code, ErrorCode::CoordinatorNotAvailable, "version {version}");
    }
}

#[test]
fn no_two_producers_get_the_same_id_not_even_after_a_kill() {
    let mut sluice = Sluice::start();
    let request = InitProducerIdRequest { producer_id: -1, producer_epoch: -1, ..InitProducerIdRequest::default() };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let mut connection = sluice.connection();
        for version in InitProducerIdRequest::VERSIONS {
            let given = connection.ask(version, &request);
            assert_eq!((given.error_code, given.producer_epoch), (ErrorCode::None, 0), "version {version}");
            ids.push(given.producer_id);
        }
        sluice.kill();
        sluice.restart();
    }
    let different: std::collections::BTreeSet<i64> = ids.iter().copied().collect();
    assert_eq!(different.len(), ids.len(), "{ids:?}");
}

/// The versions of a request that both the broker and our codec have.
fn offered<R: Request>(connection: &mut Connection) -> Vec<i16> {
    let answer = connection.ask(0, &ApiVersionsRequest::default());
    let range =
        answer.api_keys.iter().find(|one| ApiKey::from_code(one.api_key) == Some(R::KEY)).expect("it is offered");
    let versions: Vec<i16> =
        R::VERSIONS.filter(|version| (range.min_version..=range.max_version).contains(version)).collect();
    assert!(!versions.is_empty());
    versions
}

/// Requests sent without waiting, and their answers, which must come in the same order.
struct Pipeline<'a> {
    connection: &'a mut Connection,
    answered: i32,
}

impl<'a> Pipeline<'a> {
    fn after(connection: &'a mut Connection) -> Self {
        Self { answered: connection.sent(), connection }
    }

    fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.connection.send(version, request);
    }

    fn answer<M: Message>(&mut self, version: i16) -> M {
        self.answered += 1;
        self.connection.answer(version, self.answered)
    }
}
