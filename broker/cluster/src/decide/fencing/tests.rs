//! Who leads when brokers go, and what the next controller finds.

use super::super::RegisterBroker;
use super::super::fixture::{Cluster, register};
use super::*;
use crate::metadata::FeatureLevels;

#[test]
fn a_broker_without_a_session_is_fenced() {
    let mut cluster = Cluster::registered(&[1]).topic_on("orders", &[1], &[]);
    assert_eq!(cluster.decide(&present(&[(1, 10)])), Ok(vec![]));
    assert_eq!(cluster.decide(&present(&[(1, 11)])), Ok(vec![1]), "another life's session");
    assert_eq!(cluster.shown("orders"), "leader - isr  elr 1");
    assert_eq!(cluster.decide(&present(&[])), Ok(vec![]), "fenced already");
}

#[test]
fn several_go_at_once() {
    let mut cluster = cluster();
    assert_eq!(cluster.decide(&present(&[(3, 30)])), Ok(vec![1, 2]));
    assert_eq!(cluster.shown("orders"), "leader 3 isr 3 elr 1,2", "with two to be in sync, both stay eligible");
}

/// A lossy bounce while there was no controller: the new one finds the same broker there, in another life. What it was counted on
/// for is gone although it was never seen to be away.
#[test]
fn aba_a_broker_that_went_and_came_back_unseen() {
    let mut cluster = cluster();
    let back = RegisterBroker { clean: false, ..register(1, 11) };
    assert_eq!(cluster.decide(&present(&[(1, 11), (2, 20), (3, 30)])), Ok(vec![1]), "another life is another broker");
    cluster.decide(&back).unwrap();
    assert_eq!(cluster.shown("orders"), "leader 2 isr 2,3 elr ");
    // And without the look at who is there: registering a new life is enough.
    let mut cluster = self::cluster();
    cluster.decide(&back).unwrap();
    assert_eq!(cluster.shown("orders"), "leader 2 isr 2,3 elr ");
}

/// A controller that stopped in the middle: what is left is done by the next.
#[test]
fn a_decision_of_which_half_was_written() {
    let mut cluster = cluster();
    let given = &mut Given { now_ms: 0, random: &mut || [0; 16], configs: cluster.rules() };
    let fence = present(&[(2, 20), (3, 30)]);
    let records = fence.decide(&cluster.image, given).unwrap().records;
    let (last, first) = records.split_last().unwrap();
    assert!(matches!(last, MetadataRecord::BrokerFenced { id: 1, .. }), "{last:?}");
    first.iter().for_each(|record| cluster.replay(record));
    assert_eq!(cluster.decide(&fence), Ok(vec![1]), "it is still to be fenced");

    let mut cluster = self::cluster();
    cluster.dies(1);
    cluster.dies(2);
    cluster.dies(3);
    let given = &mut Given { now_ms: 0, random: &mut || [0; 16], configs: cluster.rules() };
    let records = register(3, 31).decide(&cluster.image, given).unwrap().records;
    let until = records.iter().position(|record| matches!(record, MetadataRecord::BrokerRegistered(_))).unwrap();
    records[..=until].iter().for_each(|record| cluster.replay(record));
    assert_eq!(cluster.shown("orders"), "leader - isr  elr 2,3");
    cluster.decide(&present(&[(3, 31)])).unwrap();
    assert_eq!(cluster.shown("orders"), "leader 3 isr 3 elr 2", "elections that were not made are made");
}

#[test]
fn a_broker_whose_process_is_gone() {
    let mut cluster = cluster();
    let fence = |epoch| FenceBroker { id: 1, epoch, why: "its listener refuses".into() };
    assert_eq!(cluster.decide(&fence(9)), Ok(false), "evidence about an earlier life");
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1,2,3 elr ");
    assert_eq!(cluster.decide(&fence(10)), Ok(true));
    assert_eq!(cluster.shown("orders"), "leader 2 isr 2,3 elr ");
    assert_eq!(cluster.decide(&fence(10)), Ok(false), "said twice");
}

#[test]
fn a_broker_ends_in_order() {
    let mut cluster = cluster().topic_on("alone", &[1], &[]).topic_on("elsewhere", &[2, 3], &[]);
    assert_eq!(cluster.shuts_down(1), 1, "where it is the only one, it leads to the end");
    assert_eq!(cluster.shown("orders"), "leader 2 isr 2,3 elr ");
    assert_eq!(cluster.shown("alone"), "leader 1 isr 1 elr ");
    let before = cluster.image.clone();
    assert_eq!(cluster.shuts_down(1), 1, "asked again");
    assert_eq!(cluster.image.topic("orders"), before.topic("orders"));
    cluster.dies(1);
    assert_eq!(cluster.shown("alone"), "leader - isr  elr 1");
    let gone = ShutDownBroker { id: 1, epoch: 10 };
    assert_eq!(cluster.decide(&gone), Ok(ShuttingDown { remaining_leaders: 0 }), "fenced meanwhile");
    cluster.returns(1);
    assert_eq!(cluster.shown("alone"), "leader 1 isr 1 elr ");
    let stale = ShutDownError::StaleEpoch { id: 1, epoch: 10, known: 11 };
    assert_eq!(cluster.decide(&gone), Err(stale));
    assert_eq!(cluster.decide(&ShutDownBroker { id: 9, ..gone }), Err(ShutDownError::Unknown { id: 9 }));
}

/// A broker that is about to end, or was fenced, back in the ISR: its leaders would end with it.
#[test]
fn kafka_14140() {
    let mut cluster = cluster();
    cluster.shuts_down(3);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1,2 elr ");
    let back = cluster.proposal("orders", &[1, 2, 3]);
    let why = super::super::AlterPartitionError::Ineligible { replicas: vec![3] };
    assert_eq!(cluster.propose("orders", back), Err(why.clone()));
    cluster.dies(3);
    let back = cluster.proposal("orders", &[1, 2, 3]);
    assert_eq!(cluster.propose("orders", back), Err(why));
}

/// aphyr.com/posts/293: the ISR shrinks to its leader, the leader dies, and whoever is left leads without what was acknowledged.
#[test]
fn aphyr_293() {
    let mut cluster = Cluster::registered(&[1, 2, 3]).topic_on("orders", &[1, 2, 3], &[]);
    cluster.in_sync("orders", &[1]);
    cluster.dies(1);
    assert_eq!(cluster.shown("orders"), "leader - isr  elr 1", "the others lack what broker 1 acknowledged alone");
    cluster.returns(3);
    assert_eq!(cluster.shown("orders"), "leader - isr  elr 1");
    cluster.returns(1);
    assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr ");
}

/// A leader change of which one half was made twice and the other never: the same facts again change nothing.
#[test]
fn kafka_9769_9307() {
    let mut cluster = cluster();
    cluster.dies(1);
    let once = cluster.partition("orders").clone();
    cluster.decide(&present(&[(2, 20), (3, 30)])).unwrap();
    cluster.decide(&FenceBroker { id: 1, epoch: 10, why: "again".into() }).unwrap();
    assert_eq!(cluster.partition("orders"), &once, "no epoch without a change, no change without an epoch");
}

/// The last to leave hands over to the first who catches up while it still serves.
#[test]
fn a_leader_that_is_about_to_end_hands_over() {
    let mut cluster = cluster();
    cluster.in_sync("orders", &[1]);
    cluster.returns(2);
    cluster.returns(3);
    assert_eq!(cluster.shuts_down(1), 0, "an eligible one takes over");
    assert_eq!(cluster.shown("orders"), "leader 2 isr 2 elr 1,3");
    let mut cluster = Cluster::registered(&[1, 2]).topic_on("orders", &[1, 2], &[]);
    cluster.dies(2);
    cluster.returns(2);
    assert_eq!(cluster.shuts_down(1), 1);
    cluster.in_sync("orders", &[1, 2]);
    assert_eq!(cluster.shown("orders"), "leader 2 isr 2 elr ");
}

/// Decisions over twenty thousand partitions, with what they cost: nothing that grows with the square of anything.
#[test]
fn twenty_thousand_leaders_move() {
    let mut cluster = Cluster::registered(&[1, 2, 3]);
    for topic in 0..20 {
        let replicas: Vec<&[i32]> = (0..1_000).map(|_| [1, 2, 3].as_slice()).collect();
        cluster = cluster.assigned(&format!("t{topic}"), &replicas);
    }
    cluster.dies(1);
    let partitions = cluster.image.topics().flat_map(|topic| &topic.partitions);
    assert_eq!(partitions.filter(|partition| partition.leader == 2 && partition.leader_epoch == 1).count(), 20_000);
    assert_eq!(cluster.image.broker(1).map(|broker| broker.features), Some(FeatureLevels::OURS));
}

fn present(lives: &[(i32, i64)]) -> FenceAbsent {
    FenceAbsent { present: lives.iter().copied().collect() }
}

/// Three brokers, and a topic on all of them of which two have to be in sync.
fn cluster() -> Cluster {
    Cluster::registered(&[1, 2, 3]).topic_on("orders", &[1, 2, 3], &[("min.insync.replicas", "2")])
}
