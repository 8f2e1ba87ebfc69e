//! Decisions of the controller: a [`Change`] and the [`Image`] of the moment give the records to append and the answer to give
//! once they are in the log, or the reason why not. Pure functions: the same image, change and [`Given`] decide the same.
//!
//! One file a subject. A decision's error is its own small enum, with data in it; which error code a client sees is picked where
//! the client is answered.

mod advance;
mod alter_partition;
mod bindings;
mod broker_configs;
mod changed;
mod configs;
mod create_partitions;
mod drain;
mod elect;
mod failed_replicas;
mod features;
mod fencing;
mod gates;
mod name;
mod partition_change;
mod placement;
mod plan;
mod plugins;
mod preferred;
mod producer_ids;
mod reassign;
mod recover;
mod registration;
mod seat;
mod topics;
mod views;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

pub use advance::{AdvanceReassignments, Advanced};
pub use alter_partition::{AlterPartition, AlterPartitionError, StaleBrokerEpoch};
pub use bindings::{As, BindingError, Limit, LimitOutOfRange, NewBinding, NewPluginUse};
pub use broker_configs::{AlterBrokerConfigs, AlterBrokerConfigsError};
pub use configs::{AlterConfigsError, AlterTopicConfigs, ConfigChange, ConfigRules, InvalidConfig};
pub use create_partitions::{CreatePartitions, CreatePartitionsError, MorePartitions};
pub use drain::{Drain, DrainError, Undrain, UndrainError, held};
pub use elect::{ElectLeaders, ElectLeadersError, ElectionKind};
pub use failed_replicas::{FailReplicas, ReplicasFailed};
pub use features::{FeatureLevelError, SetFeatureLevel};
pub use fencing::{FenceAbsent, FenceBroker, ShutDownBroker, ShutDownError, ShuttingDown};
pub use gates::{GateError, RemoveGate, SetGate};
pub use name::{NAME_LENGTH_MAX, NameError, check_name};
pub use placement::{INTERNAL_REPLICAS_MAX, Placement, PlacementError};
pub use plan::{BrokerLoad, Move, PartitionSizes, Plan};
pub use plugins::{AddPlugin, AddPluginError, PLUGIN_NAME_LENGTH_MAX, PluginAdded, RemovePlugin, RemovePluginError};
pub use preferred::leaders_to_return;
pub use producer_ids::{AllocateProducerIds, ProducerIdBlock, ProducerIdsExhausted};
pub use reassign::{AlterReassignments, ReassignError, reassignments};
pub use recover::{Recover, RecoverError};
pub use registration::{RegisterBroker, RegisterError, UnregisterBroker, UnregisterError};
pub use seat::{SeatError, TakeSeat};
pub use topics::{
    CreateTopicError, CreateTopics, DeleteTopicError, DeleteTopics, NewTopic, SourceKind, TooManyPartitions,
    TopicCreated, TopicRef,
};
pub use views::{AlterView, CreateView, RemoveView, ViewError};

use crate::metadata::{Image, MetadataRecord};

/// Something asked of the controller. Any broker may be asked: it forwards the change as its kind and its bytes (postcard), and
/// answer and error come back the same way, so all three are written for other brokers to read.
pub trait Change: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Says to another broker which change the bytes are. Numbers are given once and never again.
    const KIND: u16;
    /// What is answered once the records are in the log.
    type Answer: Serialize + DeserializeOwned + Send + 'static;
    /// Why it is refused.
    type Error: std::error::Error + Serialize + DeserializeOwned + Send + 'static;

    /// Decides. Nothing is true until the records have been appended and replayed.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<Self::Answer>, Self::Error>;
}

/// What a decision needs and must not take for itself.
pub struct Given<'a> {
    /// Milliseconds since 1970, by the controller's clock.
    pub now_ms: i64,
    /// Sixteen random bytes a call.
    pub random: &'a mut dyn FnMut() -> [u8; 16],
    /// Which topic configs there are and what they may be.
    pub configs: &'a dyn ConfigRules,
}

/// A decision: what to append, and what to answer then. Without records there is nothing to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided<A> {
    /// The records, in order. They go into one entry of the log.
    pub records: Vec<MetadataRecord>,
    /// The answer.
    pub answer: A,
    /// The records may be spread over several entries when they don't fit into one: a broker that sees only the first of them
    /// is not misled.
    pub may_split: bool,
}

impl<A> Decided<A> {
    fn new(records: Vec<MetadataRecord>, answer: A) -> Self {
        Self { records, answer, may_split: false }
    }
}

impl Given<'_> {
    /// A new id for a topic or view: random, of UUID version 4, not one that is taken, and never with a leading `-` in text,
    /// which command lines take for an option (as Kafka avoids it).
    fn new_id(&mut self, is_taken: impl Fn(Uuid) -> bool) -> Uuid {
        let mut bytes = (self.random)();
        bytes[0] &= 0x7f;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        // Twice the same 121 random bits come only from a broken source; then the next id that is free, which ends.
        while is_taken(Uuid(bytes)) {
            bytes[15] = bytes[15].wrapping_add(1);
            bytes[14] = bytes[14].wrapping_add(u8::from(bytes[15] == 0));
        }
        Uuid(bytes)
    }
}

/// The error of a change that can't be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Never {}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod histories;
