//! What a cluster costs: when it loses a broker, is rolled, changes much at once, copies, and in every hour that nothing happens.
//! Apache Kafka beside it in the same run and through the same client, where it is there.
//!
//! `make bench-cluster` prints it all; nothing is asserted but that it works. In the environment: `FIGURES=leader-killed,rolled`
//! measures only those, `SOFTWARE=Sluice` or `SOFTWARE=Kafka` only one of the two; `TRIALS`, `SILENT`, `ROLLS`, `CHANGED`,
//! `BEHIND_MB` and `RECORDS` say how often and how many.
//!
//! In reading order: here (what is measured, and how it is told), `losing`, `changing`, `load`.
#![forbid(unsafe_code)]

mod changing;
mod load;
mod losing;

use std::env;
use std::time::Duration;

use sluice_tests::{Cluster, Software};

/// The topic that is written to while things happen.
pub(crate) const TOPIC: &str = "figures";
/// Its partitions.
pub(crate) const PARTITIONS: i32 = 12;

/// How long a cluster may take to be whole again.
pub(crate) const WHOLE_AGAIN: Duration = Duration::from_secs(120);

/// How long a large change may take before the run gives up on it.
pub(crate) const LARGE: Duration = Duration::from_secs(300);

/// Of three replicas two.
pub(crate) const TWO_OF_THREE: &[(&str, &str)] = &[("min.insync.replicas", "2")];

/// One thing that is measured, on a cluster that is whole.
type Figure = fn(Software, &mut Cluster);

/// All of them, in the order in which they are taken. The last leave behind what would weigh on others.
const FIGURES: &[(&str, Figure)] = &[
    ("leader-killed", losing::leader_killed),
    ("controller-killed", losing::controller_killed),
    ("silent", losing::silent),
    ("rolled", losing::rolled),
    ("load", load::acks_all),
    ("behind", load::follower_behind),
    ("changed", changing::changed),
];

fn main() {
    let (only, software) = (env::var("FIGURES").unwrap_or_default(), env::var("SOFTWARE").unwrap_or_default());
    let wanted: Vec<&str> = only.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    for name in &wanted {
        assert!(FIGURES.iter().any(|(known, _)| known == name), "FIGURES={name}: not among {:?}", names());
    }
    for measured in [Software::Sluice, Software::Kafka] {
        if !format!("{measured:?}").starts_with(&software) {
            continue;
        }
        if !measured.is_there() {
            println!("{measured:?}: not here; scripts/prerequisites bench-cluster fetches it where there is a JDK");
            continue;
        }
        let mut cluster = start(measured);
        for (name, figure) in FIGURES {
            if wanted.is_empty() || wanted.contains(name) {
                figure(measured, &mut cluster);
            }
        }
    }
}

fn names() -> Vec<&'static str> {
    FIGURES.iter().map(|(name, _)| *name).collect()
}

/// Three brokers with TLS on every link but ZooKeeper's, and the topic.
fn start(software: Software) -> Cluster {
    let mut cluster = Cluster::builder().software(software).zookeepers(1).set("zookeeper.session.timeout.ms", 9_000);
    if software == Software::Kafka {
        // What ours does by itself, and what a measurement must not wait for.
        cluster = cluster.set("auto.create.topics.enable", false).set("log.flush.interval.messages", 1);
    }
    let cluster = cluster.start();
    cluster.create_topic(TOPIC, PARTITIONS, 3, TWO_OF_THREE);
    cluster.await_whole(TOPIC, WHOLE_AGAIN);
    cluster
}

/// Says what times were measured.
pub(crate) fn times(software: Software, what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share| share_of(times, share).as_millis();
    println!(
        "FIGURE {software:?}: {what}: p50 {} ms, p99 {} ms, most {} ms ({} measured)",
        at(50),
        at(99),
        at(100),
        times.len()
    );
}

/// Says one thing that was measured.
pub(crate) fn told(software: Software, what: &str, figure: &str) {
    println!("FIGURE {software:?}: {what}: {figure}");
}

/// Of sorted times, the one that so many percent do not exceed.
pub(crate) fn share_of(times: &[Duration], percent: usize) -> Duration {
    times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied().unwrap_or_default()
}

/// A number from the environment.
pub(crate) fn number(name: &str, otherwise: usize) -> usize {
    env::var(name).ok().map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}
