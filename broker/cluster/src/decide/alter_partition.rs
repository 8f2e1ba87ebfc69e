//! A leader's ISR: what it proposes is checked against what the metadata log knows, in Kafka's order (KIP-497), because the order
//! is what makes repeated, late and reordered proposals harmless.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::changed::Changed;
use super::partition_change::{Brokers, Election, PartitionChange, TopicRules};
use super::{Change, Decided, Given};
use crate::metadata::{Image, PartitionRegistration};
use crate::partition::{Outcome, ProposedIsr};
use crate::planted::{Bug, planted};

/// ISRs that one broker proposes for partitions it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterPartition {
    /// The broker.
    pub broker: i32,
    /// The life of it.
    pub broker_epoch: i64,
    /// The ISRs.
    pub partitions: Vec<ProposedIsr>,
}

/// The broker that proposes is not counted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("broker {broker} does not serve with epoch {epoch}")]
pub struct StaleBrokerEpoch {
    /// As asked.
    pub broker: i32,
    /// As asked.
    pub epoch: i64,
}

/// Why an ISR is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AlterPartitionError {
    /// The topic is gone, or not yet known.
    #[error("there is no partition {index} of a topic {topic}")]
    UnknownPartition {
        /// As asked.
        topic: Uuid,
        /// As asked.
        index: i32,
    },
    /// The leader knows of a later registration than this controller, which therefore is none any more.
    #[error("leader epoch {leader_epoch}, partition epoch {partition_epoch} are not known here")]
    Ahead {
        /// As asked.
        leader_epoch: i32,
        /// As asked.
        partition_epoch: i32,
    },
    /// The reign is over.
    #[error("leader epoch {known} has begun")]
    FencedLeaderEpoch {
        /// As registered.
        known: i32,
    },
    /// Another broker leads.
    #[error("broker {leader} leads")]
    NotLeader {
        /// As registered.
        leader: i32,
    },
    /// It would change a registration that is no longer the last one.
    #[error("partition epoch {known} has begun")]
    StalePartitionEpoch {
        /// As registered.
        known: i32,
    },
    /// Not an ISR: a member comes twice or holds no replica, or the leader is missing.
    #[error("the members are not replicas with the leader among them, each once")]
    NotAnIsr,
    /// Before a leader that was elected uncleanly has recovered, it is the only member; and it recovers once (KIP-704).
    #[error("the leader has to recover first, and recovers once")]
    Recovering,
    /// Members that are not counted on in the life that is meant (KIP-841, KIP-903).
    #[error("replicas {replicas:?} do not serve in that life, or are about to end")]
    Ineligible {
        /// Which ones.
        replicas: Vec<i32>,
    },
}

impl AlterPartitionError {
    /// What the proposal came to for the leader that made it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::NotAnIsr | Self::Recovering | Self::Ineligible { .. } => Outcome::Refused,
            // Decided on another registration: an earlier attempt may have been granted.
            Self::UnknownPartition { .. }
            | Self::Ahead { .. }
            | Self::FencedLeaderEpoch { .. }
            | Self::NotLeader { .. }
            | Self::StalePartitionEpoch { .. } => Outcome::Unknown,
        }
    }
}

impl Change for AlterPartition {
    const KIND: u16 = 17;
    type Answer = Vec<Result<PartitionRegistration, AlterPartitionError>>;
    type Error = StaleBrokerEpoch;

    /// Answers each proposal in the order asked, with what is registered then.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<Self::Answer>, StaleBrokerEpoch> {
        let &Self { broker, broker_epoch: epoch, .. } = self;
        if !image.serving().any(|known| known.id == broker && known.epoch == epoch) {
            return Err(StaleBrokerEpoch { broker, epoch });
        }
        let brokers = Brokers::of(image);
        let mut changed = Changed::new(image);
        let mut rules: BTreeMap<Uuid, TopicRules> = BTreeMap::new();
        let answer = self.partitions.iter().map(|proposal| {
            let &ProposedIsr { topic, index, .. } = proposal;
            // A partition may come twice: then the second is for what the first made of it.
            let found = changed.partition(topic, index);
            let (topic, known) = found.ok_or(AlterPartitionError::UnknownPartition { topic, index })?;
            if check(image, broker, known, proposal)? == Checked::SaysSo {
                return Ok(known.clone());
            }
            let rules = *rules.entry(topic.id).or_insert_with(|| TopicRules::of(topic, given.configs));
            let after = follow(known, proposal, &brokers, rules);
            changed.put(topic.id, index, after.clone());
            Ok(after)
        });
        let answer = answer.collect();
        Ok(Decided { records: changed.into_records(), answer, may_split: true })
    }
}

/// A proposal that may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Checked {
    /// It is registered so: the answer to an earlier attempt was lost (KAFKA-14144).
    SaysSo,
    /// It is new.
    New,
}

fn check(
    image: &Image,
    broker: i32,
    known: &PartitionRegistration,
    proposal: &ProposedIsr,
) -> Result<Checked, AlterPartitionError> {
    let &ProposedIsr { leader_epoch, partition_epoch, recovered, ref isr, .. } = proposal;
    if leader_epoch > known.leader_epoch || partition_epoch > known.partition_epoch {
        return Err(AlterPartitionError::Ahead { leader_epoch, partition_epoch });
    }
    let is_over = |given: i32, known: i32| given < known && !planted(Bug::StaleProposal);
    if is_over(leader_epoch, known.leader_epoch) {
        return Err(AlterPartitionError::FencedLeaderEpoch { known: known.leader_epoch });
    }
    if broker != known.leader {
        return Err(AlterPartitionError::NotLeader { leader: known.leader });
    }
    let members: BTreeSet<i32> = isr.iter().map(|(member, _)| *member).collect();
    if members == known.isr.iter().copied().collect() && known.recovering != recovered {
        return Ok(Checked::SaysSo);
    }
    if is_over(partition_epoch, known.partition_epoch) {
        return Err(AlterPartitionError::StalePartitionEpoch { known: known.partition_epoch });
    }
    let is_replica = |member: &i32| known.replicas.contains(member) || planted(Bug::StaleProposal);
    let are_replicas = members.iter().all(is_replica);
    if members.len() != isr.len() || !are_replicas || !members.contains(&broker) {
        return Err(AlterPartitionError::NotAnIsr);
    }
    if !recovered && (!known.recovering || isr.len() > 1) {
        return Err(AlterPartitionError::Recovering);
    }
    // A leader that is about to end may still bring in who takes over from it.
    let is_counted_on = |(member, epoch): &(i32, i64)| {
        image.brokers().filter(|known| known.id == *member).any(|known| {
            let is_this_life = known.epoch == *epoch || planted(Bug::MemberEpochsUnchecked);
            let is_active = known.is_active() || planted(Bug::InactiveJoins);
            is_this_life && (is_active || *member == broker && !known.fenced)
        })
    };
    let replicas: Vec<i32> = isr.iter().filter(|it| !is_counted_on(it)).map(|(member, _)| *member).collect();
    if replicas.is_empty() { Ok(Checked::New) } else { Err(AlterPartitionError::Ineligible { replicas }) }
}

fn follow(
    known: &PartitionRegistration,
    proposal: &ProposedIsr,
    brokers: &Brokers,
    rules: TopicRules,
) -> PartitionRegistration {
    let isr: Vec<i32> = proposal.isr.iter().map(|(member, _)| *member).collect();
    let hands_over = isr.len() > 1 && brokers.is_ending(known.leader);
    let change = PartitionChange::of(known, brokers, rules).election(Election::Stay).isr(isr);
    let change = if proposal.recovered { change.recovered() } else { change };
    let change = if hands_over { change.leave(|member| member == known.leader) } else { change };
    change.build().unwrap_or_else(|| known.clone())
}

#[cfg(test)]
mod tests;
