//! The checker is told each anomaly, one at a time, and a history that has none.

use super::{Anomaly, History, Outcome, ReplicaLog, StoredBatch, TopicPartition, Value};

const PRODUCER: u32 = 1;
const CONSUMER: u32 = 7;

/// Bytes of a record's payload here.
const SIZE: usize = 40;

/// A history of one partition, written down as it would happen.
struct Story {
    history: History,
    of: TopicPartition,
    /// What the final read will find.
    log: Vec<(i64, Vec<u8>)>,
    log_start: i64,
}

impl Story {
    fn new() -> Self {
        let of = TopicPartition::new("t", 0);
        let mut history = History::default();
        history.tail(CONSUMER, &of, 0);
        Self { history, of, log: Vec::new(), log_start: 0 }
    }

    fn begin(&mut self) -> Value {
        self.history.begin(PRODUCER, &self.of)
    }

    fn store(&mut self, offset: i64, value: Value) {
        self.log.push((offset, value.payload(SIZE)));
    }

    fn poll(&mut self, offset: i64, value: Value) {
        self.history.polled(CONSUMER, &self.of, offset, &value.payload(SIZE));
    }

    /// Sent, acknowledged, stored and polled, as it ought to be.
    fn fine(&mut self, offset: i64) -> Value {
        let value = self.begin();
        self.history.end(value, Outcome::Stored(Some(offset)));
        self.store(offset, value);
        self.poll(offset, value);
        value
    }

    fn finish(&mut self) {
        let end = self.log.iter().map(|(offset, _)| offset + 1).max().unwrap_or_default();
        self.history.read_in_the_end(&self.of, (self.log_start, end), self.log.clone());
    }
}

/// Tells a story and expects exactly these anomalies of it.
#[track_caller]
fn check(tell: impl FnOnce(&mut Story) -> Vec<Anomaly>) {
    let mut story = Story::new();
    let expected = tell(&mut story);
    story.finish();
    assert_eq!(story.history.check(&[]).anomalies, expected);
}

fn at() -> TopicPartition {
    TopicPartition::new("t", 0)
}

#[test]
fn a_clean_history_is_clean() {
    check(|story| {
        for offset in 0..100 {
            story.fine(offset);
        }
        vec![]
    });
}

#[test]
fn what_is_unknown_may_be_there_or_not() {
    check(|story| {
        story.fine(0);
        let (there, gone, unheard_of) = (story.begin(), story.begin(), story.begin());
        story.store(1, there);
        story.poll(1, there);
        story.history.end(there, Outcome::Unknown);
        story.history.end(gone, Outcome::Unknown);
        story.store(2, unheard_of);
        story.poll(2, unheard_of);
        vec![]
    });
}

#[test]
fn an_acknowledged_record_that_is_gone_is_lost() {
    check(|story| {
        story.fine(0);
        let value = story.begin();
        story.history.end(value, Outcome::Stored(Some(1)));
        vec![Anomaly::Lost { value, at: at(), offset: Some(1) }]
    });
    check(|story| {
        let value = story.begin();
        story.history.end(value, Outcome::Stored(None));
        story.fine(0);
        vec![Anomaly::Lost { value, at: at(), offset: None }]
    });
}

#[test]
fn what_retention_took_is_not_lost() {
    check(|story| {
        let value = story.begin();
        story.history.end(value, Outcome::Stored(Some(0)));
        story.poll(0, value);
        story.fine(1);
        story.log_start = 1;
        vec![]
    });
}

#[test]
fn a_retry_stored_again_is_duplicated() {
    check(|story| {
        let value = story.fine(0);
        story.store(1, value);
        story.poll(1, value);
        vec![Anomaly::Duplicated { value, at: at(), offsets: vec![0, 1] }]
    });
}

#[test]
fn an_acknowledgement_for_another_offset_is_a_duplicate_too() {
    check(|story| {
        let value = story.begin();
        story.history.end(value, Outcome::Stored(Some(5)));
        story.store(0, value);
        story.poll(0, value);
        vec![Anomaly::Duplicated { value, at: at(), offsets: vec![0, 5] }]
    });
}

#[test]
fn a_producers_records_out_of_their_order_are_reordered() {
    check(|story| {
        let (first, second) = (story.begin(), story.begin());
        for (value, offset) in [(second, 0), (first, 1)] {
            story.history.end(value, Outcome::Stored(Some(offset)));
            story.store(offset, value);
            story.poll(offset, value);
        }
        vec![Anomaly::Reordered { at: at(), earlier: (first, 1), later: (second, 0) }]
    });
}

#[test]
fn a_record_acknowledged_before_another_producer_sent_is_before_it() {
    check(|story| {
        let first = story.begin();
        story.history.end(first, Outcome::Stored(Some(1)));
        let second = story.history.begin(PRODUCER + 1, &story.of);
        story.history.end(second, Outcome::Stored(Some(0)));
        for (value, offset) in [(second, 0), (first, 1)] {
            story.store(offset, value);
            story.poll(offset, value);
        }
        vec![Anomaly::Reordered { at: at(), earlier: (first, 1), later: (second, 0) }]
    });
}

#[test]
fn records_of_two_producers_at_once_have_no_order() {
    check(|story| {
        let first = story.begin();
        let second = story.history.begin(PRODUCER + 1, &story.of);
        for (value, offset) in [(second, 0), (first, 1)] {
            story.history.end(value, Outcome::Stored(Some(offset)));
            story.store(offset, value);
            story.poll(offset, value);
        }
        vec![]
    });
}

#[test]
fn a_record_that_was_seen_and_is_gone_has_vanished() {
    check(|story| {
        story.fine(0);
        let value = story.begin();
        story.poll(1, value);
        vec![Anomaly::Vanished { consumer: CONSUMER, value, at: at(), offset: 1 }]
    });
}

#[test]
fn an_offset_that_was_one_value_and_then_another() {
    check(|story| {
        let (seen, stored) = (story.begin(), story.begin());
        story.poll(0, seen);
        story.store(0, stored);
        vec![Anomaly::TwoValues { at: at(), offset: 0, values: vec![seen, stored] }]
    });
}

#[test]
fn a_consumer_whose_position_goes_back() {
    check(|story| {
        let first = story.fine(0);
        story.fine(1);
        story.poll(0, first);
        vec![Anomaly::WentBack { consumer: CONSUMER, at: at(), from: 1, to: 0 }]
    });
}

#[test]
fn a_consumer_that_is_not_given_a_record() {
    check(|story| {
        story.fine(0);
        let value = story.begin();
        story.history.end(value, Outcome::Stored(Some(1)));
        story.store(1, value);
        story.fine(2);
        vec![Anomaly::Skipped { consumer: CONSUMER, at: at(), offset: 1 }]
    });
}

#[test]
fn offsets_without_a_record_are_not_skipped() {
    check(|story| {
        story.fine(0);
        story.fine(5);
        vec![]
    });
}

#[test]
fn a_consumer_that_does_not_get_to_the_end() {
    check(|story| {
        story.fine(0);
        let value = story.begin();
        story.history.end(value, Outcome::Stored(Some(1)));
        story.store(1, value);
        vec![Anomaly::Behind { consumer: CONSUMER, at: at(), reached: Some(0), end: 2 }]
    });
}

#[test]
fn a_value_that_nobody_sent_there() {
    check(|story| {
        let elsewhere = story.history.begin(PRODUCER, &TopicPartition::new("t", 1));
        story.history.read_in_the_end(&TopicPartition::new("t", 1), (0, 0), Vec::<(i64, Vec<u8>)>::new());
        story.store(0, elsewhere);
        story.poll(0, elsewhere);
        story.store(1, Value(1_000));
        story.poll(1, Value(1_000));
        vec![
            Anomaly::Unsent { at: at(), offset: 0, value: elsewhere },
            Anomaly::Unsent { at: at(), offset: 1, value: Value(1_000) },
        ]
    });
}

#[test]
fn a_refused_record_that_is_there() {
    check(|story| {
        let value = story.begin();
        story.history.end(value, Outcome::Failed);
        story.store(0, value);
        story.poll(0, value);
        vec![Anomaly::Refused { at: at(), offset: 0, value }]
    });
}

#[test]
fn a_record_with_a_byte_altered() {
    check(|story| {
        let value = story.begin();
        let mut payload = value.payload(SIZE);
        payload[SIZE - 1] ^= 1;
        story.history.polled(CONSUMER, &story.of, 0, &payload);
        story.log.push((0, payload));
        vec![Anomaly::Garbled { at: at(), offset: 0 }]
    });
}

#[test]
fn a_payload_says_its_value_at_every_size() {
    for (value, size) in [(0, 0), (1, 20), (u64::MAX, 21), (123_456, 1024)] {
        let value = Value(value);
        assert_eq!(Value::of(&value.payload(size)), Some(value), "{size} bytes");
    }
    assert_eq!(Value::of(b"12"), None);
    assert_eq!(Value::of(b"not a number, but so long"), None);
}

#[test]
fn an_unheard_of_call_counts_as_unknown() {
    let mut story = Story::new();
    story.fine(0);
    let (there, refused) = (story.begin(), story.begin());
    story.begin();
    story.store(1, there);
    story.poll(1, there);
    story.history.end(refused, Outcome::Failed);
    story.finish();
    let counts = story.history.check(&[]).counts;
    let told = (counts.sent, counts.stored, counts.failed, counts.unknown, counts.unknown_stored);
    assert_eq!(told, (4, 1, 1, 2, 1));
    assert_eq!((counts.read, counts.polled), (2, 2));
}

#[test]
#[should_panic(expected = "not read in the end")]
fn a_partition_nobody_read_in_the_end_is_no_proof() {
    Story::new().history.check(&[]);
}

/// Replicas given as batches of (first offset, next offset, bytes), of a partition with this high watermark.
#[track_caller]
fn check_replicas(high_watermark: i64, logs: &[&[(i64, i64, &str)]], expected: &[Anomaly]) {
    let replicas: Vec<ReplicaLog> = logs
        .iter()
        .zip(1..)
        .map(|(batches, broker)| ReplicaLog {
            broker,
            of: at(),
            batches: batches.iter().map(|&(base, next, bytes)| StoredBatch::of(base, next, bytes.as_bytes())).collect(),
        })
        .collect();
    let mut history = History::default();
    history.read_in_the_end(&at(), (0, high_watermark), Vec::<(i64, Vec<u8>)>::new());
    assert_eq!(history.check(&replicas).anomalies, expected);
}

#[test]
fn replicas_that_are_the_same() {
    let log = &[(0, 3, "abc"), (3, 5, "de")][..];
    check_replicas(5, &[log, log, log], &[]);
    check_replicas(0, &[&[], &[]], &[]);
}

#[test]
fn replicas_may_differ_above_the_high_watermark_and_start_where_they_like() {
    check_replicas(3, &[&[(0, 3, "abc"), (3, 5, "de")], &[(0, 3, "abc"), (3, 4, "x")], &[(0, 3, "abc")]], &[]);
    check_replicas(5, &[&[(0, 3, "abc"), (3, 5, "de")], &[(3, 5, "de")]], &[]);
}

#[test]
fn replicas_that_differ_in_a_byte_or_in_their_batches() {
    let diverged = |offset| Anomaly::Diverged { at: at(), offset, brokers: vec![1, 2] };
    check_replicas(5, &[&[(0, 3, "abc"), (3, 5, "de")], &[(0, 3, "abc"), (3, 5, "dE")]], &[diverged(3)]);
    check_replicas(3, &[&[(0, 3, "abc")], &[(0, 2, "ab"), (2, 3, "c")]], &[diverged(0)]);
}

#[test]
fn a_replica_with_a_gap_or_too_short() {
    let log = &[(0, 3, "abc"), (3, 5, "de"), (5, 6, "f")][..];
    let gap = Anomaly::Gap { at: at(), broker: 2, from: 3, to: 5 };
    let diverged = Anomaly::Diverged { at: at(), offset: 3, brokers: vec![1, 2] };
    check_replicas(6, &[log, &[(0, 3, "abc"), (5, 6, "f")]], &[gap, diverged]);
    let short = Anomaly::Short { at: at(), broker: 2, end: 3, high_watermark: 6 };
    let diverged = Anomaly::Diverged { at: at(), offset: 3, brokers: vec![1, 2] };
    check_replicas(6, &[log, &[(0, 3, "abc")]], &[short, diverged]);
}

#[test]
fn a_report_shows_some_of_many() {
    let mut story = Story::new();
    for offset in 0..1000 {
        let value = story.begin();
        story.history.end(value, Outcome::Stored(Some(offset)));
    }
    story.finish();
    let shown = story.history.check(&[]).to_string();
    assert!(shown.contains("lost: 1000"), "{shown}");
    assert!(shown.lines().count() < 20, "{shown}");
}
