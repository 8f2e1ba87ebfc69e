//! A producer at its pace: every record's begin and outcome, and how long each partition was without an acknowledgement.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};

use super::Shared;
use crate::checker::{Outcome, TopicPartition, Value};
use crate::clients::Rdkafka;

/// How fast a producer sends, and how much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// To each partition.
    pub(super) records_per_second: u32,
    pub(super) record_bytes: usize,
}

/// Rounds a second: each sends its share of a second's records to every partition.
const ROUNDS_PER_SECOND: u32 = 50;

/// How long the last records may take after everything was healed.
const FLUSH_TIME: Duration = Duration::from_secs(120);

/// The longest time without an acknowledgement, by partition.
#[derive(Debug, Clone, Default)]
pub struct Stalls {
    longest: BTreeMap<i32, Duration>,
    last: BTreeMap<i32, Instant>,
    refused: BTreeMap<String, usize>,
    /// Records begun from this moment on, and the first of them acknowledged in each partition.
    mark: Option<(Instant, Value)>,
    first: BTreeMap<i32, Duration>,
}

/// Tells the history what became of each record.
struct Outcomes(Arc<Shared>);

impl ClientContext for Outcomes {}

impl ProducerContext for Outcomes {
    type DeliveryOpaque = Box<Value>;

    fn delivery(&self, result: &DeliveryResult<'_>, value: Box<Value>) {
        let (outcome, partition) = match result {
            // A batch acknowledged only after its retry may be told without an offset: -1 is then librdkafka's word for it.
            Ok(message) => (Outcome::Stored((message.offset() >= 0).then_some(message.offset())), message.partition()),
            Err((error, message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                let mut stalls = self.0.stalls.lock().expect("no thread of a workload panics with it");
                *stalls.refused.entry(format!("{code:?}")).or_default() += 1;
                // Whatever was refused may have been sent before, and stored then.
                (Outcome::Unknown, message.partition())
            }
        };
        self.0.history().end(*value, outcome);
        if matches!(outcome, Outcome::Stored(_)) {
            self.0.stalls.lock().expect("no thread of a workload panics with it").acknowledged(partition, *value);
        }
    }
}

/// A producer that tells `shared` everything.
pub(super) fn producer(
    client: &Rdkafka,
    shared: &Arc<Shared>,
) -> BaseProducer<impl ProducerContext<DeliveryOpaque = Box<Value>> + 'static> {
    client.base_producer(Outcomes(Arc::clone(shared)))
}

/// Sends until it is told to stop, then waits until everything sent has its outcome.
pub(super) fn run<C: ProducerContext<DeliveryOpaque = Box<Value>>>(
    producer: &BaseProducer<C>,
    number: u32,
    partitions: &[TopicPartition],
    pace: Pace,
    shared: &Shared,
) {
    let round = Duration::from_secs(1) / ROUNDS_PER_SECOND;
    let mut due = 0;
    let mut next = Instant::now();
    while !shared.producers_stop.load(Ordering::Relaxed) {
        due += pace.records_per_second;
        let records = due / ROUNDS_PER_SECOND;
        due %= ROUNDS_PER_SECOND;
        for _ in 0..records {
            for partition in partitions {
                send(producer, number, partition, pace, shared);
            }
        }
        next += round;
        while let Some(left) = next.checked_duration_since(Instant::now()) {
            producer.poll(left);
        }
    }
    // What is not known by then counts as unknown.
    if let Err(error) = producer.flush(FLUSH_TIME) {
        shared.complaints.lock().expect("nobody panics with it").push(format!("producer {number}: {error}"));
    }
}

/// Begins a call and hands it to librdkafka, which keeps it until it has an outcome.
fn send<C: ProducerContext<DeliveryOpaque = Box<Value>>>(
    producer: &BaseProducer<C>,
    number: u32,
    to: &TopicPartition,
    pace: Pace,
    shared: &Shared,
) {
    let value = shared.history().begin(number, to);
    let payload = value.payload(pace.record_bytes);
    let record = BaseRecord::<(), [u8], Box<Value>>::with_opaque_to(&to.topic, Box::new(value))
        .partition(to.index)
        .payload(&payload);
    // A full queue is one more way to be refused: the next round sends what is next.
    if let Err((_, refused)) = producer.send(record) {
        shared.history().end(*refused.delivery_opaque, Outcome::Failed);
    }
}

impl Stalls {
    /// The longest of any partition.
    pub fn longest(&self) -> Duration {
        self.longest.values().max().copied().unwrap_or_default()
    }

    /// Records that a producer gave up, by its word for why.
    pub fn refused(&self) -> &BTreeMap<String, usize> {
        &self.refused
    }

    /// From now on the first acknowledgements of records that are not yet begun count, of which `next` will be the first.
    pub(super) fn mark(&mut self, next: Value) {
        self.mark = Some((Instant::now(), next));
        self.first.clear();
    }

    /// How long after the mark a record begun after it was first acknowledged, by partition.
    pub(super) fn first_since_mark(&self) -> &BTreeMap<i32, Duration> {
        &self.first
    }

    fn acknowledged(&mut self, partition: i32, value: Value) {
        let now = Instant::now();
        if let Some((marked, _)) = self.mark.filter(|&(_, next)| value >= next) {
            self.first.entry(partition).or_insert(now - marked);
        }
        if let Some(last) = self.last.insert(partition, now) {
            let longest = self.longest.entry(partition).or_default();
            *longest = (*longest).max(now - last);
        }
    }

    /// What was measured up to now; a stall that goes on is measured from its beginning in what follows.
    pub(super) fn take(&mut self) -> Self {
        let now = Instant::now();
        let mut taken = mem::take(self);
        self.last.clone_from(&taken.last);
        self.mark = taken.mark;
        for (partition, last) in &taken.last {
            let longest = taken.longest.entry(*partition).or_default();
            *longest = (*longest).max(now - *last);
        }
        taken
    }
}

impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "longest stall {} ms, given up: {:?}", self.longest().as_millis(), self.refused)
    }
}
