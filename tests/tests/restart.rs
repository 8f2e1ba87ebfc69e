//! A broker that is killed: every record it acknowledged is there once, in order, and the producer goes on as if nothing was.

use sluice_tests::clients::ReadRecord;
use sluice_tests::{PATIENCE, Sluice};

/// Records of one run: some thousand batches, of which dozens are in flight or half written at the kill.
const RECORDS: usize = 200_000;

/// Records a batch, so that a run has many of them.
const BATCH_RECORDS: &str = "100";

const PARTITIONS: usize = 3;

/// What a broker says of an end that was none.
const UNCLEAN: &str = "the last run did not end in order";

#[test]
fn every_acknowledged_record_is_there_once_and_in_order_after_a_kill() {
    for tenths in [1, 3, 5, 7, 9] {
        check_kill(RECORDS / 10 * tenths);
    }
}

#[test]
fn a_clean_stop_loses_nothing_either() {
    let mut sluice = Sluice::start();
    sluice.create_topic("calm", 1);
    let sent: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    assert!(sluice.rdkafka().send("calm", &sent).iter().all(Result::is_ok));
    assert!(sluice.stop().success());
    sluice.restart();
    assert!(!sluice.said().contains(UNCLEAN), "{}", sluice.said());
    assert_eq!(sluice.read("calm"), sent);
}

#[test]
fn a_killed_broker_says_that_it_starts_unclean() {
    let mut sluice = Sluice::start();
    sluice.create_topic("calm", 1);
    assert!(sluice.rdkafka().send("calm", ["kept"]).iter().all(Result::is_ok));
    sluice.kill();
    sluice.restart();
    sluice.process().await_line(PATIENCE, |line| line.contains(UNCLEAN).then_some(()));
    assert_eq!(sluice.read("calm"), ["kept"]);
}

fn check_kill(killed_after: usize) {
    let mut sluice = Sluice::start();
    sluice.create_topic("exact", PARTITIONS as u32);
    let producer = sluice
        .rdkafka()
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("batch.num.messages", BATCH_RECORDS)
        .set("queue.buffering.max.messages", "1000000")
        .set("message.timeout.ms", "120000")
        .producer();
    for number in 0..RECORDS {
        producer.send("exact", (number % PARTITIONS) as i32, number, None, number.to_string().as_bytes());
    }
    let before = producer.await_deliveries(killed_after);
    sluice.kill();
    eprintln!("killed after {before} of {RECORDS} reports");
    sluice.restart();
    let deliveries = producer.flush();
    assert_eq!(deliveries.len(), RECORDS, "every record has its report");
    let failed = deliveries.iter().find(|(_, delivered)| delivered.is_err());
    assert_eq!(failed, None, "a producer that goes on delivers everything");
    for partition in 0..PARTITIONS {
        let expected: Vec<usize> = (partition..RECORDS).step_by(PARTITIONS).collect();
        let read = sluice.rdkafka().read("exact", partition as i32);
        assert_eq!(numbers(&read), expected, "partition {partition}");
        let offsets = deliveries.iter().filter(|(number, _)| number % PARTITIONS == partition);
        for (number, offset) in offsets {
            let stored = &read[number / PARTITIONS];
            // A batch acknowledged only after its retry may be told without an offset: -1 is then librdkafka's word for it.
            assert!(
                [Ok(stored.offset), Ok(-1)].contains(offset),
                "record {number} is at {}, told {offset:?}",
                stored.offset
            );
        }
    }
}

fn numbers(records: &[ReadRecord]) -> Vec<usize> {
    records.iter().map(|record| record.value.as_ref().and_then(|value| value.parse().ok()).expect("a number")).collect()
}
