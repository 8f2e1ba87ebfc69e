//! Brokers that come, and brokers that are forgotten. A broker is a data folder (its uuid) in a life (its epoch): a new life begins
//! with nothing that the one before was counted on for, unless it ended in order.

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::partition_change::{Brokers, Election, PartitionChange, TopicRules, change_partitions};
use super::{Change, Decided, Given};
use crate::metadata::{BrokerRecord, Endpoint, FeatureLevels, Image, MetadataRecord, PartitionRegistration};
use crate::planted::{Bug, planted};

/// Registers a broker that holds a session, in a new life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterBroker {
    /// `broker.id`.
    pub id: i32,
    /// Of its data folder.
    pub uuid: Uuid,
    /// Of this life: the coordinator's number for its ephemeral node. Rises, so another life is told by the number alone.
    pub epoch: i64,
    /// Where clients and brokers reach it.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// Its logs hold what they held when it was last registered: it ended its last life in order, or the process lives on and only
    /// the session is new.
    pub clean: bool,
    /// The feature levels it can work at.
    pub features: FeatureLevels,
}

/// Why a broker is not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RegisterError {
    /// The id belongs to a serving broker with another data folder.
    #[error("broker {id} serves with the data folder {known}, this one is {found}")]
    OtherDataFolder {
        /// The broker's id.
        id: i32,
        /// The uuid of the data folder as registered.
        known: Uuid,
        /// The uuid of this data folder.
        found: Uuid,
    },
    /// A later life of the broker is registered: this registration comes late.
    #[error("broker {id} is registered with epoch {known}, later than {epoch}")]
    StaleEpoch {
        /// The broker's id.
        id: i32,
        /// The epoch as asked.
        epoch: i64,
        /// The epoch as registered.
        known: i64,
    },
    /// This life of the broker was fenced, and a life that is over stays so: what was refused because of it must not be granted
    /// later. Its presence made anew gives it another epoch.
    #[error("broker {id} was fenced with epoch {epoch}; it comes back with a later one")]
    LifeOver {
        /// The broker's id.
        id: i32,
        /// The epoch as asked.
        epoch: i64,
    },
    /// The broker is too old for the cluster, or too new.
    #[error("the cluster works at feature level {level}, broker {id} can work at {features}")]
    Features {
        /// The broker's id.
        id: i32,
        /// The cluster's.
        level: u16,
        /// The broker's.
        features: FeatureLevels,
    },
}

impl Change for RegisterBroker {
    const KIND: u16 = 13;
    type Answer = ();
    type Error = RegisterError;

    /// What the life before was counted on for goes first, then comes the registration, then it is elected where nobody else can
    /// be. If these take several entries and only some of them get into the log, a life that is over is never counted on, and
    /// elections that were not made are made by the next [`FenceAbsent`](super::FenceAbsent).
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<()>, RegisterError> {
        if self.is_registered(image)? {
            return Ok(Decided::new(Vec::new(), ()));
        }
        let Self { id, uuid, epoch, endpoints, rack, clean, features } = self.clone();
        let mut records = if planted(Bug::BounceUnnoticed) { Vec::new() } else { self.leave(image, given) };
        let registration = BrokerRecord { id, uuid, epoch, endpoints, rack, clean, fenced: false };
        records.push(MetadataRecord::BrokerRegistered(registration));
        records.push(MetadataRecord::BrokerFeatures { id, epoch, features });
        records.extend(self.lead(&after(image, &records), given));
        Ok(Decided { records, answer: (), may_split: true })
    }
}

impl RegisterBroker {
    fn is_registered(&self, image: &Image) -> Result<bool, RegisterError> {
        let &Self { id, uuid, epoch, features, .. } = self;
        let level = image.feature_level();
        if !features.has(level) {
            return Err(RegisterError::Features { id, level, features });
        }
        let Some(known) = image.broker(id) else {
            return Ok(false);
        };
        if known.epoch > epoch {
            return Err(RegisterError::StaleEpoch { id, epoch, known: known.epoch });
        }
        if known.epoch == epoch && known.fenced {
            return Err(RegisterError::LifeOver { id, epoch });
        }
        if known.uuid != uuid && !known.fenced {
            return Err(RegisterError::OtherDataFolder { id, known: known.uuid, found: uuid });
        }
        Ok(known.epoch == epoch)
    }

    /// Out of every ISR, and where it may have lost what it held, out of the eligible replicas as well.
    fn leave(&self, image: &Image, given: &Given<'_>) -> Vec<MetadataRecord> {
        let (id, others) = (self.id, Brokers::of(image).without(self.id));
        let is_wiped =
            image.broker(id).is_some_and(|known| known.uuid != self.uuid) && !planted(Bug::WipedStaysEligible);
        let is_counted_on = |partition: &PartitionRegistration| {
            partition.leader == id || partition.isr.contains(&id) || partition.elr.contains(&id)
        };
        change_partitions(image, given.configs, is_counted_on, |partition, rules| {
            // Elections that lose records wait until this broker is there to be elected.
            let change = PartitionChange::of(partition, &others, rules).election(Election::Stay).leave(|it| it == id);
            let change = if is_wiped || self.lost_in(partition, rules) { change.lossy(id) } else { change };
            change.build()
        })
    }

    /// Without a clean end, what was written and not on the disk may be gone. The only replica keeps its place all the same: nobody
    /// holds more.
    fn lost_in(&self, partition: &PartitionRegistration, rules: TopicRules) -> bool {
        let is_last = planted(Bug::LastReplicaStanding) && partition.isr.len() + partition.elr.len() == 1;
        let keeps = is_last || planted(Bug::UncleanStaysEligible);
        !self.clean && !rules.counts_what_is_on_disk && partition.replicas.len() > 1 && !keeps
    }

    /// Leads what has no leader, where it may.
    fn lead(&self, image: &Image, given: &Given<'_>) -> Vec<MetadataRecord> {
        let brokers = Brokers::of(image);
        let waits = |partition: &PartitionRegistration| {
            partition.leader == PartitionRegistration::NO_LEADER && partition.replicas.contains(&self.id)
        };
        change_partitions(image, given.configs, waits, |partition, rules| {
            PartitionChange::of(partition, &brokers, rules).build()
        })
    }
}

/// Forgets a broker that is gone for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnregisterBroker {
    /// The broker.
    pub id: i32,
}

/// Why a broker is not forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum UnregisterError {
    /// There is none.
    #[error("there is no broker {id}")]
    Unknown {
        /// As asked.
        id: i32,
    },
    /// It has a session.
    #[error("broker {id} serves; stop it first")]
    Serving {
        /// As asked.
        id: i32,
    },
    /// It holds replicas, perhaps the only ones.
    #[error("broker {id} holds {partitions} replicas; move them first")]
    HoldsReplicas {
        /// As asked.
        id: i32,
        /// Partitions it is a replica of.
        partitions: usize,
    },
}

impl Change for UnregisterBroker {
    const KIND: u16 = 25;
    type Answer = ();
    type Error = UnregisterError;

    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<()>, UnregisterError> {
        let id = self.id;
        let broker = image.broker(id).ok_or(UnregisterError::Unknown { id })?;
        if !broker.fenced {
            return Err(UnregisterError::Serving { id });
        }
        let partitions = image.topics().flat_map(|topic| &topic.partitions);
        let partitions = partitions.filter(|partition| partition.replicas.contains(&id)).count();
        if partitions > 0 {
            return Err(UnregisterError::HoldsReplicas { id, partitions });
        }
        Ok(Decided::new(vec![MetadataRecord::BrokerUnregistered { id }], ()))
    }
}

/// The image once the records are in the log.
fn after(image: &Image, records: &[MetadataRecord]) -> Image {
    let mut image = image.clone();
    for record in records {
        image.replay(record).expect("what was decided on this image fits it");
    }
    image
}

#[cfg(test)]
mod tests;
