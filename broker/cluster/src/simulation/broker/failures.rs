//! A disk that fails under a broker that lives on: its replicas are offline here at once, and the controller is told to count on
//! them no more, for as long as the metadata still does. A partition's only replica is kept: nobody else could lead it.

use std::rc::Rc;

use super::super::disk::Key;
use super::super::messages::{Answered, Asked};
use super::super::oracle::{Name, registration};
use super::replicas::Role;
use super::{Process, isr};
use crate::decide::FailReplicas;
use crate::planted::{Bug, planted};

/// Between two attempts while there is no controller, or this broker is not counted on.
const RETRY_MS: i64 = 100;

/// Gives up what can't be served, whenever the metadata counts on it.
pub(super) async fn run(process: Rc<Process>) {
    loop {
        let seen = process.published.seen();
        let unserved = process.unserved();
        if !unserved.is_empty() && !give_up(&process, unserved).await {
            process.sleep(RETRY_MS).await;
            continue;
        }
        process.published.after(seen).await;
    }
}

/// Whether the controller knows.
async fn give_up(process: &Rc<Process>, partitions: Vec<Key>) -> bool {
    let Some(broker_epoch) = process.epoch.get() else { return false };
    for key in &partitions {
        note!(process.world, "broker {} gives {} up", process.id, Name(*key));
    }
    let change = FailReplicas { broker: process.id, broker_epoch, partitions };
    matches!(isr::submit(process, Asked::FailReplicas(change)).await, Answered::Done)
}

impl Process {
    /// One of its disks failed: what is on it is neither led nor followed any more.
    pub(in super::super) fn on_disk_failed(&self) {
        if planted(Bug::FailedSyncCounts) {
            return;
        }
        for (_, replica) in self.replicas.borrow_mut().iter_mut().filter(|(key, _)| self.is_offline(key)) {
            replica.role = Role::Waiting;
        }
        self.moved.raise();
        self.published.raise();
    }

    /// Whether its log can't be read or written.
    pub(super) fn is_offline(&self, key: &Key) -> bool {
        !planted(Bug::FailedSyncCounts) && self.disk().borrow().is_offline(key)
    }

    /// Replicas that the metadata counts on and that can't be served here.
    fn unserved(&self) -> Vec<Key> {
        let image = self.image();
        let is_counted_on = |key: &Key| {
            registration(&image, *key)
                .is_some_and(|it| it.replicas.len() > 1 && (it.leader == self.id || it.isr.contains(&self.id)))
        };
        let offline = self.disk().borrow().offline();
        offline.into_iter().filter(|key| self.is_offline(key) && is_counted_on(key)).collect()
    }
}
