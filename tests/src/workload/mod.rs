//! Producers and consumers at work while things happen to a cluster, and the verdict on it in the end.
//!
//! ```text
//!   producers ──> partitions of one topic ──> consumers that follow all of them
//!        └── begin, outcome ──> History <── polled ──┘
//!   finish: flush, catch up, read all once more, stop the brokers, compare their disks ──> Report
//! ```
//! In reading order: `producing`, `consuming`, `finish`.

mod consuming;
mod finish;
mod producing;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::Contact;
use crate::checker::{History, TopicPartition};
pub use finish::Verdict;
use producing::Pace;
pub use producing::Stalls;

/// What is sent and read, and how fast.
#[derive(Debug, Clone)]
pub struct WorkloadBuilder {
    topic: String,
    partitions: i32,
    producers: u32,
    consumers: u32,
    pace: Pace,
    settings: Vec<(String, String)>,
}

/// Producers and consumers at work. Dropping it stops them.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    partitions: Vec<TopicPartition>,
    producers: Vec<JoinHandle<()>>,
    consumers: Vec<JoinHandle<()>>,
}

/// What all threads of a workload share.
#[derive(Debug, Default)]
struct Shared {
    history: Mutex<History>,
    stalls: Mutex<Stalls>,
    /// What consumers said that was no record.
    complaints: Mutex<Vec<String>>,
    producers_stop: AtomicBool,
    consumers_stop: AtomicBool,
}

impl WorkloadBuilder {
    /// As many producers, each sending to all partitions.
    pub fn producers(mut self, producers: u32) -> Self {
        self.producers = producers;
        self
    }

    /// As many consumers, each following all partitions.
    pub fn consumers(mut self, consumers: u32) -> Self {
        self.consumers = consumers;
        self
    }

    /// Records a second and partition of each producer.
    pub fn records_per_second(mut self, records: u32) -> Self {
        self.pace.records_per_second = records;
        self
    }

    /// Bytes of a record's value.
    pub fn record_bytes(mut self, bytes: usize) -> Self {
        self.pace.record_bytes = bytes;
        self
    }

    /// Sets a property of the producers.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets everybody to work.
    pub fn start(self, contact: &Contact<'_>) -> Workload {
        let shared = Arc::new(Shared::default());
        let partitions: Vec<_> = (0..self.partitions).map(|index| TopicPartition::new(&self.topic, index)).collect();
        let consumers = (0..self.consumers).map(|number| {
            let consumer = consuming::follow(contact.clone().rdkafka(), number, &partitions, &shared);
            let (shared, partitions) = (Arc::clone(&shared), partitions.clone());
            thread::spawn(move || consuming::run(&consumer, number, &partitions, &shared))
        });
        let consumers = consumers.collect();
        let producers = (0..self.producers).map(|number| {
            let client =
                self.settings.iter().fold(contact.clone().rdkafka(), |client, (key, value)| client.set(key, value));
            let (shared, partitions, pace) = (Arc::clone(&shared), partitions.clone(), self.pace);
            let producer = producing::producer(&client, &shared);
            thread::spawn(move || producing::run(&producer, number, &partitions, pace, &shared))
        });
        let producers = producers.collect();
        Workload { shared, partitions, producers, consumers }
    }
}

impl Workload {
    /// Idempotent producers and consumers that follow, on a topic that is there.
    pub fn on(topic: &str, partitions: i32) -> WorkloadBuilder {
        let settings = [("enable.idempotence", "true"), ("acks", "all")];
        WorkloadBuilder {
            topic: topic.to_owned(),
            partitions,
            producers: 2,
            consumers: 1,
            pace: Pace { records_per_second: 50, record_bytes: 200 },
            settings: settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }
    }

    /// Records acknowledged so far.
    pub fn stored(&self) -> usize {
        self.history().stored()
    }

    /// Waits until `more` records are acknowledged than now.
    ///
    /// # Panics
    /// When `within` passes first.
    #[track_caller]
    pub fn await_stored(&self, more: usize, within: Duration) {
        let wanted = self.stored() + more;
        let stored = crate::poll_until(within, || {
            let stored = self.stored();
            if stored >= wanted { Ok(()) } else { Err(stored) }
        });
        stored.unwrap_or_else(|stored| panic!("{stored} of {wanted} records are acknowledged after {within:?}"));
    }

    /// From now on [`Self::await_first_stored`] counts.
    pub fn mark(&self) {
        let next = self.history().next_value();
        self.stalls().mark(next);
    }

    /// How long after the mark each of these partitions first acknowledged a record that was begun after it.
    ///
    /// # Panics
    /// When `within` passes first.
    #[track_caller]
    pub fn await_first_stored(&self, partitions: &[i32], within: Duration) -> Vec<Duration> {
        let first = crate::poll_until(within, || {
            let stalls = self.stalls();
            let of_each = partitions.iter().map(|partition| stalls.first_since_mark().get(partition).copied());
            of_each.collect::<Option<Vec<_>>>().ok_or_else(|| stalls.first_since_mark().clone())
        });
        first.unwrap_or_else(|first| panic!("not within {within:?} on each of {partitions:?}: {first:?}"))
    }

    /// The longest time without an acknowledgement so far, by partition, and starts to measure anew.
    pub fn take_stalls(&self) -> Stalls {
        self.stalls().take()
    }

    fn stalls(&self) -> MutexGuard<'_, Stalls> {
        self.shared.stalls.lock().expect("no thread of a workload panics with it")
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.shared.history()
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.shared.producers_stop.store(true, Ordering::Relaxed);
        self.shared.consumers_stop.store(true, Ordering::Relaxed);
        for thread in self.producers.drain(..).chain(self.consumers.drain(..)) {
            // What it panicked with was said; here the test is ending already.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("no thread of a workload panics with it")
    }
}
