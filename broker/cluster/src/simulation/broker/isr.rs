//! What a leader asks of the controller: ISRs, in one request a broker, and to hand over what it leads before it ends.

use std::rc::Rc;

use super::super::disk::Key;
use super::super::messages::{Answered, Asked, Reply, Request};
use super::super::network::{CallError, Connection, Node as Address};
use super::super::sync::{First, race};
use super::Process;
use super::controller::submit_here;
use super::replicas::Role;
use crate::decide::{AlterPartition, AlterPartitionError, ShutDownBroker};
use crate::partition::{Outcome, ProposedIsr};
use crate::planted::{Bug, planted};

/// The controller has so long to answer.
const DEADLINE_MS: i64 = 700;
/// Tries to hand over before a broker ends all the same.
const HAND_OVERS: usize = 8;

/// Asks the controller, wherever it is as far as is known here.
pub(super) async fn submit(process: &Rc<Process>, asked: Asked) -> Answered {
    let controller = process.image.borrow().controller_id();
    match controller {
        None => Answered::NotController,
        Some(id) if id == process.id => submit_here(process, asked).await,
        Some(id) => {
            let connection = Connection::open(&process.world, process.owner, process.node(), Address::Broker(id));
            let answered = match connection.call(&process.world, Request::Change(asked), DEADLINE_MS).await {
                Ok(Reply::Changed(answered)) => answered,
                Ok(_) | Err(CallError::Lost) => Answered::Unknown,
                Err(CallError::Refused) => Answered::NotController,
            };
            connection.close(&process.world);
            answered
        }
    }
}

/// Reviews what is led, from time to time and when a follower may join.
pub(super) async fn run(process: Rc<Process>) {
    loop {
        let seen = process.review.seen();
        let pause = process.world.setup.replica_lag_time_max_ms / 4;
        let _: First<_, _> = race(process.review.after(seen), process.sleep(pause)).await;
        // As many reviews at a time as there is time for: fetches come faster.
        process.sleep(5).await;
        let proposals = process.review_leaders();
        if !proposals.is_empty() {
            ask(&process, proposals).await;
        }
    }
}

async fn ask(process: &Rc<Process>, proposals: Vec<(Key, ProposedIsr)>) {
    let Some(broker_epoch) = process.epoch.get() else { return };
    let partitions: Vec<ProposedIsr> = proposals.iter().map(|(_, proposal)| proposal.clone()).collect();
    for (key, proposal) in &proposals {
        note!(process.world, "broker {} asks for {}: {:?}", process.id, super::super::oracle::Name(*key), proposal.isr);
    }
    let change = AlterPartition { broker: process.id, broker_epoch, partitions };
    let answered = submit(process, Asked::AlterPartition(change)).await;
    let outcomes: Vec<Outcome> = match answered {
        Answered::Altered(results) => results.into_iter().map(outcome).collect(),
        // Nothing was decided on what is registered. An earlier attempt may have been granted all the same.
        _ => vec![unknown(); proposals.len()],
    };
    for ((key, proposal), outcome) in proposals.into_iter().zip(outcomes) {
        note!(process.world, "broker {} is told of {}: {outcome:?}", process.id, super::super::oracle::Name(key));
        process.with_leader(key, proposal.leader_epoch, |leader| leader.on_outcome(outcome));
    }
}

fn unknown() -> Outcome {
    if planted(Bug::IsrRevertedOnUnknown) { Outcome::Refused } else { Outcome::Unknown }
}

fn outcome(result: Result<crate::PartitionRegistration, AlterPartitionError>) -> Outcome {
    match result {
        Ok(registration) => Outcome::Accepted(registration),
        Err(error) => error.outcome(),
    }
}

/// Leaves what it leads to others, as far as there are any.
pub(super) async fn hand_over(process: &Rc<Process>) {
    for _ in 0..HAND_OVERS {
        let Some(epoch) = process.epoch.get() else { return };
        let asked = Asked::ShutDown(ShutDownBroker { id: process.id, epoch });
        match submit(process, asked).await {
            Answered::ShuttingDown { remaining_leaders: 0 } => return,
            _ => process.sleep(100).await,
        }
    }
}

impl Process {
    /// What is to be asked for, of everything that is led here.
    fn review_leaders(self: &Rc<Self>) -> Vec<(Key, ProposedIsr)> {
        let image = self.image();
        let active = |id: i32| image.active_epoch(id);
        let mut proposals = Vec::new();
        let mut moved = Vec::new();
        for (key, replica) in self.replicas.borrow_mut().iter_mut() {
            if let Role::Leading(leader) = &mut replica.role {
                let review = leader.propose(self.now(), &active);
                proposals.extend(review.proposal.map(|proposal| (*key, proposal.of(key.0, key.1))));
                moved.extend(review.high_watermark.map(|high_watermark| (*key, high_watermark)));
            }
        }
        for (key, high_watermark) in moved {
            self.on_committed(key, high_watermark);
        }
        proposals
    }
}
