//! Real brokers for tests of the whole: processes on free ports, TLS with certificates of their own, a ZooKeeper each, and
//! the clients that people use.
//!
//! ```text
//!   Sluice::start()          a ZooKeeper (java), a `sluice broker`, a folder, a CA: all gone when it is dropped
//!     .kill() .restart() …   what happens to brokers
//!     .rdkafka() .kcat() …   who talks to them: clients/
//!     .gate() .view()        what is bound, through the command line as a user would
//!     .stored()              what is in the segment files
//! ```
//! In reading order: [`sluice`](Sluice), `process`, `zookeeper`, `certificates`, `binaries`, `bindings`, `run`, [`clients`], `stored`.
//! Nothing here sleeps: each wait is for an event and has a limit, after which the test fails and shows what the processes
//! said.
#![forbid(unsafe_code)]

mod binaries;
mod bindings;
mod certificates;
pub mod checker;
pub mod clients;
mod cluster;
mod contact;
mod dev;
mod disk;
mod examples;
mod machine;
mod nemesis;
mod network;
mod polling;
mod ports;
mod process;
mod proxy;
mod run;
mod serving;
mod sluice;
mod sockets;
mod stored;
mod workload;
mod zookeeper;

pub use binaries::{plugin_file, sluice_binary};
pub use bindings::Plugin;
pub use certificates::{Certificates, Identity};
pub use cluster::{Cluster, ClusterBuilder, Partition, Software};
pub use contact::Contact;
pub use dev::Dev;
pub use disk::Disk;
pub use examples::{cluster_file, earthquakes, earthquakes_file, walkthrough_file};
pub use nemesis::{Fault, Inflicted, Nemesis, Shape, Step};
pub use network::Network;
pub use polling::poll_until;
pub use ports::Port;
pub use process::Process;
pub use proxy::{Line, Proxy, Way};
pub use run::{Ran, run};
pub use sluice::{Sluice, SluiceBuilder};
pub use stored::stored_batches;
pub use workload::{Stalls, Verdict, Workload, WorkloadBuilder};
pub use zookeeper::{Ensemble, ZooKeeper};

use std::time::Duration;

/// How long anything may take that ought to take a second: two busy cores and a cold Java are slow, a hang is slower.
pub const PATIENCE: Duration = Duration::from_secs(60);
