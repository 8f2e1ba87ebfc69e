//! The way to the other brokers that is the inter-broker protocol.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use sluice_cluster::Image;

use super::peer_calls::{ForwardError, PeerCalls, Testimony};
use crate::net::ListenerName;
use crate::rpc::{Call, CallError, PeerAddress, Peers, Probed, Reply};

/// Coordination's calls over [`Peers`].
pub(crate) struct RpcCalls {
    peers: Peers,
    /// The listener by which brokers come to each other.
    listener: ListenerName,
}

impl RpcCalls {
    pub(crate) fn new(peers: Peers, listener: ListenerName) -> Self {
        Self { peers, listener }
    }

    /// How it stands with a witness that didn't answer.
    async fn missed(&self, witness: i32) -> Testimony {
        match self.peers.probe(witness).await {
            Probed::Refused => Testimony::WitnessGone,
            Probed::Alive | Probed::Silent => Testimony::Silent,
        }
    }
}

#[async_trait]
impl PeerCalls for RpcCalls {
    fn know(&self, image: &Image) {
        let addresses = image.brokers().filter_map(|broker| {
            let at = broker.endpoints.iter().find(|endpoint| endpoint.listener == self.listener.as_str())?;
            Some((broker.id, PeerAddress { host: at.host.clone(), port: at.port, epoch: broker.epoch }))
        });
        self.peers.know(addresses.collect());
    }

    fn speak_as(&self, cluster_id: &str, broker_epoch: Option<i64>) {
        self.peers.set_cluster_id(cluster_id);
        self.peers.set_broker_epoch(broker_epoch.unwrap_or(NO_EPOCH));
    }

    async fn change(
        &self,
        controller: i32,
        kind: u16,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, ForwardError> {
        match self.peers.call(controller, Call::Change { kind, body }, deadline).await {
            Ok(Reply::Change(Ok(answer))) => Ok(answer.0),
            Ok(Reply::Change(Err(failed))) => Err(ForwardError::Answered(failed)),
            Ok(_) => Err(ForwardError::Lost { why: format!("broker {controller} answers something else") }),
            Err(error @ (CallError::NotSent { .. } | CallError::Refused { .. })) => {
                Err(ForwardError::NotSent { why: error.to_string() })
            }
            Err(error @ CallError::Lost { .. }) => Err(ForwardError::Lost { why: error.to_string() }),
        }
    }

    async fn gone(&self, broker: i32, epoch: i64) {
        self.peers.gone(broker, epoch).await;
    }

    async fn ask(&self, witness: i32, suspect: i32) -> Testimony {
        match self.peers.call(witness, Call::Probe { broker: suspect }, ASK_TIME_MAX).await {
            Ok(Reply::Probed(Probed::Refused)) => Testimony::Gone,
            Ok(Reply::Probed(Probed::Alive | Probed::Silent)) => Testimony::NotGone,
            Ok(_) => Testimony::Silent,
            Err(_) => self.missed(witness).await,
        }
    }
}

impl fmt::Debug for RpcCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RpcCalls({})", self.listener)
    }
}

/// A broker before it has an epoch, in its first words to another.
const NO_EPOCH: i64 = -1;

/// A witness that doesn't answer within this is asked whether it is there itself.
const ASK_TIME_MAX: Duration = Duration::from_millis(700);
