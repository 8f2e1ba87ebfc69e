//! Many partitions at once: made, moved, and their controller lost.

use std::time::{Duration, Instant};

use sluice_tests::{Cluster, PATIENCE, Partition, Software, poll_until};

use crate::{LARGE, number, times};

/// Their topic.
const MANY: &str = "many";

/// How often their controller is lost.
const TAKEOVERS: usize = 5;

/// Many partitions made at once, all led by one broker; their leaders moved by its shutdown; the controller killed.
pub(crate) fn changed(software: Software, cluster: &mut Cluster) {
    let partitions = i32::try_from(number("CHANGED", 10_000)).expect("partitions are few");
    let [first, second] = [cluster.ids()[0], cluster.ids()[1]];
    let began = Instant::now();
    cluster.create_topic_on(MANY, partitions, &[first, second]);
    cluster.await_topic(MANY, LARGE, "all are led", |all| {
        all.len() == usize::try_from(partitions).unwrap_or_default() && all.iter().all(|one| one.leader.is_some())
    });
    times(software, &format!("create {partitions} partitions of two replicas"), &mut [began.elapsed()]);
    cluster.await_whole(MANY, LARGE);
    let began = Instant::now();
    cluster.begin_stop(first);
    cluster.await_topic_told_by(second, MANY, LARGE, |all| all.iter().all(|one| one.leader == Some(second)));
    times(software, &format!("move {partitions} leaders by a shutdown"), &mut [began.elapsed()]);
    cluster.stop(first);
    cluster.restart(first);
    cluster.await_whole(MANY, LARGE);
    let mut measured: Vec<Duration> = (0..TAKEOVERS).map(|_| taken_over(cluster)).collect();
    times(software, &format!("controller killed, {partitions} partitions: all that it led are led"), &mut measured);
}

/// How long it is until nothing is led by a controller that was killed.
fn taken_over(cluster: &mut Cluster) -> Duration {
    let seat = poll_until(PATIENCE, || cluster.controller()).expect("there is a controller");
    let began = Instant::now();
    cluster.kill(seat);
    let moved = |all: &[Partition]| all.iter().all(|one| one.leader.is_some_and(|id| id != seat));
    for topic in [MANY, crate::TOPIC] {
        cluster.await_topic(topic, LARGE, "others lead", moved);
    }
    let took = began.elapsed();
    cluster.restart(seat);
    cluster.await_whole(MANY, LARGE);
    took
}
