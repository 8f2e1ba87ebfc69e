//! Which brokers hold the partitions of a new topic.
//! Free functions over registrations; tables test them.

pub(super) mod spread;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::metadata::{Image, PartitionRegistration};
use spread::{Arranged, Place, Start};

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
    /// The cluster places, on as many brokers as there are.
    Widest {
        /// Partitions, at least one.
        partitions: i32,
        /// Replicas of each, if there are so many brokers.
        replication_factor_max: i16,
    },
}

/// Replicas of the brokers' own topics, where there are so many brokers.
pub const INTERNAL_REPLICAS_MAX: i16 = 3;

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
    #[error("partitions are numbered without gaps; {partition} is missing or comes twice")]
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
    /// A partition of a manual assignment has another number of replicas than the others.
    #[error("partition {partition} has {found} replicas where others have {expected}")]
    UnevenReplicas {
        /// The partition.
        partition: i32,
        /// Its replicas.
        found: usize,
        /// The others'.
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
    /// A broker is named that there is not.
    #[error("partition {partition} names broker {broker}, which is unknown")]
    UnknownBroker {
        /// The partition.
        partition: i32,
        /// The broker.
        broker: i32,
    },
    /// A broker is named that is being emptied.
    #[error("partition {partition} names broker {broker}, which is being drained")]
    DrainingBroker {
        /// The partition.
        partition: i32,
        /// The broker.
        broker: i32,
    },
    /// Brokers are named of which none is serving.
    #[error("partition {partition} names only brokers that are not serving")]
    NoneServing {
        /// The partition.
        partition: i32,
    },
}

impl Placement {
    /// How many partitions are asked for, before anything is checked.
    #[must_use]
    pub fn partitions(&self) -> usize {
        match self {
            Self::Count { partitions, .. } | Self::Widest { partitions, .. } => {
                usize::try_from(*partitions).unwrap_or(0)
            }
            Self::Manual(assigned) => assigned.len(),
        }
    }
}

/// The brokers that may be given replicas: they are counted on, and nobody wants to empty them.
pub(super) fn places(image: &Image) -> Vec<Place<'_>> {
    let open = image.serving().filter(|broker| broker.is_active() && !broker.draining);
    open.map(|broker| Place { id: broker.id, rack: broker.rack.as_deref() }).collect()
}

/// Whether the broker is being emptied.
pub(super) fn is_draining(image: &Image, broker: i32) -> bool {
    image.broker(broker).is_some_and(|broker| broker.draining)
}

/// The partitions of a new topic, or more of one that has `from` already.
pub(super) fn place(
    image: &Image,
    placement: &Placement,
    from: usize,
    start: Start,
) -> Result<Vec<PartitionRegistration>, PlacementError> {
    match placement {
        Placement::Count { partitions, replication_factor } => {
            let arranged = Arranged::new(places(image));
            spread_over(&arranged, *partitions, *replication_factor, from, start)
        }
        Placement::Widest { partitions, replication_factor_max } => {
            let arranged = Arranged::new(places(image));
            let brokers = i16::try_from(arranged.len()).unwrap_or(i16::MAX).max(1);
            spread_over(&arranged, *partitions, brokers.min(*replication_factor_max), from, start)
        }
        Placement::Manual(assigned) => check_manual(image, assigned, from),
    }
}

fn spread_over(
    arranged: &Arranged<'_>,
    partitions: i32,
    replication_factor: i16,
    from: usize,
    start: Start,
) -> Result<Vec<PartitionRegistration>, PlacementError> {
    let Some(count) = usize::try_from(partitions).ok().filter(|count| *count > 0) else {
        return Err(PlacementError::Partitions { partitions });
    };
    let Some(replicas) = usize::try_from(replication_factor).ok().filter(|replicas| *replicas > 0) else {
        return Err(PlacementError::ReplicationFactor { replication_factor });
    };
    if replicas > arranged.len() {
        return Err(PlacementError::TooFewBrokers { replication_factor, serving: arranged.len() });
    }
    let replicas = (from..from + count).map(|nth| arranged.replicas(nth, replicas, start));
    Ok(replicas.map(PartitionRegistration::new).collect())
}

/// Partitions assigned by hand, numbered without gaps from `from` on.
fn check_manual(
    image: &Image,
    assigned: &[(i32, Vec<i32>)],
    from: usize,
) -> Result<Vec<PartitionRegistration>, PlacementError> {
    let mut sorted: Vec<&(i32, Vec<i32>)> = assigned.iter().collect();
    sorted.sort_by_key(|(partition, _)| *partition);
    let Some(expected) = sorted.first().map(|(_, replicas)| replicas.len()) else {
        return Err(PlacementError::Partitions { partitions: 0 });
    };
    let first = i32::try_from(from).unwrap_or(i32::MAX);
    let partitions = (first..).zip(sorted).map(|(index, (partition, replicas))| {
        if *partition != index {
            return Err(PlacementError::Indexes { partition: index });
        }
        let found = replicas.len();
        let made = assigned_by_hand(image, index, replicas)?;
        if found != expected {
            return Err(PlacementError::UnevenReplicas { partition: index, found, expected });
        }
        Ok(made)
    });
    partitions.collect()
}

/// A new partition with the replicas that were named. Those that are away at the moment are not in sync, and don't lead.
fn assigned_by_hand(image: &Image, partition: i32, replicas: &[i32]) -> Result<PartitionRegistration, PlacementError> {
    check_replicas(image, partition, replicas, &[])?;
    let active: Vec<i32> = replicas.iter().copied().filter(|id| image.is_active(*id)).collect();
    let leader = *active.first().ok_or(PlacementError::NoneServing { partition })?;
    Ok(PartitionRegistration { leader, isr: active, ..PartitionRegistration::new(replicas.to_vec()) })
}

/// Whether these could be a partition's replicas: brokers that there are, each once, and none that is being emptied unless it
/// is of those that hold the partition already.
pub(super) fn check_replicas(
    image: &Image,
    partition: i32,
    replicas: &[i32],
    holders: &[i32],
) -> Result<(), PlacementError> {
    if replicas.is_empty() {
        return Err(PlacementError::NoReplicas { partition });
    }
    let mut seen = BTreeSet::new();
    for &broker in replicas {
        if !seen.insert(broker) {
            return Err(PlacementError::RepeatedBroker { partition, broker });
        }
        if image.broker(broker).is_none() {
            return Err(PlacementError::UnknownBroker { partition, broker });
        }
        if is_draining(image, broker) && !holders.contains(&broker) {
            return Err(PlacementError::DrainingBroker { partition, broker });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    #[test]
    fn by_count() {
        let check = |brokers: &[i32], placement: Placement, expected: Result<Vec<Vec<i32>>, PlacementError>| {
            let placed = place(&image_of(brokers), &placement, 0, Start::random([0; 16]));
            assert_eq!(replicas(placed), expected, "{placement:?} on {brokers:?}");
        };
        let count = |partitions, replication_factor| Placement::Count { partitions, replication_factor };
        let few = |replication_factor, serving| Err(PlacementError::TooFewBrokers { replication_factor, serving });
        check(&[7], count(3, 1), Ok(vec![vec![7], vec![7], vec![7]]));
        check(&[7], count(3, 2), few(2, 1));
        check(&[], count(3, 1), few(1, 0));
        check(&[7], count(0, 1), Err(PlacementError::Partitions { partitions: 0 }));
        check(&[7], count(-3, 1), Err(PlacementError::Partitions { partitions: -3 }));
        check(&[7], count(1, 0), Err(PlacementError::ReplicationFactor { replication_factor: 0 }));
        check(&[1, 2, 3], count(2, 2), Ok(vec![vec![1, 2], vec![2, 3]]));
        let widest = Placement::Widest { partitions: 1, replication_factor_max: 3 };
        check(&[7], widest.clone(), Ok(vec![vec![7]]));
        check(&[1, 2, 3, 4], widest.clone(), Ok(vec![vec![1, 2, 3]]));
        check(&[], widest, few(1, 0));
    }

    #[test]
    fn by_hand() {
        let check = |assigned: &[(i32, &[i32])], expected: Result<Vec<Vec<i32>>, PlacementError>| {
            let assigned: Vec<_> =
                assigned.iter().map(|(partition, replicas)| (*partition, replicas.to_vec())).collect();
            let placed = place(&image_of(&[1, 2]), &Placement::Manual(assigned.clone()), 0, Start::random([0; 16]));
            assert_eq!(replicas(placed), expected, "{assigned:?}");
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
    fn by_hand_on_brokers_that_are_away() {
        let mut cluster = Cluster::of(&[(1, ""), (2, "")]);
        cluster.dies(1);
        let place = |replicas: &[i32]| {
            place(&cluster.image, &Placement::Manual(vec![(0, replicas.to_vec())]), 0, Start::random([0; 16]))
        };
        let expected = PartitionRegistration { leader: 2, isr: vec![2], ..PartitionRegistration::new(vec![1, 2]) };
        assert_eq!(place(&[1, 2]), Ok(vec![expected]), "who is away is not in sync");
        assert_eq!(place(&[1]), Err(PlacementError::NoneServing { partition: 0 }));
    }

    fn image_of(brokers: &[i32]) -> Image {
        let brokers: Vec<_> = brokers.iter().map(|id| (*id, "")).collect();
        Cluster::of(&brokers).image
    }

    fn replicas(placed: Result<Vec<PartitionRegistration>, PlacementError>) -> Result<Vec<Vec<i32>>, PlacementError> {
        placed.map(|placed| placed.into_iter().map(|partition| partition.replicas).collect())
    }
}
