//! Doing to a cluster what was planned, and healing it.

use std::fmt::Write as _;
use std::time::Instant;

use super::{Fault, Step};
use crate::polling::let_pass;
use crate::{Cluster, Line};

/// What was done to a cluster, and when.
#[derive(Debug)]
pub struct Inflicted {
    began: Instant,
    faults: usize,
    log: String,
}

/// Processes that end by themselves while what they need is away are started again so many times.
const STARTS_MAX: usize = 5;

impl Default for Inflicted {
    fn default() -> Self {
        Self { began: Instant::now(), faults: 0, log: String::new() }
    }
}

impl Inflicted {
    /// How many faults, what heals not counted.
    pub fn faults(&self) -> usize {
        self.faults
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
            self.faults += usize::from(!step.fault.heals());
            inflict(cluster, step.fault);
        }
    }

    /// Undoes whatever was done: all links open, everybody there and serving.
    ///
    /// # Panics
    /// When a broker that had served ended by itself, or one does not serve again in time.
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
        for _ in 0..STARTS_MAX {
            if cluster.try_start_brokers() {
                return;
            }
        }
        panic!("brokers end as often as they are started");
    }
}

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
    }
}
