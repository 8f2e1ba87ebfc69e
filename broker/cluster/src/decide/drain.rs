//! Brokers emptied before they are stopped for good.
//!
//! That a broker is to be emptied is in the metadata log and stays there: nothing new is placed on it, and whoever is controller
//! goes on moving its replicas to others ([`AdvanceReassignments`](super::AdvanceReassignments)). How far that has come is not
//! written anywhere: it is what the broker still holds ([`held`]).

use serde::{Deserialize, Serialize};

use super::changed::Changed;
use super::partition_change::Brokers;
use super::placement::{is_draining, places};
use super::reassign::{cancel, target};
use super::{Change, Decided, Given};
use crate::metadata::{Image, MetadataRecord, PartitionRegistration, Topic};

/// Has a broker emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The broker.
    pub id: i32,
}

/// Why a broker is not emptied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DrainError {
    /// There is none.
    #[error("there is no broker {id}")]
    Unknown {
        /// As asked.
        id: i32,
    },
    /// A topic has as many replicas as brokers would remain, or more.
    #[error("{topic} has {replicas} replicas, and without broker {id} there are {remaining} brokers to hold them")]
    TooFewBrokers {
        /// The broker.
        id: i32,
        /// The topic that needs most.
        topic: String,
        /// Its replicas.
        replicas: usize,
        /// Brokers that would remain.
        remaining: usize,
    },
    /// The broker is away, and a partition has nobody else in sync: there is nothing to copy it from.
    #[error("broker {id} is away and has the only replica in sync of {topic}-{partition}")]
    OnlyReplica {
        /// The broker.
        id: i32,
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
    },
}

impl Change for Drain {
    const KIND: u16 = 21;
    type Answer = usize;
    type Error = DrainError;

    /// Answers how many replicas it holds.
    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<usize>, DrainError> {
        let id = self.id;
        if image.broker(id).is_none() {
            return Err(DrainError::Unknown { id });
        }
        let remaining = places(image).iter().filter(|place| place.id != id).count();
        let away = !image.is_active(id);
        let mut held_by_it = 0;
        for (topic, partition, registration) in held(image, id) {
            held_by_it += 1;
            let replicas = target(registration).len();
            // The brokers' own topics take what there is, as long as there is somebody.
            let enough = if topic.internal { remaining > 0 } else { replicas <= remaining };
            let topic = || topic.name.clone();
            if !enough {
                return Err(DrainError::TooFewBrokers { id, topic: topic(), replicas, remaining });
            }
            // Fenced it is out of the ISR, and still the only one that is eligible.
            let mut have_it = registration.isr.iter().chain(&registration.elr).peekable();
            if away && have_it.peek().is_some() && have_it.all(|member| *member == id) {
                return Err(DrainError::OnlyReplica { id, topic: topic(), partition });
            }
        }
        let known = is_draining(image, id);
        let records = (!known).then_some(MetadataRecord::BrokerDraining { id, draining: true });
        Ok(Decided::new(records.into_iter().collect(), held_by_it))
    }
}

/// Has a broker no longer emptied. What has moved stays where it is; what is on its way goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undrain {
    /// The broker.
    pub id: i32,
}

/// Why a broker can't be said not to be emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum UndrainError {
    /// There is none.
    #[error("there is no broker {id}")]
    Unknown {
        /// As asked.
        id: i32,
    },
}

impl Change for Undrain {
    const KIND: u16 = 22;
    type Answer = usize;
    type Error = UndrainError;

    /// Answers how many replicas it holds.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<usize>, UndrainError> {
        let id = self.id;
        if image.broker(id).is_none() {
            return Err(UndrainError::Unknown { id });
        }
        if !is_draining(image, id) {
            return Ok(Decided::new(Vec::new(), held(image, id).count()));
        }
        let (mut changed, brokers) = (Changed::new(image), Brokers::of(image));
        for (topic, partition, registration) in held(image, id) {
            if registration.removing.contains(&id) {
                // One that can't go back, because only those to come are in sync, goes on; it is balanced again later.
                let _may_go_on = cancel(&mut changed, &brokers, (topic.id, partition), given.configs);
            }
        }
        let mut records = vec![MetadataRecord::BrokerDraining { id, draining: false }];
        records.extend(changed.into_records());
        // The first record counts: of the others those that are missing are asked for again, or end as they were meant to.
        Ok(Decided { records, answer: held(image, id).count(), may_split: true })
    }
}

/// The partitions of which a broker has a replica.
pub fn held(image: &Image, id: i32) -> impl Iterator<Item = (&Topic, i32, &PartitionRegistration)> {
    let partitions = image
        .topics()
        .flat_map(|topic| (0..).zip(&topic.partitions).map(|(index, partition)| (topic.as_ref(), index, partition)));
    partitions.filter(move |(_, _, partition)| partition.replicas.contains(&id))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    #[test]
    fn a_broker_is_emptied_and_is_not() {
        let mut cluster = Cluster::of(&[(1, ""), (2, ""), (3, "")]).assigned("orders", &[&[1, 2], &[2, 3]]);
        assert_eq!(cluster.decide(&Drain { id: 1 }), Ok(1));
        assert!(is_draining(&cluster.image, 1));
        assert_eq!(cluster.decide(&Drain { id: 1 }), Ok(1), "asked twice");
        cluster.join(1, "");
        assert!(is_draining(&cluster.image, 1), "a restart does not change it");
        let placed = cluster.decide(&super::super::CreateTopics {
            topics: vec![super::super::NewTopic {
                name: "new".into(),
                placement: super::super::Placement::Count { partitions: 6, replication_factor: 2 },
                configs: Vec::new(),
                internal: false,
            }],
            validate_only: false,
        });
        let placed = placed.unwrap().remove(0).1.unwrap();
        assert!(placed.partitions.iter().all(|partition| !partition.replicas.contains(&1)), "nothing is placed on it");
        assert_eq!(cluster.decide(&Undrain { id: 1 }), Ok(1));
        assert!(!is_draining(&cluster.image, 1));
        assert_eq!(cluster.decide(&Undrain { id: 1 }), Ok(1), "asked twice");
        assert_eq!(cluster.decide(&Undrain { id: 9 }), Err(UndrainError::Unknown { id: 9 }));
    }

    #[test]
    fn what_is_on_its_way_goes_back() {
        let mut cluster = Cluster::of(&[(1, ""), (2, ""), (3, "")]).assigned("orders", &[&[1, 2], &[2, 3]]);
        cluster.decide(&Drain { id: 1 }).unwrap();
        cluster.decide(&super::super::AdvanceReassignments::default()).unwrap();
        let replicas = |cluster: &Cluster| cluster.image.topic("orders").unwrap().partitions[0].replicas.clone();
        assert_eq!(replicas(&cluster), [3, 2, 1]);
        cluster.decide(&Undrain { id: 1 }).unwrap();
        let mut back = replicas(&cluster);
        back.sort_unstable();
        assert_eq!(back, [1, 2]);
        assert!(!cluster.image.topic("orders").unwrap().partitions[0].is_reassigning());
    }

    #[test]
    fn what_only_those_to_come_have_goes_on() {
        let mut cluster = Cluster::of(&[(1, ""), (2, ""), (3, "")]).assigned("orders", &[&[1, 2]]);
        cluster.replay(&MetadataRecord::TopicConfig {
            topic: cluster.image.topic("orders").unwrap().id,
            name: "min.insync.replicas".into(),
            value: Some("2".into()),
        });
        cluster.decide(&Drain { id: 1 }).unwrap();
        cluster.decide(&super::super::AdvanceReassignments::default()).unwrap();
        cluster.in_sync("orders", &[1, 3]);
        let moving = cluster.partition("orders").clone();
        assert_eq!((&moving.adding[..], &moving.removing[..], &moving.isr[..]), (&[3][..], &[1][..], &[3, 1][..]));
        assert_eq!(cluster.decide(&Undrain { id: 1 }), Ok(1));
        assert!(!is_draining(&cluster.image, 1));
        assert_eq!(cluster.partition("orders"), &moving, "back it would be on one replica");
    }

    #[test]
    fn what_would_break_replication() {
        let check = |what: &str, mut cluster: Cluster, id: i32, why: DrainError| {
            assert_eq!(cluster.decide(&Drain { id }), Err(why), "{what}");
            assert!(!is_draining(&cluster.image, id), "{what}");
        };
        let three = || Cluster::of(&[(1, ""), (2, ""), (3, "")]);
        let few = |topic: &str, replicas, remaining| DrainError::TooFewBrokers {
            id: 1,
            topic: topic.into(),
            replicas,
            remaining,
        };
        check("no such broker", three(), 9, DrainError::Unknown { id: 9 });
        let cluster = three().assigned("orders", &[&[1, 2, 3]]);
        check("three replicas on three brokers", cluster, 1, few("orders", 3, 2));
        let mut cluster = three().assigned("orders", &[&[1, 2]]);
        cluster.dies(3);
        check("two replicas, and one of three is away", cluster, 1, few("orders", 2, 1));
        let mut cluster = three().assigned("orders", &[&[1, 2]]);
        cluster.decide(&Drain { id: 3 }).unwrap();
        check("two replicas, and one of three is being emptied", cluster, 1, few("orders", 2, 1));
        let cluster = Cluster::of(&[(1, "")]).internal("__sluice_plugins", &[1]);
        check("the last broker", cluster, 1, few("__sluice_plugins", 1, 0));
        let mut cluster = three().assigned("orders", &[&[1]]);
        cluster.dies(1);
        assert_eq!(cluster.shown("orders"), "leader - isr  elr 1");
        let only = || DrainError::OnlyReplica { id: 1, topic: "orders".into(), partition: 0 };
        check("the only copy is away", cluster, 1, only());
        let mut cluster = three().assigned("orders", &[&[1, 2]]);
        cluster.dies(2);
        cluster.dies(1);
        cluster.returns(2);
        assert_eq!(cluster.shown("orders"), "leader - isr  elr 1");
        check("the only one that has it all is away", cluster, 1, only());
    }

    #[test]
    fn who_is_away_and_not_the_only_one_is_emptied() {
        let mut cluster = Cluster::of(&[(1, ""), (2, ""), (3, "")]).assigned("orders", &[&[1, 2]]);
        cluster.dies(1);
        assert_eq!(cluster.decide(&Drain { id: 1 }), Ok(1));
        assert!(is_draining(&cluster.image, 1));
    }

    #[test]
    fn internal_topics_take_what_there_is() {
        let mut cluster = Cluster::of(&[(1, ""), (2, ""), (3, "")]).internal("__sluice_plugins", &[1, 2, 3]);
        assert_eq!(cluster.decide(&Drain { id: 1 }), Ok(1));
    }
}
