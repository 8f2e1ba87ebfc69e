//! The other brokers, as far as coordination speaks to them: a change is forwarded to the controller, and it is asked who is
//! still there.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sluice_cluster::Image;

pub use crate::rpc::messages::ChangeFailed;

/// The way to the other brokers.
#[async_trait]
pub trait PeerCalls: fmt::Debug + Send + Sync + 'static {
    /// The brokers as the newest image has them.
    fn know(&self, image: &Image);

    /// As who this broker speaks from now on: of which cluster, and in which of its lives, once it has one.
    fn speak_as(&self, cluster_id: &str, broker_epoch: Option<i64>);

    /// Has the broker that ought to be the controller make a change.
    async fn change(
        &self,
        controller: i32,
        kind: u16,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, ForwardError>;

    /// Resolves when there is evidence that the process of this life of the broker is gone: its connection ended and its
    /// listener refuses. Silence is no evidence.
    async fn gone(&self, broker: i32, epoch: i64);

    /// What `witness` finds when it looks for `suspect`.
    async fn ask(&self, witness: i32, suspect: i32) -> Testimony;
}

/// Why a forwarded change has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It was not made: it did not get there.
    #[error("{why}")]
    NotSent {
        /// Why not.
        why: String,
    },
    /// It may have been made.
    #[error("{why}")]
    Lost {
        /// What happened.
        why: String,
    },
    /// It got there, and this is what came of it.
    #[error(transparent)]
    Answered(ChangeFailed),
}

/// What a broker says of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Testimony {
    /// The suspect's machine says that nobody listens there.
    Gone,
    /// The suspect lives, or nothing is known of it.
    NotGone,
    /// The witness itself is gone.
    WitnessGone,
    /// The witness says nothing.
    Silent,
}

/// Brokers that are all gone, for tests: what is forwarded to them never gets there, and is counted.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct FakePeers {
    pub(super) forwarded: std::sync::atomic::AtomicUsize,
}

#[cfg(test)]
#[async_trait]
impl PeerCalls for FakePeers {
    fn know(&self, _: &Image) {}

    fn speak_as(&self, _: &str, _: Option<i64>) {}

    async fn change(&self, _: i32, _: u16, _: Vec<u8>, _: Duration) -> Result<Vec<u8>, ForwardError> {
        self.forwarded.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Err(ForwardError::NotSent { why: "it is gone".to_owned() })
    }

    async fn gone(&self, _: i32, _: i64) {}

    async fn ask(&self, _: i32, _: i32) -> Testimony {
        Testimony::WitnessGone
    }
}
