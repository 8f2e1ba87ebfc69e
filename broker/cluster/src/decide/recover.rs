//! The operator's choice: nobody who may lead serves, and of those who serve one is to lead all the same.

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::changed::Changed;
use super::partition_change::{Brokers, Election, PartitionChange, TopicRules};
use super::{Change, Decided, Given};
use crate::metadata::{Image, PartitionRegistration};

/// Makes a replica the leader of a partition that has none. What others hold and it doesn't is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recover {
    /// The topic.
    pub topic: Uuid,
    /// The partition's index.
    pub index: i32,
    /// The replica.
    pub leader: i32,
}

/// Why a replica is not made the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum RecoverError {
    /// There is none.
    #[error("there is no partition {index} of a topic {topic}")]
    UnknownPartition {
        /// As asked.
        topic: Uuid,
        /// As asked.
        index: i32,
    },
    /// Nothing is to be recovered.
    #[error("broker {leader} leads")]
    HasLeader {
        /// Who leads.
        leader: i32,
    },
    /// The broker doesn't hold the partition.
    #[error("broker {id} is no replica of it")]
    NotReplica {
        /// As asked.
        id: i32,
    },
    /// The broker can't lead now.
    #[error("broker {id} does not serve")]
    NotServing {
        /// As asked.
        id: i32,
    },
}

impl Change for Recover {
    const KIND: u16 = 23;
    type Answer = PartitionRegistration;
    type Error = RecoverError;

    /// Answers the registration.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<PartitionRegistration>, RecoverError> {
        let &Self { topic, index, leader: id } = self;
        let mut changed = Changed::new(image);
        let found = changed.partition(topic, index);
        let (topic, known) = found.ok_or(RecoverError::UnknownPartition { topic, index })?;
        if known.leader != PartitionRegistration::NO_LEADER {
            return Err(RecoverError::HasLeader { leader: known.leader });
        }
        if !known.replicas.contains(&id) {
            return Err(RecoverError::NotReplica { id });
        }
        let brokers = Brokers::of(image);
        if !brokers.is_active(id) {
            return Err(RecoverError::NotServing { id });
        }
        let change = PartitionChange::of(known, &brokers, TopicRules::of(topic, given.configs));
        let after = change.election(Election::Chosen(id)).build().unwrap_or_else(|| known.clone());
        changed.put(topic.id, index, after.clone());
        Ok(Decided::new(changed.into_records(), after))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    #[test]
    fn nobody_may_lead_and_one_is_chosen() {
        let mut cluster =
            Cluster::registered(&[1, 2, 3]).topic_on("orders", &[1, 2, 3], &[("sluice.flush.mode", "os")]);
        [1, 2, 3].into_iter().for_each(|id| cluster.dies(id));
        assert_eq!(cluster.shown("orders"), "leader - isr  elr 3", "the last one in sync is waited for");
        cluster.returns_unclean(3);
        cluster.returns_unclean(2);
        assert_eq!(cluster.shown("orders"), "leader - isr  elr ", "and may have lost what it held");
        let recover = cluster.recover("orders", 2);
        let check = |cluster: &mut Cluster, recover: Recover, why| assert_eq!(cluster.decide(&recover), Err(why));
        check(&mut cluster, Recover { leader: 1, ..recover }, RecoverError::NotServing { id: 1 });
        check(&mut cluster, Recover { leader: 9, ..recover }, RecoverError::NotReplica { id: 9 });
        let unknown = RecoverError::UnknownPartition { topic: recover.topic, index: 1 };
        check(&mut cluster, Recover { index: 1, ..recover }, unknown);
        let after = cluster.decide(&recover).unwrap();
        assert!(after.recovering, "{after:?}");
        assert_eq!(cluster.shown("orders"), "leader 2 isr 2 elr ");
        check(&mut cluster, recover, RecoverError::HasLeader { leader: 2 });
        cluster.in_sync("orders", &[2, 3]);
        assert!(!cluster.partition("orders").recovering, "the leader says so with its next ISR");
    }
}
