//! Histories by chance: brokers die, come back in every way, catch up, fall behind, are told to end, topics are configured anew
//! and moved. After every decision the image is one that can be, and its snapshot is it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::fixture::Cluster;
use super::{
    AlterPartition, AlterReassignments, AlterTopicConfigs, ConfigChange, FenceAbsent, Recover, leaders_to_return,
};
use crate::metadata::{PartitionRegistration, snapshot};

const BROKERS: [i32; 4] = [1, 2, 3, 4];
const TOPICS: [&str; 3] = ["two-of-three", "any", "in-memory"];

#[derive(Debug, Clone)]
enum Event {
    Dies(i32),
    Returns(i32),
    ReturnsUnclean(i32),
    ReturnsWiped(i32),
    ShutsDown(i32),
    /// Seen by a new controller: these are there.
    Present(BTreeSet<i32>),
    /// The leader asks for these besides itself.
    Isr(usize, BTreeSet<i32>),
    MinInsyncReplicas(usize, u8),
    Unclean(usize, bool),
    Reassign(usize, Vec<i32>),
    Cancel(usize),
    Recover(usize, i32),
}

fn event() -> impl Strategy<Value = Event> {
    let broker = || prop::sample::select(&BROKERS[..]);
    let some = || prop::collection::btree_set(broker(), 0..4);
    let topic = || 0..TOPICS.len();
    let replicas =
        Just(BROKERS.to_vec()).prop_shuffle().prop_flat_map(|all| (1..=3_usize).prop_map(move |n| all[..n].to_vec()));
    prop_oneof![
        2 => broker().prop_map(Event::Dies),
        3 => broker().prop_map(Event::Returns),
        2 => broker().prop_map(Event::ReturnsUnclean),
        1 => broker().prop_map(Event::ReturnsWiped),
        2 => broker().prop_map(Event::ShutsDown),
        1 => some().prop_map(Event::Present),
        6 => (topic(), some()).prop_map(|(topic, isr)| Event::Isr(topic, isr)),
        1 => (topic(), 1..4_u8).prop_map(|(topic, min)| Event::MinInsyncReplicas(topic, min)),
        1 => (topic(), any::<bool>()).prop_map(|(topic, allowed)| Event::Unclean(topic, allowed)),
        2 => (topic(), replicas).prop_map(|(topic, replicas)| Event::Reassign(topic, replicas)),
        1 => topic().prop_map(Event::Cancel),
        1 => (topic(), broker()).prop_map(|(topic, leader)| Event::Recover(topic, leader)),
    ]
}

proptest! {
    #[test]
    fn every_image_is_one_that_can_be(events in prop::collection::vec(event(), 1..60)) {
        let mut cluster = Cluster::registered(&BROKERS)
            .topic_on(TOPICS[0], &[1, 2, 3], &[("min.insync.replicas", "2")])
            .topic_on(TOPICS[1], &[2, 3, 4], &[])
            .topic_on(TOPICS[2], &[3, 1, 4], &[("min.insync.replicas", "2"), ("sluice.flush.mode", "os")]);
        for event in events {
            let before = TOPICS.map(|topic| cluster.partition(topic).clone());
            let shown = format!("{event:?} after {before:?}");
            let is_move = matches!(event, Event::Reassign(..) | Event::Cancel(_));
            happens(&mut cluster, event);
            for (topic, before) in TOPICS.iter().zip(&before) {
                check(&cluster, topic, before, &shown);
                if is_move {
                    check_moved(&cluster, topic, before, &shown);
                }
            }
            prop_assert_eq!(&snapshot::decode(&snapshot::encode(&cluster.image)).unwrap(), &cluster.image, "{}", shown);
        }
    }
}

fn happens(cluster: &mut Cluster, event: Event) {
    let serves = |cluster: &Cluster, id: i32| cluster.image.broker(id).is_some_and(|broker| !broker.fenced);
    let id = |cluster: &Cluster, topic: usize| cluster.image.topic(TOPICS[topic]).unwrap().id;
    match event {
        Event::Dies(id) if serves(cluster, id) => cluster.dies(id),
        Event::ShutsDown(id) if serves(cluster, id) => drop(cluster.shuts_down(id)),
        Event::Dies(_) | Event::ShutsDown(_) => {}
        Event::Returns(id) => cluster.returns(id),
        Event::ReturnsUnclean(id) => cluster.returns_unclean(id),
        Event::ReturnsWiped(id) => {
            if serves(cluster, id) {
                cluster.dies(id);
            }
            cluster.returns_wiped(id);
        }
        Event::Present(present) => {
            let present = present.into_iter().map(|id| (id, cluster.epoch(id))).collect();
            cluster.decide(&FenceAbsent { present }).unwrap();
        }
        Event::Isr(topic, others) => {
            let leader = cluster.partition(TOPICS[topic]).leader;
            if leader != PartitionRegistration::NO_LEADER {
                let isr: Vec<i32> = others.into_iter().filter(|id| *id != leader).chain([leader]).collect();
                let partitions = vec![cluster.proposal(TOPICS[topic], &isr)];
                let broker_epoch = cluster.epoch(leader);
                // Refused or not: what matters is what comes of it.
                let _ = cluster.decide(&AlterPartition { broker: leader, broker_epoch, partitions }).unwrap();
            }
        }
        Event::MinInsyncReplicas(topic, min) => set(cluster, topic, "min.insync.replicas", &min.to_string()),
        Event::Unclean(topic, allowed) => set(cluster, topic, "unclean.leader.election.enable", &allowed.to_string()),
        Event::Reassign(topic, replicas) => reassign(cluster, (id(cluster, topic), 0, Some(replicas))),
        Event::Cancel(topic) => reassign(cluster, (id(cluster, topic), 0, None)),
        Event::Recover(topic, leader) => {
            let _ = cluster.decide(&Recover { topic: id(cluster, topic), index: 0, leader });
        }
    }
}

fn set(cluster: &mut Cluster, topic: usize, name: &str, value: &str) {
    let changes = vec![(name.to_owned(), ConfigChange::Set(value.to_owned()))];
    cluster.decide(&AlterTopicConfigs { topic: TOPICS[topic].into(), changes, validate_only: false }).unwrap();
}

fn reassign(cluster: &mut Cluster, partition: (sluice_protocol::Uuid, i32, Option<Vec<i32>>)) {
    let change = AlterReassignments { partitions: vec![partition], allow_replication_factor_change: true };
    let _ = cluster.decide(&change).unwrap();
}

/// Replicas that are moved take nothing that was promised away.
fn check_moved(cluster: &Cluster, topic: &str, before: &PartitionRegistration, shown: &str) {
    let after = cluster.partition(topic);
    let have_it = |one: &PartitionRegistration| one.isr.len() + one.elr.len();
    let promised = min_insync_replicas(cluster, topic).min(after.replicas.len());
    let kept = after == before || have_it(after) >= promised.min(have_it(before));
    assert!(kept, "as many as before have it all, or as many as promised; {topic} is {after:?}: {shown}");
}

fn min_insync_replicas(cluster: &Cluster, topic: &str) -> usize {
    let configs = &cluster.image.topic(topic).unwrap().configs;
    cluster.rules().value(configs, "min.insync.replicas").unwrap().parse().unwrap()
}

fn check(cluster: &Cluster, topic: &str, before: &PartitionRegistration, shown: &str) {
    let after = cluster.partition(topic);
    let PartitionRegistration { replicas, isr, elr, leader, leader_epoch, partition_epoch, .. } = after;
    let shown = format!("{topic} is {after:?}: {shown}");
    let min = min_insync_replicas(cluster, topic);
    let has_leader = *leader != PartitionRegistration::NO_LEADER;
    let serves = |id: &i32| cluster.image.broker(*id).is_some_and(|broker| !broker.fenced);
    assert_eq!(has_leader, !isr.is_empty(), "it leads who is in sync; {shown}");
    assert!(!has_leader || isr.contains(leader), "the leader is in sync; {shown}");
    assert!(isr.iter().all(|id| replicas.contains(id) && serves(id)), "who is in sync serves; {shown}");
    assert!(elr.iter().all(|id| replicas.contains(id) && !isr.contains(id)), "eligible is who is not in sync; {shown}");
    assert!(elr.is_empty() || isr.len() < min.min(replicas.len()), "enough are in sync: nobody else may lead; {shown}");
    let may_lead = isr.iter().chain(elr).any(|id| cluster.image.is_active(*id));
    assert!(has_leader || !may_lead, "somebody could lead; {shown}");
    assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), replicas.len(), "a replica is one; {shown}");
    assert!(*leader_epoch >= before.leader_epoch && *partition_epoch >= before.partition_epoch, "epochs rise; {shown}");
    assert!(*leader == before.leader || *leader_epoch > before.leader_epoch, "another leader, another epoch; {shown}");
    assert!(after == before || *partition_epoch > before.partition_epoch, "every change has its epoch; {shown}");
    let returns = leaders_to_return(&cluster.image, 0);
    assert!(returns.iter().all(|(id, _)| cluster.image.topic_by_id(*id).is_some()), "{shown}");
}
