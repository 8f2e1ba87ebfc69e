//! The handle on the cluster's metadata that the broker holds: read without locks, changed by asking the controller, wherever it
//! is (`forward`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use sluice_cluster::Image;
use sluice_cluster::decide::{ShutDownBroker, ShuttingDown};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::coordinator::SessionState;
use super::elections::Elections;
use super::lag::MetadataLag;
use super::peer_calls::PeerCalls;
use super::pending::Pending;
use super::{Halt, Registering, StartError};

/// What the cluster knows of itself, as this broker has replayed it. Cheap to clone.
#[derive(Clone)]
pub struct Metadata {
    pub(super) node_id: i32,
    pub(super) image: Arc<ArcSwap<Image>>,
    pub(super) changed: watch::Receiver<u64>,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) seat: watch::Receiver<SeatView>,
    pub(super) session: Arc<ArcSwapOption<watch::Receiver<SessionState>>>,
    pub(super) peers: Arc<dyn PeerCalls>,
    pub(super) elections: Arc<Elections>,
    pub(super) lag: Arc<MetadataLag>,
    pub(super) requests: mpsc::Sender<Request>,
}

/// How this broker stands in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has a session, and the cluster counts on it.
    Serving {
        /// Of this life of the broker.
        broker_epoch: i64,
    },
    /// It is not registered yet, or not any longer; or the coordinator is not heard of, or the session has ended and the next one
    /// is not yet there: what is known may be old. It comes back by itself.
    Doubtful {
        /// What happened.
        why: String,
    },
    /// It can't be part of the cluster any longer; the broker has to end.
    Halted(Halt),
    /// It was asked to stop, and has.
    Stopped,
}

/// Who decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SeatView {
    /// Another broker that holds the seat, as far as is known here.
    pub(super) holder: Option<i32>,
    /// This broker holds it, and decides.
    pub(super) ours: bool,
}

/// Why a change was not made, if it was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError<E> {
    /// It was decided against; data says why.
    #[error(transparent)]
    Refused(E),
    /// It was not made: nothing can be changed now.
    #[error("the cluster's metadata can't be changed now: {why}")]
    Unavailable {
        /// Why not.
        why: String,
    },
    /// It was not made: it doesn't fit into one entry of the metadata log.
    #[error("the change takes {bytes} bytes of the {max} that are written at once; ask for less at a time")]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What there is.
        max: usize,
    },
    /// It was made, or it was not: the coordinator or the controller went away in between.
    #[error("it is not known whether the change was made: {why}")]
    Unknown {
        /// What happened.
        why: String,
    },
}

/// What the member's task is asked.
pub(super) enum Request {
    Change(Box<dyn Pending>),
    Register(Registering, oneshot::Sender<Result<i64, StartError>>),
    /// This broker is about to end.
    Leave,
    Stop(oneshot::Sender<()>),
}

/// Changes waiting to be decided: more than one entry takes, so that a burst waits here, and few enough that the last of them
/// waits for seconds at most.
pub(super) const REQUESTS_MAX: usize = 1_024;

impl Metadata {
    /// The image of this moment.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    /// Changes whenever the image has: to the number of entries in it. See the image after seeing the number.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// How this broker stands in the cluster.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// The epoch of this life of the broker, while the cluster counts on it.
    #[must_use]
    pub fn broker_epoch(&self) -> Option<i64> {
        match *self.standing.borrow() {
            Standing::Serving { broker_epoch } => Some(broker_epoch),
            Standing::Doubtful { .. } | Standing::Halted(_) | Standing::Stopped => None,
        }
    }

    /// Whether the cluster may have moved on without this broker: what it takes without asking the others may be lost.
    #[must_use]
    pub fn is_doubtful(&self) -> bool {
        // The session is asked as well: the task that keeps the standing may be waiting for an answer on it.
        let is_connected =
            self.session.load().as_ref().is_some_and(|session| *session.borrow() == SessionState::Connected);
        !is_connected || self.broker_epoch().is_none()
    }

    /// Whether this broker holds the controller's seat, and decides.
    #[must_use]
    pub fn is_controller(&self) -> bool {
        self.seat.borrow().ours
    }

    /// Leaders elected by this broker.
    #[must_use]
    pub fn elections(&self) -> &Elections {
        &self.elections
    }

    /// How far this broker is behind the metadata log.
    #[must_use]
    pub fn lag(&self) -> &MetadataLag {
        &self.lag
    }

    /// Makes this broker one that the cluster counts on, now and through every session: says that it is there, and waits until
    /// the controller's registration of it has been replayed. Gives the epoch of this life.
    pub async fn register(&self, registering: Registering) -> Result<i64, StartError> {
        let (reply, registered) = oneshot::channel();
        let stopped = || StartError::Unregistered { why: "this broker is stopping".to_owned() };
        self.requests.send(Request::Register(registering, reply)).await.map_err(|_| stopped())?;
        match timeout(REGISTRATION_TIME_MAX, registered).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(stopped())),
            Err(_) => {
                let why = match &*self.standing.borrow() {
                    Standing::Doubtful { why } => why.clone(),
                    _ => "no controller registered it".to_owned(),
                };
                Err(StartError::Unregistered { why })
            }
        }
    }

    /// Resolves when this broker can't be part of the cluster any longer, with the reason. Never, if it was asked to stop.
    pub async fn halted(&self) -> Halt {
        let mut standing = self.standing();
        let ended = |standing: &Standing| matches!(standing, Standing::Halted(_) | Standing::Stopped);
        match standing.wait_for(ended).await.map(|standing| standing.clone()) {
            Ok(Standing::Halted(why)) => why,
            Ok(_) => std::future::pending().await,
            // Its last word is missing: it did not end as it should, and nobody would notice.
            Err(_) => Halt::Coordinator {
                why: "the task that keeps this broker's place in the cluster has failed".to_owned(),
            },
        }
    }

    /// Has others lead what this broker leads, and waits until it leads no more than nobody else can, for so long at most. From
    /// then on it is not counted on. Says whether there is anybody who took over.
    pub async fn hand_over(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        // The task has ended: then there is nothing to be handed over any more.
        let _ = self.requests.send(Request::Leave).await;
        let id = self.node_id;
        while let Some(epoch) = self.broker_epoch().filter(|_| self.image().serving().any(|broker| broker.id != id)) {
            match timeout_at(until, self.submit(ShutDownBroker { id, epoch })).await {
                Ok(Ok(ShuttingDown { remaining_leaders: 0 })) => return true,
                Ok(Ok(ShuttingDown { remaining_leaders })) if !self.is_awaited() => {
                    tracing::info!("{remaining_leaders} partitions have no leader without this broker");
                    return true;
                }
                Ok(Ok(_)) if Instant::now() + HAND_OVER_AGAIN < until => sleep(HAND_OVER_AGAIN).await,
                Ok(Err(error)) => {
                    tracing::warn!("nothing is handed over before this broker ends: {error}");
                    return false;
                }
                Ok(Ok(_)) | Err(_) => {
                    tracing::warn!("not everything is handed over before this broker ends");
                    return true;
                }
            }
        }
        false
    }

    /// Whether somebody may yet catch up so far that it can lead what this broker leads.
    fn is_awaited(&self) -> bool {
        let image = self.image();
        let may_lead = |replica: &i32| *replica != self.node_id && image.is_active(*replica);
        let mut partitions = image.topics().flat_map(|topic| &topic.partitions);
        partitions.any(|partition| partition.leader == self.node_id && partition.replicas.iter().any(may_lead))
    }

    /// Leaves the cluster: ends the session, so that the seat and the registration are free at once.
    pub async fn shutdown(&self) {
        let (stopped, done) = oneshot::channel();
        if self.requests.send(Request::Stop(stopped)).await.is_ok() {
            // An error says that the task ended without answering: it has stopped either way.
            let _ = done.await;
        }
    }
}

/// How long a registration may take: several sessions' time, so that a broker that starts right after the controller fell silent
/// waits for the next one.
const REGISTRATION_TIME_MAX: Duration = Duration::from_secs(60);

/// How soon it is asked again whether somebody can lead what this broker leads.
const HAND_OVER_AGAIN: Duration = Duration::from_millis(100);

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("entries", &*self.changed.borrow())
            .field("standing", &*self.standing.borrow())
            .finish()
    }
}
