//! A consumer that follows every partition from its first offset, all the time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::Shared;
use crate::checker::TopicPartition;
use crate::clients::Rdkafka;

/// How long a consumer waits before it looks whether it should stop.
const WAIT: Duration = Duration::from_millis(100);

/// A consumer of all partitions, which its history knows of.
pub(super) fn follow(
    client: Rdkafka,
    number: u32,
    partitions: &[TopicPartition],
    shared: &Arc<Shared>,
) -> BaseConsumer {
    let mut assignment = TopicPartitionList::new();
    for partition in partitions {
        let added = assignment.add_partition_offset(&partition.topic, partition.index, Offset::Offset(0));
        added.expect("an offset librdkafka knows");
        shared.history().tail(number, partition, 0);
    }
    // An offset that is gone must not be silently gone over.
    client.set("auto.offset.reset", "error").assigned(&assignment)
}

/// Reads until it is told to stop.
pub(super) fn run(consumer: &BaseConsumer, number: u32, partitions: &[TopicPartition], shared: &Shared) {
    while !shared.consumers_stop.load(Ordering::Relaxed) {
        match consumer.poll(WAIT) {
            None => {}
            Some(Ok(message)) => {
                let of = partitions.iter().find(|partition| partition.index == message.partition());
                let of = of.expect("a consumer is given what it was assigned");
                shared.history().polled(number, of, message.offset(), message.payload().unwrap_or_default());
            }
            // Brokers that are gone are reported again and again while they are; what else there is matters in the end,
            // when a consumer is found to have stopped.
            Some(Err(error)) => {
                let mut complaints = shared.complaints.lock().expect("nobody panics with it");
                let complaint = format!("consumer {number}: {error}");
                if !complaints.contains(&complaint) {
                    complaints.push(complaint);
                }
            }
        }
    }
}
