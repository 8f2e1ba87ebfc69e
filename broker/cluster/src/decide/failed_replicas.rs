//! Replicas that a broker holds and cannot serve: a log directory failed, or a log does not open. The broker lives, so nobody but
//! itself can say so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::alter_partition::StaleBrokerEpoch;
use super::changed::Changed;
use super::partition_change::{Brokers, PartitionChange, TopicRules};
use super::{Change, Decided, Given};
use crate::metadata::{Image, PartitionRegistration};
use crate::planted::{Bug, planted};

/// A broker gives up replicas: they leave the ISRs, and others lead. They come back with the next life of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailReplicas {
    /// The broker.
    pub broker: i32,
    /// The life of it.
    pub broker_epoch: i64,
    /// Its replicas, by topic and partition. What is no replica of its, or nothing is counted on, is passed over.
    pub partitions: Vec<(Uuid, i32)>,
}

/// What became of the partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicasFailed {
    /// Partitions that another broker leads now.
    pub moved: usize,
    /// Partitions that nobody leads now.
    pub offline: usize,
}

impl Change for FailReplicas {
    const KIND: u16 = 28;
    type Answer = ReplicasFailed;
    type Error = StaleBrokerEpoch;

    /// What a failed replica counted as stored was on its disk, if the topic asks for that: it stays eligible where the ISR alone
    /// does not do, and leads again once a start has looked at every byte. What the disk had not got is gone with the rest.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<ReplicasFailed>, StaleBrokerEpoch> {
        let &Self { broker: id, broker_epoch: epoch, ref partitions } = self;
        if !image.serving().any(|known| known.id == id && known.epoch == epoch) {
            return Err(StaleBrokerEpoch { broker: id, epoch });
        }
        let brokers = Brokers::of(image).without(id);
        let mut changed = Changed::new(image);
        let mut rules: BTreeMap<Uuid, TopicRules> = BTreeMap::new();
        let mut answer = ReplicasFailed { moved: 0, offline: 0 };
        for &(topic, index) in partitions {
            let Some((known, before)) = changed.partition(topic, index) else { continue };
            if before.leader == id && planted(Bug::FailedDiskLeads) {
                continue;
            }
            let rules = *rules.entry(topic).or_insert_with(|| TopicRules::of(known, given.configs));
            let change = PartitionChange::of(before, &brokers, rules).leave(|member| member == id);
            let change = if rules.counts_what_is_on_disk { change } else { change.lossy(id) };
            let led = before.leader == id;
            let Some(after) = change.build() else { continue };
            if led && after.leader != PartitionRegistration::NO_LEADER {
                answer.moved += 1;
            } else if led {
                answer.offline += 1;
            }
            changed.put(topic, index, after);
        }
        Ok(Decided { records: changed.into_records(), answer, may_split: true })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    fn fail(cluster: &Cluster, broker: i32, topics: &[&str]) -> FailReplicas {
        let id = |name: &&str| (cluster.image.topic(name).expect("a topic of the fixture").id, 0);
        FailReplicas { broker, broker_epoch: cluster.epoch(broker), partitions: topics.iter().map(id).collect() }
    }

    fn check(sentence: &str, replicas: &[i32], configs: &[(&str, &str)], failing: &[i32], want: &str) {
        let mut cluster = Cluster::registered(&[1, 2, 3]).topic_on("orders", replicas, configs);
        for id in failing {
            let failed = fail(&cluster, *id, &["orders"]);
            cluster.decide(&failed).expect("it serves");
        }
        assert_eq!(cluster.shown("orders"), want, "{sentence}");
    }

    #[test]
    fn others_lead_what_a_failed_disk_holds() {
        let two = ("min.insync.replicas", "2");
        check("the leader's", &[1, 2, 3], &[], &[1], "leader 2 isr 2,3 elr ");
        check("a follower's", &[1, 2, 3], &[], &[2], "leader 1 isr 1,3 elr ");
        check("that of one without a replica", &[1, 2], &[], &[3], "leader 1 isr 1,2 elr ");
        check("told twice", &[1, 2, 3], &[], &[1, 1], "leader 2 isr 2,3 elr ");
        check("with too few left it stays eligible", &[1, 2], &[two], &[1], "leader 2 isr 2 elr 1");
        check("one after the other, until nobody is left", &[1, 2], &[], &[1, 2], "leader - isr  elr 2");
        check("the only one", &[1], &[], &[1], "leader - isr  elr 1");
        check(
            "in `os` mode nothing is on the disk",
            &[1, 2],
            &[two, ("sluice.flush.mode", "os")],
            &[1],
            "leader 2 isr 2 elr ",
        );
    }

    #[test]
    fn the_rest_of_the_broker_serves_on_and_the_replica_comes_back_with_its_next_life() {
        let mut cluster = Cluster::registered(&[1, 2]).topic_on("lost", &[1], &[]).topic_on("kept", &[1, 2], &[]);
        let failed = fail(&cluster, 1, &["lost"]);
        assert_eq!(cluster.decide(&failed), Ok(ReplicasFailed { moved: 0, offline: 1 }));
        assert_eq!(cluster.shown("kept"), "leader 1 isr 1,2 elr ");
        cluster.dies(1);
        cluster.returns_unclean(1);
        assert_eq!(cluster.shown("lost"), "leader 1 isr 1 elr ");
    }

    #[test]
    fn only_the_life_that_has_the_replicas_gives_them_up() {
        let mut cluster = Cluster::registered(&[1, 2]).topic_on("orders", &[1, 2], &[]);
        let failed = fail(&cluster, 1, &["orders"]);
        cluster.dies(1);
        cluster.returns(1);
        let epoch = failed.broker_epoch;
        assert_eq!(cluster.decide(&failed), Err(StaleBrokerEpoch { broker: 1, epoch }));
        assert_eq!(cluster.shown("orders"), "leader 2 isr 2 elr ");
        let unknown = FailReplicas { partitions: vec![(Uuid([9; 16]), 0)], ..fail(&cluster, 2, &["orders"]) };
        assert_eq!(cluster.decide(&unknown), Ok(ReplicasFailed { moved: 0, offline: 0 }), "deleted meanwhile");
    }
}
