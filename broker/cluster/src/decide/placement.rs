//! Which brokers hold the partitions of a new topic, and who leads after a broker came or went.
//! Free functions over registrations; tables test them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::metadata::{Image, PartitionRegistration};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// The cluster places.
    Count {
        /// Partitions, at least one.
        partitions: i32,
        /// Replicas of each, at least one.
        replication_factor: i16,
    },
    /// Replicas by partition, each with the preferred leader first.
    Manual(Vec<(i32, Vec<i32>)>),
}

/// Why partitions can't be placed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum PlacementError {
    /// Fewer than one.
    #[error("a topic has at least one partition, not {partitions}")]
    Partitions {
        /// As asked.
        partitions: i32,
    },
    /// Fewer than one.
    #[error("a partition has at least one replica, not {replication_factor}")]
    ReplicationFactor {
        /// As asked.
        replication_factor: i16,
    },
    /// More replicas than there are brokers to hold them.
    #[error("{replication_factor} replicas are asked for and {serving} brokers are serving")]
    TooFewBrokers {
        /// As asked.
        replication_factor: i16,
        /// Brokers there are.
        serving: usize,
    },
    /// The indexes of a manual assignment have a gap or come twice.
    #[error("partitions are numbered from 0 without gaps; {partition} is missing or comes twice")]
    Indexes {
        /// The first index that is wrong.
        partition: i32,
    },
    /// A partition of a manual assignment has no replicas.
    #[error("partition {partition} is assigned to no broker")]
    NoReplicas {
        /// The partition.
        partition: i32,
    },
    /// A partition of a manual assignment has another number of replicas than the first.
    #[error("partition {partition} has {found} replicas and partition 0 has {expected}")]
    UnevenReplicas {
        /// The partition.
        partition: i32,
        /// Its replicas.
        found: usize,
        /// Partition 0's.
        expected: usize,
    },
    /// A broker is named twice for a partition.
    #[error("partition {partition} names broker {broker} twice")]
    RepeatedBroker {
        /// The partition.
        partition: i32,
        /// The broker.
        broker: i32,
    },
    /// A broker is named that is not serving.
    #[error("partition {partition} names broker {broker}, which is not serving")]
    UnknownBroker {
        /// The partition.
        partition: i32,
        /// The broker.
        broker: i32,
    },
}

impl Placement {
    /// How many partitions are asked for, before anything is checked.
    #[must_use]
    pub fn partitions(&self) -> usize {
        match self {
            Self::Count { partitions, .. } => usize::try_from(*partitions).unwrap_or(0),
            Self::Manual(assigned) => assigned.len(),
        }
    }
}

/// The partitions of a new topic. `start` spreads the leaders of topics that have few partitions.
pub(super) fn place(
    image: &Image,
    placement: &Placement,
    start: usize,
) -> Result<Vec<PartitionRegistration>, PlacementError> {
    let serving: Vec<i32> = image.serving().map(|broker| broker.id).collect();
    match placement {
        Placement::Count { partitions, replication_factor } => {
            spread(&serving, *partitions, *replication_factor, start)
        }
        Placement::Manual(assigned) => check_manual(&serving, assigned),
    }
}

/// Round the brokers, each partition one further than the last; each partition's followers shifted once more after every full
/// round, so that the load of a lost leader falls on all others (Kafka's rule without racks).
fn spread(
    serving: &[i32],
    partitions: i32,
    replication_factor: i16,
    start: usize,
) -> Result<Vec<PartitionRegistration>, PlacementError> {
    let Some(count) = usize::try_from(partitions).ok().filter(|count| *count > 0) else {
        return Err(PlacementError::Partitions { partitions });
    };
    let Some(replicas) = usize::try_from(replication_factor).ok().filter(|replicas| *replicas > 0) else {
        return Err(PlacementError::ReplicationFactor { replication_factor });
    };
    let brokers = serving.len();
    if replicas > brokers {
        return Err(PlacementError::TooFewBrokers { replication_factor, serving: brokers });
    }
    let placed = (0..count).map(|partition| {
        let (first, round) = ((start + partition) % brokers, partition / brokers);
        let follower = |nth: usize| (first + 1 + (round + nth) % (brokers - 1)) % brokers;
        let chosen = std::iter::once(first).chain((0..replicas - 1).map(follower));
        PartitionRegistration::new(chosen.map(|at| serving[at]).collect())
    });
    Ok(placed.collect())
}

fn check_manual(serving: &[i32], assigned: &[(i32, Vec<i32>)]) -> Result<Vec<PartitionRegistration>, PlacementError> {
    if assigned.is_empty() {
        return Err(PlacementError::Partitions { partitions: 0 });
    }
    let mut sorted: Vec<&(i32, Vec<i32>)> = assigned.iter().collect();
    sorted.sort_by_key(|(partition, _)| *partition);
    let expected = sorted[0].1.len();
    (0_i32..)
        .zip(sorted)
        .map(|(index, (partition, replicas))| {
            let partition = *partition;
            if partition != index {
                return Err(PlacementError::Indexes { partition: index });
            }
            if replicas.is_empty() {
                return Err(PlacementError::NoReplicas { partition });
            }
            if replicas.len() != expected {
                return Err(PlacementError::UnevenReplicas { partition, found: replicas.len(), expected });
            }
            let mut seen = BTreeSet::new();
            for &broker in replicas {
                if !seen.insert(broker) {
                    return Err(PlacementError::RepeatedBroker { partition, broker });
                }
                if !serving.contains(&broker) {
                    return Err(PlacementError::UnknownBroker { partition, broker });
                }
            }
            Ok(PartitionRegistration::new(replicas.clone()))
        })
        .collect()
}

/// The partition after broker `id` is no longer counted on, if that changes anything: the first replica in sync that serves
/// leads. The last member of the ISR stays in it, since nobody else holds what it holds.
pub(super) fn without(
    partition: &PartitionRegistration,
    id: i32,
    serving: &BTreeSet<i32>,
) -> Option<PartitionRegistration> {
    let mut after = partition.clone();
    if after.isr.len() > 1 {
        after.isr.retain(|member| *member != id);
    }
    if after.leader == id {
        elect(&mut after, serving);
    }
    changed(partition, after)
}

/// The partition after broker `id` began a new life, if that changes anything. What it led it leads in a new epoch: its log may
/// have lost its tail, and readers recognise that by the epoch (KIP-320). One that ended uncleanly leaves the ISR while there
/// is anybody else in it.
pub(super) fn with(
    partition: &PartitionRegistration,
    id: i32,
    clean: bool,
    serving: &BTreeSet<i32>,
) -> Option<PartitionRegistration> {
    if !partition.replicas.contains(&id) {
        return None;
    }
    let mut after = partition.clone();
    if !clean && after.isr.len() > 1 {
        after.isr.retain(|member| *member != id);
    }
    if after.leader == id || after.leader == PartitionRegistration::NO_LEADER {
        elect(&mut after, serving);
    }
    changed(partition, after)
}

fn elect(partition: &mut PartitionRegistration, serving: &BTreeSet<i32>) {
    let eligible =
        partition.replicas.iter().find(|replica| partition.isr.contains(replica) && serving.contains(replica));
    let leader = eligible.copied().unwrap_or(PartitionRegistration::NO_LEADER);
    if leader != PartitionRegistration::NO_LEADER || partition.leader != leader {
        partition.leader_epoch += 1;
    }
    partition.leader = leader;
}

fn changed(before: &PartitionRegistration, mut after: PartitionRegistration) -> Option<PartitionRegistration> {
    (*before != after).then(|| {
        after.partition_epoch += 1;
        after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broker() {
        assert_eq!(replicas(spread(&[7], 3, 1, 5)), Ok(vec![vec![7], vec![7], vec![7]]));
        assert_eq!(spread(&[7], 3, 2, 0), Err(PlacementError::TooFewBrokers { replication_factor: 2, serving: 1 }));
        assert_eq!(spread(&[], 3, 1, 0), Err(PlacementError::TooFewBrokers { replication_factor: 1, serving: 0 }));
        assert_eq!(spread(&[7], 0, 1, 0), Err(PlacementError::Partitions { partitions: 0 }));
        assert_eq!(spread(&[7], -3, 1, 0), Err(PlacementError::Partitions { partitions: -3 }));
        assert_eq!(spread(&[7], 1, 0, 0), Err(PlacementError::ReplicationFactor { replication_factor: 0 }));
    }

    #[test]
    fn several_brokers() {
        let spread = replicas(spread(&[1, 2, 3], 6, 2, 1));
        let expected = [[2, 3], [3, 1], [1, 2], [2, 1], [3, 2], [1, 3]];
        assert_eq!(spread, Ok(expected.map(Vec::from).to_vec()));
    }

    #[test]
    fn by_hand() {
        let check = |assigned: &[(i32, &[i32])], expected: Result<Vec<Vec<i32>>, PlacementError>| {
            let assigned: Vec<_> =
                assigned.iter().map(|(partition, replicas)| (*partition, replicas.to_vec())).collect();
            assert_eq!(replicas(check_manual(&[1, 2], &assigned)), expected, "{assigned:?}");
        };
        check(&[(1, &[2, 1]), (0, &[1, 2])], Ok(vec![vec![1, 2], vec![2, 1]]));
        check(&[], Err(PlacementError::Partitions { partitions: 0 }));
        check(&[(0, &[1]), (2, &[1])], Err(PlacementError::Indexes { partition: 1 }));
        check(&[(0, &[1]), (0, &[1])], Err(PlacementError::Indexes { partition: 1 }));
        check(&[(-1, &[1])], Err(PlacementError::Indexes { partition: 0 }));
        check(&[(0, &[])], Err(PlacementError::NoReplicas { partition: 0 }));
        check(&[(0, &[1]), (1, &[1, 2])], Err(PlacementError::UnevenReplicas { partition: 1, found: 2, expected: 1 }));
        check(&[(0, &[1, 1])], Err(PlacementError::RepeatedBroker { partition: 0, broker: 1 }));
        check(&[(0, &[3])], Err(PlacementError::UnknownBroker { partition: 0, broker: 3 }));
    }

    #[test]
    fn a_broker_goes() {
        let check = |what: &str, isr: &[i32], leader: i32, serving: &[i32], expected: Option<(&[i32], i32, i32)>| {
            let after = without(&partition(isr, leader), 1, &serving.iter().copied().collect());
            let seen = after.as_ref().map(|after| (after.isr.as_slice(), after.leader, after.leader_epoch));
            assert_eq!(seen, expected, "{what}");
            assert!(
                after.is_none_or(|after| after.partition_epoch == 1),
                "{what}: every change raises the partition epoch"
            );
        };
        check("the leader, another is in sync", &[1, 2], 1, &[2], Some((&[2], 2, 1)));
        check("the leader, nobody in sync serves", &[1, 2], 1, &[], Some((&[2], -1, 1)));
        check("the only one in sync", &[1], 1, &[2], Some((&[1], -1, 1)));
        check("a follower", &[1, 2], 2, &[2], Some((&[2], 2, 0)));
        check("one out of sync", &[2], 2, &[2], None);
    }

    #[test]
    fn a_broker_comes_back() {
        let check = |what: &str, isr: &[i32], leader: i32, clean: bool, expected: Option<(&[i32], i32, i32)>| {
            let after = with(&partition(isr, leader), 1, clean, &[1].into());
            assert_eq!(
                after.as_ref().map(|after| (after.isr.as_slice(), after.leader, after.leader_epoch)),
                expected,
                "{what}"
            );
        };
        check("the last in sync leads again", &[1], -1, true, Some((&[1], 1, 1)));
        check("so it does when it was never missed", &[1], 1, true, Some((&[1], 1, 1)));
        check("and uncleanly, since nobody else holds more", &[1], 1, false, Some((&[1], 1, 1)));
        check("uncleanly with others in sync it waits to catch up", &[1, 2], -1, false, Some((&[2], -1, 0)));
        check("a follower is nobody's leader", &[1, 2], 2, true, None);
        let elsewhere = PartitionRegistration::new(vec![5]);
        assert_eq!(with(&elsewhere, 1, true, &[1].into()), None, "a partition it has no part in");
    }

    fn partition(isr: &[i32], leader: i32) -> PartitionRegistration {
        PartitionRegistration { isr: isr.to_vec(), leader, ..PartitionRegistration::new(vec![1, 2]) }
    }

    fn replicas(placed: Result<Vec<PartitionRegistration>, PlacementError>) -> Result<Vec<Vec<i32>>, PlacementError> {
        placed.map(|placed| placed.into_iter().map(|partition| partition.replicas).collect())
    }
}
