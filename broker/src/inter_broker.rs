//! What this broker does for the others: it makes their changes while it is the controller, and lets its followers fetch.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_protocol::records::Part;

use crate::coordination::{ChangeFailed, Metadata};
use crate::partition::{Manager, ReplicaSessions};
use crate::replica_states;
use crate::rpc::{Caller, Handler, PartitionId, ReplicaFetch, ReplicaFetched, ReplicaState};

/// The answers to other brokers' calls.
pub(crate) struct InterBroker {
    metadata: Metadata,
    partitions: Arc<Manager>,
    followers: ReplicaSessions,
}

impl InterBroker {
    pub(crate) fn new(metadata: Metadata, partitions: Arc<Manager>) -> Self {
        Self { metadata, followers: ReplicaSessions::new(Arc::clone(&partitions)), partitions }
    }
}

#[async_trait]
impl Handler for InterBroker {
    async fn change(&self, from: &Caller, kind: u16, body: Vec<u8>) -> Result<Vec<u8>, ChangeFailed> {
        self.metadata.handle_forwarded(from.id, kind, &body).await
    }

    async fn fetch(&self, from: &Caller, fetch: ReplicaFetch) -> (ReplicaFetched, Vec<Part>) {
        self.followers.fetch(from, fetch).await
    }

    async fn replica_states(&self, _: &Caller, partitions: Vec<PartitionId>) -> Vec<ReplicaState> {
        replica_states::here(&self.partitions, &partitions)
    }
}
