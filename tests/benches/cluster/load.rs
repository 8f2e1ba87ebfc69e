//! What all of it costs at full load, and what a replica that catches up costs the others.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use sluice_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use sluice_tests::{Cluster, Partition, Software, poll_until};

use crate::{LARGE, PARTITIONS, TWO_OF_THREE, WHOLE_AGAIN, number, share_of, told};

const RECORD_BYTES: usize = 1024;

/// Records a second of the producer that is measured while another replica catches up, and for how long it is before.
const PROBES_PER_SECOND: u32 = 100;
const ALONE: Duration = Duration::from_secs(10);

/// When each record was acknowledged after it was sent.
#[derive(Default)]
struct Latencies(Mutex<Vec<Duration>>);

impl ClientContext for Latencies {}

impl ProducerContext for Latencies {
    type DeliveryOpaque = Box<Instant>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<Instant>) {
        if let Err((error, _)) = result {
            panic!("a record was refused: {error}");
        }
        self.0.lock().expect("no report panics").push(sent.elapsed());
    }
}

/// Three replicas, acks=all, 1 KiB, TLS everywhere, nobody waits for a disk: CPU of all brokers.
pub(crate) fn acks_all(software: Software, cluster: &mut Cluster) {
    let records = number("RECORDS", 1_000_000);
    cluster.create_topic("load", PARTITIONS, 3, &[TWO_OF_THREE, without_flush(software)].concat());
    cluster.await_whole("load", WHOLE_AGAIN);
    let client = cluster.rdkafka().set("acks", "all").set("linger.ms", "5").set("queue.buffering.max.kbytes", "65536");
    let producer = client.base_producer(Latencies::default());
    // Connections, windows and a JVM that has seen the path before.
    send(&producer, "load", PARTITIONS, records / 10);
    let (began, before) = (Instant::now(), cpu_of(cluster));
    send(&producer, "load", PARTITIONS, records);
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_of(cluster) - before);
    let millions = records as f64 / 1e6;
    told(
        software,
        &format!("acks=all, three replicas, {records} records of 1 KiB"),
        &format!(
            "{:.2} CPU seconds of all brokers a million records, {:.0} records/s ({:.0} MB/s)",
            cpu / millions,
            records as f64 / took,
            (records * RECORD_BYTES) as f64 / took / 1e6
        ),
    );
}

/// A follower that was away while so much was written: how fast it copies, and what others' producers feel of it. As fast as it
/// can, and then at a rate that an operator sets.
pub(crate) fn follower_behind(software: Software, cluster: &mut Cluster) {
    let ids = cluster.ids();
    cluster.create_topic_on("others", 1, &[ids[0], ids[2]]);
    cluster.await_whole("others", WHOLE_AGAIN);
    behind(software, cluster, "behind", "");
    for &id in &ids[..2] {
        let rate = (THROTTLED_MB * 1_000_000).to_string();
        let rates = ["leader.replication.throttled.rate", "follower.replication.throttled.rate"];
        alter(cluster, BROKER, &id.to_string(), &rates.map(|name| (name, rate.as_str())));
    }
    behind(software, cluster, "throttled", &format!(", throttled to {THROTTLED_MB} MB/s"));
}

fn behind(software: Software, cluster: &mut Cluster, topic: &str, how: &str) {
    let megabytes = number("BEHIND_MB", 2_000);
    let ids = cluster.ids();
    let (leader, follower) = (ids[0], ids[1]);
    cluster.create_topic_on(topic, 1, &[leader, follower]);
    let lists = ["leader.replication.throttled.replicas", "follower.replication.throttled.replicas"];
    alter(cluster, TOPIC, topic, &lists.map(|name| (name, "*")));
    cluster.await_whole(topic, WHOLE_AGAIN);
    cluster.stop(follower);
    let client = cluster.rdkafka().set("acks", "1").set("linger.ms", "20").set("batch.size", "900000");
    send(&client.base_producer(Latencies::default()), topic, 1, megabytes * 1_000_000 / RECORD_BYTES);

    // What was just written is not to be measured with what is written alone.
    assert!(Command::new("sync").status().is_ok_and(|ended| ended.success()), "sync is there and works");
    let probe = cluster.rdkafka().set("acks", "all").set("linger.ms", "0").base_producer(Latencies::default());
    let alone_until = Instant::now() + ALONE;
    let alone = probed(&probe, || Instant::now() >= alone_until);
    cluster.restart(follower);
    let began = Instant::now();
    let caught_up = |all: Vec<Partition>| all.iter().all(Partition::is_whole);
    let meanwhile = probed(&probe, || {
        assert!(began.elapsed() < LARGE, "it does not catch up");
        cluster.topic(topic).is_ok_and(caught_up)
    });
    let took = began.elapsed().as_secs_f64();
    let [alone, meanwhile] = [alone, meanwhile].map(|times| share_of(&times, 99).as_secs_f64() * 1e3);
    told(
        software,
        &format!("a follower {megabytes} MB behind{how}"),
        &format!(
            "{:.0} MB/s, {took:.1} s; produce p99 of another partition {meanwhile:.1} ms, {alone:.1} ms alone ({:.1}x)",
            megabytes as f64 / took,
            meanwhile / alone
        ),
    );
}

/// Sets configurations of a topic or a broker.
fn alter(cluster: &Cluster, resource_type: i8, name: &str, settings: &[(&str, &str)]) {
    let configs = settings.iter().map(|&(name, value)| AlterableConfig {
        name: name.to_owned(),
        config_operation: SET,
        value: Some(value.to_owned()),
    });
    let resource = AlterConfigsResource { resource_type, resource_name: name.to_owned(), configs: configs.collect() };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    // Kafka wants a broker's own to be told to itself.
    let asked = match resource_type {
        BROKER => name.parse().expect("a broker's id"),
        _ => poll_until(WHOLE_AGAIN, || cluster.controller()).expect("there is a controller"),
    };
    let answer: IncrementalAlterConfigsResponse = cluster.connection(asked).ask(1, &request);
    assert!(answer.responses.iter().all(|one| one.error_code == ErrorCode::None), "{answer:?}");
}

/// Of IncrementalAlterConfigs.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;

/// What an operator allows.
const THROTTLED_MB: usize = 150;

/// Nobody waits for a disk: what is written is the operating system's to flush.
fn without_flush(software: Software) -> &'static [(&'static str, &'static str)] {
    match software {
        Software::Sluice => &[("sluice.flush.mode", "os")],
        Software::Kafka => &[("flush.messages", "9223372036854775807")],
    }
}

/// Sends so many records, as fast as they are taken, and waits for the last.
fn send(producer: &BaseProducer<Latencies>, topic: &str, partitions: i32, records: usize) {
    let payload: Vec<u8> = (0..RECORD_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    for (_, partition) in (0..records).zip((0..partitions).cycle()) {
        let mut record = record(topic, partition, &payload);
        while let Err((error, refused)) = producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{topic}");
            producer.poll(Duration::from_millis(10));
            record = refused;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(LARGE).expect("everything is acknowledged");
    producer.context().0.lock().expect("no report panics").clear();
}

/// Sends at a pace until it is over: how long each took, in order of that.
fn probed(producer: &BaseProducer<Latencies>, over: impl Fn() -> bool) -> Vec<Duration> {
    let mut next = Instant::now();
    let mut sent = 0_u32;
    // Whether it is over takes a request to answer: asked once a second.
    while !sent.is_multiple_of(PROBES_PER_SECOND) || sent == 0 || !over() {
        producer.send(record("others", 0, &[7; 100])).map_err(|(error, _)| error).expect("the queue has room");
        sent += 1;
        next = (next + Duration::from_secs(1) / PROBES_PER_SECOND).max(Instant::now());
        while let Some(left) = next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            producer.poll(left);
        }
    }
    producer.flush(LARGE).expect("everything is acknowledged");
    let mut times = std::mem::take(&mut *producer.context().0.lock().expect("no report panics"));
    times.sort_unstable();
    times
}

fn record<'a>(topic: &'a str, partition: i32, payload: &'a [u8]) -> BaseRecord<'a, (), [u8], Box<Instant>> {
    BaseRecord::with_opaque_to(topic, Box::new(Instant::now())).partition(partition).payload(payload)
}

/// Seconds that the brokers' processes have computed.
fn cpu_of(cluster: &Cluster) -> f64 {
    let of_each = cluster.running().into_iter().map(|id| {
        let path = format!("/proc/{}/stat", cluster.process(id).id());
        let stat = fs::read_to_string(path).expect("Linux says what a process has used");
        // After the name, which may hold anything: state is the first, user and system time the 12th and 13th.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>()
    });
    of_each.sum::<f64>() / TICKS_PER_SECOND
}

/// What Linux counts CPU time in, on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;
