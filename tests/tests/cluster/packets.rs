//! Packets that vanish, both ways and one way, with nobody told: clusters on a network of their own.

use std::time::{Duration, Instant};

use sluice_tests::{Cluster, Network, PATIENCE, Workload, WorkloadBuilder};

use crate::{HEALED, SESSION, TWO_OF_THREE};

/// How long a follower may be behind in these tests before it is taken out.
const LAG_MS: u32 = 3_000;

/// Three brokers on a network of their own, with a topic that is whole; where that can be had.
fn three_apart(topic: &str) -> Option<Cluster> {
    let network = Network::try_new()?;
    let cluster = Cluster::builder().on(network).set("replica.lag.time.max.ms", LAG_MS).start();
    cluster.create_topic(topic, 1, 3, TWO_OF_THREE);
    cluster.await_whole(topic, HEALED);
    Some(cluster)
}

/// Producers that do not wait a minute, as librdkafka's own would, for an answer that has vanished.
fn workload(topic: &str) -> WorkloadBuilder {
    Workload::on(topic, 1).set("socket.timeout.ms", "2000")
}

#[test]
fn a_broker_whose_packets_vanish_falls_with_its_session() {
    let Some(mut cluster) = three_apart("silent") else { return };
    let workload = workload("silent").start(&cluster.contact());
    workload.await_stored(200, PATIENCE);
    let leader = cluster.await_leader("silent", 0, |_| true);
    let other = cluster.ids().into_iter().find(|&id| id != leader).expect("three brokers");
    cluster.cut_off(leader);
    let cut = Instant::now();
    cluster.await_topic_told_by(other, "silent", HEALED, |all| all[0].leader.is_some_and(|next| next != leader));
    let taken = cut.elapsed();
    // Session, a tick and a second is the promise; what is more is for two busy cores and for asking.
    assert!(taken < SESSION + Duration::from_secs(5), "{taken:?}");
    workload.await_stored(200, PATIENCE);
    cluster.mend();
    cluster.await_whole("silent", HEALED);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn a_follower_that_is_heard_by_nobody_leaves_the_isr_and_the_leader_stays() {
    let Some(mut cluster) = three_apart("mute") else { return };
    let workload = workload("mute").start(&cluster.contact());
    workload.await_stored(200, PATIENCE);
    let leader = cluster.await_leader("mute", 0, |_| true);
    let follower = cluster.ids().into_iter().find(|&id| id != leader).expect("three brokers");
    // It asks, and is not heard; what the leader sends arrives. Its session goes on: ZooKeeper hears it.
    cluster.cut_one_way(follower, leader);
    cluster.await_topic_told_by(leader, "mute", HEALED, |all| !all[0].isr.contains(&follower));
    workload.await_stored(200, PATIENCE);
    let told = cluster.topic_at(leader, "mute").expect("the leader answers");
    assert_eq!(told[0].leader, Some(leader), "who is heard by the others goes on");
    cluster.mend();
    cluster.await_whole("mute", HEALED);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}
