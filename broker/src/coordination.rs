//! What this broker knows of its cluster, and how that changes: the metadata log in a coordination service, replayed into an
//! [`Image`](sluice_cluster::Image), and written by whoever holds the controller's seat.
//!
//! In reading order:
//! - [`coordinator`]: what is needed of a coordination service; [`zookeeper`] and [`local`] are two.
//! - `znodes`: every node we keep there. `founding`: the first of them.
//! - `seat`: who may write. `metadata_log`: what is written, and that it never goes back (`seen`). `snapshots`: so that it doesn't
//!   grow for ever.
//! - `member`: the one task that does all of it, over and over as sessions come and go. `suspicion`: who is gone. `lag`: how far it is
//!   behind.
//! - [`metadata`]: the handle that the rest of the broker holds. `forward`: a change on its way to the controller, and
//!   [`peer_calls`]: how it gets there.
//!
//! ```text
//!   Metadata::submit ──► the broker that holds the seat: decide on the image (sluice_cluster::decide)
//!                           │ entry: at most 512 KiB of records, gathered for some milliseconds
//!                           ▼
//!                        metadata_log: multi [epoch is ours, entry is new, head moves]
//!                           │ done for sure
//!                           ▼                       the head's watch fires
//!                        image swapped ──► the answer      ──► every other broker reads the entry and swaps its image
//! ```
//! A broker joins first (reads), then registers (is counted on): in between it opens its logs.

pub mod coordinator;
mod elections;
mod forward;
mod founding;
mod lag;
pub mod local;
mod member;
pub mod metadata;
mod metadata_log;
pub mod peer_calls;
mod pending;
mod rpc_calls;
mod seat;
mod seen;
mod snapshots;
mod suspicion;
mod znodes;
pub mod zookeeper;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice_cluster::decide::{ConfigRules, RegisterError, SeatError};
use sluice_cluster::{Endpoint, FeatureLevels};
use sluice_protocol::Uuid;

pub use coordinator::{Coordinator, NODE_BYTES_MAX};
pub use elections::Elections;
pub use lag::MetadataLag;
pub use local::{LocalStore, LocalStoreError};
pub use member::ReturnLeaders;
pub use metadata::{Metadata, Standing, SubmitError};
pub use metadata_log::LogError;
pub use peer_calls::{ChangeFailed, ForwardError, PeerCalls, Testimony};
pub(crate) use rpc_calls::RpcCalls;
pub use snapshots::SnapshotEvery;
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
    /// How often the log is replaced by a snapshot: [`SnapshotEvery::default`] unless there is a reason.
    pub snapshot_every: SnapshotEvery,
    /// Whether this broker, while it is the controller, has leaders go back to where they should be, and how.
    pub return_leaders: Option<ReturnLeaders>,
    /// The way to the other brokers.
    pub peers: Arc<dyn PeerCalls>,
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
}

/// What a broker says of itself when it registers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registering {
    /// Where it is reached, by clients and by other brokers.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The last life of this data folder ended in order.
    pub clean: bool,
    /// The feature levels that it can work at.
    pub features: FeatureLevels,
}

/// This broker has read what the cluster knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The cluster.
    pub cluster_id: String,
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
    /// The cluster was joined, and does not count on this broker.
    #[error("this broker is not registered: {why}")]
    Unregistered {
        /// Why not, as far as is known.
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
    /// A broker with this id is there, with another data folder or a copy of this one.
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

/// Joins the cluster, founding it if there is none and the data folder is new: waits for the coordinator and says so, and replays
/// the metadata log. From then on a task of its own follows it, until [`Metadata::shutdown`]. The cluster counts on this broker
/// only after [`Metadata::register`].
pub async fn join(
    config: CoordinationConfig,
    identity: BrokerIdentity,
    rules: Arc<dyn ConfigRules>,
) -> Result<(Metadata, Joined), StartError> {
    let seen = seen::Seen::open(&config.seen_path)
        .map_err(|error: io::Error| Halt::Seen { path: config.seen_path.clone(), why: error.to_string() })?;
    member::join(config, identity, rules, seen).await
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
