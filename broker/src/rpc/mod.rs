//! Brokers talking to brokers: forwarded changes, replication, and whether somebody is still there.
//!
//! ```text
//!   Peers (client)  ──Hello, then calls in order──>  the INTERNAL listener: mutual TLS, principal checked ──> Handler
//!        <──answers in the same order; a fetch's records follow its message as they are in the segment files──
//! ```
//! One connection for calls and one for fetches to each broker, made when first needed, and made again after a pause that
//! grows. A call that fails says whether it is surely not done or may be ([`CallError`]): the difference between trying
//! again and asking first. That a broker's process is gone is evidence of its own ([`Probed::Refused`] after its connection
//! ended), much faster than the coordinator's session; a broker that is silent is not gone.
//!
//! [`messages`] has what is said, [`connect`] how a connection begins, [`link`] how it is kept, [`server`] who is let in.

mod connect;
mod link;
mod losses;
pub(crate) mod messages;
mod peers;
mod server;
#[cfg(test)]
mod tests;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sluice_protocol::records::Part;

pub(crate) use messages::{
    Call, ChangeFailed, FetchError, FetchPartition, FetchedPartition, PartitionId, PluginFailed, Probed, ReplicaFetch,
    ReplicaFetched, ReplicaState, Reply,
};
pub(crate) use peers::{Peers, PeersConfig};
pub(crate) use server::{bind, serve};
pub(crate) use tls::PeerTls;

/// How long a broker may take to answer a call. Answers come in the order of the calls, so that one that takes longer holds up
/// all others: the connection is given up with it.
pub(crate) const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// Answers the calls of other brokers. One per broker, shared by all connections.
///
/// A call that is not answered within [`ANSWER_TIME_MAX`] is given up, and what it was about is unknown to its caller.
#[async_trait]
pub(crate) trait Handler: Send + Sync + 'static {
    /// A change that another broker forwards, because it takes this one for the controller: its answer in postcard.
    async fn change(&self, from: &Caller, kind: u16, body: Vec<u8>) -> Result<Vec<u8>, ChangeFailed>;

    /// Records for a follower: what is said of each partition, and the records themselves in the same order.
    async fn fetch(&self, from: &Caller, fetch: ReplicaFetch) -> (ReplicaFetched, Vec<Part>);

    /// How far the replicas are that this broker has of these partitions.
    async fn replica_states(&self, from: &Caller, partitions: Vec<PartitionId>) -> Vec<ReplicaState>;

    /// Keeps a plugin's binary, if this broker leads the topic of binaries.
    async fn store_plugin(&self, from: &Caller, digest: [u8; 32], wasm: Vec<u8>) -> Result<(), PluginFailed>;

    /// A plugin's binary, if this broker has it.
    async fn read_plugin(&self, from: &Caller, digest: [u8; 32]) -> Result<Vec<u8>, PluginFailed>;

    /// The number of the first entry of the metadata log whose gates and views are not in force here.
    fn in_force(&self) -> u64;
}

/// The broker that calls, as it was found at its first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Its number.
    pub(crate) id: i32,
    /// The epoch of its registration; -1 before it has one.
    pub(crate) epoch: i64,
    /// The distinguished name of its certificate.
    pub(crate) principal: Arc<str>,
    /// Where it connected from.
    pub(crate) address: SocketAddr,
}

/// Where a broker is reached by other brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerAddress {
    /// The host it advertises.
    pub(crate) host: String,
    /// The port it advertises.
    pub(crate) port: u16,
    /// The epoch of its registration.
    pub(crate) epoch: i64,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// It did not leave: what it asks for is surely not done.
    #[error("not sent to broker {broker}: {why}")]
    NotSent {
        /// To whom it was to go.
        broker: i32,
        /// Why it did not.
        why: String,
    },
    /// It left, or may have: what it asks for may be done.
    #[error("no answer from broker {broker}: {why}")]
    Lost {
        /// To whom it went.
        broker: i32,
        /// What happened.
        why: String,
    },
    /// The broker does not understand it: surely not done.
    #[error("broker {broker} refuses the call: {why}")]
    Refused {
        /// To whom it went.
        broker: i32,
        /// What it says.
        why: String,
    },
}
