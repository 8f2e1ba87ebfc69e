//! Leaders go back to the first replicas of their assignments (`auto.leader.rebalance.enable`): which ones, and when it is worth it.

use std::collections::BTreeMap;

use sluice_protocol::Uuid;

use crate::metadata::{Image, PartitionRegistration};

/// The partitions whose leader should be the first replica and can be: those of each broker that doesn't lead more than
/// `imbalance_percentage` of what it is the first replica of (`leader.imbalance.per.broker.percentage`). For
/// [`ElectLeaders`](super::ElectLeaders).
#[must_use]
pub fn leaders_to_return(image: &Image, imbalance_percentage: u32) -> Vec<(Uuid, i32)> {
    let mut preferred: BTreeMap<i32, Preferred> = BTreeMap::new();
    for topic in image.topics() {
        for (index, partition) in (0..).zip(&topic.partitions) {
            let Some(first) = partition.replicas.first() else { continue };
            let of_broker = preferred.entry(*first).or_default();
            of_broker.all += 1;
            of_broker.led_by_others += usize::from(partition.leader != *first);
            if may_return(image, partition, *first) {
                of_broker.to_return.push((topic.id, index));
            }
        }
    }
    let is_imbalanced = |it: &Preferred| it.led_by_others * 100 > it.all * imbalance_percentage as usize;
    preferred.into_values().filter(is_imbalanced).flat_map(|it| it.to_return).collect()
}

/// What has one broker as its first replica.
#[derive(Debug, Default)]
struct Preferred {
    all: usize,
    led_by_others: usize,
    to_return: Vec<(Uuid, i32)>,
}

/// Not while a reassignment is under way: that chooses a leader at its end.
fn may_return(image: &Image, partition: &PartitionRegistration, first: i32) -> bool {
    let PartitionRegistration { leader, isr, adding, removing, .. } = partition;
    *leader != first && isr.contains(&first) && adding.is_empty() && removing.is_empty() && image.is_active(first)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    #[test]
    fn leaders_go_back_when_enough_of_them_are_away() {
        let mut cluster = Cluster::registered(&[1, 2]).topic_on("a", &[1, 2], &[]).topic_on("b", &[1, 2], &[]);
        cluster = cluster.topic_on("c", &[2, 1], &[]);
        check(&cluster, 10, &[], "each leads what it should");
        cluster.dies(1);
        check(&cluster, 10, &[], "the first replica is away");
        cluster.returns(1);
        check(&cluster, 10, &[], "it is back and not in sync");
        cluster.in_sync("a", &[1, 2]);
        check(&cluster, 10, &["a"], "as far as it caught up");
        cluster.in_sync("b", &[1, 2]);
        check(&cluster, 10, &["a", "b"], "all of it");
        check(&cluster, 100, &[], "unless that much imbalance is all right");
        cluster.shuts_down(1);
        check(&cluster, 10, &[], "and not when it is about to end");
    }

    fn check(cluster: &Cluster, percentage: u32, topics: &[&str], what: &str) {
        let found = leaders_to_return(&cluster.image, percentage);
        let names: Vec<_> = found.iter().map(|(id, _)| cluster.image.topic_by_id(*id).unwrap().name.as_str()).collect();
        assert_eq!(names, topics, "{what}");
    }
}
