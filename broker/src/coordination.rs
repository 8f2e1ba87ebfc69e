//! What this broker knows of its cluster, and how that changes: the metadata log in a coordination service, replayed into an
//! [`Image`](sluice_cluster::Image), and written by whoever holds the controller's seat.
//!
//! In reading order:
//! - [`coordinator`]: what is needed of a coordination service; [`zookeeper`] and [`local`] are two.
//! - `znodes`: every node we keep there. `founding`: the first of them.
//! - `seat`: who may write. `metadata_log`: what is written, and that it never goes back (`seen`).
//! - `controller`: the one task that does all of it, over and over as sessions come and go.
//! - [`metadata`]: the handle that the rest of the broker holds.
//!
//! ```text
//!   Metadata::submit ──► controller: decide on the image (sluice_cluster::decide)
//!                           │ entry: at most 512 KiB of records, gathered for some milliseconds
//!                           ▼
//!                        metadata_log: multi [epoch is ours, entry is new, head moves]
//!                           │ done for sure
//!                           ▼
//!                        image swapped ──► changed() ──► the answer
//! ```
//! One broker serves a cluster in this version: it holds the seat and is the only reader. A second one is refused.

mod controller;
pub mod coordinator;
mod founding;
pub mod local;
pub mod metadata;
mod metadata_log;
mod pending;
mod seat;
mod seen;
mod znodes;
pub mod zookeeper;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_cluster::Endpoint;
use sluice_cluster::decide::{ConfigRules, RegisterError, SeatError};
use sluice_protocol::Uuid;

pub use coordinator::{Coordinator, NODE_BYTES_MAX};
pub use local::{LocalStore, LocalStoreError};
pub use metadata::{Metadata, Standing, SubmitError};
pub use metadata_log::LogError;
pub use zookeeper::{ConnectString, ConnectStringError, ZooKeeper, ZooKeeperIdentity, ZooKeeperTls};

/// How to take part in a cluster.
#[derive(Debug)]
pub struct CoordinationConfig {
    /// Where the cluster is kept.
    pub coordinator: Arc<dyn Coordinator>,
    /// `zookeeper.connection.timeout.ms`: how long a start waits for the coordinator.
    pub connection_timeout: Duration,
    /// File in the data folder that remembers how far the metadata log has been seen.
    pub seen_path: PathBuf,
    /// How long a change waits for others to share its entry: [`CoordinationConfig::LINGER`] unless there is a reason.
    pub linger: Duration,
}

impl CoordinationConfig {
    /// Short beside the round trip of an append under load, long enough for requests that come together to share one.
    pub const LINGER: Duration = Duration::from_millis(5);
}

/// Who this broker is.
#[derive(Debug, Clone)]
pub struct BrokerIdentity {
    /// `broker.id`.
    pub id: i32,
    /// Of the data folder, whose lock this process holds: whoever else was this broker is gone.
    pub uuid: Uuid,
    /// The cluster that the data folder is of; none if it is new.
    pub cluster_id: Option<String>,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The last life of this data folder ended in order.
    pub clean: bool,
}

/// This broker is part of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The cluster.
    pub cluster_id: String,
    /// Of this life of the broker.
    pub broker_epoch: i64,
    /// Of its reign as the controller.
    pub controller_epoch: i32,
}

/// Why this broker did not become part of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The coordinator was waited for in vain.
    #[error("{place} did not answer within {waited:?}: {why}")]
    Unreachable {
        /// Where it should be.
        place: String,
        /// How long it was waited for.
        waited: Duration,
        /// What came of the last try.
        why: String,
    },
    /// It can't be, however long it is waited for.
    #[error(transparent)]
    Halted(#[from] Halt),
}

/// Why this broker can't be part of the cluster, or not any longer. Only an operator can change that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// The configuration can't work.
    #[error("{why}")]
    Config {
        /// What is wrong with it.
        why: String,
    },
    /// Another broker serves.
    #[error("one serving broker a cluster in this version: broker {serving} is serving")]
    AnotherServes {
        /// The broker.
        serving: i32,
    },
    /// A broker with this id and another data folder is there.
    #[error("broker.id {id} is in use: a broker with another data folder is registered with it")]
    IdInUse {
        /// The id.
        id: i32,
    },
    /// The data folder is of another cluster.
    #[error("the data folder is of cluster {data}, {}", OtherCluster(found))]
    OtherCluster {
        /// The cluster that the data folder is of.
        data: String,
        /// The cluster that the coordinator has, if any.
        found: Option<String>,
    },
    /// The metadata log isn't the one this broker has seen.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The metadata log is of another cluster than the coordinator says.
    #[error(transparent)]
    Seat(#[from] SeatError),
    /// The metadata log doesn't let this broker register.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// What the coordinator holds can't be read, or it doesn't let us write.
    #[error("{why}")]
    Coordinator {
        /// Which node, and why.
        why: String,
    },
    /// The file that remembers how far the metadata log has been seen can't be used.
    #[error("{path}: {why}", path = path.display())]
    Seen {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
}

/// Becomes part of the cluster, founding it if there is none and the data folder is new: waits for the coordinator and says so,
/// takes the controller's seat, replays the metadata log, registers. From then on a task of its own keeps it so, until
/// [`Metadata::shutdown`].
pub async fn start(
    config: CoordinationConfig,
    identity: BrokerIdentity,
    rules: Arc<dyn ConfigRules>,
) -> Result<(Metadata, Registration), StartError> {
    let seen = seen::Seen::open(&config.seen_path)
        .map_err(|error: io::Error| Halt::Seen { path: config.seen_path.clone(), why: error.to_string() })?;
    controller::start(config, identity, rules, seen).await
}

struct OtherCluster<'a>(&'a Option<String>);

impl fmt::Display for OtherCluster<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(found) => write!(f, "the coordinator's is {found}"),
            None => f.write_str("the coordinator has none"),
        }
    }
}
