//! The controller's share in keeping the log short: a snapshot is written beside the reign, named by the head between two entries,
//! and what it replaces is deleted beside the reign again. A failure costs nothing but time: the next one is tried when the log
//! has grown as much once more.

use std::sync::Arc;

use sluice_cluster::metadata::batch::SnapshotAt;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use super::super::coordinator::Session;
use super::super::metadata_log::{AppendError, MetadataLog};
use super::super::seat::Seat;
use super::super::snapshots::{self, SnapshotEvery};
use super::Over;

/// Snapshots of one reign.
pub(super) struct Compaction {
    session: Arc<dyn Session>,
    seat: Seat,
    every: SnapshotEvery,
    under_way: Option<JoinHandle<Step>>,
}

/// What was finished beside the reign.
pub(super) enum Step {
    Written(Result<SnapshotAt, String>),
    Tidied(Result<(), String>),
}

impl Compaction {
    pub(super) fn new(session: Arc<dyn Session>, seat: Seat, every: SnapshotEvery) -> Self {
        Self { session, seat, every, under_way: None }
    }

    /// Begins a snapshot if it is time for one.
    pub(super) fn begin_if_due(&mut self, log: &mut MetadataLog) {
        if self.under_way.is_some() || !log.grown().is_enough(self.every) {
            return;
        }
        log.begin_to_count_anew();
        let (session, seat, image) = (Arc::clone(&self.session), self.seat, log.image().clone());
        self.under_way = Some(tokio::spawn(async move {
            let written = snapshots::write(session.as_ref(), seat, &image).await;
            Step::Written(written.map_err(|error| error.to_string()))
        }));
    }

    /// The next step that is finished.
    pub(super) async fn finished(&mut self) -> Step {
        let Some(task) = &mut self.under_way else { return std::future::pending().await };
        let step = match task.await {
            Ok(step) => step,
            Err(error) => Step::Written(Err(error.to_string())),
        };
        self.under_way = None;
        step
    }

    /// Goes on after it.
    pub(super) async fn go_on(&mut self, log: &mut MetadataLog, step: Step) -> Result<(), Over> {
        match step {
            Step::Written(Ok(at)) => {
                log.name_snapshot(self.seat, at).await.map_err(|error| match error {
                    AppendError::Deposed => Over::Deposed,
                    AppendError::NotDone { .. } | AppendError::Doubt { .. } => Over::Doubt(error.to_string()),
                })?;
                info!("the metadata up to entry {} is in a snapshot of {} parts", at.next_seq, at.chunks);
                let (session, seat) = (Arc::clone(&self.session), self.seat);
                self.under_way =
                    Some(tokio::spawn(async move { Step::Tidied(snapshots::tidy(session, seat, at.next_seq).await) }));
            }
            Step::Written(Err(why)) => warn!("no snapshot of the metadata was written: {why}"),
            Step::Tidied(Ok(())) => {}
            Step::Tidied(Err(why)) => warn!("not all of the metadata that snapshots replace was deleted: {why}"),
        }
        Ok(())
    }
}

impl Drop for Compaction {
    fn drop(&mut self) {
        if let Some(task) = &self.under_way {
            task.abort();
        }
    }
}
