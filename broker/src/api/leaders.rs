//! Who leads now: said with the answer when a client asked the wrong broker, so that it need not ask for metadata first
//! (KIP-951).

use std::collections::BTreeSet;
use std::sync::Arc;

use sluice_cluster::{Image, PartitionRegistration};
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::{LeaderIdAndEpoch, NodeEndpoint};

use super::Shared;
use super::resolve::{Wanted, resolve};
use crate::net::ListenerName;

/// The leaders that one answer names, as the newest metadata has them: what the client asked with may be old.
pub(super) struct Leaders {
    image: Arc<Image>,
    named: BTreeSet<i32>,
}

impl Leaders {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { image: shared.metadata.image(), named: BTreeSet::new() }
    }

    /// What to say of the leader in a partition's answer.
    pub(super) fn of(&mut self, error: ErrorCode, wanted: Wanted<'_>, index: i32) -> LeaderIdAndEpoch {
        let asked_wrong = matches!(error, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch);
        asked_wrong.then(|| self.find(wanted, index)).flatten().unwrap_or_default()
    }

    fn find(&mut self, wanted: Wanted<'_>, index: i32) -> Option<LeaderIdAndEpoch> {
        let source = resolve(&self.image, wanted).ok()?;
        let registration = source.base().partitions.get(usize::try_from(index).ok()?)?;
        if registration.leader == PartitionRegistration::NO_LEADER {
            return None;
        }
        self.named.insert(registration.leader);
        Some(LeaderIdAndEpoch { leader_id: registration.leader, leader_epoch: registration.leader_epoch })
    }

    /// Where those are that were named, on the listener that was asked.
    pub(super) fn endpoints(&self, listener: &ListenerName) -> Vec<NodeEndpoint> {
        let endpoints = self.named.iter().filter_map(|id| {
            let broker = self.image.broker(*id)?;
            let endpoint = broker.endpoints.iter().find(|endpoint| listener.as_str() == endpoint.listener)?;
            Some(NodeEndpoint {
                node_id: *id,
                host: endpoint.host.clone(),
                port: i32::from(endpoint.port),
                rack: broker.rack.clone(),
            })
        });
        endpoints.collect()
    }
}
