//! Changes of the ISR, as the leaders on this broker propose them: gathered, sent to the controller in one change, and the
//! answers brought back.
//!
//! ```text
//!   a follower has caught up ──> suggest ──┐
//!   every replica.lag.time.max.ms / 2 ─────┴─> Leader::propose ──> AlterPartition ──> Leader::on_outcome
//! ```
//! A leader reverts a proposal only when the controller decided against it. While nobody knows what became of it, the leader goes
//! on counting with both sets of members, and proposes the same again (KIP-497; KAFKA-14144).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sluice_cluster::Image;
use sluice_cluster::decide::{AlterPartition, FailReplicas};
use sluice_cluster::partition::{Outcome, ProposedIsr};
use sluice_protocol::Uuid;
use tokio::sync::Notify;

use super::{Manager, Partition};
use crate::coordination::Metadata;
use crate::metrics::Metrics;
use crate::rpc::PartitionId;

/// How long a proposal waits for others to share its change: followers that come back catch up with many partitions at once.
const LINGER: Duration = Duration::from_millis(5);

/// Proposals of one change: each takes some 60 bytes of an entry of the metadata log.
const PROPOSALS_MAX: usize = 1_000;

/// After a change that was not made or whose outcome is unknown: the controller is being elected, or ZooKeeper is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Who is asked to change an ISR; in tests, a table.
#[async_trait]
pub(crate) trait IsrChanges: Send + Sync + 'static {
    /// The metadata of this moment.
    fn image(&self) -> Arc<Image>;
    /// Asks for these, and answers each in its place; an error says that nobody knows what came of them.
    async fn alter(&self, proposals: Vec<ProposedIsr>) -> Result<Vec<Altered>, String>;
    /// Has others count on others: this broker cannot serve its replicas of these.
    async fn give_up(&self, partitions: Vec<(Uuid, i32)>) -> Result<(), String>;
}

/// What became of one proposal, and why if it was not granted.
#[derive(Debug, Clone)]
pub(crate) struct Altered {
    pub(crate) outcome: Outcome,
    pub(crate) why: Option<String>,
}

/// The controller, wherever it is.
pub(crate) struct Controller {
    pub(crate) node_id: i32,
    pub(crate) metadata: Metadata,
}

#[async_trait]
impl IsrChanges for Controller {
    fn image(&self) -> Arc<Image> {
        self.metadata.image()
    }

    async fn alter(&self, partitions: Vec<ProposedIsr>) -> Result<Vec<Altered>, String> {
        let Some(broker_epoch) = self.metadata.broker_epoch() else {
            return Err("the cluster does not count on this broker now".to_owned());
        };
        let change = AlterPartition { broker: self.node_id, broker_epoch, partitions };
        // Also where it was surely not made: the same may have been proposed before, and been granted then.
        let answers = self.metadata.submit(change).await.map_err(|error| error.to_string())?;
        let altered = answers.into_iter().map(|answer| match answer {
            Ok(registration) => Altered { outcome: Outcome::Accepted(registration), why: None },
            Err(error) => Altered { outcome: error.outcome(), why: Some(error.to_string()) },
        });
        Ok(altered.collect())
    }

    async fn give_up(&self, partitions: Vec<(Uuid, i32)>) -> Result<(), String> {
        let Some(broker_epoch) = self.metadata.broker_epoch() else {
            return Err("the cluster does not count on this broker now".to_owned());
        };
        let change = FailReplicas { broker: self.node_id, broker_epoch, partitions };
        self.metadata.submit(change).await.map(drop).map_err(|error| error.to_string())
    }
}

/// Partitions whose ISR may be due for a change.
#[derive(Default)]
pub(crate) struct Proposals {
    suggested: Mutex<BTreeSet<PartitionId>>,
    notify: Notify,
}

impl Proposals {
    /// A follower that is not in sync may have become so.
    pub(super) fn suggest(&self, key: PartitionId) {
        if self.suggested.lock().insert(key) {
            self.notify.notify_one();
        }
    }

    /// Proposes for as long as the process lives; looks at everything it leads every `interval`, half of
    /// `replica.lag.time.max.ms`.
    pub(crate) async fn run(
        self: Arc<Self>,
        partitions: Arc<Manager>,
        changes: Arc<dyn IsrChanges>,
        metrics: Arc<Metrics>,
        interval: Duration,
    ) {
        let mut tick = tokio::time::interval(interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut retry = RETRY.0;
        loop {
            let all = tokio::select! {
                _ = tick.tick() => true,
                () = self.notify.notified() => false,
            };
            tokio::time::sleep(LINGER).await;
            let suggested = std::mem::take(&mut *self.suggested.lock());
            let candidates: Vec<Arc<Partition>> = if all {
                partitions.all().values().filter(|partition| partition.leads()).cloned().collect()
            } else {
                suggested.into_iter().filter_map(|key| partitions.find(key)).collect()
            };
            let mut all_granted = true;
            let mut proposed = gather(&candidates, &*changes, partitions.monotonic_ms());
            while !proposed.is_empty() {
                let rest = proposed.split_off(PROPOSALS_MAX.min(proposed.len()));
                all_granted &= submit(proposed, &*changes, &metrics).await;
                proposed = rest;
            }
            if all_granted {
                retry = RETRY.0;
            } else {
                // Looked at again after a pause, not only at the next tick: acknowledgements may wait for it.
                tokio::time::sleep(retry).await;
                retry = RETRY.1.min(retry * 2);
                for partition in candidates {
                    self.suggest(partition.key());
                }
            }
        }
    }
}

/// A proposal on its way.
struct Proposed {
    partition: Arc<Partition>,
    isr: ProposedIsr,
    /// Members of the ISR before it.
    members: usize,
}

fn gather(candidates: &[Arc<Partition>], changes: &dyn IsrChanges, now_ms: i64) -> Vec<Proposed> {
    let image = changes.image();
    let brokers = |id| image.active_epoch(id);
    let proposals = candidates.iter().filter_map(|partition| {
        let members = partition.isr_len();
        let isr = partition.propose(now_ms, &brokers)?;
        Some(Proposed { partition: Arc::clone(partition), isr, members })
    });
    proposals.collect()
}

/// Sends proposals in one change and brings the answers back. Says whether all of them were granted.
async fn submit(proposed: Vec<Proposed>, changes: &dyn IsrChanges, metrics: &Metrics) -> bool {
    let answers = changes.alter(proposed.iter().map(|proposal| proposal.isr.clone()).collect()).await;
    let answers = answers.unwrap_or_else(|why| {
        tracing::debug!(%why, "what became of proposed ISRs is not known; they are proposed again");
        Vec::new()
    });
    let mut all_granted = true;
    let mut answers = answers.into_iter();
    for Proposed { partition, isr, members } in proposed {
        let altered = answers.next().unwrap_or(Altered { outcome: Outcome::Unknown, why: None });
        if let Outcome::Accepted(registration) = &altered.outcome {
            metrics.isr_changed(members, registration.isr.len());
            tracing::info!(topic = %isr.topic, partition = isr.index, isr = ?registration.isr, "the ISR has changed");
        } else {
            all_granted = false;
            let why = altered.why.unwrap_or_default();
            tracing::debug!(topic = %isr.topic, partition = isr.index, %why, "the ISR is not changed");
        }
        partition.on_outcome(isr.leader_epoch, altered.outcome);
    }
    all_granted
}
