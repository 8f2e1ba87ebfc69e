//! A cluster as its clients and its operators see it: brokers killed, stopped, paused, cut off, added and refused.
//!
//! In reading order: `alone` (one broker, judged as the others are), `failover` (brokers that go away), `packets` (brokers
//! whose packets vanish), `disks` (disks that fail under one), `intruders` (brokers that must not serve), `failure_list` (what
//! others are known by), `growth` (brokers that come), `operations` (what operators do), `plugins` (gates and views on whoever leads),
//! `seat` (who decides), `upgrades` (brokers of two versions).
#![forbid(unsafe_code)]

mod alone;
mod disks;
mod failover;
mod failure_list;
mod growth;
mod intruders;
mod operations;
mod packets;
mod plugins;
mod seat;
mod upgrades;

use std::time::Duration;

use sluice_tests::Cluster;

/// How long a cluster may take to be whole again once nothing is wrong with it any more.
const HEALED: Duration = Duration::from_secs(60);

/// What brokers of these clusters ask ZooKeeper for.
const SESSION: Duration = Duration::from_secs(4);

/// What topics of three replicas are set to here: one broker may be away.
const TWO_OF_THREE: &[(&str, &str)] = &[("min.insync.replicas", "2")];

/// Three brokers with a topic of three replicas each, all in sync.
fn three_with(topic: &str, partitions: i32) -> Cluster {
    let cluster = Cluster::start();
    cluster.create_topic(topic, partitions, 3, TWO_OF_THREE);
    cluster.await_whole(topic, HEALED);
    cluster
}
