//! What a new life is counted on for, and which lives there are not.

use super::super::fixture::{Cluster, register};
use super::*;

#[test]
fn every_life_leads_in_a_new_epoch() {
    let mut cluster = Cluster::registered(&[1]).topic_on("orders", &[1], &[]);
    let before = cluster.partition("orders").clone();
    cluster.returns(1);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr ");
    assert!(cluster.partition("orders").leader_epoch > before.leader_epoch, "readers see that its tail may be gone");
}

#[test]
fn what_a_restart_costs() {
    let group = ("sluice.flush.mode", "group");
    let os = ("sluice.flush.mode", "os");
    // Replicas, flush mode, the return; then who leads while everybody else is away.
    check("a clean one: it has all", &[1, 2, 3], os, Cluster::returns, "leader 1 isr 1 elr 2,3");
    check("unclean, with what counts on disk", &[1, 2, 3], group, Cluster::returns_unclean, "leader 1 isr 1 elr 2,3");
    check("unclean, with what counts in memory", &[1, 2, 3], os, Cluster::returns_unclean, "leader - isr  elr 2,3");
    check("wiped", &[1, 2, 3], group, Cluster::returns_wiped, "leader - isr  elr 2,3");
    check("unclean and alone: nobody holds more", &[1], os, Cluster::returns_unclean, "leader 1 isr 1 elr ");
    check("wiped and alone: nobody holds anything", &[1], group, Cluster::returns_wiped, "leader - isr  elr ");
}

/// Everybody goes, and broker 1 comes back in that way.
fn check(what: &str, replicas: &[i32], mode: (&str, &str), back: fn(&mut Cluster, i32), expected: &str) {
    let configs = [("min.insync.replicas", "2"), mode];
    let mut cluster = Cluster::registered(&[1, 2, 3]).topic_on("orders", replicas, &configs);
    // At once, so that all stay eligible.
    cluster.decide(&super::super::FenceAbsent { present: [].into() }).unwrap();
    back(&mut cluster, 1);
    assert_eq!(cluster.shown("orders"), expected, "{what}");
}

#[test]
fn an_unclean_life_is_out_of_sync_though_it_was_never_missed() {
    let mut cluster = Cluster::registered(&[1, 2, 3]).topic_on("orders", &[1, 2, 3], &[]);
    cluster.returns_unclean(3);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1,2 elr ");
    cluster.returns(2);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr ", "nor is a clean one before it fetched");
}

/// A broker that bounced before anybody noticed: what was decided for its life before means nothing to this one.
#[test]
fn kafka_7235() {
    let mut cluster = Cluster::registered(&[1, 2]).topic_on("orders", &[1, 2], &[]);
    let late = cluster.proposal("orders", &[1, 2]);
    cluster.returns(1);
    assert_eq!(cluster.shown("orders"), "leader 2 isr 2 elr ");
    let alter = super::super::AlterPartition { broker: 1, broker_epoch: 10, partitions: vec![late] };
    assert!(cluster.decide(&alter).is_err(), "asked by a life that is over");
}

#[test]
fn a_topic_that_may_lose_records_waits_for_nobody() {
    let unclean = ("unclean.leader.election.enable", "true");
    let mut cluster = Cluster::registered(&[1, 2]).topic_on("orders", &[1, 2], &[unclean]);
    cluster.dies(2);
    cluster.dies(1);
    assert_eq!(cluster.shown("orders"), "leader - isr  elr 1");
    cluster.returns(2);
    assert_eq!(cluster.shown("orders"), "leader 2 isr 2 elr ");
    assert!(cluster.partition("orders").recovering);
    let mut cluster = Cluster::registered(&[1, 2]).topic_on("orders", &[1, 2], &[unclean]);
    cluster.in_sync("orders", &[1]);
    cluster.returns(1);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr ", "a quick restart loses nothing all the same");
}

#[test]
fn brokers_that_cannot_register() {
    let mut cluster = Cluster::registered(&[1]);
    let stale = RegisterError::StaleEpoch { id: 1, epoch: 9, known: 10 };
    assert_eq!(cluster.decide(&register(1, 9)), Err(stale));
    let other = RegisterBroker { uuid: Uuid([9; 16]), ..register(1, 20) };
    let refused = RegisterError::OtherDataFolder { id: 1, known: Uuid([1; 16]), found: Uuid([9; 16]) };
    assert_eq!(cluster.decide(&other), Err(refused), "while the one that is registered serves");
    assert_eq!(cluster.decide(&register(1, 10)), Ok(()), "registered already");
    cluster.dies(1);
    let over = RegisterError::LifeOver { id: 1, epoch: 10 };
    assert_eq!(cluster.decide(&register(1, 10)), Err(over), "what was refused for it must not be granted later");
    assert_eq!(cluster.decide(&other), Ok(()));
    let features = FeatureLevels { lowest: 3, highest: 4 };
    let why = RegisterError::Features { id: 2, level: 2, features };
    assert_eq!(cluster.decide(&RegisterBroker { features, ..register(2, 30) }), Err(why));
}

#[test]
fn brokers_that_are_forgotten() {
    let mut cluster = Cluster::registered(&[1, 2]).topic_on("orders", &[1, 2], &[]);
    let forget = |cluster: &mut Cluster, id| cluster.decide(&UnregisterBroker { id });
    assert_eq!(forget(&mut cluster, 3), Err(UnregisterError::Unknown { id: 3 }));
    assert_eq!(forget(&mut cluster, 2), Err(UnregisterError::Serving { id: 2 }));
    cluster.dies(2);
    assert_eq!(forget(&mut cluster, 2), Err(UnregisterError::HoldsReplicas { id: 2, partitions: 1 }));
    let topics = vec![super::super::TopicRef::Name("orders".into())];
    cluster.decide(&super::super::DeleteTopics { topics }).unwrap();
    assert_eq!(forget(&mut cluster, 2), Ok(()));
    assert!(cluster.image.broker(2).is_none());
}
