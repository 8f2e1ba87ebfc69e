//! The clients people use, as they come: each creates a topic, produces with every codec it has, and reads it all back.

use sluice_protocol::ErrorCode;
use sluice_protocol::messages::InitProducerIdRequest;
use sluice_protocol::records::Compression;
use sluice_tests::clients::PythonClient;
use sluice_tests::{Sluice, stored_batches};

const CODECS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

/// Records that are worth compressing: a client sends a batch as it is when its codec makes it longer.
fn records() -> Vec<String> {
    (0..100).map(|n| format!("record {n}: {}", "the same words again and again ".repeat(4))).collect()
}

#[test]
fn rdkafka() {
    check_every_codec(
        |sluice, topic| sluice.create_topic(topic, 1),
        |sluice, topic, codec, sent| {
            let client = sluice.rdkafka().set("compression.type", codec).set("linger.ms", "100");
            assert!(client.send(topic, sent).iter().all(Result::is_ok), "{codec}");
        },
        |sluice, topic, _| sluice.read(topic),
    );
}

#[test]
fn kcat() {
    check_every_codec(
        |_, _| (), // made by the first who asks for it
        |sluice, topic, codec, sent| {
            let ran = sluice.kcat().set("compression.codec", codec).set("linger.ms", "100").produce(topic, sent);
            assert_eq!(ran.stderr_of_success(), "", "{codec}");
        },
        |sluice, topic, _| sluice.kcat().consume(topic).lines(),
    );
}

#[test]
fn kafka_python() {
    check_python(PythonClient::KafkaPython);
}

#[test]
fn confluent_kafka() {
    check_python(PythonClient::ConfluentKafka);
}

#[test]
fn java() {
    check_every_codec(
        |sluice, topic| sluice.java().create_topic(topic, 1),
        |sluice, topic, codec, sent| check_offsets(&sluice.java().produce(topic, codec, sent).lines(), sent.len()),
        |sluice, topic, count| sluice.java().consume(topic, count),
    );
}

#[test]
fn what_one_client_writes_every_other_reads() {
    let sluice = Sluice::start();
    sluice.create_topic("shared", 1);
    let sent: Vec<String> = records();
    for (codec, _) in CODECS {
        assert!(sluice.rdkafka().set("compression.type", codec).send("shared", &sent).iter().all(Result::is_ok));
    }
    let all: Vec<String> = CODECS.iter().flat_map(|_| sent.clone()).collect();
    assert_eq!(sluice.kcat().consume("shared").lines(), all, "kcat");
    assert_eq!(sluice.python(PythonClient::KafkaPython).consume("shared", all.len()), all, "kafka-python");
    assert_eq!(sluice.python(PythonClient::ConfluentKafka).consume("shared", all.len()), all, "confluent-kafka");
    assert_eq!(sluice.java().consume("shared", all.len()), all, "Java");
}

#[test]
fn keys_and_headers_come_back_as_they_were() {
    let sluice = Sluice::start();
    let keyed = ["-P", "-t", "keyed", "-K", ":", "-H", "a=1", "-H", "a=2", "-H", "empty"];
    sluice.kcat().run(&keyed, b"key:value\n").ok();
    let read = sluice.rdkafka().read("keyed", 0);
    assert_eq!(read[0].key.as_deref(), Some("key"));
    assert_eq!(read[0].value.as_deref(), Some("value"));
    let headers = [("a", Some("1")), ("a", Some("2")), ("empty", None)];
    assert_eq!(read[0].headers, headers.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))));
}

#[test]
fn producers_without_acknowledgement_and_with_one() {
    let sluice = Sluice::start();
    for acks in ["0", "1", "-1"] {
        let topic = format!("acks{acks}");
        sluice.create_topic(&topic, 1);
        let producer = sluice.rdkafka().set("acks", acks).producer();
        for number in 0..100 {
            producer.send(&topic, 0, number, None, number.to_string().as_bytes());
        }
        assert!(producer.flush().iter().all(|(_, delivered)| delivered.is_ok()));
        assert_eq!(sluice.rdkafka().await_records(&topic, 0, 100).len(), 100, "acks={acks}");
    }
}

#[test]
fn a_consumer_that_waits_is_woken_by_the_next_record() {
    let sluice = Sluice::start();
    sluice.create_topic("quiet", 1);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| sluice.rdkafka().set("fetch.wait.max.ms", "30000").await_records("quiet", 0, 1));
        // Its first fetch found nothing and waits.
        sluice.await_metric("sluice_requests_total", "Fetch", 1.0);
        assert_eq!(sluice.rdkafka().send("quiet", ["ring"]), [Ok(0)]);
        let read = reader.join().expect("the reader does not panic");
        assert_eq!(read[0].value.as_deref(), Some("ring"));
    });
}

#[test]
fn clients_list_what_is_there() {
    let sluice = Sluice::start();
    sluice.create_topic("wide", 3);
    assert_eq!(sluice.rdkafka().topics(), ["wide"]);
    let listed = sluice.kcat().run(&["-L"], b"").ok();
    assert!(listed.contains(&format!("broker 1 at {}", sluice.bootstrap())), "{listed}");
    assert!(listed.contains("topic \"wide\" with 3 partitions"), "{listed}");
}

#[test]
fn a_transactional_producer_is_refused_and_does_not_wait() {
    let sluice = Sluice::start();
    let request = InitProducerIdRequest {
        transactional_id: Some("tx".into()),
        transaction_timeout_ms: 1000,
        ..Default::default()
    };
    let refused = sluice.connection().ask(4, &request);
    assert_eq!(refused.error_code, ErrorCode::UnsupportedVersion, "a code that no client tries again on");
    assert_eq!(refused.producer_id, -1);
}

fn check_python(client: PythonClient) {
    check_every_codec(
        |sluice, topic| sluice.python(client).create_topic(topic, 1),
        |sluice, topic, codec, sent| {
            check_offsets(&sluice.python(client).produce(topic, codec, sent).lines(), sent.len());
        },
        |sluice, topic, count| sluice.python(client).consume(topic, count),
    );
}

/// Creates, produces and reads with one client and each codec, and looks at what is stored.
#[track_caller]
fn check_every_codec(
    create: impl Fn(&Sluice, &str),
    produce: impl Fn(&Sluice, &str, &str, &[&str]),
    consume: impl Fn(&Sluice, &str, usize) -> Vec<String>,
) {
    let sluice = Sluice::start();
    let sent = records();
    let lines: Vec<&str> = sent.iter().map(String::as_str).collect();
    for (name, codec) in CODECS {
        create(&sluice, name);
        produce(&sluice, name, name, &lines);
        assert_eq!(consume(&sluice, name, sent.len()), sent, "{name}");
        let stored = stored_batches(&sluice.log_dir(), name, 0);
        assert!(!stored.is_empty(), "{name}: nothing in the segment");
        for batch in stored {
            assert_eq!(batch.header.compression(), Ok(codec), "the codec bits stored for {name}");
            assert_eq!(batch.verify_crc(), Ok(()), "{name}");
        }
    }
}

/// Clients print the offset of each record they sent.
#[track_caller]
fn check_offsets(printed: &[String], count: usize) {
    assert_eq!(printed, (0..count).map(|offset| offset.to_string()).collect::<Vec<_>>());
}
