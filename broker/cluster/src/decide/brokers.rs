//! Who controls, who serves: the controller's seat taken, brokers registered, brokers fenced whose session is gone. Each moves
//! leaders with it, in the same decision, so that no image ever shows a leader that is not counted on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::placement::{with, without};
use super::{Change, Decided, Given, Never};
use crate::metadata::{BrokerRegistration, Endpoint, Image, MetadataRecord, PartitionRegistration};

/// The first decision of a new controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeSeat {
    /// The broker that holds the seat.
    pub id: i32,
    /// The controller epoch it holds it in.
    pub epoch: i32,
    /// The cluster's id, as the coordinator keeps it.
    pub cluster_id: String,
}

/// Why the log can't be this cluster's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SeatError {
    /// The coordinator names another cluster than the log.
    #[error("the coordinator keeps cluster {coordinator}, its metadata log is of cluster {log}")]
    OtherCluster {
        /// As the coordinator says.
        coordinator: String,
        /// As the log says.
        log: String,
    },
    /// The log knows a controller with a later epoch.
    #[error("the log knows controller epoch {known}, the seat was taken in epoch {epoch}")]
    Epoch {
        /// As taken.
        epoch: i32,
        /// As the log says.
        known: i32,
    },
}

impl Change for TakeSeat {
    const KIND: u16 = 12;
    type Answer = ();
    type Error = SeatError;

    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<()>, SeatError> {
        let mut records = Vec::new();
        match image.cluster_id() {
            Some(log) if log != self.cluster_id => {
                return Err(SeatError::OtherCluster { coordinator: self.cluster_id.clone(), log: log.to_owned() });
            }
            Some(_) => {}
            None => records.push(MetadataRecord::Cluster { cluster_id: self.cluster_id.clone() }),
        }
        if let Some(known) = image.controller_epoch().filter(|known| *known >= self.epoch) {
            return Err(SeatError::Epoch { epoch: self.epoch, known });
        }
        records.push(MetadataRecord::ControllerElected { id: self.id, epoch: self.epoch });
        Ok(Decided::new(records, ()))
    }
}

/// Registers a broker that holds a session, unfenced, in a new life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterBroker {
    /// `broker.id`.
    pub id: i32,
    /// Of its data folder.
    pub uuid: Uuid,
    /// Of this life: the coordinator's number for its ephemeral node.
    pub epoch: i64,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// It ended its last life in order.
    pub clean: bool,
}

/// Why a broker is not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RegisterError {
    /// The id belongs to a broker with another data folder: this one doesn't hold what the cluster counts on.
    #[error("broker {id} has the data folder {known}, this one is {found}")]
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
}

impl Change for RegisterBroker {
    const KIND: u16 = 13;
    type Answer = ();
    type Error = RegisterError;

    /// The leaders that move come before the registration: if they take several entries and only some of them get into the log,
    /// the broker registers again and gets the rest.
    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<()>, RegisterError> {
        let Self { id, uuid, epoch, endpoints, rack, clean } = self.clone();
        if let Some(known) = image.broker(id) {
            if known.uuid != uuid {
                return Err(RegisterError::OtherDataFolder { id, known: known.uuid, found: uuid });
            }
            if known.epoch > epoch {
                return Err(RegisterError::StaleEpoch { id, epoch, known: known.epoch });
            }
        }
        let serving = image.serving().map(|broker| broker.id).chain([id]).collect();
        let mut records = move_leaders(image, |partition| with(partition, id, clean, &serving));
        records.push(MetadataRecord::BrokerRegistered(BrokerRegistration {
            id,
            uuid,
            epoch,
            endpoints,
            rack,
            clean,
            fenced: false,
        }));
        Ok(Decided { records, answer: (), may_split: true })
    }
}

/// Fences the brokers that hold no session, or hold one of another life than the one registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceAbsent {
    /// Brokers with a session, and the epoch of their life.
    pub present: BTreeMap<i32, i64>,
}

impl Change for FenceAbsent {
    const KIND: u16 = 14;
    type Answer = Vec<i32>;
    type Error = Never;

    /// Answers the brokers that were fenced.
    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<Vec<i32>>, Never> {
        let is_present = |broker: &BrokerRegistration| self.present.get(&broker.id) == Some(&broker.epoch);
        let (stay, fenced): (Vec<_>, Vec<_>) = image.serving().partition(|broker| is_present(broker));
        let serving: BTreeSet<i32> = stay.iter().map(|broker| broker.id).collect();
        let mut records: Vec<MetadataRecord> =
            fenced.iter().map(|broker| MetadataRecord::BrokerFenced { id: broker.id, epoch: broker.epoch }).collect();
        records.extend(move_leaders(image, |partition| {
            fenced.iter().fold(None, |after: Option<PartitionRegistration>, broker| {
                without(after.as_ref().unwrap_or(partition), broker.id, &serving).or(after)
            })
        }));
        Ok(Decided { records, answer: fenced.iter().map(|broker| broker.id).collect(), may_split: true })
    }
}

/// One record a topic that has a partition that changes.
fn move_leaders(
    image: &Image,
    change: impl Fn(&PartitionRegistration) -> Option<PartitionRegistration>,
) -> Vec<MetadataRecord> {
    let changes = image.topics().filter_map(|topic| {
        let partitions: Vec<_> =
            (0..).zip(&topic.partitions).filter_map(|(index, partition)| Some((index, change(partition)?))).collect();
        (!partitions.is_empty()).then_some(MetadataRecord::Partitions { topic: topic.id, partitions })
    });
    changes.collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    #[test]
    fn the_seat() {
        let mut cluster = Cluster::default();
        let seat = |epoch, cluster_id: &str| TakeSeat { id: 1, epoch, cluster_id: cluster_id.into() };
        cluster.decide(&seat(3, "here")).unwrap();
        assert_eq!((cluster.image.cluster_id(), cluster.image.controller_epoch()), (Some("here"), Some(3)));
        cluster.decide(&seat(4, "here")).unwrap();
        assert_eq!(cluster.decide(&seat(4, "here")), Err(SeatError::Epoch { epoch: 4, known: 4 }));
        let other = SeatError::OtherCluster { coordinator: "there".into(), log: "here".into() };
        assert_eq!(cluster.decide(&seat(5, "there")), Err(other));
    }

    #[test]
    fn every_life_leads_in_a_new_epoch() {
        let mut cluster = Cluster::serving(1).topic("orders", 2);
        cluster.decide(&register(1, 20)).unwrap();
        let led: Vec<_> =
            cluster.image.topic("orders").unwrap().partitions.iter().map(|p| (p.leader, p.leader_epoch)).collect();
        assert_eq!(led, [(1, 1), (1, 1)]);
    }

    #[test]
    fn a_broker_without_a_session_is_fenced() {
        let mut cluster = Cluster::serving(1).topic("orders", 1);
        let epoch = cluster.image.broker(1).unwrap().epoch;
        assert_eq!(cluster.decide(&FenceAbsent { present: [(1, epoch)].into() }), Ok(vec![]));
        assert_eq!(
            cluster.decide(&FenceAbsent { present: [(1, epoch + 1)].into() }),
            Ok(vec![1]),
            "another life's session"
        );
        assert_eq!(cluster.image.topic("orders").unwrap().partitions[0].leader, PartitionRegistration::NO_LEADER);
        assert_eq!(cluster.decide(&FenceAbsent { present: [].into() }), Ok(vec![]), "fenced already");
        cluster.decide(&register(2, 30)).unwrap();
        assert_eq!(cluster.image.topic("orders").unwrap().partitions[0].leader, -1, "broker 2 holds nothing of it");
    }

    #[test]
    fn brokers_that_cannot_register() {
        let mut cluster = Cluster::serving(1);
        let known = cluster.image.broker(1).unwrap().epoch;
        let stale = RegisterError::StaleEpoch { id: 1, epoch: known - 1, known };
        assert_eq!(cluster.decide(&register(1, known - 1)), Err(stale));
        let uuid = cluster.image.broker(1).unwrap().uuid;
        let other = RegisterBroker { uuid: Uuid([9; 16]), ..register(1, 20) };
        let refused = RegisterError::OtherDataFolder { id: 1, known: uuid, found: Uuid([9; 16]) };
        assert_eq!(cluster.decide(&other), Err(refused));
    }

    fn register(id: i32, epoch: i64) -> RegisterBroker {
        RegisterBroker { id, uuid: Uuid([1; 16]), epoch, endpoints: Vec::new(), rack: None, clean: true }
    }
}
