//! librdkafka, as the rdkafka crate bundles it: all five codecs, the idempotent producer, TLS.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::{Contact, PATIENCE};

/// How a librdkafka client is set up.
#[derive(Debug, Clone)]
pub struct Rdkafka {
    config: ClientConfig,
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRecord {
    /// Its offset.
    pub offset: i64,
    /// Its key.
    pub key: Option<String>,
    /// Its value.
    pub value: Option<String>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<String>)>,
}

/// What became of a record that was sent: its number among those sent, and its offset or why it is not stored.
pub type Delivery = (usize, Result<i64, RDKafkaErrorCode>);

/// A producer that keeps every delivery report.
pub struct Producer(ThreadedProducer<Reports>);

#[derive(Default)]
struct Reports(Mutex<Vec<Delivery>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        let delivered = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        self.0.lock().expect("no report panics").push((*number, delivered));
    }
}

impl Rdkafka {
    pub(crate) fn new(contact: &Contact<'_>) -> Self {
        let certificates = contact.certificates();
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", contact.bootstrap());
        config.set("security.protocol", "ssl");
        config.set("ssl.ca.location", certificates.ca.display().to_string());
        config.set("ssl.certificate.location", certificates.client.certificate.display().to_string());
        config.set("ssl.key.location", certificates.client.key.display().to_string());
        // A broker that comes back is looked for at once.
        config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
        Self { config }
    }

    /// Sets a property.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.config.set(key, value);
        self
    }

    /// A producer.
    pub fn producer(&self) -> Producer {
        Producer(self.config.create_with_context(Reports::default()).expect("librdkafka takes the settings"))
    }

    /// Sends values to partition 0 with the idempotent producer and waits: the offset of each, or why it was refused.
    pub fn send<V: AsRef<[u8]>>(
        &self,
        topic: &str,
        values: impl IntoIterator<Item = V>,
    ) -> Vec<Result<i64, RDKafkaErrorCode>> {
        let mut config = self.config.clone();
        config.set("enable.idempotence", "true");
        let producer = Self { config }.producer();
        for (number, value) in values.into_iter().enumerate() {
            producer.send(topic, 0, number, None, value.as_ref());
        }
        let mut deliveries = producer.flush();
        deliveries.sort_by_key(|&(number, _)| number);
        deliveries.into_iter().map(|(_, delivered)| delivered).collect()
    }

    /// Reads a partition from its first offset to its end as it is when reached.
    pub fn read(&self, topic: &str, partition: i32) -> Vec<ReadRecord> {
        self.read_until(topic, partition, |_| false)
    }

    /// Reads a partition until `enough` says so of what was read, or its end.
    pub fn read_until(&self, topic: &str, partition: i32, enough: impl Fn(&[ReadRecord]) -> bool) -> Vec<ReadRecord> {
        let consumer = self.consumer(topic, partition, Offset::Beginning);
        let mut records = Vec::new();
        let until = Instant::now() + PATIENCE;
        while !enough(&records) {
            match next(&consumer, until) {
                Some(record) => records.push(record),
                None => break,
            }
        }
        records
    }

    /// Reads `count` records, waiting beyond the partition's end for those still to come.
    pub fn await_records(&self, topic: &str, partition: i32, count: usize) -> Vec<ReadRecord> {
        let consumer = self.consumer(topic, partition, Offset::Beginning);
        let mut records = Vec::new();
        let until = Instant::now() + PATIENCE;
        while records.len() < count {
            records.extend(next(&consumer, until));
        }
        records
    }

    /// The names of all topics.
    pub fn topics(&self) -> Vec<String> {
        let consumer: BaseConsumer = self.config.create().expect("librdkafka takes the settings");
        let metadata = consumer.fetch_metadata(None, PATIENCE).expect("the broker says what it has");
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
    }

    /// A producer that tells `context` what became of each record, while it is polled.
    pub fn base_producer<C: ProducerContext>(&self, context: C) -> BaseProducer<C> {
        self.config.create_with_context(context).expect("librdkafka takes the settings")
    }

    /// A consumer of one partition, without a group, that says when it is at the end.
    pub fn consumer(&self, topic: &str, partition: i32, from: Offset) -> BaseConsumer {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(topic, partition, from).expect("an offset librdkafka knows");
        self.clone().set("enable.partition.eof", "true").assigned(&assignment)
    }

    /// A consumer of these partitions, without a group.
    pub(crate) fn assigned(&self, assignment: &TopicPartitionList) -> BaseConsumer {
        let mut config = self.config.clone();
        config.set("group.id", "unused").set("enable.auto.commit", "false");
        config.set("check.crcs", "true").set("fetch.wait.max.ms", "100");
        let consumer: BaseConsumer = config.create().expect("librdkafka takes the settings");
        consumer.assign(assignment).expect("it can be assigned");
        consumer
    }
}

/// The next record; `None` at the partition's end. Brokers that are not there are told of too, and are no reason to stop.
fn next(consumer: &BaseConsumer, until: Instant) -> Option<ReadRecord> {
    loop {
        let left = until.checked_duration_since(Instant::now()).expect("reading takes longer than it may");
        match consumer.poll(left).expect("a record, the end or an error comes in time") {
            Ok(message) => {
                return Some(ReadRecord {
                    offset: message.offset(),
                    key: message.key().map(text),
                    value: message.payload().map(text),
                    headers: message
                        .headers()
                        .map(|all| all.iter().map(|one| (one.key.to_owned(), one.value.map(text))).collect())
                        .unwrap_or_default(),
                });
            }
            Err(KafkaError::PartitionEOF(_)) => return None,
            Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown,
            )) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

impl Producer {
    /// Sends a record, waiting while librdkafka's queue is full. `number` comes back in its delivery report.
    pub fn send(&self, topic: &str, partition: i32, number: usize, key: Option<&str>, value: &[u8]) {
        let mut record = BaseRecord::<str, [u8], Box<usize>>::with_opaque_to(topic, Box::new(number))
            .partition(partition)
            .payload(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        let until = Instant::now() + PATIENCE;
        while let Err((error, refused)) = self.0.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "record {number}");
            assert!(Instant::now() < until, "the queue stays full");
            // Room comes with delivery reports, which the producer's own thread takes in.
            self.0.poll(Duration::from_millis(10));
            record = refused;
        }
    }

    /// Waits until every record sent has its report.
    pub fn flush(&self) -> Vec<Delivery> {
        self.0.flush(2 * PATIENCE).expect("every record is delivered or refused in time");
        self.deliveries()
    }

    /// The reports so far, in the order they came.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.0.context().0.lock().expect("no report panics").clone()
    }

    /// Waits until at least `count` records were delivered or refused.
    pub fn await_deliveries(&self, count: usize) -> usize {
        let until = Instant::now() + PATIENCE;
        loop {
            let delivered = self.0.context().0.lock().expect("no report panics").len();
            if delivered >= count {
                return delivered;
            }
            assert!(Instant::now() < until, "{delivered} of {count} delivered");
            self.0.poll(Duration::from_millis(5));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
