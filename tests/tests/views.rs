//! Views: topics that nobody stores, read by the clients people use.

use serde_json::{Value, json};
use sluice_protocol::ErrorCode;
use sluice_tests::clients::PythonClient;
use sluice_tests::clients::calls::{batch, batches, values};
use sluice_tests::{Plugin, Sluice, earthquakes};

/// A broker with a topic `base`, and a view `seen` of it that keeps what says `"keep": "yes"`.
fn viewed() -> Sluice {
    let sluice = Sluice::start();
    sluice.create_topic("base", 1);
    sluice.push("select");
    sluice.view("seen", "base", &Plugin::select("$.keep == 'yes'", "drop"));
    sluice
}

fn kept(n: usize) -> String {
    json!({"keep": "yes", "n": n}).to_string()
}

fn unwanted(n: usize) -> String {
    json!({"keep": "no", "n": n}).to_string()
}

#[test]
fn a_view_shows_what_its_plugin_keeps_at_the_bases_offsets() {
    let sluice = viewed();
    let mut connection = sluice.connection();
    connection.produce("base", batch([kept(0), unwanted(1), kept(2)]).build());
    connection.produce("base", batch([unwanted(3), kept(4)]).build());
    let read = connection.fetch("seen", 0);
    assert_eq!(values(&read, 0), [(0, kept(0)), (2, kept(2)), (4, kept(4))]);
    assert_eq!((read.high_watermark, read.log_start_offset, read.last_stable_offset), (5, 0, 5));
    let spans: Vec<(i64, i32)> =
        batches(&read).iter().map(|batch| (batch.header.base_offset, batch.header.last_offset_delta)).collect();
    assert_eq!(spans, [(0, 2), (3, 1)], "the spans are the base's");
    assert_eq!(values(&connection.fetch("seen", 2), 2), [(2, kept(2)), (4, kept(4))], "from the middle of a batch");
    assert_eq!(sluice.read("base").len(), 5, "the base is as it was");
}

#[test]
fn every_client_reads_the_strong_earthquakes() {
    let sluice = Sluice::start();
    sluice.create_topic("quakes", 1);
    sluice.push("select");
    sluice.view("strong", "quakes", &Plugin::select("$.properties.mag >= 4.5", "drop"));
    let sent = earthquakes();
    assert!(sluice.rdkafka().set("compression.type", "zstd").send("quakes", &sent).iter().all(Result::is_ok));
    let magnitude = |event: &str| serde_json::from_str::<Value>(event).expect("JSON")["properties"]["mag"].as_f64();
    let strong: Vec<String> = sent.into_iter().filter(|event| magnitude(event) >= Some(4.5)).collect();
    assert_eq!(strong.len(), 85);
    assert_eq!(sluice.read("strong"), strong, "rdkafka");
    assert_eq!(sluice.kcat().consume("strong").lines(), strong, "kcat");
    assert_eq!(sluice.python(PythonClient::KafkaPython).consume("strong", 85), strong, "kafka-python");
    assert_eq!(sluice.python(PythonClient::ConfluentKafka).consume("strong", 85), strong, "confluent-kafka");
    assert_eq!(sluice.java().consume("strong", 85), strong, "Java");
}

#[test]
fn fifty_filtered_out_answers_then_a_survivor_rdkafka() {
    check_fifty_filtered_out(|sluice| {
        let read = sluice.rdkafka().set("fetch.wait.max.ms", "50").await_records("seen", 0, 1);
        read.into_iter().filter_map(|record| record.value).collect()
    });
}

#[test]
fn fifty_filtered_out_answers_then_a_survivor_kcat() {
    check_fifty_filtered_out(|sluice| sluice.kcat().set("fetch.wait.max.ms", "50").consume_some("seen", 1).lines());
}

#[test]
fn fifty_filtered_out_answers_then_a_survivor_kafka_python() {
    check_fifty_filtered_out(|sluice| sluice.python(PythonClient::KafkaPython).consume("seen", 1));
}

#[test]
fn fifty_filtered_out_answers_then_a_survivor_confluent_kafka() {
    check_fifty_filtered_out(|sluice| sluice.python(PythonClient::ConfluentKafka).consume("seen", 1));
}

#[test]
fn fifty_filtered_out_answers_then_a_survivor_java() {
    check_fifty_filtered_out(|sluice| sluice.java().consume("seen", 1));
}

/// Reads the view with a client while records that it does not show keep coming, so that the client is answered fifty times
/// and more with nothing but a span passed over; then sends one that it shows.
#[track_caller]
fn check_fifty_filtered_out(read_one: impl Fn(&Sluice) -> Vec<String> + Send + Sync) {
    let sluice = viewed();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_one(&sluice));
        let mut connection = sluice.connection();
        let fetches = |least| sluice.await_metric("sluice_requests_total", "\"Fetch\"", least);
        // The first answer may have passed nothing over. From then on each waits for longer than the next record takes.
        let enough = fetches(1.0) + 52.0;
        let mut sent = 0;
        while sluice.metric("sluice_requests_total", "\"Fetch\"") < enough {
            for _ in 0..4 {
                assert_eq!(connection.produce("base", batch([unwanted(sent)]).build()).error_code, ErrorCode::None);
                sent += 1;
            }
            assert!(sent < 100_000, "the client does not fetch on");
        }
        connection.produce("base", batch([kept(sent)]).build());
        assert_eq!(reader.join().expect("the reader does not panic"), [kept(sent)]);
    });
}

#[test]
fn an_answer_without_survivors_is_one_empty_control_batch_over_what_was_passed() {
    let sluice = viewed();
    let mut connection = sluice.connection();
    connection.produce("base", batch((0..5).map(unwanted)).build());
    let answer = batches(&connection.fetch_waiting("seen", 0, 50));
    let [empty] = answer.as_slice() else { panic!("{} batches", answer.len()) };
    assert!(empty.header.is_control(), "librdkafka takes an empty batch without the bit for one that did not fit");
    assert_eq!((empty.header.base_offset, empty.header.last_offset(), empty.header.count), (0, 4, 0));
    assert_eq!(empty.verify_crc(), Ok(()));
    assert!(batches(&connection.fetch_waiting("seen", 5, 50)).is_empty(), "nothing passed, nothing said");
}

#[test]
fn a_view_is_listed_as_a_topic_with_an_id_of_its_own() {
    let sluice = viewed();
    let mut connection = sluice.connection();
    let (base, view) = (connection.metadata("base"), connection.metadata("seen"));
    assert_eq!(view.error_code, ErrorCode::None);
    assert_ne!(view.topic_id, base.topic_id);
    assert_eq!(view.partitions, base.partitions, "leader, epochs, replicas and ISR are the base's");
    connection.produce("base", batch([kept(0), unwanted(1)]).build());
    assert_eq!(values(&connection.fetch_by_id(view.topic_id, 0), 0), [(0, kept(0))]);
    assert_eq!(connection.list_offset("seen", -1).offset, 2, "the end is the base's");
    assert!(sluice.kcat().run(&["-L"], b"").ok().contains("topic \"seen\" with 1 partitions"));
}

#[test]
fn a_view_is_read_only() {
    let sluice = viewed();
    let mut connection = sluice.connection();
    let refused = connection.produce("seen", batch([kept(0)]).build());
    assert_eq!(refused.error_code, ErrorCode::PolicyViolation);
    assert!(refused.error_message.is_some_and(|why| why.contains("`base`")), "it says where to produce");
    assert_eq!(connection.create_topic("seen", &[]).error_code, ErrorCode::TopicAlreadyExists, "the name is taken");
}

#[test]
fn a_view_of_a_topic_deleted_and_made_again_is_not_a_view_of_the_new_one() {
    let sluice = viewed();
    let mut connection = sluice.connection();
    let view = connection.metadata("seen").topic_id;
    assert_eq!(connection.delete_topic("base"), ErrorCode::None);
    assert_eq!(connection.create_topic("base", &[]).error_code, ErrorCode::None);
    connection.produce("base", batch([kept(0)]).build());
    assert_eq!(connection.fetch_by_id(view, 0).error_code, ErrorCode::UnknownTopicId);
}

#[test]
fn a_view_made_again_has_another_id() {
    let sluice = viewed();
    let mut connection = sluice.connection();
    let first = connection.metadata("seen").topic_id;
    sluice.cli(["view", "remove", "seen"]).ok();
    assert_eq!(connection.metadata("seen").error_code, ErrorCode::UnknownTopicOrPartition);
    sluice.view("seen", "base", &Plugin::select("$.keep == 'yes'", "drop"));
    let second = connection.metadata("seen").topic_id;
    assert_ne!(first, second);
    assert_eq!(connection.fetch_by_id(first, 0).error_code, ErrorCode::UnknownTopicId);
}

#[test]
fn a_view_survives_a_restart() {
    let mut sluice = viewed();
    let id = sluice.connection().metadata("seen").topic_id;
    assert!(sluice.rdkafka().send("base", [kept(0), unwanted(1)]).iter().all(Result::is_ok));
    sluice.kill();
    sluice.restart();
    assert_eq!(sluice.connection().metadata("seen").topic_id, id);
    assert_eq!(sluice.read("seen"), [kept(0)]);
}

#[test]
fn a_view_can_rewrite_what_it_shows() {
    let sluice = Sluice::start();
    sluice.create_topic("base", 1);
    sluice.push("redact");
    sluice.view("open", "base", &Plugin::redact(&["$.secret"], &[]));
    let sent = json!({"open": 1, "secret": 2}).to_string();
    assert!(sluice.rdkafka().send("base", [&sent]).iter().all(Result::is_ok));
    let shown: Vec<Value> = sluice.read("open").iter().map(|text| serde_json::from_str(text).expect("JSON")).collect();
    assert_eq!(shown, [json!({"open": 1})]);
    assert_eq!(sluice.read("base"), [sent]);
}
