//! The records of the metadata log. On disk a record is its variant's number and its fields in order (postcard), so the enum
//! is append-only: variants are never removed or reordered, and a variant's fields never change. A new shape is a new variant.
//! Every variant's bytes are kept in the tests beside this file.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::binding::{Binding, PluginKinds};

/// One change to what the cluster knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataRecord {
    /// The first record of every log: which cluster this is.
    Cluster {
        /// The cluster's id, as clients see it in Metadata.
        cluster_id: String,
    },
    /// A broker took the controller's seat; the records that follow are its.
    ControllerElected {
        /// The broker that holds the seat.
        id: i32,
        /// The controller epoch it holds it in.
        epoch: i32,
    },
    /// A broker's registration, in full; replaces the one before.
    BrokerRegistered(BrokerRecord),
    /// A broker is not to lead or to be counted on until it registers again. Ignored unless `epoch` is the registered one.
    BrokerFenced {
        /// The broker.
        id: i32,
        /// The life of it that is meant.
        epoch: i64,
    },
    /// A topic, without its partitions; its id is new.
    Topic {
        /// Never used before, never used again.
        id: Uuid,
        /// Unique among topics and views.
        name: String,
        /// Made and read by the brokers themselves.
        internal: bool,
        /// What was set at its creation.
        configs: BTreeMap<String, String>,
    },
    /// Partitions of one topic, each in full: new ones, or in place of what was known of them.
    Partitions {
        /// The topic.
        topic: Uuid,
        /// The partitions, by index.
        partitions: Vec<(i32, PartitionRegistration)>,
    },
    /// A topic's config was set, or with no value taken back to its default.
    TopicConfig {
        /// The topic.
        topic: Uuid,
        /// The config's name.
        name: String,
        /// The value as text.
        value: Option<String>,
    },
    /// A topic is gone, with its partitions, configs and gate. Its views stay, and answer that their topic id is unknown.
    TopicRemoved {
        /// The topic.
        id: Uuid,
    },
    /// Producer ids below `next` are given out.
    ProducerIds {
        /// The first id of the next block.
        next: i64,
    },
    /// A version of a plugin. The component itself is elsewhere; its digest is here.
    Plugin {
        /// The plugin's name.
        name: String,
        /// Counts up from 1 for each name.
        version: u32,
        /// SHA-256 of the component.
        digest: [u8; 32],
        /// Bytes of the component.
        size: u64,
        /// What it can be bound as.
        kinds: PluginKinds,
        /// When it was pushed, in milliseconds since 1970 by the controller's clock.
        at_ms: i64,
    },
    /// A version of a plugin is gone. Its number is not used again.
    PluginRemoved {
        /// The plugin's name.
        name: String,
        /// The version.
        version: u32,
    },
    /// A topic's gate, in place of the one before if there was one.
    Gate {
        /// The topic.
        topic: Uuid,
        /// The gate.
        binding: Binding,
    },
    /// A topic has no gate any more.
    GateRemoved {
        /// The topic.
        topic: Uuid,
    },
    /// A view, new or changed; its id and name never change.
    View {
        /// Never used before, never used again, also when a view of this name is made again.
        id: Uuid,
        /// Unique among topics and views.
        name: String,
        /// The topic it shows. By id: a topic made again under the same name is another topic.
        base: Uuid,
        /// The plugins it is seen through.
        binding: Binding,
        /// Said at its creation: records may be shown unseen by the plugin when that fails under `OnError::Pass`.
        allow_unfiltered: bool,
        /// The view's own configs.
        configs: BTreeMap<String, String>,
    },
    /// A view is gone.
    ViewRemoved {
        /// The view.
        id: Uuid,
    },
    /// Revisions of bindings up to `last` are used. Only snapshots need to say it: the binding that had the last one may be
    /// gone.
    BindingRevision {
        /// The highest revision ever given.
        last: u64,
    },
    /// A broker is about to end: it leads on where nobody else can, and joins nothing any more. Ignored unless `epoch` is the
    /// registered one.
    BrokerShuttingDown {
        /// The broker.
        id: i32,
        /// The life of it that is meant.
        epoch: i64,
    },
    /// A broker is being emptied, or no longer. It stays so over all its lives.
    BrokerDraining {
        /// The broker.
        id: i32,
        /// Whether it is.
        draining: bool,
    },
    /// A broker is gone for good: nothing is known of it any more.
    BrokerUnregistered {
        /// The broker.
        id: i32,
    },
    /// The feature levels a registered broker can work at. Ignored unless `epoch` is the registered one.
    BrokerFeatures {
        /// The broker.
        id: i32,
        /// The life of it that is meant.
        epoch: i64,
        /// The levels.
        features: FeatureLevels,
    },
    /// The level the cluster works at from here on: no record of a higher one comes before.
    FeatureLevel {
        /// The level.
        level: u16,
    },
    /// A broker's config was set, or with no value taken back to its default.
    BrokerConfig {
        /// The broker; none: all that have not set it themselves.
        broker: Option<i32>,
        /// The config's name.
        name: String,
        /// The value as text.
        value: Option<String>,
    },
}

impl MetadataRecord {
    /// The feature level that has this record: a broker of a lower one can't read it. Level 1 is what the first version with
    /// several brokers can read.
    #[must_use]
    pub fn feature_level(&self) -> u16 {
        match self {
            Self::BrokerConfig { .. } => 2,
            _ => 1,
        }
    }
}

/// Feature levels, from the lowest to the highest: those a broker can work at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureLevels {
    /// The lowest.
    pub lowest: u16,
    /// The highest.
    pub highest: u16,
}

impl FeatureLevels {
    /// The first there was: what a broker works at that says nothing of it.
    pub const FIRST: Self = Self { lowest: 1, highest: 1 };
    /// What this version can work at.
    pub const OURS: Self = Self { lowest: 1, highest: 2 };

    /// Whether that level is one of them.
    #[must_use]
    pub fn has(self, level: u16) -> bool {
        (self.lowest..=self.highest).contains(&level)
    }
}

impl Default for FeatureLevels {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for FeatureLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.lowest, self.highest)
    }
}

/// What a broker says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRecord {
    /// `broker.id`.
    pub id: i32,
    /// Of the data folder: tells a broker that came back from another one with its number.
    pub uuid: Uuid,
    /// Of this life of it: rises with every registration (KIP-380).
    pub epoch: i64,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// It ended its last life in order, so its logs hold what they held. An unclean one may have lost the tail.
    pub clean: bool,
    /// Fenced: not counted on.
    pub fenced: bool,
}

/// One address of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The listener's name, which `listener.security.protocol.map` maps to a protocol.
    pub listener: String,
    /// Host name or address as advertised.
    pub host: String,
    /// Port as advertised.
    pub port: u16,
    /// `SSL` or `PLAINTEXT`.
    pub security_protocol: String,
}

/// What the cluster knows of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRegistration {
    /// Brokers that hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Replicas that count towards the high watermark.
    pub isr: Vec<i32>,
    /// Replicas outside the ISR that still hold everything committed: eligible leaders (KIP-966).
    pub elr: Vec<i32>,
    /// Replicas a reassignment is adding (KIP-455).
    pub adding: Vec<i32>,
    /// Replicas a reassignment is removing.
    pub removing: Vec<i32>,
    /// The leader, or [`PartitionRegistration::NO_LEADER`].
    pub leader: i32,
    /// Rises with every reign, also when the same broker leads again after a restart.
    pub leader_epoch: i32,
    /// Rises with every change of this record.
    pub partition_epoch: i32,
    /// The leader was elected uncleanly and has not finished recovering.
    pub recovering: bool,
}

impl PartitionRegistration {
    /// In place of a leader's id while there is none; clients see LEADER_NOT_AVAILABLE.
    pub const NO_LEADER: i32 = -1;

    /// A new partition: the first replica leads, all replicas are in sync because there is nothing yet to be behind of.
    #[must_use]
    pub fn new(replicas: Vec<i32>) -> Self {
        Self {
            leader: replicas.first().copied().unwrap_or(Self::NO_LEADER),
            isr: replicas.clone(),
            replicas,
            elr: Vec::new(),
            adding: Vec::new(),
            removing: Vec::new(),
            leader_epoch: 0,
            partition_epoch: 0,
            recovering: false,
        }
    }

    /// Whether a reassignment is under way.
    #[must_use]
    pub fn is_reassigning(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }

    /// Replicas outside the ISR.
    pub fn out_of_sync(&self) -> impl Iterator<Item = i32> + '_ {
        self.replicas.iter().copied().filter(|replica| !self.isr.contains(replica))
    }
}

#[cfg(test)]
mod tests;
