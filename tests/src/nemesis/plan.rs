//! Which faults, in which order: decided by the seed alone, without a look at the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::random::Random;
use super::{Fault, Step};

/// What there is that faults can be done to.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Brokers, by id.
    pub brokers: Vec<i32>,
    /// How many ZooKeeper servers.
    pub zookeepers: usize,
    /// Whether a broker's folder may be emptied, one in a round: with `min.insync.replicas` of two or more.
    pub wipes: bool,
    /// Partitions that may be given other replicas.
    pub partitions: i32,
    /// So few brokers may be left, and so many come to be.
    pub brokers_between: (usize, usize),
}

/// Chooses faults.
#[derive(Debug, Clone)]
pub struct Nemesis {
    seed: u64,
}

/// A kind of fault: what a round is made of a few of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kill,
    KillAll,
    Stop,
    Wipe,
    Pause,
    Cut,
    CutOneWay,
    Isolate,
    Delay,
    Reset,
    HalfOpen,
    CutZooKeeper,
    ResetZooKeeper,
    DelayZooKeeper,
    KillZooKeeper,
    PauseZooKeeper,
    Add,
    Retire,
    Drain,
    Reassign,
    Balance,
    Elect,
}

/// What operators do: in most rounds one kind of it, among faults.
const OPERATIONS: [Kind; 6] = [Kind::Add, Kind::Retire, Kind::Drain, Kind::Reassign, Kind::Balance, Kind::Elect];
const OPERATED_PERCENT: u64 = 60;

/// What became of a process so far in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Runs,
    Ended,
    Paused,
}

/// The brokers and servers of a round as its steps leave them.
#[derive(Debug)]
struct Round<'a> {
    shape: &'a Shape,
    random: Random,
    brokers: BTreeMap<i32, State>,
    zookeepers: Vec<State>,
    cut: bool,
    wiped: bool,
    added: bool,
    retired: bool,
    draining: BTreeSet<i32>,
}

/// Kinds and steps of a round: few of each, so that it is over soon and what failed is seen.
const KINDS_MAX: u64 = 4;
const STEPS: (u64, u64) = (3, 7);

/// Times between steps, in milliseconds: faults within faults, and such that outlast a session.
const SOON_MS: (u64, u64) = (50, 800);
const LATER_MS: (u64, u64) = (800, 3_000);
const LONG_MS: (u64, u64) = (3_000, 9_000);

const DELAYS_MS: (u64, u64) = (20, 1_500);

impl Nemesis {
    /// The faults of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The steps of a round, counted from 0, on a cluster of this shape. It may leave the cluster in any state: it is healed
    /// after each.
    pub fn round(&self, number: u64, shape: &Shape) -> Vec<Step> {
        assert!(!shape.brokers.is_empty() && shape.zookeepers > 0, "a cluster to do something to");
        let mut random = Random::new(self.seed, number);
        let possible = shape.kinds();
        let mut kinds: Vec<Kind> = (0..random.between(1, KINDS_MAX)).map(|_| random.one_of(&possible)).collect();
        if random.happens(OPERATED_PERCENT) {
            kinds.push(random.one_of(&OPERATIONS));
        }
        let steps = random.between(STEPS.0, STEPS.1);
        let mut round = Round {
            shape,
            random,
            brokers: shape.brokers.iter().map(|&id| (id, State::Runs)).collect(),
            zookeepers: vec![State::Runs; shape.zookeepers],
            cut: false,
            wiped: false,
            added: false,
            retired: false,
            draining: BTreeSet::new(),
        };
        (0..steps).map(|_| round.step(&kinds)).collect()
    }
}

impl Shape {
    fn kinds(&self) -> Vec<Kind> {
        let mut kinds = vec![
            // Twice: what happens most.
            Kind::Kill,
            Kind::Kill,
            Kind::KillAll,
            Kind::Stop,
            Kind::Pause,
            Kind::CutZooKeeper,
            Kind::ResetZooKeeper,
            Kind::DelayZooKeeper,
            Kind::KillZooKeeper,
            Kind::PauseZooKeeper,
        ];
        if self.brokers.len() > 1 {
            kinds.extend([Kind::Cut, Kind::CutOneWay, Kind::Isolate, Kind::Delay, Kind::Reset, Kind::HalfOpen]);
        }
        if self.wipes {
            kinds.push(Kind::Wipe);
        }
        kinds
    }
}

impl Round<'_> {
    fn step(&mut self, kinds: &[Kind]) -> Step {
        let (least, most) = match self.random.between(0, 9) {
            0..=4 => SOON_MS,
            5..=7 => LATER_MS,
            _ => LONG_MS,
        };
        let after = Duration::from_millis(self.random.between(least, most));
        let kind = self.random.one_of(kinds);
        Step { after, fault: self.fault(kind) }
    }

    /// A fault of a kind, or the end of one where its target has one already.
    fn fault(&mut self, kind: Kind) -> Fault {
        let broker = self.random.one_of(&self.shape.brokers);
        match kind {
            Kind::Kill | Kind::Stop | Kind::Pause | Kind::Wipe => self.broker_fault(kind, broker),
            Kind::KillAll => {
                self.brokers.values_mut().for_each(|state| *state = State::Ended);
                Fault::KillAll
            }
            Kind::KillZooKeeper | Kind::PauseZooKeeper => self.zookeeper_fault(kind),
            Kind::Add | Kind::Retire | Kind::Drain | Kind::Reassign | Kind::Balance | Kind::Elect => {
                self.operation(kind, broker)
            }
            _ if self.cut && self.random.happens(40) => {
                self.cut = false;
                Fault::Mend
            }
            _ => {
                self.cut = true;
                self.link_fault(kind, broker)
            }
        }
    }

    fn broker_fault(&mut self, kind: Kind, id: i32) -> Fault {
        let (next, fault) = match (self.brokers[&id], kind) {
            (State::Ended, _) => (State::Runs, Fault::Start(id)),
            (State::Paused, Kind::Kill) => (State::Ended, Fault::Kill(id)),
            (State::Paused, _) => (State::Runs, Fault::Resume(id)),
            (State::Runs, Kind::Stop) => (State::Ended, Fault::Stop(id)),
            (State::Runs, Kind::Pause) => (State::Paused, Fault::Pause(id)),
            // One in a round is what `min.insync.replicas` promises to survive.
            (State::Runs, Kind::Wipe) if !self.wiped => {
                self.wiped = true;
                (State::Ended, Fault::Wipe(id))
            }
            (State::Runs, _) => (State::Ended, Fault::Kill(id)),
        };
        self.brokers.insert(id, next);
        fault
    }

    /// What an operator does; where that is not possible, something else.
    fn operation(&mut self, kind: Kind, id: i32) -> Fault {
        let (fewest, most) = self.shape.brokers_between;
        let brokers = self.shape.brokers.len();
        // The newest stays: who comes after it has the next id, and not that of one that was ended for good.
        let is_newest = self.shape.brokers.iter().max() == Some(&id);
        match kind {
            Kind::Add if !self.added && brokers < most => {
                self.added = true;
                Fault::Add
            }
            Kind::Add | Kind::Retire if !self.retired && brokers > fewest && !is_newest => {
                self.retired = true;
                Fault::Retire(id)
            }
            Kind::Drain if self.draining.remove(&id) => Fault::Undrain(id),
            Kind::Drain if brokers > fewest => {
                self.draining.insert(id);
                Fault::Drain(id)
            }
            Kind::Balance => Fault::Balance,
            Kind::Elect => Fault::Elect,
            _ => {
                let partition = self.random.between(0, u64::from(self.shape.partitions.unsigned_abs()) - 1);
                let first = self.random.between(0, brokers as u64 - 1);
                Fault::Reassign(i32::try_from(partition).expect("an index"), usize::try_from(first).expect("an index"))
            }
        }
    }

    fn zookeeper_fault(&mut self, kind: Kind) -> Fault {
        let server = usize::try_from(self.random.between(0, self.zookeepers.len() as u64 - 1)).expect("an index");
        let (next, fault) = match (self.zookeepers[server], kind) {
            (State::Ended, _) => (State::Runs, Fault::StartZooKeeper(server)),
            (State::Paused, _) => (State::Runs, Fault::ResumeZooKeeper(server)),
            (State::Runs, Kind::PauseZooKeeper) => (State::Paused, Fault::PauseZooKeeper(server)),
            (State::Runs, _) => (State::Ended, Fault::KillZooKeeper(server)),
        };
        self.zookeepers[server] = next;
        fault
    }

    fn link_fault(&mut self, kind: Kind, broker: i32) -> Fault {
        let delay = Duration::from_millis(self.random.between(DELAYS_MS.0, DELAYS_MS.1));
        let others: Vec<i32> = self.shape.brokers.iter().copied().filter(|&other| other != broker).collect();
        match kind {
            Kind::ResetZooKeeper => return Fault::ResetZooKeeper(broker),
            Kind::DelayZooKeeper => return Fault::DelayZooKeeper(broker, delay),
            Kind::Isolate => return Fault::Isolate(broker),
            _ if others.is_empty() || kind == Kind::CutZooKeeper => return Fault::CutZooKeeper(broker),
            _ => {}
        }
        let other = self.random.one_of(&others);
        match kind {
            Kind::CutOneWay => Fault::CutOneWay(broker, other),
            Kind::Delay => Fault::Delay(broker, other, delay),
            Kind::Reset => Fault::Reset(broker, other),
            Kind::HalfOpen => Fault::HalfOpen(broker, other),
            _ => Fault::Cut(broker, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: u64 = 500;

    fn round(seed: u64, number: u64) -> Vec<Step> {
        let brokers = vec![1, 2, 3, 4];
        let shape = Shape { brokers, zookeepers: 3, wipes: true, partitions: 6, brokers_between: (3, 5) };
        Nemesis::new(seed).round(number, &shape)
    }

    #[test]
    fn a_seed_gives_the_same_rounds_in_any_order() {
        let forth: Vec<_> = (0..50).map(|number| round(7, number)).collect();
        let back: Vec<_> = (0..50).rev().map(|number| round(7, number)).collect();
        assert!(forth.iter().eq(back.iter().rev()));
        assert_ne!(forth[0], round(8, 0));
    }

    #[test]
    fn every_fault_comes_up() {
        let kinds: BTreeSet<_> =
            (0..ROUNDS).flat_map(|number| round(1, number)).map(|step| step.fault.kind()).collect();
        assert_eq!(kinds.len(), 28, "as many as there are: {kinds:?}");
    }

    #[test]
    fn steps_are_possible_where_they_stand() {
        for number in 0..ROUNDS {
            check_possible(&round(3, number));
        }
    }

    #[track_caller]
    fn check_possible(steps: &[Step]) {
        let mut ended: BTreeSet<i32> = BTreeSet::new();
        let mut paused: BTreeSet<i32> = BTreeSet::new();
        let mut draining: BTreeSet<i32> = BTreeSet::new();
        let mut wiped = 0;
        for Step { fault, .. } in steps {
            let running = |id: &i32, ended: &BTreeSet<i32>| !ended.contains(id);
            match fault {
                Fault::Kill(id) => assert!(running(id, &ended) && ended.insert(*id), "{steps:?}"),
                Fault::Stop(id) | Fault::Wipe(id) => {
                    assert!(running(id, &ended) && !paused.contains(id) && ended.insert(*id), "{steps:?}");
                    wiped += usize::from(matches!(fault, Fault::Wipe(_)));
                }
                Fault::Start(id) => assert!(ended.remove(id), "{steps:?}"),
                Fault::Pause(id) => assert!(running(id, &ended) && paused.insert(*id), "{steps:?}"),
                Fault::Resume(id) => assert!(running(id, &ended) && paused.contains(id), "{steps:?}"),
                Fault::KillAll => ended.extend([1, 2, 3, 4]),
                Fault::Drain(id) => assert!(draining.insert(*id), "{steps:?}"),
                Fault::Undrain(id) => assert!(draining.remove(id), "{steps:?}"),
                Fault::Retire(id) => assert_ne!(*id, 4, "{steps:?}"),
                Fault::Cut(one, other) | Fault::CutOneWay(one, other) => assert_ne!(one, other, "{steps:?}"),
                _ => {}
            }
            paused.retain(|id| !ended.contains(id) && *fault != Fault::Resume(*id));
        }
        assert!(wiped <= 1, "{steps:?}");
    }
}
