//! What a cluster costs its clients when it loses a broker, is rolled, or changes much at once; Apache Kafka beside it, in the
//! same run and through the same client, where it is there. `make bench-cluster` prints it all; nothing is asserted but that
//! it works. `TRIALS`, `SILENT`, `ROLLS` and `CHANGED` in the environment say how often and how many; `SOFTWARE=Sluice` or
//! `SOFTWARE=Kafka`, that only one of them is measured.
#![forbid(unsafe_code)]

use std::env;
use std::time::{Duration, Instant};

use sluice_tests::{Cluster, PATIENCE, Software, Workload, poll_until};

const TOPIC: &str = "figures";
const PARTITIONS: i32 = 12;

/// How long a cluster may take to be whole again.
const WHOLE_AGAIN: Duration = Duration::from_secs(120);

/// How long a large change may take before the run gives up on it.
const LARGE: Duration = Duration::from_secs(300);

const TWO_OF_THREE: &[(&str, &str)] = &[("min.insync.replicas", "2")];

#[test]
#[ignore = "make bench-cluster: takes half an hour and measures"]
fn losing_rolling_and_changing() {
    let trials = number("TRIALS", 30);
    let only = env::var("SOFTWARE").unwrap_or_default();
    for software in [Software::Sluice, Software::Kafka] {
        if !format!("{software:?}").starts_with(&only) {
            continue;
        }
        if !software.is_there() {
            eprintln!("{software:?}: not here; scripts/prerequisites bench-cluster fetches it where there is a JDK");
            continue;
        }
        let mut cluster =
            Cluster::builder().software(software).zookeepers(1).set("zookeeper.session.timeout.ms", 9_000);
        if software == Software::Kafka {
            // What ours does by itself, and what a measurement must not wait for.
            cluster = cluster.set("auto.create.topics.enable", false).set("log.flush.interval.messages", 1);
        }
        let mut cluster = cluster.start();
        cluster.create_topic(TOPIC, PARTITIONS, 3, TWO_OF_THREE);
        cluster.await_whole(TOPIC, WHOLE_AGAIN);
        leader_killed(software, &mut cluster, trials, false);
        leader_killed(software, &mut cluster, trials, true);
        silent(software, &mut cluster, number("SILENT", 5));
        rolled(software, &mut cluster, number("ROLLS", 10));
        changed(software, &mut cluster, i32::try_from(number("CHANGED", 10_000)).expect("partitions are few"));
    }
}

/// SIGKILL of a leader, which is the controller or is not: the first acknowledged produce on each of its partitions.
fn leader_killed(software: Software, cluster: &mut Cluster, trials: usize, controller: bool) {
    let workload = Workload::on(TOPIC, PARTITIONS).producers(1).consumers(0).start(&cluster.contact());
    let mut times = Vec::new();
    for trial in 0..trials {
        workload.await_stored(100, WHOLE_AGAIN);
        let seat = poll_until(PATIENCE, || cluster.controller()).expect("there is a controller");
        let others: Vec<i32> = cluster.ids().into_iter().filter(|&id| id != seat).collect();
        let victim = if controller { seat } else { others[trial % others.len()] };
        let led = led_by(cluster, victim);
        workload.mark();
        cluster.kill(victim);
        times.extend(workload.await_first_stored(&led, WHOLE_AGAIN));
        cluster.restart(victim);
        cluster.await_whole(TOPIC, WHOLE_AGAIN);
        home(cluster, victim);
    }
    let who = if controller { "the controller too" } else { "not the controller" };
    row(software, &format!("leader killed, {who}, {trials} trials"), &mut times);
}

/// SIGSTOP of a leader: until its session ends it is believed.
fn silent(software: Software, cluster: &mut Cluster, trials: usize) {
    let workload = Workload::on(TOPIC, PARTITIONS).producers(1).consumers(0).start(&cluster.contact());
    let mut times = Vec::new();
    for trial in 0..trials {
        workload.await_stored(100, WHOLE_AGAIN);
        let victim = cluster.ids()[trial % 3];
        let led = led_by(cluster, victim);
        workload.mark();
        cluster.pause(victim);
        times.extend(workload.await_first_stored(&led, WHOLE_AGAIN));
        cluster.resume(victim);
        cluster.await_whole(TOPIC, WHOLE_AGAIN);
        home(cluster, victim);
    }
    row(software, &format!("leader silent, session 9 s, {trials} trials"), &mut times);
}

/// Every broker stopped and started again, one after the other, under a producer with librdkafka's defaults.
fn rolled(software: Software, cluster: &mut Cluster, rolls: usize) {
    let workload = Workload::on(TOPIC, PARTITIONS)
        .set("enable.idempotence", "false")
        .producers(1)
        .consumers(0)
        .start(&cluster.contact());
    let mut stalls = Vec::new();
    let mut refused = 0;
    for _ in 0..rolls {
        workload.await_stored(100, WHOLE_AGAIN);
        workload.take_stalls();
        for id in cluster.ids() {
            cluster.stop(id);
            cluster.restart(id);
            cluster.await_whole(TOPIC, WHOLE_AGAIN);
        }
        let stall = workload.take_stalls();
        refused += stall.refused().values().sum::<usize>();
        stalls.push(stall.longest());
    }
    row(software, &format!("longest stall of a roll, {rolls} rolls, {refused} records refused"), &mut stalls);
}

/// Many partitions made at once, all led by one broker, and their leaders moved by its shutdown.
fn changed(software: Software, cluster: &mut Cluster, partitions: i32) {
    let [first, second] = [cluster.ids()[0], cluster.ids()[1]];
    let began = Instant::now();
    cluster.create_topic_on("many", partitions, &[first, second]);
    cluster.await_topic("many", LARGE, "all are led", |all| {
        all.len() == usize::try_from(partitions).unwrap_or_default() && all.iter().all(|one| one.leader.is_some())
    });
    row(software, &format!("create {partitions} partitions of two replicas"), &mut [began.elapsed()]);
    cluster.await_whole("many", LARGE);
    let began = Instant::now();
    cluster.begin_stop(first);
    cluster.await_topic_told_by(second, "many", LARGE, |all| all.iter().all(|one| one.leader == Some(second)));
    row(software, &format!("move {partitions} leaders by a shutdown"), &mut [began.elapsed()]);
    cluster.stop(first);
}

fn led_by(cluster: &Cluster, id: i32) -> Vec<i32> {
    let all = cluster.await_whole(TOPIC, WHOLE_AGAIN);
    all.iter().filter(|one| one.leader == Some(id)).map(|one| one.index).collect()
}

/// Makes a broker that was away lead again what is its to lead, so that trials are alike.
fn home(cluster: &Cluster, id: i32) {
    let all = cluster.topic(TOPIC).expect("a broker answers");
    let preferred: Vec<i32> = all.iter().filter(|one| one.replicas.first() == Some(&id)).map(|one| one.index).collect();
    cluster.elect_preferred(TOPIC, &preferred);
    cluster.await_topic(TOPIC, WHOLE_AGAIN, "it leads again", |all| {
        all.iter().all(|one| !preferred.contains(&one.index) || one.leader == Some(id))
    });
}

fn row(software: Software, what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() * share).div_ceil(100).max(1) - 1).copied().unwrap_or_default();
    eprintln!(
        "FIGURE {software:?}: {what}: p50 {} ms, p99 {} ms, most {} ms ({} measured)",
        at(50).as_millis(),
        at(99).as_millis(),
        at(100).as_millis(),
        times.len()
    );
}

fn number(name: &str, otherwise: usize) -> usize {
    env::var(name).ok().map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}
