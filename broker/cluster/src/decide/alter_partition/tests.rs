//! One row a check, in their order; then what late, repeated and reordered proposals come to.

use super::super::fixture::Cluster;
use super::super::{DeleteTopics, TopicRef};
use super::*;

#[test]
fn an_isr_grows_and_shrinks() {
    let mut cluster = cluster();
    cluster.in_sync("orders", &[1, 2]);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1,2 elr ");
    cluster.in_sync("orders", &[1]);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr 2", "whoever left it with too few stays eligible");
    cluster.in_sync("orders", &[1, 3]);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1,3 elr ", "until there are enough again");
}

#[test]
fn proposals_that_are_refused() {
    use AlterPartitionError as Error;
    let good = cluster().proposal("orders", &[1, 2]);
    let topic = good.topic;
    let unknown = |index| Error::UnknownPartition { topic, index };
    check("no such partition", ProposedIsr { index: 1, ..good.clone() }, unknown(1));
    check("no partition", ProposedIsr { index: -1, ..good.clone() }, unknown(-1));
    let ahead = |leader_epoch, partition_epoch| Error::Ahead { leader_epoch, partition_epoch };
    check("a later reign", ProposedIsr { leader_epoch: 9, ..good.clone() }, ahead(9, 1));
    check("a later registration", ProposedIsr { partition_epoch: 9, ..good.clone() }, ahead(0, 9));
    check("an earlier reign", ProposedIsr { leader_epoch: -1, ..good.clone() }, Error::FencedLeaderEpoch { known: 0 });
    check(
        "an earlier registration",
        ProposedIsr { partition_epoch: 0, ..good.clone() },
        Error::StalePartitionEpoch { known: 1 },
    );
    let isr = |isr: &[(i32, i64)]| ProposedIsr { isr: isr.to_vec(), ..good.clone() };
    check("a member twice", isr(&[(1, 10), (2, 20), (2, 20)]), Error::NotAnIsr);
    check("a stranger", isr(&[(1, 10), (4, 40)]), Error::NotAnIsr);
    check("without the leader", isr(&[(2, 20)]), Error::NotAnIsr);
    check("nobody", isr(&[]), Error::NotAnIsr);
    check("it recovers though it never had to", ProposedIsr { recovered: false, ..good.clone() }, Error::Recovering);
    check("lives that are over", isr(&[(1, 10), (2, 19)]), Error::Ineligible { replicas: vec![2] });
    check("lives to come", isr(&[(1, 10), (2, 21)]), Error::Ineligible { replicas: vec![2] });
}

/// Of a topic on brokers 1, 2 and 3 whose partition epoch is 1, with all in sync.
fn check(what: &str, proposal: ProposedIsr, why: AlterPartitionError) {
    let mut cluster = cluster();
    let before = cluster.image.topic("orders").cloned();
    assert_eq!(cluster.propose("orders", proposal), Err(why), "{what}");
    assert_eq!(cluster.image.topic("orders").cloned(), before, "{what}: nothing changes");
}

#[test]
fn brokers_that_may_not_propose() {
    let mut cluster = cluster();
    let proposal = cluster.proposal("orders", &[1, 2]);
    let alter = |broker, broker_epoch| AlterPartition { broker, broker_epoch, partitions: vec![proposal.clone()] };
    let stale = |broker, epoch| Err(StaleBrokerEpoch { broker, epoch });
    assert_eq!(cluster.decide(&alter(1, 9)), stale(1, 9), "another life");
    assert_eq!(cluster.decide(&alter(9, 90)), stale(9, 90), "a stranger");
    let not_leader = AlterPartitionError::NotLeader { leader: 1 };
    assert_eq!(cluster.decide(&alter(2, 20)), Ok(vec![Err(not_leader)]));
    cluster.dies(1);
    assert_eq!(cluster.decide(&alter(1, 10)), stale(1, 10), "fenced");
}

/// The answer to a proposal was lost, and it comes again after the partition epoch rose by it.
#[test]
fn kafka_14144() {
    let mut cluster = cluster();
    let proposal = cluster.proposal("orders", &[1, 2]);
    let granted = cluster.propose("orders", proposal.clone()).unwrap();
    assert_eq!(cluster.propose("orders", proposal.clone()), Ok(granted.clone()), "granted is granted");
    assert_eq!(cluster.partition("orders"), &granted, "and changes nothing");
    cluster.in_sync("orders", &[1, 2, 3]);
    let stale = AlterPartitionError::StalePartitionEpoch { known: granted.partition_epoch + 1 };
    assert_eq!(cluster.propose("orders", proposal), Err(stale), "not once something else came after");
}

/// A replica restarts empty while the proposal that counts on what it had is on its way (KIP-903).
#[test]
fn kafka_14617_15221() {
    let mut cluster = cluster();
    cluster.in_sync("orders", &[1, 2]);
    let in_flight = cluster.proposal("orders", &[1, 2, 3]);
    cluster.dies(3);
    cluster.returns_wiped(3);
    let why = AlterPartitionError::Ineligible { replicas: vec![3] };
    assert_eq!(cluster.propose("orders", in_flight), Err(why));
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1,2 elr ");
}

/// The topic was removed and made again under its name: another id is another topic.
#[test]
fn kafka_9539_12257_16157() {
    let mut cluster = cluster();
    let late = cluster.proposal("orders", &[1]);
    cluster.decide(&DeleteTopics { topics: vec![TopicRef::Name("orders".into())] }).unwrap();
    let mut cluster = cluster.topic_on("orders", &[1, 2, 3], &[]);
    let unknown = AlterPartitionError::UnknownPartition { topic: late.topic, index: 0 };
    assert_eq!(cluster.propose("orders", late), Err(unknown));
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1,2,3 elr ");
}

/// A replica that a reassignment removed proposes, or is proposed, afterwards.
#[test]
fn kafka_9672_10301() {
    let mut cluster = Cluster::registered(&[1, 2, 3]).topic_on("orders", &[1, 2], &[]);
    let topic = cluster.image.topic("orders").unwrap().id;
    let reassign = super::super::AlterReassignments {
        partitions: vec![(topic, 0, Some(vec![1, 3]))],
        allow_replication_factor_change: false,
    };
    cluster.decide(&reassign).unwrap().remove(0).unwrap();
    let before = cluster.proposal("orders", &[1, 2]);
    cluster.in_sync("orders", &[1, 2, 3]);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1,3 elr ");
    assert_eq!(cluster.partition("orders").replicas, [1, 3]);
    assert!(cluster.partition("orders").leader_epoch > before.leader_epoch, "the removed one's fetches are refused");
    assert!(matches!(cluster.propose("orders", before), Err(AlterPartitionError::FencedLeaderEpoch { .. })));
    let back = ProposedIsr { isr: vec![(1, 10), (2, 20), (3, 30)], ..cluster.proposal("orders", &[1, 3]) };
    assert_eq!(cluster.propose("orders", back), Err(AlterPartitionError::NotAnIsr));
}

#[test]
fn a_leader_recovers_before_others_join() {
    let unclean = ("unclean.leader.election.enable", "true");
    let mut cluster = Cluster::registered(&[1, 2]).topic_on("orders", &[1, 2], &[unclean]);
    cluster.in_sync("orders", &[1]);
    cluster.dies(1);
    assert!(cluster.partition("orders").recovering, "{}", cluster.shown("orders"));
    cluster.returns(1);
    let proposal = cluster.proposal("orders", &[1, 2]);
    let not_yet = ProposedIsr { recovered: false, ..proposal.clone() };
    assert_eq!(cluster.propose("orders", not_yet), Err(AlterPartitionError::Recovering));
    let alone = ProposedIsr { recovered: false, ..cluster.proposal("orders", &[2]) };
    assert!(cluster.propose("orders", alone).unwrap().recovering, "nothing new");
    assert!(!cluster.propose("orders", proposal).unwrap().recovering);
    assert_eq!(cluster.shown("orders"), "leader 2 isr 1,2 elr ");
}

#[test]
fn a_partition_that_comes_twice_in_one_request() {
    let mut cluster = cluster();
    let first = cluster.proposal("orders", &[1, 2]);
    let second = ProposedIsr { partition_epoch: first.partition_epoch + 1, ..cluster.proposal("orders", &[1]) };
    let partitions = vec![first.clone(), second, first];
    let answer = cluster.decide(&AlterPartition { broker: 1, broker_epoch: 10, partitions }).unwrap();
    assert!(answer[0].is_ok() && answer[1].is_ok() && answer[2].is_err(), "{answer:?}");
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr 2");
}

#[test]
fn what_a_refusal_means_to_the_leader() {
    assert_eq!(AlterPartitionError::Ineligible { replicas: vec![2] }.outcome(), Outcome::Refused);
    assert_eq!(AlterPartitionError::StalePartitionEpoch { known: 2 }.outcome(), Outcome::Unknown);
    assert_eq!(AlterPartitionError::FencedLeaderEpoch { known: 2 }.outcome(), Outcome::Unknown);
}

/// Three brokers, and a topic on all of them of which two have to be in sync; its partition has changed once.
fn cluster() -> Cluster {
    let mut cluster = Cluster::registered(&[1, 2, 3]).topic_on("orders", &[1, 2, 3], &[("min.insync.replicas", "2")]);
    let mut partition = cluster.partition("orders").clone();
    partition.partition_epoch += 1;
    let topic = cluster.image.topic("orders").expect("made above").id;
    cluster.replay(&crate::metadata::MetadataRecord::Partitions { topic, partitions: vec![(0, partition)] });
    cluster
}
