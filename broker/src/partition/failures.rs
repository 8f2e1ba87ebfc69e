//! Replicas that this broker has and cannot serve: their log directory failed, or their logs do not open. The controller is told,
//! so that others lead; a broker none of whose directories works is of no use, and ends.
//!
//! ```text
//!   LogDirs: a directory failed ──┐
//!   the metadata changed ─────────┴─> Manager::unserved ──> FailReplicas ──> others lead, this broker follows nobody there
//! ```
//! Driven by what is so, not by what happened: a replica that the metadata counts on again, and that still cannot be served, is
//! given up again. A partition's only replica is kept: nobody else could lead it.

use std::sync::Arc;
use std::time::Duration;

use sluice_cluster::Image;
use sluice_protocol::Uuid;
use sluice_storage::DirFailed;
use tokio::sync::{Notify, watch};

use super::{IsrChanges, Manager};
use crate::slow;

/// Between two attempts while there is no controller, or this broker is not counted on.
const RETRY: Duration = Duration::from_millis(500);

/// Failures of this broker's log directories: made before the directories, told by them, heard by the task.
#[derive(Default)]
pub(crate) struct Failures {
    failed: Notify,
    none_left: Notify,
}

impl Failures {
    /// Whom the directories tell.
    pub(crate) fn listener(self: &Arc<Self>) -> Arc<dyn Fn(&DirFailed) + Send + Sync> {
        let failures = Arc::clone(self);
        Arc::new(move |_| failures.failed.notify_one())
    }

    /// Gives up what cannot be served, for as long as the process lives and there is a directory left.
    pub(crate) async fn run(
        self: Arc<Self>,
        partitions: Arc<Manager>,
        controller: Arc<dyn IsrChanges>,
        mut changed: watch::Receiver<u64>,
    ) {
        loop {
            if partitions.no_directory_works() {
                self.none_left.notify_one();
                return;
            }
            let image = controller.image();
            let unserved = slow::in_place(|| partitions.unserved(&image));
            if !unserved.is_empty() && !give_up(&*controller, unserved).await {
                tokio::time::sleep(RETRY).await;
                continue;
            }
            tokio::select! {
                () = self.failed.notified() => {}
                outcome = changed.changed() => if outcome.is_err() { return },
            }
        }
    }

    /// Resolves when no log directory works any more.
    pub(crate) async fn none_left(&self) {
        self.none_left.notified().await;
    }
}

/// Whether the controller knows.
async fn give_up(controller: &dyn IsrChanges, partitions: Vec<(Uuid, i32)>) -> bool {
    let replicas = partitions.len();
    match controller.give_up(partitions).await {
        Ok(()) => {
            tracing::warn!(replicas, "replicas that cannot be served here were given up");
            true
        }
        Err(why) => {
            tracing::warn!(replicas, %why, "the controller is not told yet of replicas that cannot be served here");
            false
        }
    }
}

impl Manager {
    /// Replicas that the metadata counts on and that this broker cannot serve.
    fn unserved(&self, image: &Image) -> Vec<(Uuid, i32)> {
        let local = self.node_id();
        let mut unserved = self.offline();
        unserved.retain(|key| {
            self.registration(image, *key).is_some_and(|registration| {
                registration.replicas.len() > 1 && (registration.leader == local || registration.isr.contains(&local))
            })
        });
        unserved.into_iter().map(|key| (key.topic, key.index)).collect()
    }
}
