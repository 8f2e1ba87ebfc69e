//! What the admin API takes and gives, as JSON. The server and the `sluice` command share these types, so neither can drift.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `POST /v1/plugins?name=NAME` | the component's bytes, `application/wasm` | [`PluginPushed`] |
//! | `GET /v1/plugins` | | a list of [`PluginInfo`] |
//! | `DELETE /v1/plugins/{name}/{version}` | | `204` |
//! | `PUT /v1/topics/{topic}/gate` | [`BindingSpec`] | [`GateInfo`], once no batch can pass by it any more |
//! | `GET /v1/topics/{topic}/gate` | | [`GateInfo`] |
//! | `DELETE /v1/topics/{topic}/gate` | | `204` |
//! | `GET /v1/gates` | | a list of [`GateInfo`] |
//! | `PUT /v1/views/{name}` | [`ViewSpec`] | [`ViewInfo`] |
//! | `GET /v1/views` | | a list of [`ViewInfo`] |
//! | `GET /v1/views/{name}` | | [`ViewInfo`] |
//! | `DELETE /v1/views/{name}` | | `204` |
//! | `GET /v1/cluster` | | [`ClusterInfo`] |
//! | `GET /v1/cluster/features` | | [`FeaturesInfo`] |
//! | `PUT /v1/cluster/features` | [`FeaturesSpec`] | [`FeaturesInfo`] |
//! | `DELETE /v1/cluster/brokers/{id}` | | `204`; the broker is forgotten |
//! | `GET /v1/cluster/balance` | | [`PlanInfo`] |
//! | `PUT /v1/cluster/brokers/{id}/drain` | | [`DrainInfo`]; the broker is being emptied from then on |
//! | `GET /v1/cluster/brokers/{id}/drain` | | [`DrainInfo`] |
//! | `DELETE /v1/cluster/brokers/{id}/drain` | | [`DrainInfo`] |
//! | `GET /v1/topics/{topic}/partitions/{partition}/replicas` | | a list of [`ReplicaInfo`] |
//! | `POST /v1/topics/{topic}/partitions/{partition}/recover` | [`RecoverSpec`] | a list of [`ReplicaInfo`] |
//!
//! A refusal has a status of 4xx or 5xx and an [`ErrorBody`].

mod cluster;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use cluster::{
    BrokerFeatures, BrokerInfo, BrokerState, ClusterInfo, DrainInfo, FeaturesInfo, FeaturesSpec, LoadInfo, MoveInfo,
    PlanInfo, PlannedBroker, RecoverSpec, ReplicaInfo, ReplicaLog,
};

/// Why something was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The cause, for a person.
    pub error: String,
    /// What to do about it, where that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// What a plugin can be bound as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// Before a topic's log.
    Gate,
    /// Between a topic's log and consumers.
    View,
}

/// A plugin was taken in, or was there already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginPushed {
    /// Its name.
    pub name: String,
    /// The version it has now; versions count up from 1.
    pub version: u32,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// Whether the same bytes were the newest version already.
    pub known: bool,
    /// What it can be bound as.
    pub kinds: Vec<PluginKind>,
}

/// A plugin's version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// Which version.
    pub version: u32,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// Bytes of the component.
    pub size: u64,
    /// What it can be bound as.
    pub kinds: Vec<PluginKind>,
    /// When it was pushed, milliseconds since 1970.
    pub pushed_at_ms: i64,
    /// The topics and views that use it.
    pub used_by: Vec<String>,
}

/// What becomes of a batch on which a plugin fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorPolicy {
    /// It is refused, or not shown.
    #[default]
    Fail,
    /// It passes unseen by the plugin.
    Pass,
}

/// One plugin of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginUseSpec {
    /// The plugin's name.
    pub plugin: String,
    /// Its version; the newest if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Its configuration, any JSON that the plugin takes.
    #[serde(default)]
    pub config: serde_json::Value,
}

/// What a binding may use. What is not given has the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsSpec {
    /// Bytes of memory of one instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Milliseconds of CPU time for one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u32>,
    /// Milliseconds by the clock for one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u32>,
    /// Bytes handed back for one batch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Bytes of log lines a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes_per_second: Option<u32>,
    /// Names of metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_names: Option<u32>,
}

/// A binding as it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingSpec {
    /// The plugins in order; exactly one for now.
    pub chain: Vec<PluginUseSpec>,
    /// What becomes of a batch on which one fails.
    #[serde(default)]
    pub on_error: ErrorPolicy,
    /// What they may use.
    #[serde(default)]
    pub limits: LimitsSpec,
}

/// A binding in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BindingInfo {
    /// The plugins in order, each with its version.
    pub chain: Vec<PluginUseSpec>,
    /// What becomes of a batch on which one fails.
    pub on_error: ErrorPolicy,
    /// What they may use, all of it filled in.
    pub limits: LimitsSpec,
    /// Rises with every change of any binding.
    pub revision: u64,
    /// Why it does not run on the broker asked, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
    /// In the answer to a change: brokers that serve and have not said in time that it is in force there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub not_yet_on: BTreeSet<i32>,
}

/// A topic's gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateInfo {
    /// The topic.
    pub topic: String,
    /// Its binding.
    #[serde(flatten)]
    pub binding: BindingInfo,
}

/// A view as it is asked for. One that exists gets the new binding; its base stays what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSpec {
    /// The topic it shows.
    pub base: String,
    /// The plugins in order; exactly one for now.
    pub chain: Vec<PluginUseSpec>,
    /// What becomes of a batch on which one fails. `pass` shows records that the plugin did not see.
    #[serde(default)]
    pub on_error: ErrorPolicy,
    /// Has to be said for `on_error: pass`.
    #[serde(default)]
    pub allow_unfiltered: bool,
    /// What they may use.
    #[serde(default)]
    pub limits: LimitsSpec,
}

/// A view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewInfo {
    /// The name consumers subscribe to.
    pub name: String,
    /// Its topic id.
    pub id: String,
    /// The topic it shows; empty when that topic is gone.
    pub base: String,
    /// Whether `on_error: pass` was allowed.
    pub allow_unfiltered: bool,
    /// Its binding.
    #[serde(flatten)]
    pub binding: BindingInfo,
}
