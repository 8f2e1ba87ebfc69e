//! What the records of the metadata log add up to. Every broker holds the same image at the same place in the log.
//!
//! An image is a value: cloning costs a handful of pointers, a clone never changes, and `replay` copies only what a record
//! touches. Brokers swap in a new one for each batch and read it without locks.
//!
//! `replay` refuses a record that doesn't fit (a topic made twice, a gate on nothing): nobody decides such a record, so the log
//! is not the one this image comes from, and whoever replays must stop.

mod replay;

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_protocol::Uuid;

use super::batch::Hash;
use super::binding::{Binding, PluginKinds};
use super::names::{Named, Names};
use super::record::{Endpoint, FeatureLevels, PartitionRegistration};

pub use replay::ReplayError;

/// A broker as last registered, and what became of it since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerRegistration {
    /// `broker.id`.
    pub id: i32,
    /// Of the data folder: tells a broker that came back from another one with its number.
    pub uuid: Uuid,
    /// Of this life of it: rises with every registration (KIP-380).
    pub epoch: i64,
    /// Where clients and brokers reach it.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// It ended its life before this one in order.
    pub clean: bool,
    /// Not counted on, and this life of it never again.
    pub fenced: bool,
    /// About to end.
    pub shutting_down: bool,
    /// Being emptied, in this life and those to come.
    pub draining: bool,
    /// The feature levels it can work at.
    pub features: FeatureLevels,
}

/// Everything the cluster knows of itself, at one place in the metadata log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Image {
    cluster_id: Option<Arc<str>>,
    controller: Option<(i32, i32)>,
    feature_level: Option<u16>,
    brokers: Arc<BTreeMap<i32, Arc<BrokerRegistration>>>,
    /// What is set for all brokers is under no id.
    broker_configs: Arc<BTreeMap<Option<i32>, BTreeMap<String, String>>>,
    names: Arc<Names>,
    topics: Arc<BTreeMap<Uuid, Arc<Topic>>>,
    views: Arc<BTreeMap<Uuid, Arc<View>>>,
    plugins: Arc<BTreeMap<String, PluginVersions>>,
    partition_count: usize,
    producer_ids_next: i64,
    last_revision: u64,
    next_seq: u64,
    hash: Hash,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Made and read by the brokers themselves.
    pub internal: bool,
    /// Its partitions, in order of their index.
    pub partitions: Vec<PartitionRegistration>,
    /// The configs that are set.
    pub configs: BTreeMap<String, String>,
    /// What its records pass on the way in.
    pub gate: Option<Arc<Binding>>,
}

/// A view: a read-only topic that is another one seen through plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The topic it shows; that may be gone.
    pub base: Uuid,
    /// What records pass on the way out.
    pub binding: Arc<Binding>,
    /// Whether records may be shown unseen by a failing plugin.
    pub allow_unfiltered: bool,
    /// Its own configs.
    pub configs: BTreeMap<String, String>,
}

/// A version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
    /// SHA-256 of the component.
    pub digest: [u8; 32],
    /// Bytes of the component.
    pub size: u64,
    /// What it can be bound as.
    pub kinds: PluginKinds,
    /// When it was pushed, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What a name or an id stands for.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A topic.
    Topic(&'a Arc<Topic>),
    /// A view.
    View(&'a Arc<View>),
}

#[derive(Debug, Clone, Default, PartialEq)]
struct PluginVersions {
    /// The highest version there ever was; the next one is above it.
    last: u32,
    versions: BTreeMap<u32, Arc<Plugin>>,
}

impl Image {
    /// The cluster's id; there is none before the first record.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// The broker that holds the controller's seat, as far as the log tells.
    #[must_use]
    pub fn controller_id(&self) -> Option<i32> {
        self.controller.map(|(id, _)| id)
    }

    /// The epoch it holds it in.
    #[must_use]
    pub fn controller_epoch(&self) -> Option<i32> {
        self.controller.map(|(_, epoch)| epoch)
    }

    /// The topic of that name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        match self.names.get(name)? {
            Named::Topic(id) => self.topics.get(&id),
            Named::View(_) => None,
        }
    }

    /// The topic of that id.
    #[must_use]
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// The view of that name.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<&Arc<View>> {
        match self.names.get(name)? {
            Named::View(id) => self.views.get(&id),
            Named::Topic(_) => None,
        }
    }

    /// The view of that id.
    #[must_use]
    pub fn view_by_id(&self, id: Uuid) -> Option<&Arc<View>> {
        self.views.get(&id)
    }

    /// What the name stands for.
    #[must_use]
    pub fn resolve(&self, name: &str) -> Option<Source<'_>> {
        self.source(self.names.get(name)?)
    }

    /// What the id stands for.
    #[must_use]
    pub fn resolve_id(&self, id: Uuid) -> Option<Source<'_>> {
        self.topics.get(&id).map(Source::Topic).or_else(|| self.views.get(&id).map(Source::View))
    }

    /// Topics and views in order of their names.
    pub fn sources(&self) -> impl Iterator<Item = Source<'_>> {
        self.names.iter().filter_map(|named| self.source(named))
    }

    /// Topics in order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.sources().filter_map(|source| match source {
            Source::Topic(topic) => Some(topic),
            Source::View(_) => None,
        })
    }

    /// Views in order of their names.
    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.sources().filter_map(|source| match source {
            Source::View(view) => Some(view),
            Source::Topic(_) => None,
        })
    }

    /// Partitions of all topics.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The name in use that `name` would be confused with, because they differ only in `.` and `_`.
    #[must_use]
    pub fn confused_with(&self, name: &str) -> Option<&str> {
        self.names.confused_with(name)
    }

    /// That version of a plugin.
    #[must_use]
    pub fn plugin(&self, name: &str, version: u32) -> Option<&Arc<Plugin>> {
        self.plugins.get(name)?.versions.get(&version)
    }

    /// The highest version of a plugin that is there.
    #[must_use]
    pub fn plugin_latest(&self, name: &str) -> Option<&Arc<Plugin>> {
        self.plugins.get(name)?.versions.values().next_back()
    }

    /// The highest version a plugin ever had, 0 if it never had one.
    #[must_use]
    pub fn plugin_version_last(&self, name: &str) -> u32 {
        self.plugins.get(name).map_or(0, |plugin| plugin.last)
    }

    /// Every version of every plugin, by name and version.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.plugins.values().flat_map(|plugin| plugin.versions.values())
    }

    /// Names of the topics and views whose binding uses that version of a plugin.
    pub fn users_of<'a>(&'a self, plugin: &'a str, version: u32) -> impl Iterator<Item = &'a str> {
        let uses =
            move |binding: &Binding| binding.chain.iter().any(|link| link.plugin == plugin && link.version == version);
        self.sources().filter_map(move |source| match source {
            Source::Topic(topic) => topic.gate.as_ref().filter(|gate| uses(gate)).map(|_| topic.name.as_str()),
            Source::View(view) => uses(&view.binding).then_some(view.name.as_str()),
        })
    }

    /// A broker as last registered.
    #[must_use]
    pub fn broker(&self, id: i32) -> Option<&Arc<BrokerRegistration>> {
        self.brokers.get(&id)
    }

    /// All brokers ever registered, by id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<BrokerRegistration>> {
        self.brokers.values()
    }

    /// Whether a broker may join an ISR and be elected: it is registered, not fenced, and not about to end.
    #[must_use]
    pub fn is_active(&self, id: i32) -> bool {
        self.broker(id).is_some_and(|broker| broker.is_active())
    }

    /// The epoch of a broker that [is active](Self::is_active).
    #[must_use]
    pub fn active_epoch(&self, id: i32) -> Option<i64> {
        self.broker(id).filter(|broker| broker.is_active()).map(|broker| broker.epoch)
    }

    /// The feature level the cluster works at.
    #[must_use]
    pub fn feature_level(&self) -> u16 {
        self.feature_level.unwrap_or(FeatureLevels::FIRST.lowest)
    }

    /// The configs set for one broker, or with no id those set for all.
    #[must_use]
    pub fn broker_configs(&self, id: Option<i32>) -> Option<&BTreeMap<String, String>> {
        self.broker_configs.get(&id)
    }

    /// A config of a broker as it was set while the cluster ran: its own, else the one for all. None means as it was started.
    #[must_use]
    pub fn broker_config(&self, id: i32, name: &str) -> Option<&str> {
        let set = |id| self.broker_configs(id).and_then(|configs| configs.get(name));
        set(Some(id)).or_else(|| set(None)).map(String::as_str)
    }

    /// Brokers that are not fenced, by id.
    pub fn serving(&self) -> impl Iterator<Item = &Arc<BrokerRegistration>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// The first producer id that has not been given out.
    #[must_use]
    pub fn producer_ids_next(&self) -> i64 {
        self.producer_ids_next
    }

    /// The highest revision any binding ever had.
    #[must_use]
    pub fn last_revision(&self) -> u64 {
        self.last_revision
    }

    /// Batches of the log that are in this image; the next one has this number.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The hash of the last batch, which the next one has to name.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash
    }

    fn source(&self, named: Named) -> Option<Source<'_>> {
        match named {
            Named::Topic(id) => self.topics.get(&id).map(Source::Topic),
            Named::View(id) => self.views.get(&id).map(Source::View),
        }
    }
}

impl BrokerRegistration {
    /// It may join an ISR and be elected.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.shutting_down
    }
}

#[cfg(test)]
mod tests;
