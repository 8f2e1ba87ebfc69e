//! What a cluster decides, without doing any of it: no clock, no randomness, no socket, no disk. Whatever time or chance a
//! decision needs is an argument, so a seed replays a whole cluster's history.
//!
//! The story in reading order:
//! - [`metadata`]: the records of the metadata log, the batches that carry them, and the [`Image`] they add up to.
//!   Everything a cluster knows of itself is in that log; what is not in it is not true.
//! - [`decide`]: an [`Image`] and a [`Change`](decide::Change) give records and an answer, or say why not. Nothing is true
//!   until the records are in the log and have been replayed.
//! - [`partition`]: where one partition stands: which records count as stored, from facts that a broker reports.
//! - [`throttle`]: how fast replication may go where an operator says so.
//!
//! The driver (`sluice::coordination`) appends what was decided, replays what was appended, and only then answers.
#![forbid(unsafe_code)]

pub mod decide;
pub mod metadata;
pub mod partition;
mod planted;
#[cfg(test)]
mod simulation;
pub mod throttle;

pub use metadata::{
    Binding, BrokerRegistration, Endpoint, FeatureLevels, Image, MetadataRecord, OnError, PartitionRegistration,
    Plugin, PluginKinds, PluginLimits, PluginUse, Source, Topic, View,
};
pub use partition::Leader;
