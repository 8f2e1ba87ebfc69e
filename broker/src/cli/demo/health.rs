//! How the cluster is, as its own metadata says it: who is there, who leads how much, how many replicas are in sync.

use std::collections::BTreeMap;

use sluice_protocol::messages::MetadataResponse;

/// The cluster at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Health {
    /// Partitions that each broker leads; a broker that is not there has no entry.
    leads: BTreeMap<i32, usize>,
    /// Replicas of all partitions.
    replicas: usize,
    /// Those of them that are in sync.
    in_sync: usize,
    /// Partitions with a replica that is not in sync.
    under_replicated: usize,
    /// The leader of each of the demo's partitions, in their order.
    leaders: Vec<i32>,
}

impl Health {
    pub(super) fn of(metadata: &MetadataResponse) -> Self {
        let mut health =
            Self { leads: metadata.brokers.iter().map(|broker| (broker.node_id, 0)).collect(), ..Self::default() };
        for topic in &metadata.topics {
            // A view shows its base's partitions, which are counted there.
            if topic.name.as_deref() == Some(super::stream::VIEW) {
                continue;
            }
            for partition in &topic.partitions {
                if let Some(leads) = health.leads.get_mut(&partition.leader_id) {
                    *leads += 1;
                }
                health.replicas += partition.replica_nodes.len();
                health.in_sync += partition.isr_nodes.len();
                health.under_replicated += usize::from(partition.isr_nodes.len() < partition.replica_nodes.len());
            }
            if topic.name.as_deref() == Some(super::stream::TOPIC) {
                let mut leaders: Vec<_> = topic.partitions.iter().map(|p| (p.partition_index, p.leader_id)).collect();
                leaders.sort_unstable();
                health.leaders = leaders.into_iter().map(|(_, leader)| leader).collect();
            }
        }
        health
    }

    /// Partitions that have a replica that is not in sync.
    pub(super) const fn under_replicated(&self) -> usize {
        self.under_replicated
    }

    /// Who leads the demo's first partition, if anybody does.
    pub(super) fn leader(&self) -> Option<i32> {
        self.leaders.first().copied().filter(|leader| self.leads.contains_key(leader))
    }

    /// Whether all brokers are there, all partitions led and all replicas in sync.
    pub(super) fn is_whole(&self, brokers: usize) -> bool {
        self.leads.len() == brokers && self.leaders.iter().all(|&leader| leader >= 0) && self.under_replicated == 0
    }

    /// On one line, of a cluster of so many brokers.
    pub(super) fn line(&self, brokers: i32) -> String {
        if self.leads.is_empty() {
            // Nobody has been asked yet.
            return String::new();
        }
        let lead = |id: i32| match self.leads.get(&id) {
            Some(leads) => format!("{id} leads {leads}"),
            None => format!("{id} is down"),
        };
        let leads: Vec<String> = (1..=brokers).map(lead).collect();
        let Self { in_sync, replicas, under_replicated, .. } = self;
        format!("{}   in sync {in_sync} of {replicas}   under-replicated {under_replicated}", leads.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use sluice_protocol::messages::metadata::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };

    use super::*;
    use crate::cli::demo::stream::{TOPIC, VIEW};

    fn metadata(brokers: &[i32], partitions: &[(i32, &[i32])]) -> MetadataResponse {
        let broker = |&node_id: &i32| MetadataResponseBroker { node_id, ..MetadataResponseBroker::default() };
        let partition = |(index, (leader_id, isr)): (usize, &(i32, &[i32]))| MetadataResponsePartition {
            partition_index: i32::try_from(index).expect("few"),
            leader_id: *leader_id,
            replica_nodes: vec![1, 2, 3],
            isr_nodes: isr.to_vec(),
            ..MetadataResponsePartition::default()
        };
        let topic = |name: &str| MetadataResponseTopic {
            name: Some(name.to_owned()),
            partitions: partitions.iter().enumerate().map(partition).collect(),
            ..MetadataResponseTopic::default()
        };
        MetadataResponse {
            brokers: brokers.iter().map(broker).collect(),
            topics: vec![topic(VIEW), topic(TOPIC)],
            ..MetadataResponse::default()
        }
    }

    #[test]
    fn what_is_there_and_what_is_missing() {
        let whole = Health::of(&metadata(&[1, 2, 3], &[(1, &[1, 2, 3]), (2, &[1, 2, 3]), (3, &[1, 2, 3])]));
        assert!(whole.is_whole(3) && !whole.is_whole(4));
        assert_eq!(whole.line(3), "1 leads 1, 2 leads 1, 3 leads 1   in sync 9 of 9   under-replicated 0");
        let hurt = Health::of(&metadata(&[2, 3], &[(1, &[1, 2, 3]), (2, &[2, 3]), (3, &[2, 3])]));
        assert!(!hurt.is_whole(3));
        assert_eq!(hurt.line(3), "1 is down, 2 leads 1, 3 leads 1   in sync 7 of 9   under-replicated 2");
        assert_eq!((whole.leader(), hurt.leader(), hurt.under_replicated()), (Some(1), None, 2));
        assert_eq!(Health::default().line(3), "");
        assert!(!Health::of(&metadata(&[1, 2, 3], &[(-1, &[1, 2, 3])])).is_whole(3), "a partition nobody leads");
    }
}
