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
use super::record::{BrokerRecord, PartitionRegistration};

pub use replay::ReplayError;

/// A broker as last registered.
pub type BrokerRegistration = BrokerRecord;

/// Everything the cluster knows of itself, at one place in the metadata log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Image {
    cluster_id: Option<Arc<str>>,
    controller: Option<(i32, i32)>,
    brokers: Arc<BTreeMap<i32, Arc<BrokerRegistration>>>,
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

    /// Brokers that may lead and be counted on, by id.
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

#[cfg(test)]
mod tests;
