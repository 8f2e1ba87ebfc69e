//! A whole cluster under one seed: brokers that decide with this crate's own code, and around them a simulated ensemble, network
//! and disks that fail as the seed says. One thread, virtual time: the same seed gives the same run, to the last line of its trace.
//!
//! ```text
//!   executor, sync, random, trace    time, tasks, chance, and what happened in words
//!   network, zookeeper, disk         what brokers stand on, and what fails
//!   broker/                          a broker's process: drives partition::{Leader, Follower}, decide::*, metadata::*
//!   clients, faults, happened        those who use it, what befalls it, and how often
//!   oracle                           what must be so at every moment
//!   tests                            seeds, many of them; and the bugs that are planted to show that they would be found
//! ```
//! A run has two parts. While faults last, nothing that was committed may be lost or shown otherwise. Then all is healed, and
//! within a bounded time every partition has a leader, all replicas are in sync, and a new record is acknowledged.
//!
//! `SIM_SEED=7 cargo test -p sluice-cluster simulation::tests::seeds -- --nocapture` runs one seed and tells it all;
//! `SIM_SEEDS=50000` runs more of them.

/// A line of the trace.
macro_rules! note {
    ($world:expr, $($what:tt)*) => {
        $world.trace.note($world.executor.now(), format_args!($($what)*))
    };
}

mod broker;
mod clients;
mod disk;
mod executor;
mod faults;
mod happened;
mod messages;
mod network;
mod oracle;
mod random;
mod setup;
mod sync;
mod trace;
mod world;
mod zookeeper;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use crate::metadata::{Image, PartitionRegistration};
use crate::planted::{Bug, plant};
use clients::Producer;
use disk::Key;
use executor::WORLD;
use happened::Happened;
use oracle::{Name, Property, Violation, registration};
use trace::Trace;
use world::World;
use zookeeper::Zookeeper;

/// What came of a run.
#[derive(Debug)]
struct Run {
    violation: Option<Violation>,
    hash: u64,
    /// The last of the trace.
    tail: Vec<String>,
    totals: Totals,
}

/// How much happened.
#[derive(Debug, Default, Clone)]
struct Totals {
    runs: u64,
    /// Events of the executor, and those of them that are in the trace.
    events: u64,
    notes: u64,
    faults: u64,
    elections: u64,
    entries: u64,
    committed: u64,
    acknowledged: u64,
    read: u64,
    losses: u64,
    happened: BTreeMap<Happened, u64>,
}

/// After all is healed, so long may it take until all is well; and so long in all, while replicas are still being filled: where a
/// fetch brings two records, a broker whose log begins anew has to come back for each of thousands.
const PROGRESS_MS: i64 = 25_000;
const FILLED_MS: i64 = 4 * PROGRESS_MS;
/// A replica that is being filled has more than it had so long ago.
const FILLING_MS: i64 = 2_000;
/// A run has at least so many faults.
const FAULTS: u64 = 5;
/// How often it is looked whether all is well.
const LOOK_MS: i64 = 100;
/// Lines of a trace that go with a failure.
const TAIL: usize = 120;

/// Runs a seed.
fn run(seed: u64, bug: Option<Bug>, aloud: bool) -> Run {
    plant(bug);
    let trace = Rc::new(Trace::new(aloud));
    let world = World::new(seed, Rc::clone(&trace));
    let played = catch_unwind(AssertUnwindSafe(|| play(&world)));
    if let Err(panic) = played {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        world.oracle.fail(&world, Property::Panic, format_args!("{}", said.unwrap_or("no words")));
    }
    let counts = world.oracle.counts();
    let totals = Totals {
        runs: 1,
        events: world.executor.happened(),
        notes: trace.lines(),
        faults: world.faults(),
        elections: counts.elections.get(),
        entries: counts.entries.get(),
        committed: counts.committed.get(),
        acknowledged: counts.acknowledged.get(),
        read: counts.read.get(),
        losses: counts.losses.get(),
        happened: world.tally.counts(),
    };
    let run = Run { violation: world.oracle.violation(), hash: trace.hash(), tail: trace.tail(TAIL), totals };
    // Dropping futures in the middle of a panic's wreckage may panic again: then this seed's memory is leaked, no more.
    let _ = catch_unwind(AssertUnwindSafe(|| world.clear()));
    plant(None);
    run
}

fn play(world: &Rc<World>) {
    Zookeeper::tick(world);
    world.broker_ids().for_each(|id| world.start(id));
    let clients = Rc::clone(world);
    let producers: Rc<RefCell<Vec<Rc<Producer>>>> = Rc::default();
    let started = Rc::clone(&producers);
    world.executor.spawn(WORLD, async move {
        let world = clients;
        let topics: Vec<(String, i32)> = world.setup.topics.iter().map(|it| (it.name.clone(), it.partitions)).collect();
        for (name, partitions) in &topics {
            faults::create(&world, name).await;
            for index in 0..*partitions {
                world.executor.spawn(WORLD, clients::read(Rc::clone(&world), name.clone(), index));
            }
        }
        for _ in 0..world.setup.producers {
            let (name, partitions) = &topics[world.random.below(topics.len())];
            let index = world.random.below(*partitions as usize) as i32;
            let all = !world.random.chance(world.setup.acks_one);
            started.borrow_mut().push(Producer::start(&world, name, index, all));
        }
        faults::nemesis(Rc::clone(&world)).await;
    });
    world.executor.run_until(world.setup.heal_at_ms);
    while world.faults() < FAULTS && world.oracle.violation().is_none() {
        world.executor.run_until(world.executor.now() + world.setup.fault_every_ms);
    }
    if world.oracle.violation().is_some() {
        return;
    }
    world.set_healed();
    if world.setup.goes_back && world.restore_old_copy() {
        faults::heal(world);
        demand_halt(world);
        return;
    }
    if world.setup.one_stays_away {
        faults::heal(world);
        demand_progress_without_one(world, &producers);
    }
    if world.oracle.violation().is_none() {
        faults::heal(world);
        demand_progress(world, &producers);
    }
}

/// The metadata log went back, and every broker has seen more of it: all halt.
fn demand_halt(world: &Rc<World>) {
    world.executor.run_until(world.executor.now() + PROGRESS_MS);
    if let Some(id) = world.broker_ids().find(|id| !world.has_halted(*id)) {
        world.oracle.fail(world, Property::WentOn, format_args!("broker {id} did not halt"));
    }
}

/// While one broker is away, everything goes on that does without it: what was sent is answered.
fn demand_progress_without_one(world: &Rc<World>, producers: &RefCell<Vec<Rc<Producer>>>) {
    let ids: Vec<i32> = world.broker_ids().collect();
    let Some(&away) = world.random.pick(&ids) else { return };
    // So that something is under way when it goes.
    world.executor.run_until(world.executor.now() + world.random.between(100..=4_000));
    producers.borrow_mut().extend(faults::last_producers(world));
    world.executor.run_until(world.executor.now() + world.random.between(1..=150));
    let directory = world.random.below(disk::DIRECTORIES);
    let is_disk = world.random.chance(400) && world.fail_disk(away, directory);
    if is_disk {
        world.tally.count(Happened::OneDiskStayedAway);
    } else {
        note!(world, "broker {away} stays away");
        world.tally.count(Happened::OneStayedAway);
        world.kill(away);
    }
    let until = world.executor.now() + PROGRESS_MS;
    loop {
        world.executor.run_until(world.executor.now() + LOOK_MS);
        if world.oracle.violation().is_some() {
            return;
        }
        let image = world.oracle.image();
        let waits = |producer: &&Rc<Producer>| {
            let served = producer.key().is_some_and(|key| does_without(world, &image, key, away));
            served && !producer.is_idle()
        };
        let waiting = producers.borrow().iter().find(waits).map(ToString::to_string);
        let given_up = if is_disk { !is_counted_on(world, &image, away) } else { !image.is_active(away) };
        match waiting {
            None if given_up => return,
            waiting if world.executor.now() >= until => {
                let what = format_args!(
                    "without {} broker {away} (given up: {given_up}): {waiting:?} has no answer",
                    if is_disk { "a disk of" } else { "" }
                );
                world.oracle.fail(world, Property::Progress, what);
                return;
            }
            _ => {}
        }
    }
}

/// Whether a replica of that broker counts whose disk failed, though there are others.
fn is_counted_on(world: &World, image: &Image, id: i32) -> bool {
    image.topics().any(|topic| {
        (0..).zip(&topic.partitions).any(|(index, at)| {
            let is_kept = at.replicas.len() > 1 && (at.leader == id || at.isr.contains(&id));
            is_kept && world.is_offline(id, &(topic.id, index))
        })
    })
}

/// A partition has a leader and enough in sync, and that broker is not among them.
fn does_without(world: &World, image: &Image, key: Key, away: i32) -> bool {
    let (Some(at), Some(topic)) = (registration(image, key), image.topic_by_id(key.0)) else { return false };
    let enough = world.setup.topic(&topic.name).min_insync_replicas.min(at.replicas.len());
    at.leader != PartitionRegistration::NO_LEADER && at.isr.len() >= enough && !at.isr.contains(&away)
}

/// All is well within a bounded time.
fn demand_progress(world: &Rc<World>, producers: &RefCell<Vec<Rc<Producer>>>) {
    let healed = world.executor.now();
    let (mut until, mut stored) = (healed + PROGRESS_MS, 0);
    let (mut probed, mut recovered) = (false, 0);
    loop {
        world.executor.run_until(world.executor.now() + LOOK_MS);
        if world.oracle.violation().is_some() {
            return;
        }
        let Err(why) = is_well(world, &producers.borrow()) else {
            if probed {
                return;
            }
            producers.borrow_mut().extend(faults::last_producers(world));
            probed = true;
            continue;
        };
        let now = world.executor.now();
        if world.stored() > stored {
            stored = world.stored();
            until = until.max(now + FILLING_MS).min(healed + FILLED_MS);
        }
        if now >= until {
            world.oracle.fail(
                world,
                Property::Progress,
                format_args!("{} ms after all was healed: {why}", now - healed),
            );
            return;
        }
        // An operator looks at what is offline, once brokers had time to come back.
        recovered += 1;
        if recovered % 20 == 0 {
            faults::undrain_all(world);
            recover(world);
        }
    }
}

fn recover(world: &Rc<World>) {
    let image = world.oracle.image();
    for topic in image.topics() {
        for (index, at) in (0..).zip(&topic.partitions) {
            if at.leader == PartitionRegistration::NO_LEADER && at.isr.is_empty() && at.elr.is_empty() {
                let there = Rc::clone(world);
                let key = (topic.id, index);
                world.executor.spawn(WORLD, async move { faults::recover(&there, key).await });
            }
        }
    }
}

/// Every partition has a leader, all replicas are in sync and have the same log, every producer has its answers.
fn is_well(world: &Rc<World>, producers: &[Rc<Producer>]) -> Result<(), String> {
    let image = world.oracle.image();
    if image.topics().count() < world.setup.topics.len() {
        return Err("a topic is not there".to_owned());
    }
    for id in world.broker_ids() {
        let Some(process) = world.process(id) else { return Err(format!("broker {id} is not running")) };
        if process.image().next_seq() != image.next_seq() {
            return Err(format!("broker {id} has not replayed all of the metadata log"));
        }
        if !image.is_active(id) {
            return Err(format!("broker {id} is not counted on"));
        }
    }
    for topic in image.topics() {
        for (index, at) in (0..).zip(&topic.partitions) {
            let name = Name((topic.id, index));
            if at.leader == PartitionRegistration::NO_LEADER {
                return Err(format!("{name} has no leader, isr {:?}, elr {:?}", at.isr, at.elr));
            }
            let mut logs = Vec::new();
            for replica in &at.replicas {
                let Some(process) = world.process(*replica) else { return Err(format!("{name}: {replica} is gone")) };
                logs.push(process.disk().borrow().logs.get(&(topic.id, index)).cloned());
            }
            let ends: Vec<_> =
                logs.iter().map(|log| log.as_ref().map(|log| (log.start(), log.end(), log.durable()))).collect();
            if at.isr.len() < at.replicas.len() || !at.adding.is_empty() || !at.removing.is_empty() {
                return Err(format!("{name} is not whole: {at:?}, logs (from, to, durable) {ends:?}"));
            }
            let same = logs.windows(2).all(|pair| match (&pair[0], &pair[1]) {
                (Some(one), Some(other)) => one.end() == other.end() && one.last() == other.last(),
                _ => false,
            });
            if !same {
                return Err(format!("{name}: logs (from, to, durable) {ends:?} on {:?}", at.replicas));
            }
        }
    }
    match producers.iter().find(|producer| !producer.is_idle()) {
        Some(producer) => Err(format!("{producer} has no answer")),
        None => Ok(()),
    }
}

mod tests;
