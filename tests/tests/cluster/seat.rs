//! The controller's seat in a cluster of real processes: it passes on when its holder is killed, ends or falls silent.

use std::time::{Duration, Instant};

use sluice_tests::{Cluster, PATIENCE, poll_until};

/// The session of a broker that falls silent, and what it may take to notice on a busy machine.
const SILENT_MAX: Duration = Duration::from_secs(20);

#[test]
fn the_seat_passes_on_when_its_holder_is_killed() {
    let mut cluster = Cluster::start();
    let first = cluster.controller().expect("there is a controller");
    let since = Instant::now();
    cluster.kill(first);
    let second = another(&cluster, first, PATIENCE);
    eprintln!("controller {first} was killed, {second} has followed after {:?}", since.elapsed());
    cluster.create_topic("after", 3, 1, &[]);
    cluster.restart(first);
    cluster.create_topic("later", 3, 1, &[]);
}

#[test]
fn the_seat_passes_on_when_its_holder_ends() {
    let mut cluster = Cluster::start();
    let first = cluster.controller().expect("there is a controller");
    assert!(cluster.stop(first).success(), "it ends in order");
    another(&cluster, first, PATIENCE);
    cluster.create_topic("after", 3, 1, &[]);
}

#[test]
fn the_seat_passes_on_when_its_holder_falls_silent() {
    let mut cluster = Cluster::start();
    let first = cluster.controller().expect("there is a controller");
    let since = Instant::now();
    cluster.pause(first);
    let second = another(&cluster, first, SILENT_MAX);
    eprintln!("controller {first} fell silent, {second} has followed after {:?}", since.elapsed());
    cluster.create_topic("after", 3, 1, &[]);
    cluster.resume(first);
    cluster.create_topic("later", 3, 1, &[]);
}

/// Another controller than that, as soon as a broker tells of one.
fn another(cluster: &Cluster, first: i32, within: Duration) -> i32 {
    let told = poll_until(within, || match cluster.controller() {
        Ok(controller) if controller != first => Ok(controller),
        other => Err(format!("{other:?}")),
    });
    told.unwrap_or_else(|last| panic!("no other controller than {first} within {within:?}: {last}"))
}
