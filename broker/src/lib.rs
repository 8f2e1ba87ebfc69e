//! The broker: everything that serves, and the `sluice` command.
//!
//! In the order in which data passes: [`net`] (frames in, answers out), `api` (one file an API), `plugins` (what stands before
//! and behind a log), `partition` (the logs), [`coordination`] (what the cluster knows of itself). [`broker`] puts them
//! together from a [`config`]; [`admin`] is the other door. In front of it all stands the command, [`cli`], with a small
//! [`client`] of Kafka's and what a broker on one's own machine needs ([`dev`]).
#![forbid(unsafe_code)]

pub mod admin;
mod api;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
pub mod coordination;
pub mod dev;
pub mod first_party;
mod in_force;
mod inter_broker;
mod metrics;
pub mod net;
mod partition;
mod plugins;
mod producer_ids;
mod reassignments;
mod replica_states;
mod rpc;
mod slow;
