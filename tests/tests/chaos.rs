//! Everything at once, for minutes or for an hour: a seeded nemesis on three brokers or four and three ZooKeepers, operators who add,
//! drain and move meanwhile, idempotent producers and consumers that follow, and a checker that is told all of it.
//!
//! `make chaos MINUTES=60 SEED=7`; without a seed a new one is taken, and said. A failure shows the seed and what was done.
#![forbid(unsafe_code)]

use std::env;
use std::time::{Duration, Instant, SystemTime};

use sluice_tests::{Cluster, Inflicted, Nemesis, PATIENCE, Shape, Workload};

/// How long it goes on where nobody says.
const MINUTES: f64 = 3.0;

/// How long a cluster may take to be whole again once it is healed.
const WHOLE_AGAIN: Duration = Duration::from_secs(60);

const BROKERS: usize = 3;
const ZOOKEEPERS: usize = 3;

/// Of three replicas two: one disk may be lost, and one broker be away.
const MIN_INSYNC: &str = if BROKERS > 2 { "2" } else { "1" };

const TOPIC: &str = "chaos";
const PARTITIONS: i32 = 6;

/// Records that have to be acknowledged before a next round: more than were waiting.
const PROGRESS: usize = 200;

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_whatever_happens() {
    let minutes: f64 = setting("CHAOS_MINUTES").unwrap_or(MINUTES);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    let seed = setting("CHAOS_SEED").unwrap_or(now.as_secs());
    eprintln!("chaos: seed {seed}, {minutes} minutes");

    let mut cluster = Cluster::builder().brokers(BROKERS).zookeepers(ZOOKEEPERS).proxied().start();
    cluster.create_topic(TOPIC, PARTITIONS, BROKERS as i16, &[("min.insync.replicas", MIN_INSYNC)]);
    cluster.await_whole(TOPIC, WHOLE_AGAIN);
    let workload = Workload::on(TOPIC, PARTITIONS).consumers(2).start(&cluster.contact());
    workload.await_stored(PROGRESS, PATIENCE);

    let nemesis = Nemesis::new(seed);
    let mut inflicted = Inflicted::on(TOPIC, BROKERS);
    let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut rounds = 0;
    while Instant::now() < until {
        inflicted.note(&format!("round {rounds}, {} stored", workload.stored()));
        let shape = Shape {
            brokers: cluster.ids(),
            zookeepers: ZOOKEEPERS,
            wipes: BROKERS > 2,
            partitions: PARTITIONS,
            brokers_between: (BROKERS, BROKERS + 1),
        };
        inflicted.round(&mut cluster, &nemesis.round(rounds, &shape));
        inflicted.heal(&mut cluster);
        cluster.await_whole(TOPIC, WHOLE_AGAIN);
        workload.await_stored(PROGRESS, WHOLE_AGAIN);
        rounds += 1;
    }

    let verdict = workload.finish(&mut cluster);
    eprintln!("chaos: seed {seed}, {rounds} rounds, {} faults: {:?}", inflicted.faults(), inflicted.counts());
    eprintln!("{}", verdict.report);
    for complaint in &verdict.complaints {
        eprintln!("  {complaint}");
    }
    assert!(verdict.report.is_clean(), "seed {seed}");
}

fn setting<T: std::str::FromStr>(name: &str) -> Option<T> {
    let value = env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}
