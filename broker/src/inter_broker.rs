//! What this broker does for the others: it makes their changes while it is the controller, lets its followers fetch, keeps
//! plugins' binaries, and says how much of the metadata is in force here.

use std::sync::Arc;

use async_trait::async_trait;
use sluice_protocol::records::Part;

use crate::coordination::{ChangeFailed, Metadata};
use crate::partition::{Manager, ReplicaSessions};
use crate::plugins::{Registry, Store, StoreError};
use crate::replica_states;
use crate::rpc::{Caller, Handler, PartitionId, PluginFailed, ReplicaFetch, ReplicaFetched, ReplicaState};

/// The answers to other brokers' calls.
pub(crate) struct InterBroker {
    metadata: Metadata,
    partitions: Arc<Manager>,
    followers: ReplicaSessions,
    binaries: Arc<Store>,
    bindings: Arc<Registry>,
}

impl InterBroker {
    pub(crate) fn new(
        metadata: Metadata,
        partitions: Arc<Manager>,
        binaries: Arc<Store>,
        bindings: Arc<Registry>,
    ) -> Self {
        Self { metadata, followers: ReplicaSessions::new(Arc::clone(&partitions)), partitions, binaries, bindings }
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

    async fn store_plugin(&self, _: &Caller, digest: [u8; 32], wasm: Vec<u8>) -> Result<(), PluginFailed> {
        self.binaries.write_here(digest, &wasm.into()).await.map_err(plugin_failed)
    }

    async fn read_plugin(&self, _: &Caller, digest: [u8; 32]) -> Result<Vec<u8>, PluginFailed> {
        self.binaries.read_here(digest).await.map(Into::into).map_err(plugin_failed)
    }

    fn in_force(&self) -> u64 {
        self.bindings.in_force()
    }
}

fn plugin_failed(error: StoreError) -> PluginFailed {
    match error {
        StoreError::Missing => PluginFailed::Missing,
        error => PluginFailed::Failed(error.to_string()),
    }
}
