//! Records onto an image, and an image back into records.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_protocol::Uuid;

use super::super::batch::Hash;
use super::super::names::Named;
use super::super::record::{BrokerRecord, FeatureLevels, MetadataRecord, PartitionRegistration};
use super::{BrokerRegistration, Image, Plugin, Topic, View};

/// The record doesn't fit the image: the log is not the one that led here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The log says again, or differently, which cluster it is of.
    #[error("the log names cluster {found} where {known:?} is known")]
    Cluster {
        /// What was known.
        known: Option<String>,
        /// What the record says.
        found: String,
    },
    /// The name is taken.
    #[error("{name} is made twice")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The record is about a topic or view that is not there.
    #[error("no topic or view has the id {id}")]
    NoSuchId {
        /// The id.
        id: Uuid,
    },
    /// Partition indexes have to come without gaps.
    #[error("topic {topic} gets partition {partition} while it has {known}")]
    PartitionGap {
        /// The topic.
        topic: Uuid,
        /// The index that came.
        partition: i32,
        /// Partitions known.
        known: usize,
    },
    /// A counter would go back.
    #[error("{what} goes back from {known} to {found}")]
    Backwards {
        /// Which counter.
        what: &'static str,
        /// Where it stood.
        known: i64,
        /// What the record says.
        found: i64,
    },
    /// The cluster does not work at the feature level that has this record.
    #[error("a record of feature level {found} while the cluster works at level {known}")]
    FeatureLevel {
        /// The level of the cluster.
        known: u16,
        /// The level of the record.
        found: u16,
    },
    /// The record is about a plugin or a broker that is not there.
    #[error("no {what} {name}")]
    NoSuch {
        /// `plugin` or `broker`.
        what: &'static str,
        /// Its name.
        name: String,
    },
}

impl Image {
    /// Takes one batch's place in the log: its records have been replayed.
    pub(in crate::metadata) fn applied(&mut self, next_seq: u64, hash: Hash) {
        self.next_seq = next_seq;
        self.hash = hash;
    }

    /// Applies one record. After an error the image is to be thrown away: part of its batch is in it.
    pub fn replay(&mut self, record: &MetadataRecord) -> Result<(), ReplayError> {
        let (known, found) = (self.feature_level(), record.feature_level());
        if found > known {
            return Err(ReplayError::FeatureLevel { known, found });
        }
        match record {
            MetadataRecord::Cluster { cluster_id } => self.replay_cluster(cluster_id),
            MetadataRecord::ControllerElected { id, epoch } => self.replay_controller(*id, *epoch),
            MetadataRecord::BrokerRegistered(broker) => {
                self.replay_registered(broker.clone());
                Ok(())
            }
            MetadataRecord::BrokerFenced { id, epoch } => {
                self.replay_life(*id, Some(*epoch), |broker| broker.fenced = true)
            }
            MetadataRecord::BrokerShuttingDown { id, epoch } => {
                self.replay_life(*id, Some(*epoch), |broker| broker.shutting_down = true)
            }
            MetadataRecord::BrokerFeatures { id, epoch, features } => {
                self.replay_life(*id, Some(*epoch), |broker| broker.features = *features)
            }
            MetadataRecord::BrokerDraining { id, draining } => {
                self.replay_life(*id, None, |broker| broker.draining = *draining)
            }
            MetadataRecord::BrokerUnregistered { id } => {
                Arc::make_mut(&mut self.brokers).remove(id).ok_or_else(|| no_broker(*id))?;
                Arc::make_mut(&mut self.broker_configs).remove(&Some(*id));
                Ok(())
            }
            MetadataRecord::FeatureLevel { level } => {
                rises("the feature level", self.feature_level().into(), (*level).into())?;
                self.feature_level = Some(*level);
                Ok(())
            }
            MetadataRecord::BrokerConfig { broker, name, value } => {
                self.replay_broker_config(*broker, name, value.as_deref());
                Ok(())
            }
            MetadataRecord::Topic { id, name, internal, configs } => self.replay_topic(*id, name, *internal, configs),
            MetadataRecord::Partitions { topic, partitions } => self.replay_partitions(*topic, partitions),
            MetadataRecord::TopicConfig { topic, name, value } => {
                let configs = &mut self.topic_mut(*topic)?.configs;
                match value {
                    Some(value) => configs.insert(name.clone(), value.clone()),
                    None => configs.remove(name),
                };
                Ok(())
            }
            MetadataRecord::TopicRemoved { id } => {
                let topic = Arc::make_mut(&mut self.topics).remove(id).ok_or(ReplayError::NoSuchId { id: *id })?;
                Arc::make_mut(&mut self.names).remove(&topic.name);
                self.partition_count -= topic.partitions.len();
                Ok(())
            }
            MetadataRecord::ProducerIds { next } => {
                rises("producer ids", self.producer_ids_next, *next)?;
                self.producer_ids_next = *next;
                Ok(())
            }
            MetadataRecord::Plugin { name, version, digest, size, kinds, at_ms } => {
                let plugin = Plugin {
                    name: name.clone(),
                    version: *version,
                    digest: *digest,
                    size: *size,
                    kinds: *kinds,
                    at_ms: *at_ms,
                };
                let known = Arc::make_mut(&mut self.plugins).entry(name.clone()).or_default();
                known.last = known.last.max(*version);
                known.versions.insert(*version, Arc::new(plugin));
                Ok(())
            }
            MetadataRecord::PluginRemoved { name, version } => {
                // A snapshot says of a plugin whose last version is gone only this: that number is used up.
                let known = Arc::make_mut(&mut self.plugins).entry(name.clone()).or_default();
                known.last = known.last.max(*version);
                known.versions.remove(version);
                Ok(())
            }
            MetadataRecord::Gate { topic, binding } => {
                self.topic_mut(*topic)?.gate = Some(Arc::new(binding.clone()));
                self.last_revision = self.last_revision.max(binding.revision);
                Ok(())
            }
            MetadataRecord::GateRemoved { topic } => {
                self.topic_mut(*topic)?.gate = None;
                Ok(())
            }
            MetadataRecord::View { id, name, base, binding, allow_unfiltered, configs } => {
                let binding = Arc::new(binding.clone());
                self.last_revision = self.last_revision.max(binding.revision);
                let view = View {
                    id: *id,
                    name: name.clone(),
                    base: *base,
                    binding,
                    allow_unfiltered: *allow_unfiltered,
                    configs: configs.clone(),
                };
                self.replay_view(view)
            }
            MetadataRecord::ViewRemoved { id } => {
                let view = Arc::make_mut(&mut self.views).remove(id).ok_or(ReplayError::NoSuchId { id: *id })?;
                Arc::make_mut(&mut self.names).remove(&view.name);
                Ok(())
            }
            MetadataRecord::BindingRevision { last } => {
                self.last_revision = self.last_revision.max(*last);
                Ok(())
            }
        }
    }

    /// The records that lead to this image from an empty one: what a snapshot holds.
    pub(in crate::metadata) fn records(&self) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        records.extend(self.cluster_id().map(|id| MetadataRecord::Cluster { cluster_id: id.to_owned() }));
        records.extend(self.controller.map(|(id, epoch)| MetadataRecord::ControllerElected { id, epoch }));
        records.extend(self.feature_level.map(|level| MetadataRecord::FeatureLevel { level }));
        self.brokers().for_each(|broker| records.extend(broker_records(broker)));
        for (broker, configs) in self.broker_configs.iter() {
            records.extend(configs.iter().map(|(name, value)| {
                let (name, value) = (name.clone(), Some(value.clone()));
                MetadataRecord::BrokerConfig { broker: *broker, name, value }
            }));
        }
        for plugin in self.plugins() {
            let Plugin { name, version, digest, size, kinds, at_ms } = plugin.as_ref().clone();
            records.push(MetadataRecord::Plugin { name, version, digest, size, kinds, at_ms });
        }
        for (name, known) in self.plugins.iter().filter(|(_, known)| !known.versions.contains_key(&known.last)) {
            records.push(MetadataRecord::PluginRemoved { name: name.clone(), version: known.last });
        }
        for topic in self.topics() {
            let Topic { id, name, internal, partitions, configs, gate } = topic.as_ref().clone();
            records.push(MetadataRecord::Topic { id, name, internal, configs });
            records.push(MetadataRecord::Partitions { topic: id, partitions: (0..).zip(partitions).collect() });
            records.extend(gate.map(|gate| MetadataRecord::Gate { topic: id, binding: gate.as_ref().clone() }));
        }
        for view in self.views() {
            let View { id, name, base, binding, allow_unfiltered, configs } = view.as_ref().clone();
            let binding = binding.as_ref().clone();
            records.push(MetadataRecord::View { id, name, base, binding, allow_unfiltered, configs });
        }
        records.push(MetadataRecord::BindingRevision { last: self.last_revision });
        records.push(MetadataRecord::ProducerIds { next: self.producer_ids_next });
        records
    }

    fn topic_mut(&mut self, id: Uuid) -> Result<&mut Topic, ReplayError> {
        let topic = Arc::make_mut(&mut self.topics).get_mut(&id).ok_or(ReplayError::NoSuchId { id })?;
        Ok(Arc::make_mut(topic))
    }

    fn replay_cluster(&mut self, cluster_id: &str) -> Result<(), ReplayError> {
        if let Some(known) = self.cluster_id() {
            return Err(ReplayError::Cluster { known: Some(known.to_owned()), found: cluster_id.to_owned() });
        }
        self.cluster_id = Some(cluster_id.into());
        Ok(())
    }

    fn replay_controller(&mut self, id: i32, epoch: i32) -> Result<(), ReplayError> {
        if let Some(known) = self.controller_epoch() {
            rises("the controller epoch", known.into(), epoch.into())?;
        }
        self.controller = Some((id, epoch));
        Ok(())
    }

    fn replay_registered(&mut self, record: BrokerRecord) {
        let BrokerRecord { id, uuid, epoch, endpoints, rack, clean, fenced } = record;
        let broker = BrokerRegistration {
            id,
            uuid,
            epoch,
            endpoints,
            rack,
            clean,
            fenced,
            shutting_down: false,
            draining: self.broker(id).is_some_and(|known| known.draining),
            features: FeatureLevels::FIRST,
        };
        Arc::make_mut(&mut self.brokers).insert(id, Arc::new(broker));
    }

    /// Changes a registered broker; with an epoch, only in that life of it.
    fn replay_life(
        &mut self,
        id: i32,
        epoch: Option<i64>,
        change: impl FnOnce(&mut BrokerRegistration),
    ) -> Result<(), ReplayError> {
        let broker = Arc::make_mut(&mut self.brokers).get_mut(&id).ok_or_else(|| no_broker(id))?;
        if epoch.is_none_or(|epoch| epoch == broker.epoch) {
            change(Arc::make_mut(broker));
        }
        Ok(())
    }

    fn replay_broker_config(&mut self, broker: Option<i32>, name: &str, value: Option<&str>) {
        let all = Arc::make_mut(&mut self.broker_configs);
        let configs = all.entry(broker).or_default();
        match value {
            Some(value) => configs.insert(name.to_owned(), value.to_owned()),
            None => configs.remove(name),
        };
        if configs.is_empty() {
            all.remove(&broker);
        }
    }

    fn replay_topic(
        &mut self,
        id: Uuid,
        name: &str,
        internal: bool,
        configs: &BTreeMap<String, String>,
    ) -> Result<(), ReplayError> {
        if !Arc::make_mut(&mut self.names).insert(name, Named::Topic(id)) {
            return Err(ReplayError::NameTaken { name: name.to_owned() });
        }
        let topic =
            Topic { id, name: name.to_owned(), internal, partitions: Vec::new(), configs: configs.clone(), gate: None };
        Arc::make_mut(&mut self.topics).insert(id, Arc::new(topic));
        Ok(())
    }

    fn replay_partitions(
        &mut self,
        topic: Uuid,
        partitions: &[(i32, PartitionRegistration)],
    ) -> Result<(), ReplayError> {
        let known = &mut self.topic_mut(topic)?.partitions;
        let before = known.len();
        for (partition, registration) in partitions {
            let gap = ReplayError::PartitionGap { topic, partition: *partition, known: known.len() };
            let index = usize::try_from(*partition).map_err(|_| gap.clone())?;
            match index.cmp(&known.len()) {
                Ordering::Less => {
                    rises("a leader epoch", known[index].leader_epoch.into(), registration.leader_epoch.into())?;
                    rises(
                        "a partition epoch",
                        known[index].partition_epoch.into(),
                        registration.partition_epoch.into(),
                    )?;
                    known[index] = registration.clone();
                }
                Ordering::Equal => known.push(registration.clone()),
                Ordering::Greater => return Err(gap),
            }
        }
        let made = known.len() - before;
        self.partition_count += made;
        Ok(())
    }

    fn replay_view(&mut self, view: View) -> Result<(), ReplayError> {
        let is_new = !self.views.contains_key(&view.id);
        if is_new && !Arc::make_mut(&mut self.names).insert(&view.name, Named::View(view.id)) {
            return Err(ReplayError::NameTaken { name: view.name });
        }
        Arc::make_mut(&mut self.views).insert(view.id, Arc::new(view));
        Ok(())
    }
}

/// A broker as records: its registration, and what became of it since.
fn broker_records(broker: &BrokerRegistration) -> Vec<MetadataRecord> {
    let BrokerRegistration { id, uuid, epoch, endpoints, rack, clean, fenced, shutting_down, draining, features } =
        broker.clone();
    let mut records = vec![
        MetadataRecord::BrokerRegistered(BrokerRecord { id, uuid, epoch, endpoints, rack, clean, fenced }),
        MetadataRecord::BrokerFeatures { id, epoch, features },
    ];
    if shutting_down {
        records.push(MetadataRecord::BrokerShuttingDown { id, epoch });
    }
    if draining {
        records.push(MetadataRecord::BrokerDraining { id, draining });
    }
    records
}

fn no_broker(id: i32) -> ReplayError {
    ReplayError::NoSuch { what: "broker", name: id.to_string() }
}

fn rises(what: &'static str, known: i64, found: i64) -> Result<(), ReplayError> {
    if found < known { Err(ReplayError::Backwards { what, known, found }) } else { Ok(()) }
}
