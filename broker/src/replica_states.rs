//! What replicas say of themselves, asked of every broker that has them: how far their logs are, and how many bytes they have.
//! Nobody decides by it what is true: it is for plans, for progress, and for an operator's eyes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use sluice_cluster::decide::PartitionSizes;
use sluice_cluster::{Image, Topic};
use sluice_protocol::Uuid;

use crate::coordination::Metadata;
use crate::partition::Manager;
use crate::rpc::{Call, PartitionId, Peers, ReplicaState, Reply};

/// How long a broker may take to answer: it only looks, and whoever waits for this is a person or tries again.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Partitions asked for in one call: an answer has some fifty bytes for each.
const PARTITIONS_A_CALL: usize = 10_000;

/// Asks brokers for the states of replicas.
pub(crate) struct ReplicaStates {
    pub(crate) node_id: i32,
    pub(crate) metadata: Metadata,
    pub(crate) partitions: Arc<Manager>,
    pub(crate) peers: Peers,
}

/// States by partition and broker.
#[derive(Debug, Default)]
pub(crate) struct Known(BTreeMap<(Uuid, i32), BTreeMap<i32, ReplicaState>>);

impl ReplicaStates {
    /// The states of all replicas of all partitions.
    pub(crate) async fn all(&self) -> Known {
        let image = self.metadata.image();
        self.of(&image, image.topics().flat_map(|topic| every(topic))).await
    }

    /// The states of the replicas of these partitions. A broker that doesn't answer is left out.
    pub(crate) async fn of<'a>(&self, image: &Image, wanted: impl Iterator<Item = (&'a Topic, usize)>) -> Known {
        let mut by_broker: BTreeMap<i32, Vec<PartitionId>> = BTreeMap::new();
        for (topic, at) in wanted {
            let Some((partition, index)) = topic.partitions.get(at).zip(i32::try_from(at).ok()) else { continue };
            for replica in &partition.replicas {
                by_broker.entry(*replica).or_default().push(PartitionId { topic: topic.id, index });
            }
        }
        by_broker.retain(|broker, _| image.broker(*broker).is_some_and(|broker| !broker.fenced));
        let asked = by_broker.into_iter().map(|(broker, partitions)| self.ask(broker, partitions));
        let mut known = Known::default();
        for (broker, states) in join_all(asked).await {
            for state in states {
                known.0.entry((state.topic, state.index)).or_default().insert(broker, state);
            }
        }
        known
    }

    async fn ask(&self, broker: i32, partitions: Vec<PartitionId>) -> (i32, Vec<ReplicaState>) {
        if broker == self.node_id {
            return (broker, here(&self.partitions, &partitions));
        }
        let mut states = Vec::new();
        for some in partitions.chunks(PARTITIONS_A_CALL) {
            let call = Call::ReplicaStates { partitions: some.to_vec() };
            match self.peers.call(broker, call, ANSWER_TIME).await {
                Ok(Reply::ReplicaStates(answered)) => states.extend(answered),
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(broker, %error, "no states of replicas from this broker");
                    break;
                }
            }
        }
        (broker, states)
    }
}

impl Known {
    /// What a broker says of its replica.
    pub(crate) fn of(&self, topic: Uuid, index: i32, broker: i32) -> Option<&ReplicaState> {
        self.0.get(&(topic, index))?.get(&broker)
    }

    /// The bytes of each partition: those of its biggest replica, since others may be behind.
    pub(crate) fn sizes(&self) -> PartitionSizes {
        let biggest = |states: &BTreeMap<i32, ReplicaState>| states.values().map(|state| state.bytes).max();
        self.0.iter().filter_map(|(partition, states)| Some((*partition, biggest(states)?))).collect()
    }

    /// The bytes of all replicas of a broker; nothing if it did not answer.
    pub(crate) fn bytes_of(&self, broker: i32) -> Option<u64> {
        self.0
            .values()
            .filter_map(|states| states.get(&broker))
            .map(|state| state.bytes)
            .reduce(|sum, bytes| sum + bytes)
    }
}

/// What this broker's own replicas of these partitions are.
pub(crate) fn here(partitions: &Manager, wanted: &[PartitionId]) -> Vec<ReplicaState> {
    wanted.iter().filter_map(|key| partitions.find(*key)).map(|partition| partition.state()).collect()
}

/// Every partition of a topic.
fn every(topic: &Topic) -> impl Iterator<Item = (&Topic, usize)> {
    (0..topic.partitions.len()).map(move |at| (topic, at))
}
