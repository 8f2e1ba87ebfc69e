//! Verbs for a nemesis, which does not look before it acts: brokers may have ended by themselves while what they need to
//! start was away.

use super::Cluster;
use crate::{PATIENCE, Process};

impl Cluster {
    /// Kills a broker if it has not ended by itself.
    pub fn kill_if_there(&mut self, id: i32) {
        if self.member(id).is_there() {
            self.kill(id);
        }
    }

    /// Stops a broker, however it says that it ended: without ZooKeeper it may not be able to do all that it should.
    pub fn stop_if_there(&mut self, id: i32) {
        if self.member(id).is_there() {
            self.stop(id);
        }
    }

    /// Resumes a broker if it is paused.
    pub fn resume_if_paused(&mut self, id: i32) {
        if self.member(id).is_there() {
            self.resume(id);
        }
    }

    /// Starts a command of the `sluice` command line, which is heard later: brokers may go away while it runs.
    pub fn begin_cli(&self, arguments: &[String]) -> Process {
        Process::spawn(format!("sluice {}", arguments.join(" ")), &mut self.contact().command(arguments))
    }

    /// Starts the brokers that are not there, and waits until all serve. Whether all do: one may end by itself when its id is
    /// still taken, or ZooKeeper not yet back, and has to be started again.
    ///
    /// # Panics
    /// When a broker ended by itself after it had served, or neither serves nor ends in time.
    #[track_caller]
    pub fn try_start_brokers(&mut self) -> bool {
        for id in self.ids() {
            if self.member_mut(id).ended_unserved() {
                self.kill(id);
            }
            if !self.member(id).is_there() {
                self.launch(id);
            }
        }
        let ids = self.ids();
        ids.iter().all(|&id| self.member_mut(id).serves_within(PATIENCE))
    }
}
