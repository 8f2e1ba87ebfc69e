//! Keeps reassignments going while this broker is the controller: drains, topics of the brokers' own that can have more
//! replicas, and the balancer if it is on. What to do is [`AdvanceReassignments`]'s to decide; here is when to ask.

use std::sync::Arc;
use std::time::Duration;

use sluice_cluster::Image;
use sluice_cluster::decide::{AdvanceReassignments, Advanced, PartitionSizes};
use tokio::time::{Instant, sleep, timeout};

use crate::coordination::Metadata;
use crate::replica_states::ReplicaStates;

/// The setting that has brokers evened without anybody asking.
pub(crate) const BALANCER_ENABLE: &str = "sluice.balancer.enable";

/// The least time between two steps: changes of the metadata come in bursts, and one step serves them all.
const STEP_PAUSE: Duration = Duration::from_millis(250);

/// How often a step is taken when nothing changes: what a step could not do may be possible by then.
const STEP_EVERY: Duration = Duration::from_secs(5);

/// How often brokers are evened: what they carry changes slowly, and it takes a question to each of them.
const BALANCE_EVERY: Duration = Duration::from_secs(60);

/// How long sizes are believed. They only weigh one move against another.
const SIZES_LIFE: Duration = Duration::from_secs(20);

/// The task that takes the steps.
pub(crate) struct Reassignments {
    metadata: Metadata,
    states: Arc<ReplicaStates>,
    /// As this broker was started; what was set since goes over it.
    balance: bool,
    balanced: Instant,
    sizes: Option<(Instant, PartitionSizes)>,
}

impl Reassignments {
    pub(crate) fn new(metadata: Metadata, states: Arc<ReplicaStates>, balance: bool) -> Self {
        Self { metadata, states, balance, balanced: Instant::now(), sizes: None }
    }

    pub(crate) async fn run(mut self) {
        let mut changed = self.metadata.changed();
        loop {
            // Whatever wakes us: the step finds out.
            if let Ok(Err(_)) = timeout(STEP_EVERY, changed.changed()).await {
                return;
            }
            changed.mark_unchanged();
            if self.metadata.is_controller() {
                self.step().await;
            }
            sleep(STEP_PAUSE).await;
        }
    }

    async fn step(&mut self) {
        let image = self.metadata.image();
        let balance = self.is_balancing(&image) && self.balanced.elapsed() >= BALANCE_EVERY;
        if !balance && !AdvanceReassignments::is_needed(&image) {
            return;
        }
        let weighs = balance || image.brokers().any(|broker| broker.draining);
        let sizes = if weighs { self.sizes().await } else { PartitionSizes::new() };
        let step = AdvanceReassignments { sizes, balance, ..AdvanceReassignments::default() };
        match self.metadata.submit_as_controller(step).await {
            Ok(Some(Advanced { completed, begun, waiting })) => {
                if completed > 0 || !begun.is_empty() {
                    tracing::info!(completed, begun = begun.len(), waiting, "reassignments taken further");
                }
                // While there is something to move the next step follows at once.
                if balance && begun.is_empty() && waiting == 0 {
                    self.balanced = Instant::now();
                }
            }
            // Another controller goes on.
            Ok(None) => {}
            // Or this one does when it can.
            Err(error) => tracing::debug!(%error, "reassignments are not taken further now"),
        }
    }

    fn is_balancing(&self, image: &Image) -> bool {
        let set = image.broker_config(self.states.node_id, BALANCER_ENABLE);
        set.map_or(self.balance, |value| value.trim() == "true")
    }

    async fn sizes(&mut self) -> PartitionSizes {
        if let Some((asked, sizes)) = &self.sizes
            && asked.elapsed() < SIZES_LIFE
        {
            return sizes.clone();
        }
        let sizes = self.states.all().await.sizes();
        self.sizes = Some((Instant::now(), sizes.clone()));
        sizes
    }
}
