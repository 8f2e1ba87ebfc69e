//! Seeds. `SIM_SEEDS` says how many, `SIM_FIRST` which is the first, `SIM_SEED` only one, and told in full.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

/// Seeds of an ordinary run.
const SEEDS: u64 = 2_000;
/// Events of the smallest run.
const EVENTS: u64 = 2_000;
/// Seeds that are run twice.
const TWICE: u64 = 40;
/// A planted bug is found within so many seeds.
const PLANTED_SEEDS: u64 = 3_000;

/// Seeds that have shown bugs of ours.
const REGRESSIONS: &[u64] = &[];

#[test]
fn seeds() {
    if let Some(seed) = number("SIM_SEED") {
        let run = run(seed, None, true);
        println!("seed {seed}: {:?}", run.totals);
        assert_eq!(run.violation, None, "seed {seed}");
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(1);
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    let totals = Mutex::new((Totals::default(), u64::MAX, u64::MAX));
    let failures: Mutex<BTreeMap<u64, Run>> = Mutex::default();
    on_all_cores(REGRESSIONS.len() as u64 + seeds, |at| {
        let seed = usize::try_from(at).ok().and_then(|at| REGRESSIONS.get(at).copied());
        let seed = seed.unwrap_or_else(|| first + at - REGRESSIONS.len() as u64);
        let run = run(seed, None, false);
        let mut totals = totals.lock().unwrap();
        totals.0.add(&run.totals);
        totals.1 = totals.1.min(run.totals.events);
        totals.2 = totals.2.min(run.totals.faults);
        if run.violation.is_some() {
            failures.lock().unwrap().insert(seed, run);
        }
        failures.lock().unwrap().len() < FAILURES_SHOWN
    });
    let (totals, fewest_events, fewest_faults) = totals.into_inner().unwrap();
    println!("{seeds} seeds: {totals:?}; fewest events {fewest_events}, fewest faults {fewest_faults}");
    let runs = totals.runs.max(1);
    println!("on average {} events, {} faults", totals.events / runs, totals.faults / runs);
    let failures = failures.into_inner().unwrap();
    let missing: Vec<Happened> = Happened::all().filter(|what| !totals.happened.contains_key(what)).collect();
    for (seed, run) in failures.iter().rev() {
        println!("\n--- seed {seed}, the last lines of its trace:\n{}", run.tail.join("\n"));
        println!("--- seed {seed}: {:?}", run.violation);
    }
    assert!(failures.is_empty(), "seeds {:?} fail; SIM_SEED=n tells one in full", failures.keys());
    assert!(fewest_events >= EVENTS && fewest_faults >= FAULTS, "{fewest_events} events, {fewest_faults} faults");
    // Fewer seeds may have nothing of what is rare.
    assert!(seeds < SEEDS || missing.is_empty(), "{missing:?} never happened in {seeds} seeds");
}

/// Failing seeds after which no more are looked for.
const FAILURES_SHOWN: usize = 5;

#[test]
fn the_same_seed_is_the_same_run() {
    on_all_cores(TWICE, |at| {
        let (one, other) = (run(at + 1, None, false), run(at + 1, None, false));
        assert_eq!((one.hash, one.totals.events), (other.hash, other.totals.events), "seed {}", at + 1);
        true
    });
}

#[test]
fn planted_bugs_are_found() {
    let found: Mutex<BTreeMap<Bug, Option<(u64, Violation)>>> = Mutex::default();
    let bugs: Vec<Bug> = match text("SIM_BUG") {
        Some(name) => Bug::ALL.into_iter().filter(|bug| format!("{bug:?}") == name).collect(),
        None => Bug::ALL.to_vec(),
    };
    on_all_cores(bugs.len() as u64, |at| {
        let bug = bugs[at as usize];
        let seed = (1..=PLANTED_SEEDS).find_map(|seed| run(seed, Some(bug), false).violation.map(|why| (seed, why)));
        match &seed {
            Some((seed, violation)) => println!("{bug:?}: seed {seed}, {:?}: {}", violation.property, violation.what),
            None => println!("{bug:?}: not found in {PLANTED_SEEDS} seeds"),
        }
        let clean = seed.as_ref().and_then(|(seed, _)| run(*seed, None, false).violation);
        assert_eq!(clean, None, "{bug:?} is not what the seed shows");
        found.lock().unwrap().insert(bug, seed);
        true
    });
    let found = found.into_inner().unwrap();
    let missed: Vec<&Bug> = found.iter().filter(|(_, seed)| seed.is_none()).map(|(bug, _)| bug).collect();
    assert!(missed.is_empty(), "{missed:?} are not found in {PLANTED_SEEDS} seeds");
}

impl Totals {
    fn add(&mut self, more: &Self) {
        self.runs += more.runs;
        self.events += more.events;
        self.notes += more.notes;
        self.faults += more.faults;
        self.elections += more.elections;
        self.entries += more.entries;
        self.committed += more.committed;
        self.acknowledged += more.acknowledged;
        self.read += more.read;
        self.losses += more.losses;
        for (what, count) in &more.happened {
            *self.happened.entry(*what).or_default() += count;
        }
    }
}

/// Calls `each` for every number below `count`, in parallel, until one says that it is enough. A run itself is on one thread.
fn on_all_cores(count: u64, each: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count || !each(at) {
                        next.store(count, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
}

fn number(name: &str) -> Option<u64> {
    text(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

#[expect(clippy::disallowed_methods, reason = "whoever runs the tests says which seeds; no decision depends on it")]
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
