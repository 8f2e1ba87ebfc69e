//! How often leaders were elected while this broker was the controller, by what made it necessary.

use std::sync::atomic::{AtomicU64, Ordering};

use sluice_cluster::decide::{
    AdvanceReassignments, AlterPartition, AlterReassignments, Change, ElectLeaders, FenceAbsent, FenceBroker, Recover,
    RegisterBroker, ShutDownBroker,
};
use sluice_cluster::{Image, MetadataRecord, PartitionRegistration};

/// Elections, counted since this process began.
#[derive(Debug, Default)]
pub struct Elections([AtomicU64; REASONS.len()]);

/// What makes elections necessary, and the changes it is decided in.
const REASONS: [(&str, &[u16]); 8] = [
    ("broker_gone", &[FenceAbsent::KIND, FenceBroker::KIND]),
    ("broker_registered", &[RegisterBroker::KIND]),
    ("controlled_shutdown", &[ShutDownBroker::KIND]),
    ("asked_for", &[ElectLeaders::KIND]),
    ("reassignment", &[AlterReassignments::KIND, AdvanceReassignments::KIND]),
    ("isr_changed", &[AlterPartition::KIND]),
    ("recovered", &[Recover::KIND]),
    ("other", &[]),
];

impl Elections {
    /// Reasons and how often each was one.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        REASONS.iter().zip(&self.0).map(|((reason, _), count)| (*reason, count.load(Ordering::Relaxed)))
    }

    pub(super) fn add(&self, kind: u16, elected: u64) {
        let at = REASONS.iter().position(|(_, kinds)| kinds.contains(&kind)).unwrap_or(REASONS.len() - 1);
        self.0[at].fetch_add(elected, Ordering::Relaxed);
    }
}

/// Leaders that records elect, decided on this image.
pub(super) fn elected(image: &Image, records: &[MetadataRecord]) -> u64 {
    let of_record = |record: &MetadataRecord| {
        let MetadataRecord::Partitions { topic, partitions } = record else { return 0 };
        let Some(topic) = image.topic_by_id(*topic) else { return 0 };
        let known = |index: i32| usize::try_from(index).ok().and_then(|index| topic.partitions.get(index));
        let is_elected = |index: i32, after: &PartitionRegistration| {
            after.leader != PartitionRegistration::NO_LEADER
                && known(index).is_some_and(|before| before.leader != after.leader)
        };
        partitions.iter().filter(|(index, after)| is_elected(*index, after)).count() as u64
    };
    records.iter().map(of_record).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_protocol::Uuid;

    #[test]
    fn only_another_leader_is_an_election() {
        let mut image = Image::default();
        let id = Uuid([1; 16]);
        let topic = MetadataRecord::Topic { id, name: "t".into(), internal: false, configs: [].into() };
        let all = |leaders: [i32; 2]| {
            let of = |leader| PartitionRegistration { leader, ..PartitionRegistration::new(vec![1, 2]) };
            MetadataRecord::Partitions { topic: id, partitions: (0..).zip(leaders.map(of)).collect() }
        };
        assert_eq!(
            elected(&image, &[topic.clone(), all([1, 1])]),
            0,
            "a new topic's first leaders are nobody's successors"
        );
        image.replay(&topic).unwrap();
        image.replay(&all([1, 1])).unwrap();
        for (leaders, expected, what) in
            [([1, 1], 0, "the same"), ([2, 1], 1, "another"), ([-1, 1], 0, "none"), ([2, 2], 2, "both")]
        {
            assert_eq!(elected(&image, &[all(leaders)]), expected, "{what}");
        }
    }

    #[test]
    fn every_reason_has_its_count() {
        let elections = Elections::default();
        elections.add(FenceBroker::KIND, 3);
        elections.add(FenceAbsent::KIND, 2);
        elections.add(60_000, 1);
        let counts: Vec<_> = elections.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [("broker_gone", 5), ("other", 1)]);
    }
}
