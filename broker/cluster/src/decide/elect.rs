//! Elections that are asked for: leaders back to their preferred replicas, or where nobody who may lead is there, to whoever is
//! (KIP-460).

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::changed::Changed;
use super::partition_change::{Brokers, Election, PartitionChange, TopicRules};
use super::{Change, Decided, Given, Never};
use crate::metadata::{Image, PartitionRegistration};

/// Elects leaders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElectLeaders {
    /// Which of them are to lead.
    pub kind: ElectionKind,
    /// Topics and partitions; none: all that need it.
    pub partitions: Option<Vec<(Uuid, i32)>>,
}

/// Who is to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ElectionKind {
    /// The first replica.
    Preferred,
    /// Where nobody leads, any replica that serves. What it lacks is lost.
    Unclean,
}

/// Why a partition has no other leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ElectLeadersError {
    /// There is none.
    #[error("there is no such partition")]
    Unknown,
    /// It is led as it was asked for.
    #[error("the partition is led already")]
    NotNeeded,
    /// The first replica is away or not in sync.
    #[error("the preferred replica, broker {id}, is away or not in sync")]
    PreferredNotAvailable {
        /// The broker.
        id: i32,
    },
    /// No replica serves.
    #[error("no replica of the partition serves")]
    NobodyServes,
}

impl Change for ElectLeaders {
    const KIND: u16 = 18;
    type Answer = Vec<(Uuid, i32, Result<(), ElectLeadersError>)>;
    type Error = Never;

    /// Answers each partition in the order asked; of all, only those that needed it.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<Self::Answer>, Never> {
        let brokers = Brokers::of(image);
        let mut changed = Changed::new(image);
        let mut elect = |id: Uuid, index: i32| {
            let (topic, before) = changed.partition(id, index).ok_or(ElectLeadersError::Unknown)?;
            let rules = TopicRules::of(topic, given.configs);
            let after = self.kind.elect(before, &brokers, rules)?;
            changed.put(id, index, after);
            Ok(())
        };
        let answer = match &self.partitions {
            Some(asked) => asked.iter().map(|(id, index)| (*id, *index, elect(*id, *index))).collect(),
            None => {
                let all =
                    image.topics().flat_map(|topic| (0..).zip(&topic.partitions).map(|(index, _)| (topic.id, index)));
                let tried = all.map(|(id, index)| (id, index, elect(id, index)));
                tried.filter(|(.., elected)| *elected != Err(ElectLeadersError::NotNeeded)).collect()
            }
        };
        Ok(Decided { records: changed.into_records(), answer, may_split: true })
    }
}

impl ElectionKind {
    fn elect(
        self,
        before: &PartitionRegistration,
        brokers: &Brokers,
        rules: TopicRules,
    ) -> Result<PartitionRegistration, ElectLeadersError> {
        let no_leader = before.leader == PartitionRegistration::NO_LEADER;
        let preferred = before.replicas.first().copied().ok_or(ElectLeadersError::NobodyServes)?;
        let (is_led, election, not_available) = match self {
            Self::Preferred => {
                let not_available = ElectLeadersError::PreferredNotAvailable { id: preferred };
                (before.leader == preferred, Election::Preferred, not_available)
            }
            Self::Unclean => (!no_leader, Election::Unclean, ElectLeadersError::NobodyServes),
        };
        if is_led {
            return Err(ElectLeadersError::NotNeeded);
        }
        let after = PartitionChange::of(before, brokers, rules).election(election).build().ok_or(not_available)?;
        match self {
            Self::Preferred if after.leader != preferred => Err(not_available),
            Self::Unclean if after.leader == PartitionRegistration::NO_LEADER => Err(not_available),
            Self::Preferred | Self::Unclean => Ok(after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    #[test]
    fn leaders_go_back_to_where_they_belong() {
        let mut cluster = Cluster::registered(&[1, 2, 3]).topic_on("orders", &[1, 2, 3], &[]);
        check(&mut cluster, ElectionKind::Preferred, Err(ElectLeadersError::NotNeeded), "leader 1 isr 1,2,3 elr ");
        cluster.dies(1);
        let away = Err(ElectLeadersError::PreferredNotAvailable { id: 1 });
        check(&mut cluster, ElectionKind::Preferred, away, "leader 2 isr 2,3 elr ");
        cluster.returns(1);
        check(&mut cluster, ElectionKind::Preferred, away, "leader 2 isr 2,3 elr ");
        cluster.in_sync("orders", &[1, 2, 3]);
        check(&mut cluster, ElectionKind::Preferred, Ok(()), "leader 1 isr 1,2,3 elr ");
    }

    #[test]
    fn whoever_is_there() {
        let mut cluster = Cluster::registered(&[1, 2]).topic_on("orders", &[1, 2], &[]);
        check(&mut cluster, ElectionKind::Unclean, Err(ElectLeadersError::NotNeeded), "leader 1 isr 1,2 elr ");
        cluster.in_sync("orders", &[1]);
        cluster.dies(1);
        check(&mut cluster, ElectionKind::Unclean, Ok(()), "leader 2 isr 2 elr ");
        assert!(cluster.partition("orders").recovering);
        cluster.dies(2);
        check(&mut cluster, ElectionKind::Unclean, Err(ElectLeadersError::NobodyServes), "leader - isr  elr 2");
    }

    #[test]
    fn all_that_need_it() {
        let mut cluster = Cluster::registered(&[1, 2]).topic_on("a", &[1, 2], &[]).topic_on("b", &[2, 1], &[]);
        cluster.dies(1);
        cluster.returns(1);
        cluster.in_sync("a", &[1, 2]);
        let all = ElectLeaders { kind: ElectionKind::Preferred, partitions: None };
        let id = cluster.image.topic("a").unwrap().id;
        assert_eq!(cluster.decide(&all), Ok(vec![(id, 0, Ok(()))]));
        assert_eq!(cluster.decide(&all), Ok(vec![]));
        let unknown = ElectLeaders { kind: ElectionKind::Preferred, partitions: Some(vec![(Uuid::ZERO, 0), (id, 1)]) };
        let none = Err(ElectLeadersError::Unknown);
        assert_eq!(cluster.decide(&unknown), Ok(vec![(Uuid::ZERO, 0, none), (id, 1, none)]));
    }

    fn check(cluster: &mut Cluster, kind: ElectionKind, expected: Result<(), ElectLeadersError>, shown: &str) {
        let id = cluster.image.topic("orders").unwrap().id;
        let elect = ElectLeaders { kind, partitions: Some(vec![(id, 0)]) };
        assert_eq!(cluster.decide(&elect), Ok(vec![(id, 0, expected)]), "{kind:?}, {shown}");
        assert_eq!(cluster.shown("orders"), shown, "{kind:?}");
    }
}
