//! Which faults, in which order: decided by the seed alone, without a look at the cluster.

use std::collections::BTreeMap;
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
}

/// Chooses faults.
#[derive(Debug, Clone)]
pub struct Nemesis {
    seed: u64,
    shape: Shape,
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
}

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
    pub fn new(seed: u64, shape: Shape) -> Self {
        assert!(!shape.brokers.is_empty() && shape.zookeepers > 0, "a cluster to do something to");
        Self { seed, shape }
    }

    /// The steps of a round, counted from 0. It may leave the cluster in any state: it is healed after each.
    pub fn round(&self, number: u64) -> Vec<Step> {
        let mut random = Random::new(self.seed, number);
        let possible = self.kinds();
        let kinds: Vec<Kind> = (0..random.between(1, KINDS_MAX)).map(|_| random.one_of(&possible)).collect();
        let steps = random.between(STEPS.0, STEPS.1);
        let mut round = Round {
            shape: &self.shape,
            random,
            brokers: self.shape.brokers.iter().map(|&id| (id, State::Runs)).collect(),
            zookeepers: vec![State::Runs; self.shape.zookeepers],
            cut: false,
            wiped: false,
        };
        (0..steps).map(|_| round.step(&kinds)).collect()
    }

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
        if self.shape.brokers.len() > 1 {
            kinds.extend([Kind::Cut, Kind::CutOneWay, Kind::Isolate, Kind::Delay, Kind::Reset, Kind::HalfOpen]);
        }
        if self.shape.wipes {
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
    use std::collections::BTreeSet;
    use std::mem::discriminant;

    use super::*;

    const ROUNDS: u64 = 500;

    fn nemesis(seed: u64) -> Nemesis {
        Nemesis::new(seed, Shape { brokers: vec![1, 2, 3], zookeepers: 3, wipes: true })
    }

    #[test]
    fn a_seed_gives_the_same_rounds_in_any_order() {
        let forth: Vec<_> = (0..50).map(|number| nemesis(7).round(number)).collect();
        let back: Vec<_> = (0..50).rev().map(|number| nemesis(7).round(number)).collect();
        assert!(forth.iter().eq(back.iter().rev()));
        assert_ne!(forth[0], nemesis(8).round(0));
    }

    #[test]
    fn every_fault_comes_up() {
        let kinds: Vec<_> = (0..ROUNDS)
            .flat_map(|number| nemesis(1).round(number))
            .map(|step| discriminant(&step.fault))
            .fold(Vec::new(), |mut seen, kind| {
                if !seen.contains(&kind) {
                    seen.push(kind);
                }
                seen
            });
        assert_eq!(kinds.len(), 21, "as many as there are");
    }

    #[test]
    fn steps_are_possible_where_they_stand() {
        for number in 0..ROUNDS {
            check_possible(&nemesis(3).round(number));
        }
    }

    #[track_caller]
    fn check_possible(steps: &[Step]) {
        let mut ended: BTreeSet<i32> = BTreeSet::new();
        let mut paused: BTreeSet<i32> = BTreeSet::new();
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
                Fault::KillAll => ended.extend([1, 2, 3]),
                Fault::Cut(one, other) | Fault::CutOneWay(one, other) => assert_ne!(one, other, "{steps:?}"),
                _ => {}
            }
            paused.retain(|id| !ended.contains(id) && *fault != Fault::Resume(*id));
        }
        assert!(wiped <= 1, "{steps:?}");
    }
}
