//! The handle on the cluster's metadata that the broker holds: read without locks, changed by asking the controller's task.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sluice_cluster::Image;
use sluice_cluster::decide::Change;
use tokio::sync::{mpsc, oneshot, watch};

use super::Halt;
use super::pending::{Pending, Submission};

/// What the cluster knows of itself, as this broker has replayed it. Cheap to clone.
#[derive(Clone)]
pub struct Metadata {
    pub(super) image: Arc<ArcSwap<Image>>,
    pub(super) changed: watch::Receiver<u64>,
    pub(super) standing: watch::Receiver<Standing>,
    pub(super) requests: mpsc::Sender<Request>,
}

/// How this broker stands in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It has a session, holds the seat and is registered.
    Serving,
    /// The coordinator is not heard of, or the session has ended and the next one is not yet there: nothing can be changed, and
    /// what is known may be old. It comes back by itself.
    Doubtful {
        /// What happened.
        why: String,
    },
    /// It can't be part of the cluster any longer; the broker has to end.
    Halted(Halt),
    /// It was asked to stop, and has.
    Stopped,
}

/// Why a change was not made, if it was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError<E> {
    /// It was decided against; data says why.
    #[error(transparent)]
    Refused(E),
    /// It was not made: this broker can't change anything now.
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
    /// It was made, or it was not: the coordinator went away in between.
    #[error("it is not known whether the change was made: {why}")]
    Unknown {
        /// What happened.
        why: String,
    },
}

/// What the controller's task is asked.
pub(super) enum Request {
    Change(Box<dyn Pending>),
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

    /// Has a change decided on the newest image, written, and replayed here; then gives the answer. A caller that stops waiting
    /// loses the answer, not the change.
    pub async fn submit<C: Change>(&self, change: C) -> Result<C::Answer, SubmitError<C::Error>> {
        let (submission, answer) = Submission::new(change);
        let stopped = || SubmitError::Unavailable { why: "this broker is stopping".to_owned() };
        self.requests.send(Request::Change(Box::new(submission))).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
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

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("entries", &*self.changed.borrow())
            .field("standing", &*self.standing.borrow())
            .finish()
    }
}
