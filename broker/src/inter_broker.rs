//! What this broker does for the others: it makes their changes while it is the controller, and lets its followers fetch.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_protocol::records::Part;

use crate::coordination::{ChangeFailed, Metadata};
use crate::partition::Manager;
use crate::replica_states;
use crate::rpc::{
    Caller, FetchError, FetchPartition, FetchedPartition, Handler, PartitionId, ReplicaFetch, ReplicaFetched,
    ReplicaState,
};

/// The answers to other brokers' calls.
pub(crate) struct InterBroker {
    metadata: Metadata,
    partitions: Arc<Manager>,
}

impl InterBroker {
    pub(crate) fn new(metadata: Metadata, partitions: Arc<Manager>) -> Self {
        Self { metadata, partitions }
    }
}

#[async_trait]
impl Handler for InterBroker {
    async fn change(&self, from: &Caller, kind: u16, body: Vec<u8>) -> Result<Vec<u8>, ChangeFailed> {
        self.metadata.handle_forwarded(from.id, kind, &body).await
    }

    async fn fetch(&self, _: &Caller, fetch: ReplicaFetch) -> (ReplicaFetched, Vec<Part>) {
        let refused = |FetchPartition { topic, index, .. }| FetchedPartition {
            topic,
            index,
            error: Some(FetchError::NotLeader),
            high_watermark: -1,
            log_start: -1,
            diverging: None,
            bytes: 0,
        };
        let partitions = fetch.partitions.into_iter().map(refused).collect();
        (ReplicaFetched { session: 0, session_lost: false, partitions }, Vec::new())
    }

    async fn replica_states(&self, _: &Caller, partitions: Vec<PartitionId>) -> Vec<ReplicaState> {
        replica_states::here(&self.partitions, &partitions)
    }
}
