//! Brokers killed, silent and rolled, under a producer: how long it is without an acknowledgement.

use std::thread;
use std::time::Duration;

use sluice_tests::{Cluster, PATIENCE, Partition, Software, Workload, poll_until};

use crate::{PARTITIONS, TOPIC, WHOLE_AGAIN, number, times};

/// SIGKILL of a leader that is not the controller.
pub(crate) fn leader_killed(software: Software, cluster: &mut Cluster) {
    killed(software, cluster, false);
}

/// SIGKILL of a leader that is the controller too.
pub(crate) fn controller_killed(software: Software, cluster: &mut Cluster) {
    killed(software, cluster, true);
}

/// Until the first acknowledged produce on each of its partitions.
fn killed(software: Software, cluster: &mut Cluster, controller: bool) {
    let trials = number("TRIALS", 30);
    let workload = Workload::on(TOPIC, PARTITIONS).producers(1).consumers(0).start(&cluster.contact());
    let mut measured = Vec::new();
    for trial in 0..trials {
        workload.await_stored(100, WHOLE_AGAIN);
        let seat = poll_until(PATIENCE, || cluster.controller()).expect("there is a controller");
        let others: Vec<i32> = cluster.ids().into_iter().filter(|&id| id != seat).collect();
        let victim = if controller { seat } else { others[trial % others.len()] };
        let led = led_by(cluster, victim);
        workload.mark();
        cluster.kill(victim);
        measured.extend(workload.await_first_stored(&led, WHOLE_AGAIN));
        cluster.restart(victim);
        cluster.await_whole(TOPIC, WHOLE_AGAIN);
        home(cluster, victim);
    }
    let who = if controller { "the controller too" } else { "not the controller" };
    times(software, &format!("leader killed, {who}, {trials} trials"), &mut measured);
}

/// SIGSTOP of a leader: until its session ends it is believed. The producer gives a connection up that is silent for a second:
/// with librdkafka's minute it would be that which is measured.
pub(crate) fn silent(software: Software, cluster: &mut Cluster) {
    let trials = number("SILENT", 5);
    let workload = Workload::on(TOPIC, PARTITIONS)
        .set("socket.timeout.ms", "1000")
        .set("request.timeout.ms", "1000")
        .producers(1)
        .consumers(0)
        .start(&cluster.contact());
    let mut measured = Vec::new();
    for trial in 0..trials {
        workload.await_stored(100, WHOLE_AGAIN);
        let victim = cluster.ids()[trial % 3];
        let led = led_by(cluster, victim);
        workload.mark();
        cluster.pause(victim);
        measured.extend(workload.await_first_stored(&led, WHOLE_AGAIN));
        cluster.resume(victim);
        cluster.await_whole(TOPIC, WHOLE_AGAIN);
        home(cluster, victim);
    }
    times(software, &format!("leader silent, session 9 s, {trials} trials"), &mut measured);
}

/// How long librdkafka remembers that it lost a connection: one lost again within this time (`reconnect.backoff.max.ms`) is made
/// anew after twice as long a wait. Rolls follow each other after more than that, as they do where nobody measures.
const BETWEEN_ROLLS: Duration = Duration::from_secs(12);

/// Every broker stopped and started again, one after the other, under a producer with librdkafka's defaults.
pub(crate) fn rolled(software: Software, cluster: &mut Cluster) {
    let rolls = number("ROLLS", 10);
    let workload = Workload::on(TOPIC, PARTITIONS)
        .set("enable.idempotence", "false")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "10000")
        .producers(1)
        .consumers(0)
        .start(&cluster.contact());
    let mut stalls: Vec<Duration> = Vec::new();
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
        thread::sleep(BETWEEN_ROLLS);
    }
    times(software, &format!("longest stall of a roll, {rolls} rolls, {refused} records refused"), &mut stalls);
}

fn led_by(cluster: &Cluster, id: i32) -> Vec<i32> {
    let all = cluster.await_whole(TOPIC, WHOLE_AGAIN);
    all.iter().filter(|one| one.leader == Some(id)).map(|one| one.index).collect()
}

/// Makes a broker that was away lead again what is its to lead, so that trials are alike.
fn home(cluster: &Cluster, id: i32) {
    let all = cluster.topic(TOPIC).expect("a broker answers");
    let preferred: Vec<i32> = all.iter().filter(|one| one.replicas.first() == Some(&id)).map(|one| one.index).collect();
    // A broker that was paused tells what it knew before, and whom it took for the controller.
    let led = poll_until(WHOLE_AGAIN, || {
        cluster.elect_preferred(TOPIC, &preferred);
        let is_home = |one: &Partition| !preferred.contains(&one.index) || (one.leader == Some(id) && one.is_whole());
        let told = cluster.ids().into_iter().map(|other| cluster.topic_at(other, TOPIC));
        let told: Vec<_> = told.map(|all| all.map_err(|error| error.to_string())).collect();
        if told.iter().all(|all| all.as_ref().is_ok_and(|all| all.iter().all(is_home))) { Ok(()) } else { Err(told) }
    });
    led.unwrap_or_else(|told| panic!("broker {id} does not lead again: {told:?}"));
}
