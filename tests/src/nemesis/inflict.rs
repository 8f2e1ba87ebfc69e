//! Doing to a cluster what was planned, and healing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::{Fault, Step};
use crate::polling::{let_pass, poll_until};
use crate::{Cluster, Line, PATIENCE, Process};

/// What was done to a cluster, and when.
#[derive(Debug)]
pub struct Inflicted {
    /// The topic whose partitions are moved, and how many replicas each has.
    topic: String,
    replicas: usize,
    began: Instant,
    counts: BTreeMap<&'static str, usize>,
    log: String,
    faults: usize,
    /// What operators have begun, and not yet seen the end of.
    commands: Vec<Process>,
    draining: BTreeSet<i32>,
    retiring: Option<i32>,
}

/// Processes that end by themselves while what they need is away are started again so many times.
const STARTS_MAX: usize = 5;

impl Inflicted {
    /// Nothing yet, on a cluster whose topic this is.
    pub fn on(topic: &str, replicas: usize) -> Self {
        Self {
            topic: topic.to_owned(),
            replicas,
            began: Instant::now(),
            counts: BTreeMap::new(),
            log: String::new(),
            faults: 0,
            commands: Vec::new(),
            draining: BTreeSet::new(),
            retiring: None,
        }
    }

    /// How many faults, what heals and what operators do not counted.
    pub fn faults(&self) -> usize {
        self.faults
    }

    /// How often each kind of thing was done.
    pub fn counts(&self) -> &BTreeMap<&'static str, usize> {
        &self.counts
    }

    /// One line for each thing that was done.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Says something that is not a fault, in the order of things.
    pub fn note(&mut self, what: &str) {
        let line = format!("{:>8.1} s  {what}", self.began.elapsed().as_secs_f64());
        eprintln!("{line}");
        writeln!(self.log, "{line}").expect("a string can be written");
    }

    /// Does a round's steps.
    pub fn round(&mut self, cluster: &mut Cluster, steps: &[Step]) {
        for step in steps {
            let_pass(step.after);
            self.note(&step.fault.to_string());
            *self.counts.entry(step.fault.kind()).or_default() += 1;
            self.faults += usize::from(!step.fault.heals() && !step.fault.operates());
            match self.command(cluster, step.fault) {
                // With no broker that answers there is nobody to ask.
                Some(arguments) if !cluster.running().is_empty() => self.commands.push(cluster.begin_cli(&arguments)),
                Some(_) => self.note("nobody to ask"),
                None => inflict(cluster, step.fault),
            }
        }
    }

    /// The command by which an operator does something.
    fn command(&mut self, cluster: &Cluster, fault: Fault) -> Option<Vec<String>> {
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        match fault {
            Fault::Retire(id) | Fault::Drain(id) => {
                if matches!(fault, Fault::Retire(_)) {
                    self.retiring = Some(id);
                } else {
                    self.draining.insert(id);
                }
                words(&["cluster", "drain", &id.to_string(), "--no-wait"])
            }
            // Whether it is carried out is not sure: it is asked again when all is healed.
            Fault::Undrain(id) => words(&["cluster", "undrain", &id.to_string()]),
            Fault::Reassign(partition, first) => {
                let ids = cluster.ids();
                let replicas: Vec<String> =
                    ids.iter().cycle().skip(first).take(self.replicas).map(ToString::to_string).collect();
                let (topic, partition) = (self.topic.clone(), partition.to_string());
                words(&["cluster", "reassign", &topic, &partition, "--replicas", &replicas.join(",")])
            }
            Fault::Balance => words(&["cluster", "balance", "--yes"]),
            Fault::Elect => words(&["cluster", "elect"]),
            _ => None,
        }
    }

    /// Undoes whatever was done: all links open, everybody there and serving, what operators began at its end.
    ///
    /// # Panics
    /// When a broker that had served ended by itself, one does not serve again in time, or an operator's command does not go
    /// well on a cluster that is well.
    #[track_caller]
    pub fn heal(&mut self, cluster: &mut Cluster) {
        self.note("heal");
        cluster.mend();
        for server in 0..cluster.zookeeper.servers().len() {
            if cluster.zookeeper.server(server).runs() {
                cluster.zookeeper.server(server).resume();
            }
        }
        cluster.zookeeper.restart_all();
        for id in cluster.ids() {
            cluster.resume_if_paused(id);
        }
        assert!((0..STARTS_MAX).any(|_| cluster.try_start_brokers()), "brokers end as often as they are started");
        for mut command in std::mem::take(&mut self.commands) {
            // It may have met anything, and said so; that it ends is what is asked of it.
            let status = command.await_end(OPERATORS_PATIENCE);
            if !status.success() {
                self.note(&format!("{}: {}", command.name(), command.said().lines().next().unwrap_or_default()));
            }
        }
        for id in std::mem::take(&mut self.draining) {
            self.has_to_work(cluster, &["cluster", "undrain", &id.to_string()]);
        }
        if let Some(id) = self.retiring.take() {
            self.has_to_work(cluster, &["cluster", "drain", &id.to_string()]);
            cluster.stop(id);
            cluster.wipe(id);
            cluster.remove(id);
            // Once it is fenced.
            self.has_to_work(cluster, &["cluster", "unregister", &id.to_string()]);
            self.note(&format!("broker {id} is empty, gone and forgotten"));
        }
    }

    /// Runs a command until it succeeds, which on a cluster that is healed has to be soon.
    fn has_to_work(&mut self, cluster: &Cluster, arguments: &[&str]) {
        let ran = poll_until(OPERATORS_PATIENCE, || {
            let ran = cluster.cli(arguments);
            if ran.status.success() { Ok(()) } else { Err(ran.stderr) }
        });
        if let Err(said) = ran {
            panic!("{arguments:?}: not in {OPERATORS_PATIENCE:?}: {said}");
        }
    }
}

/// How long an operator's command may take once all is healed: replicas are copied by some.
const OPERATORS_PATIENCE: Duration = PATIENCE.saturating_mul(2);

fn inflict(cluster: &mut Cluster, fault: Fault) {
    match fault {
        // A broker may have ended by itself while it could not start.
        Fault::Kill(id) => cluster.kill_if_there(id),
        Fault::KillAll => cluster.ids().into_iter().for_each(|id| cluster.kill_if_there(id)),
        Fault::Stop(id) => cluster.stop_if_there(id),
        Fault::Wipe(id) => {
            cluster.kill_if_there(id);
            cluster.wipe(id);
        }
        Fault::Start(id) => cluster.launch(id),
        Fault::Pause(id) => cluster.pause(id),
        Fault::Resume(id) => cluster.resume_if_paused(id),
        Fault::Cut(one, other) => cluster.cut(one, other),
        Fault::CutOneWay(from, to) => cluster.cut_one_way(from, to),
        Fault::Isolate(id) => cluster.isolate(id),
        Fault::Delay(one, other, by) => cluster.set_link(one, other, Line::Delayed(by)),
        Fault::Reset(one, other) => cluster.set_link(one, other, Line::Reset),
        Fault::HalfOpen(one, other) => cluster.set_link(one, other, Line::HalfOpen),
        Fault::CutZooKeeper(id) => cluster.set_zookeeper_link(id, Line::Stalled(crate::Way::Both)),
        Fault::ResetZooKeeper(id) => cluster.set_zookeeper_link(id, Line::Reset),
        Fault::DelayZooKeeper(id, by) => cluster.set_zookeeper_link(id, Line::Delayed(by)),
        Fault::Mend => cluster.mend(),
        Fault::KillZooKeeper(server) => cluster.zookeeper.server(server).kill(),
        Fault::StartZooKeeper(server) => cluster.zookeeper.server(server).launch(),
        Fault::PauseZooKeeper(server) => cluster.zookeeper.server(server).pause(),
        Fault::ResumeZooKeeper(server) => cluster.zookeeper.server(server).resume(),
        Fault::Add => {
            let id = cluster.prepare_broker();
            cluster.launch(id);
        }
        Fault::Retire(_)
        | Fault::Drain(_)
        | Fault::Undrain(_)
        | Fault::Reassign(..)
        | Fault::Balance
        | Fault::Elect => unreachable!("operators have commands for it"),
    }
}
