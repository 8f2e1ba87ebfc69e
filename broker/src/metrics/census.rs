//! The cluster's topics, partitions and brokers counted, as the metadata of the moment has them.

use sluice_cluster::{Image, PartitionRegistration, Topic};

/// What stands how often.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Brokers that the cluster counts on.
    pub(crate) brokers: usize,
    /// Brokers that are known and not counted on.
    pub(crate) fenced_brokers: usize,
    pub(crate) topics: usize,
    /// Partitions of the whole cluster that nobody leads.
    pub(crate) offline: usize,
    /// Partitions that have a replica here.
    pub(crate) replicas: usize,
    /// Partitions led here.
    pub(crate) leaders: usize,
    /// Partitions led here with a replica out of sync.
    pub(crate) under_replicated: usize,
    /// Partitions led here with fewer replicas in sync than `min.insync.replicas`.
    pub(crate) under_min_isr: usize,
}

impl Census {
    pub(crate) fn take(image: &Image, local: i32, min_insync_replicas: impl Fn(&Topic) -> usize) -> Self {
        let brokers = image.serving().count();
        let mut census = Self { brokers, fenced_brokers: image.brokers().count() - brokers, ..Self::default() };
        for topic in image.topics() {
            census.topics += 1;
            let min = min_insync_replicas(topic);
            for partition in &topic.partitions {
                census.offline += usize::from(partition.leader == PartitionRegistration::NO_LEADER);
                census.replicas += usize::from(partition.replicas.contains(&local));
                if partition.leader == local {
                    census.leaders += 1;
                    let (isr, replicas) = (partition.isr.len(), partition.replicas.len());
                    census.under_replicated += usize::from(isr < replicas);
                    census.under_min_isr += usize::from(isr < min.min(replicas));
                }
            }
        }
        census
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_cluster::MetadataRecord;
    use sluice_protocol::Uuid;

    #[test]
    fn counted_where_they_are_led() {
        let census = of(&[(1, &[1, 2, 3]), (1, &[1, 2]), (1, &[1]), (2, &[2]), (-1, &[3])]);
        let expected = Census {
            topics: 1,
            offline: 1,
            replicas: 5,
            leaders: 3,
            under_replicated: 2,
            under_min_isr: 1,
            ..Census::default()
        };
        assert_eq!(census, expected);
        assert_eq!(of(&[]), Census { topics: 1, ..Census::default() });
    }

    /// As broker 1 sees partitions on three brokers, two of which have to be in sync.
    fn of(partitions: &[(i32, &[i32])]) -> Census {
        let mut image = Image::default();
        let id = Uuid([1; 16]);
        image.replay(&MetadataRecord::Topic { id, name: "t".into(), internal: false, configs: [].into() }).unwrap();
        let registration = |&(leader, isr): &(i32, &[i32])| PartitionRegistration {
            leader,
            isr: isr.to_vec(),
            ..PartitionRegistration::new(vec![1, 2, 3])
        };
        let partitions = (0..).zip(partitions.iter().map(registration)).collect();
        image.replay(&MetadataRecord::Partitions { topic: id, partitions }).unwrap();
        Census::take(&image, 1, |_| 2)
    }
}
