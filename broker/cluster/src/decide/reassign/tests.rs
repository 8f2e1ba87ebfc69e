//! Replicas come, replicas go, and what is in between.

use super::super::AlterPartitionError;
use super::super::fixture::Cluster;
use super::*;
use crate::metadata::MetadataRecord;
use crate::partition::ProposedIsr;

#[test]
fn replicas_are_replaced() {
    let mut cluster = cluster();
    assert_eq!(ask(&mut cluster, Some(&[4, 2, 5])), Ok(()));
    let during = partition(&cluster);
    assert_eq!(
        (&during.replicas[..], &during.adding[..], &during.removing[..]),
        (&[4, 2, 5, 1, 3][..], &[4, 5][..], &[1, 3][..])
    );
    assert_eq!((during.leader, during.leader_epoch, &during.isr[..]), (1, 0, &[1, 2, 3][..]), "it serves as before");
    assert_eq!(reassignments(&cluster.image).count(), 1);

    in_sync(&mut cluster, &[1, 2, 3, 4]);
    assert!(partition(&cluster).is_reassigning(), "one of two is not enough");
    in_sync(&mut cluster, &[1, 2, 3, 4, 5]);
    let done = partition(&cluster);
    assert_eq!((&done.replicas[..], &done.isr[..]), (&[4, 2, 5][..], &[4, 2, 5][..]));
    assert_eq!((done.leader, done.leader_epoch), (4, 1), "the leader goes, so another leads in a new epoch");
    assert!(!done.is_reassigning(), "all that are to come are in sync");
    let again = ProposedIsr { isr: vec![(1, 10), (4, 10)], ..cluster.proposal("orders", &[4]) };
    let refused = cluster.propose("orders", again);
    assert_eq!(refused, Err(AlterPartitionError::NotAnIsr), "who was removed never rejoins");
}

#[test]
fn the_leader_stays_if_its_replica_does() {
    let mut cluster = cluster();
    ask(&mut cluster, Some(&[4, 2, 1])).unwrap();
    in_sync(&mut cluster, &[1, 2, 3, 4]);
    let done = partition(&cluster);
    assert_eq!((done.leader, done.leader_epoch, &done.isr[..]), (1, 1, &[4, 2, 1][..]));
}

#[test]
fn nothing_has_to_be_copied() {
    let mut cluster = cluster();
    ask(&mut cluster, Some(&[3, 2, 1])).unwrap();
    let ordered = partition(&cluster);
    assert_eq!(
        (&ordered.replicas[..], ordered.leader, ordered.partition_epoch),
        (&[3, 2, 1][..], 1, 1),
        "the order alone"
    );
    ask(&mut cluster, Some(&[3, 2, 1])).unwrap();
    assert_eq!(partition(&cluster).partition_epoch, 1, "what is so already is no change");
    ask(&mut cluster, Some(&[3, 2])).unwrap();
    let fewer = partition(&cluster);
    assert_eq!((&fewer.replicas[..], fewer.leader, fewer.leader_epoch), (&[3, 2][..], 3, 1), "fewer, at once");
}

#[test]
fn those_who_stay_have_to_be_enough() {
    let mut cluster = cluster();
    min_insync_replicas(&mut cluster, "2");
    in_sync(&mut cluster, &[1, 3]);
    ask(&mut cluster, Some(&[1, 2])).unwrap();
    assert!(partition(&cluster).is_reassigning(), "2 is not in sync, and 1 alone is too few");
    in_sync(&mut cluster, &[1, 2, 3]);
    assert_eq!((partition(&cluster).isr, partition(&cluster).is_reassigning()), (vec![1, 2], false));
}

#[test]
fn it_waits_for_who_is_away() {
    let mut cluster = cluster();
    ask(&mut cluster, Some(&[4, 2, 3])).unwrap();
    cluster.dies(4);
    assert!(partition(&cluster).is_reassigning());
    cluster.dies(2);
    in_sync(&mut cluster, &[1, 3]);
    assert!(partition(&cluster).is_reassigning());
}

#[test]
fn taken_back() {
    let mut cluster = cluster();
    assert_eq!(ask(&mut cluster, None), Err(ReassignError::NotReassigning { partition: 0 }));
    ask(&mut cluster, Some(&[4, 5])).unwrap();
    in_sync(&mut cluster, &[1, 4]);
    cluster.dies(1);
    assert_eq!((partition(&cluster).leader, partition(&cluster).isr), (4, vec![4]));
    let refused = Err(ReassignError::NobodyInSync { partition: 0 });
    assert_eq!(ask(&mut cluster, None), refused, "what is acknowledged is on 4");
    cluster.returns(1);
    assert_eq!(ask(&mut cluster, None), refused, "and still is");
    in_sync(&mut cluster, &[1, 4]);
    ask(&mut cluster, None).unwrap();
    let back = partition(&cluster);
    assert_eq!((&back.replicas[..], &back.isr[..], back.leader), (&[1, 2, 3][..], &[1][..], 1));
    assert!(!back.is_reassigning());
}

#[test]
fn what_was_promised_on_two_is_not_left_on_one() {
    let refused = Err(ReassignError::NobodyInSync { partition: 0 });
    let check = |what: &str, isr: &[i32], replicas: Option<&[i32]>, expected: Result<(), ReassignError>| {
        let mut cluster = cluster();
        min_insync_replicas(&mut cluster, "2");
        ask(&mut cluster, Some(&[4, 5])).unwrap();
        in_sync(&mut cluster, isr);
        let before = partition(&cluster);
        assert_eq!(ask(&mut cluster, replicas), expected, "{what}");
        assert_eq!(partition(&cluster) == before, expected.is_err(), "{what}");
    };
    check("taken back while one that stays is in sync", &[1, 4], None, refused.clone());
    check("other ones to come", &[1, 4], Some(&[1, 2, 5]), refused);
    check("one replica is wanted", &[1, 4], Some(&[1]), Ok(()));
    check("the one to come stays", &[1, 4], Some(&[1, 4]), Ok(()));
    check("two that stay", &[1, 2, 4], None, Ok(()));
    check("one that stays and one that is eligible", &[1], None, Ok(()));
}

#[test]
fn too_few_before_are_enough_after() {
    let mut cluster = cluster();
    in_sync(&mut cluster, &[1]);
    min_insync_replicas(&mut cluster, "2");
    ask(&mut cluster, Some(&[4, 5])).unwrap();
    assert_eq!(ask(&mut cluster, None), Ok(()), "it was on one, and is on one");
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr ");
}

#[test]
fn changed_while_it_goes_on() {
    let mut cluster = cluster();
    ask(&mut cluster, Some(&[4, 2, 3])).unwrap();
    cluster.dies(1);
    in_sync(&mut cluster, &[2, 3]);
    ask(&mut cluster, Some(&[5, 2, 3])).unwrap();
    let changed = partition(&cluster);
    assert_eq!(
        (&changed.replicas[..], &changed.adding[..], &changed.removing[..]),
        (&[5, 2, 3, 1][..], &[5][..], &[1][..])
    );
    assert_eq!((&changed.isr[..], changed.leader), (&[2, 3][..], 2));
    ask(&mut cluster, None).unwrap();
    let mut back = partition(&cluster).replicas;
    back.sort_unstable();
    assert_eq!(back, [1, 2, 3], "back to where the first began");
}

#[test]
fn what_is_refused() {
    let check = |what: &str, replicas: &[i32], why: ReassignError| {
        let mut cluster = cluster();
        let before = cluster.image.clone();
        assert_eq!(ask(&mut cluster, Some(replicas)), Err(why), "{what}");
        assert_eq!(cluster.image.topic("orders"), before.topic("orders"), "{what}");
    };
    check("nobody", &[], PlacementError::NoReplicas { partition: 0 }.into());
    check("a broker twice", &[1, 1], PlacementError::RepeatedBroker { partition: 0, broker: 1 }.into());
    check("a broker that there is not", &[1, 9], PlacementError::UnknownBroker { partition: 0, broker: 9 }.into());
    check("a broker that there cannot be", &[-1], PlacementError::UnknownBroker { partition: 0, broker: -1 }.into());

    let mut cluster = cluster();
    let id = topic(&cluster);
    let partitions = vec![(id, 9, Some(vec![1])), (Uuid::ZERO, 0, None), (id, -1, None), (id, 0, Some(vec![1]))];
    let answer = cluster.decide(&AlterReassignments { partitions, allow_replication_factor_change: false }).unwrap();
    let unknown = |topic, partition| Err(ReassignError::Unknown { topic, partition });
    let factor = Err(ReassignError::ReplicationFactor { partition: 0, known: 3, asked: 1 });
    assert_eq!(answer, [unknown(id, 9), unknown(Uuid::ZERO, 0), unknown(id, -1), factor]);
}

/// Five brokers, and a topic with one partition on the first three.
fn cluster() -> Cluster {
    let brokers = [(1, ""), (2, ""), (3, ""), (4, ""), (5, "")];
    Cluster::of(&brokers).assigned("orders", &[&[1, 2, 3]])
}

fn ask(cluster: &mut Cluster, replicas: Option<&[i32]>) -> Result<(), ReassignError> {
    let partitions = vec![(topic(cluster), 0, replicas.map(<[i32]>::to_vec))];
    let answer = cluster.decide(&AlterReassignments { partitions, allow_replication_factor_change: true });
    answer.unwrap().remove(0)
}

fn min_insync_replicas(cluster: &mut Cluster, value: &str) {
    let (topic, name) = (topic(cluster), "min.insync.replicas".into());
    cluster.replay(&MetadataRecord::TopicConfig { topic, name, value: Some(value.into()) });
}

/// The leader says who is in sync.
fn in_sync(cluster: &mut Cluster, isr: &[i32]) {
    cluster.in_sync("orders", isr);
}

fn partition(cluster: &Cluster) -> PartitionRegistration {
    cluster.partition("orders").clone()
}

fn topic(cluster: &Cluster) -> Uuid {
    cluster.image.topic("orders").unwrap().id
}
