//! Changes on their way to the controller: decided here if this broker holds the seat, sent to the one that does otherwise, and
//! asked again for as long as they surely were not made.
//!
//! ```text
//!   submit ──► this broker holds the seat ──► the member's task ──────────────────────────► answer
//!      ▲  └──► another one does ──► PeerCalls::change ──► its handle_forwarded ──► its task ──► answer, once it is replayed here
//!      └── nobody does, or it moved on, and the change was surely not made
//! ```
//! A change that was sent and not answered is not asked again: it may have been made. Whoever asked is told so.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_cluster::decide::{
    AddPlugin, AllocateProducerIds, AlterBrokerConfigs, AlterPartition, AlterReassignments, AlterTopicConfigs,
    AlterView, Change, CreatePartitions, CreateTopics, CreateView, DeleteTopics, Drain, ElectLeaders, FailReplicas,
    Recover, RemoveGate, RemovePlugin, RemoveView, SetFeatureLevel, SetGate, ShutDownBroker, Undrain, UnregisterBroker,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::metadata::{Metadata, Request, SeatView, Standing, SubmitError};
use super::peer_calls::{ChangeFailed, ForwardError};
use super::pending::{Failure, Made, NotMade, Outcome, Submission};

/// How long a change waits for a controller that takes it: the default session of a silent one, and the time of an election.
const SUBMIT_TIME_MAX: Duration = Duration::from_secs(15);

/// How long it waits while this broker itself is in doubt: long enough for another of ZooKeeper's servers to be found, or for a new
/// session after a pause; then whoever asks is told why nothing can be changed.
const DOUBT_TIME_MAX: Duration = Duration::from_secs(5);

/// How soon it is tried again, if nothing is heard of the seat meanwhile.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// How long an answer waits for this broker to have replayed what it is about. It is true either way.
const REPLAY_TIME_MAX: Duration = Duration::from_secs(5);

/// The answer to a forwarded change, behind postcard.
#[derive(Serialize, Deserialize)]
struct Forwarded<A> {
    /// Entries in the image that has the change.
    next_seq: u64,
    answer: A,
}

enum Tried<C: Change> {
    Done(Result<C::Answer, SubmitError<C::Error>>),
    /// Surely not made; another try may succeed.
    Not(String),
}

impl Metadata {
    /// Has a change decided by the controller on its newest image, written, and replayed here; then gives the answer. A caller
    /// that stops waiting loses the answer, not the change.
    pub async fn submit<C: Change>(&self, change: C) -> Result<C::Answer, SubmitError<C::Error>> {
        let change = Arc::new(change);
        let since = Instant::now();
        let until = since + SUBMIT_TIME_MAX;
        let mut seat = self.seat.clone();
        loop {
            let view = seat.borrow_and_update().clone();
            let tried = match view {
                SeatView { ours: true, .. } => self.submit_here(&change).await,
                SeatView { holder: Some(controller), .. } => self.submit_to(controller, &change, until).await,
                SeatView { holder: None, .. } => Tried::Not("no broker is the controller now".to_owned()),
            };
            let why = match tried {
                Tried::Done(outcome) => return outcome,
                Tried::Not(why) => why,
            };
            let (why, until) = match &*self.standing.borrow() {
                Standing::Serving { .. } => (why, until),
                Standing::Doubtful { why } => (why.clone(), until.min(since + DOUBT_TIME_MAX)),
                Standing::Halted(halt) => (halt.to_string(), since),
                Standing::Stopped => ("this broker is stopping".to_owned(), since),
            };
            if Instant::now() >= until {
                return Err(SubmitError::Unavailable { why });
            }
            // Whatever wakes us, the next try finds out.
            let _ = timeout(TRY_AGAIN, seat.changed()).await;
        }
    }

    /// Has a change decided that is the controller's own, as long as this broker holds the seat. Nothing, if it doesn't, or no
    /// longer: it ends with the seat, and whoever holds that next sees for itself what is to be done.
    pub(crate) async fn submit_as_controller<C: Change>(
        &self,
        change: C,
    ) -> Result<Option<C::Answer>, SubmitError<C::Error>> {
        if !self.is_controller() {
            return Ok(None);
        }
        match self.submit_here(&Arc::new(change)).await {
            Tried::Done(outcome) => outcome.map(Some),
            Tried::Not(_) => Ok(None),
        }
    }

    /// Decides a change that another broker forwards, if this one is the controller. `from` is the broker that asks: what is said
    /// in a broker's name, only that broker may say. What the controller decides by itself is asked by nobody.
    pub async fn handle_forwarded(&self, from: i32, kind: u16, body: &[u8]) -> Result<Vec<u8>, ChangeFailed> {
        macro_rules! by_kind {
            ($($change:ty,)*) => {
                match kind {
                    AlterPartition::KIND => self.forwarded::<AlterPartition>(body, |it| it.broker == from).await,
                    FailReplicas::KIND => self.forwarded::<FailReplicas>(body, |it| it.broker == from).await,
                    ShutDownBroker::KIND => self.forwarded::<ShutDownBroker>(body, |it| it.id == from).await,
                    $(<$change>::KIND => self.forwarded::<$change>(body, |_| true).await,)*
                    _ => Err(refused(format!("change {kind} is not one to forward"))),
                }
            };
        }
        by_kind!(
            CreateTopics,
            DeleteTopics,
            AlterTopicConfigs,
            AllocateProducerIds,
            AddPlugin,
            RemovePlugin,
            SetGate,
            RemoveGate,
            CreateView,
            AlterView,
            RemoveView,
            ElectLeaders,
            AlterReassignments,
            CreatePartitions,
            Drain,
            Undrain,
            Recover,
            AlterBrokerConfigs,
            UnregisterBroker,
            SetFeatureLevel,
        )
    }

    async fn forwarded<C: Change>(&self, body: &[u8], may_say: impl Fn(&C) -> bool) -> Result<Vec<u8>, ChangeFailed> {
        let change: C =
            postcard::from_bytes(body).map_err(|error| refused(format!("the change can't be read: {error}")))?;
        if !may_say(&change) {
            return Err(refused("one broker does not speak for another".to_owned()));
        }
        let SeatView { holder, ours } = self.seat.borrow().clone();
        if !ours {
            return Err(ChangeFailed::NotController { controller: holder });
        }
        match self.ask_task(&Arc::new(change)).await {
            Ok(Made { answer, next_seq }) => Ok(encode(&Forwarded { next_seq, answer })),
            Err(NotMade::Refused(error)) => Err(ChangeFailed::Refused(encode(&error))),
            Err(NotMade::Failed(failure)) => Err(match failure {
                Failure::NotController => ChangeFailed::NotController { controller: self.seat.borrow().holder },
                Failure::Unavailable { why } => ChangeFailed::Unavailable { why },
                Failure::TooLarge { bytes, max } => ChangeFailed::TooLarge { bytes: bytes as u64, max: max as u64 },
                Failure::Unknown { why } => ChangeFailed::Unknown { why },
            }),
        }
    }

    async fn submit_here<C: Change>(&self, change: &Arc<C>) -> Tried<C> {
        match self.ask_task(change).await {
            Ok(Made { answer, .. }) => Tried::Done(Ok(answer)),
            Err(NotMade::Refused(error)) => Tried::Done(Err(SubmitError::Refused(error))),
            Err(NotMade::Failed(failure)) => match failure {
                Failure::NotController => Tried::Not("this broker is the controller no longer".to_owned()),
                Failure::Unavailable { why } => Tried::Done(Err(SubmitError::Unavailable { why })),
                Failure::TooLarge { bytes, max } => Tried::Done(Err(SubmitError::TooLarge { bytes, max })),
                Failure::Unknown { why } => Tried::Done(Err(SubmitError::Unknown { why })),
            },
        }
    }

    async fn ask_task<C: Change>(&self, change: &Arc<C>) -> Outcome<C> {
        let (submission, answer) = Submission::new(Arc::clone(change));
        let stopped = || NotMade::Failed(Failure::Unavailable { why: "this broker is stopping".to_owned() });
        self.requests.send(Request::Change(Box::new(submission))).await.map_err(|_| stopped())?;
        // Not answered: its task ended with it, and what it was doing then is not known.
        let ended = || NotMade::Failed(Failure::Unknown { why: "this broker is stopping".to_owned() });
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn submit_to<C: Change>(&self, controller: i32, change: &Arc<C>, until: Instant) -> Tried<C> {
        let deadline = until.saturating_duration_since(Instant::now());
        let answered = self.peers.change(controller, C::KIND, encode(change.as_ref()), deadline).await;
        let unknown = |why: String| Tried::Done(Err(SubmitError::Unknown { why }));
        match answered {
            Ok(bytes) => match postcard::from_bytes::<Forwarded<C::Answer>>(&bytes) {
                Ok(Forwarded { next_seq, answer }) => {
                    self.replayed(next_seq).await;
                    Tried::Done(Ok(answer))
                }
                Err(error) => unknown(format!("the controller's answer can't be read: {error}")),
            },
            Err(ForwardError::NotSent { why }) => Tried::Not(why),
            Err(ForwardError::Lost { why }) => unknown(why),
            Err(ForwardError::Answered(failed)) => match failed {
                ChangeFailed::NotController { .. } => {
                    Tried::Not(format!("broker {controller} is the controller no longer"))
                }
                ChangeFailed::Unavailable { why } => Tried::Not(why),
                ChangeFailed::Unknown { why } => unknown(why),
                ChangeFailed::TooLarge { bytes, max } => {
                    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
                    Tried::Done(Err(SubmitError::TooLarge { bytes: size(bytes), max: size(max) }))
                }
                ChangeFailed::Refused(error) => match postcard::from_bytes(&error) {
                    Ok(error) => Tried::Done(Err(SubmitError::Refused(error))),
                    Err(_) => Tried::Done(Err(SubmitError::Unavailable {
                        why: "the controller refused it, for a reason that this version doesn't know".to_owned(),
                    })),
                },
            },
        }
    }

    /// Waits until the image has so many entries, but not for ever.
    async fn replayed(&self, next_seq: u64) {
        let mut changed = self.changed();
        let until = Instant::now() + REPLAY_TIME_MAX;
        // Late, or never because this broker ends: what was asked is true all the same.
        let _ = timeout_at(until, changed.wait_for(|entries| *entries >= next_seq)).await;
    }
}

fn refused(why: String) -> ChangeFailed {
    ChangeFailed::Unavailable { why }
}

/// Our own types, none of which postcard can't write.
fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_allocvec(value).expect("a value of known length into a growing buffer")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use arc_swap::ArcSwapOption;
    use sluice_cluster::decide::AdvanceReassignments;
    use tokio::sync::{mpsc, watch};

    use super::super::lag::MetadataLag;
    use super::super::peer_calls::FakePeers;
    use super::*;

    #[tokio::test]
    async fn what_is_the_controllers_own_ends_with_its_seat() {
        for ours in [false, true] {
            let peers = Arc::new(FakePeers::default());
            let (requests, mut asked) = mpsc::channel(1);
            let metadata = Metadata {
                node_id: 1,
                image: Arc::default(),
                changed: watch::channel(0).1,
                standing: watch::channel(Standing::Serving { broker_epoch: 10 }).1,
                seat: watch::channel(SeatView { holder: (!ours).then_some(2), ours }).1,
                session: Arc::new(ArcSwapOption::empty()),
                peers: Arc::clone(&peers) as Arc<_>,
                elections: Arc::default(),
                lag: Arc::new(MetadataLag::new(Instant::now())),
                requests,
            };
            let loses_the_seat = async {
                match asked.recv().await {
                    Some(Request::Change(pending)) => pending.failed(Failure::NotController),
                    _ => panic!("nothing else is asked"),
                }
            };
            let submitted = metadata.submit_as_controller(AdvanceReassignments::default());
            let outcome = if ours { tokio::join!(submitted, loses_the_seat).0 } else { submitted.await };
            assert_eq!(outcome, Ok(None), "{ours}");
            assert_eq!(peers.forwarded.load(Ordering::Relaxed), 0, "{ours}");
        }
    }
}
