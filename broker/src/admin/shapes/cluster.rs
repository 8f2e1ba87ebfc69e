//! What the admin API says of brokers and replicas.

use serde::{Deserialize, Serialize};

/// How the cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterInfo {
    /// The cluster's id.
    pub cluster_id: String,
    /// The broker that is the controller, if there is one.
    pub controller: Option<i32>,
    /// The brokers, by id.
    pub brokers: Vec<BrokerInfo>,
    /// Topics.
    pub topics: usize,
    /// Partitions of all topics.
    pub partitions: usize,
    /// Of these: those without a leader.
    pub offline: usize,
    /// Those with a replica that is not in sync.
    pub under_replicated: usize,
    /// Those with fewer replicas in sync than `min.insync.replicas` asks for.
    pub under_min_isr: usize,
    /// Those that are led by another replica than the preferred one.
    pub not_preferred: usize,
    /// Those that are being reassigned.
    pub reassigning: usize,
}

impl ClusterInfo {
    /// Everything is where it should be and in sync.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.controller.is_some() && self.offline == 0 && self.under_replicated == 0 && self.under_min_isr == 0
    }
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerInfo {
    /// Its id.
    pub broker: i32,
    /// Where it is.
    pub rack: Option<String>,
    /// How it stands.
    pub state: BrokerState,
    /// Whether it is being emptied.
    pub draining: bool,
    /// Replicas it has.
    pub replicas: usize,
    /// Partitions it leads.
    pub leaders: usize,
    /// Bytes of its replicas; nothing if it does not say.
    pub bytes: Option<u64>,
    /// Where clients reach it: `LISTENER://HOST:PORT`.
    pub endpoints: Vec<String>,
}

/// The feature level the cluster works at, and those that its brokers can work at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeaturesInfo {
    /// The level: no broker writes what one of this level can't read.
    pub level: u16,
    /// The brokers, by id.
    pub brokers: Vec<BrokerFeatures>,
}

/// What a broker can work at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerFeatures {
    /// The broker.
    pub broker: i32,
    /// How it stands.
    pub state: BrokerState,
    /// The lowest level.
    pub lowest: u16,
    /// The highest level.
    pub highest: u16,
}

/// The level the cluster is to work at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeaturesSpec {
    /// The level. There is no way back.
    pub level: u16,
}

/// How a broker stands in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BrokerState {
    /// It leads, and is counted on.
    Serving,
    /// It is about to end.
    ShuttingDown,
    /// It is away, or not yet back.
    Fenced,
}

/// A broker that is being emptied, and what is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainInfo {
    /// The broker.
    pub broker: i32,
    /// Whether it is being emptied.
    pub draining: bool,
    /// Replicas it still has.
    pub replicas: usize,
    /// Partitions it still leads.
    pub leaders: usize,
    /// Bytes of these replicas.
    pub bytes: u64,
    /// Bytes of them that whoever takes over has already.
    pub copied: u64,
}

/// Moves that would even the brokers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanInfo {
    /// The moves.
    pub moves: Vec<MoveInfo>,
    /// What has to be copied for them.
    pub bytes: u64,
    /// What brokers carry now and would carry then, by id.
    pub brokers: Vec<PlannedBroker>,
}

/// One partition that would have other replicas, or the same in another order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveInfo {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Its replicas, the preferred leader first.
    pub from: Vec<i32>,
    /// What they would be.
    pub to: Vec<i32>,
    /// What has to be copied.
    pub bytes: u64,
}

/// What a broker carries before and after a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedBroker {
    /// The broker.
    pub broker: i32,
    /// Now.
    pub before: LoadInfo,
    /// Then.
    pub after: LoadInfo,
}

/// What a broker carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadInfo {
    /// Bytes of its replicas.
    pub bytes: u64,
    /// Replicas.
    pub replicas: usize,
    /// Partitions whose preferred leader it is.
    pub leaders: usize,
}

/// What a replica says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaInfo {
    /// The broker.
    pub broker: i32,
    /// Whether it leads the partition.
    pub leader: bool,
    /// Whether it is in sync.
    pub in_sync: bool,
    /// Whether it may lead although it is not in sync (KIP-966).
    pub eligible: bool,
    /// How far its log is; nothing if the broker can't be asked or has no such replica.
    pub log: Option<ReplicaLog>,
}

/// How far a replica's log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaLog {
    /// The leader epoch of its last batch; -1 of an empty log.
    pub latest_epoch: i32,
    /// Where it starts.
    pub log_start_offset: i64,
    /// Where it ends.
    pub log_end_offset: i64,
    /// What it knows to be committed.
    pub high_watermark: i64,
    /// Its bytes.
    pub bytes: u64,
}

/// Who is to lead a partition that nobody may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoverSpec {
    /// The broker. What other replicas have more than its is lost.
    pub leader: i32,
}
