//! The end of a workload: everything sent has its outcome, consumers are at the end, all is read once more, and what the
//! disks have is compared.

use std::mem;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::Workload;
use crate::checker::{Report, TopicPartition};
use crate::{Cluster, PATIENCE, poll_until};

/// What a workload came to.
#[derive(Debug)]
pub struct Verdict {
    /// What the checker says.
    pub report: Report,
    /// What clients said that was no record and no outcome; not in itself wrong.
    pub complaints: Vec<String>,
}

impl Workload {
    /// Ends the work on a cluster that is healed, stops its brokers, and judges everything.
    ///
    /// # Panics
    /// When records cannot be read, or a replica is not in sync again in time.
    #[track_caller]
    pub fn finish(mut self, cluster: &mut Cluster) -> Verdict {
        self.shared.producers_stop.store(true, Ordering::Relaxed);
        for producer in mem::take(&mut self.producers) {
            producer.join().expect("a producer does not panic");
        }
        let topic = self.partitions.first().expect("a workload has partitions").topic.clone();
        let described = cluster.await_whole(&topic, PATIENCE);
        let ends = self.final_read(cluster);
        self.await_consumers(&ends);
        let mut replicas = Vec::new();
        cluster.stop_brokers();
        for (partition, told) in self.partitions.iter().zip(described) {
            replicas.extend(cluster.replica_logs(partition, &told.replicas));
        }
        let report = self.history().check(&replicas);
        let complaints = self.shared.complaints.lock().expect("nobody panics with it").clone();
        Verdict { report, complaints }
    }

    /// Reads every partition from its first offset to its high watermark; that of each.
    fn final_read(&self, cluster: &Cluster) -> Vec<i64> {
        self.partitions
            .iter()
            .map(|partition| {
                let mut assignment = TopicPartitionList::new();
                assignment
                    .add_partition_offset(&partition.topic, partition.index, Offset::Beginning)
                    .expect("an offset librdkafka knows");
                let consumer = cluster.rdkafka().assigned(&assignment);
                let (start, end) =
                    poll_until(PATIENCE, || consumer.fetch_watermarks(&partition.topic, partition.index, PATIENCE / 4))
                        .unwrap_or_else(|error| panic!("{partition} has no end: {error}"));
                let records = read_to(&consumer, partition, start, end);
                self.history().read_in_the_end(partition, (start, end), records);
                end
            })
            .collect()
    }

    /// Waits until the consumers that follow are where the final read ended.
    fn await_consumers(&self, ends: &[i64]) {
        let consumers = u32::try_from(self.consumers.len()).expect("consumers are few");
        // Whoever does not get there is found by the checker, which says more.
        let _ = poll_until(PATIENCE, || {
            let history = self.history();
            let behind = (0..consumers).any(|consumer| {
                let mut of_each = self.partitions.iter().zip(ends);
                of_each.any(|(partition, &end)| history.position(consumer, partition).map_or(0, |at| at + 1) < end)
            });
            if behind { Err(()) } else { Ok(()) }
        });
        self.shared.consumers_stop.store(true, Ordering::Relaxed);
    }
}

/// Everything from a partition's first offset up to `end`.
fn read_to(consumer: &BaseConsumer, of: &TopicPartition, start: i64, end: i64) -> Vec<(i64, Vec<u8>)> {
    let mut records = Vec::new();
    let mut next = start;
    let mut until = Instant::now() + PATIENCE;
    while next < end {
        let left = until.checked_duration_since(Instant::now()).unwrap_or(Duration::ZERO);
        assert!(left > Duration::ZERO, "{of} cannot be read beyond {next} of {end}");
        // Brokers that went away are reported here too, and are none of its business.
        if let Some(Ok(message)) = consumer.poll(left) {
            next = message.offset() + 1;
            records.push((message.offset(), message.payload().unwrap_or_default().to_vec()));
            until = Instant::now() + PATIENCE;
        }
    }
    records
}
