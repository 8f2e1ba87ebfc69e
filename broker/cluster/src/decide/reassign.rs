//! Reassignments: a partition's replicas replaced while it serves (KIP-455).
//!
//! What is wanted is written down at once: replicas to come are `adding`, replicas to go are `removing`, and the partition has
//! both until those to come are in sync. With the ISR that says so the ones to go are dropped, in one step, with a new leader
//! if it was one of them ([`PartitionChange`]). From then on they are no replicas, so no leader can bring them back. All of it is
//! in the metadata log: a new controller goes on where the last one was.

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::changed::Changed;
use super::partition_change::{Brokers, PartitionChange, TopicRules};
use super::placement::{PlacementError, check_replicas};
use super::topics::TooManyPartitions;
use super::{Change, ConfigRules, Decided, Given};
use crate::metadata::{Image, PartitionRegistration, Topic};

/// Replaces replicas of partitions, or takes that back while it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterReassignments {
    /// Topic, partition, and its replicas with the preferred leader first; none: what goes on is cancelled.
    pub partitions: Vec<(Uuid, i32, Option<Vec<i32>>)>,
    /// A partition may get more or fewer replicas than it has.
    pub allow_replication_factor_change: bool,
}

/// Why a partition is not reassigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ReassignError {
    /// There is none.
    #[error("there is no partition {partition} of the topic with id {topic}")]
    Unknown {
        /// The topic as asked.
        topic: Uuid,
        /// The partition as asked.
        partition: i32,
    },
    /// These can't be its replicas.
    #[error(transparent)]
    Replicas(#[from] PlacementError),
    /// It would have another number of replicas, and that was not wanted.
    #[error("partition {partition} has {known} replicas, and {asked} are named")]
    ReplicationFactor {
        /// The partition.
        partition: i32,
        /// Its replicas.
        known: usize,
        /// As asked.
        asked: usize,
    },
    /// There is nothing to cancel.
    #[error("partition {partition} is not being reassigned")]
    NotReassigning {
        /// The partition.
        partition: i32,
    },
    /// Of the replicas that would stay none can lead, or too few are in sync: what was acknowledged is on the ones to go.
    #[error("too few replicas of partition {partition} that would stay are in sync and serving")]
    NobodyInSync {
        /// The partition.
        partition: i32,
    },
}

impl AlterReassignments {
    /// Partitions of one request.
    pub const PARTITIONS_MAX: usize = 10_000;
}

impl Change for AlterReassignments {
    const KIND: u16 = 19;
    type Answer = Vec<Result<(), ReassignError>>;
    type Error = TooManyPartitions;

    /// Answers each partition in the order asked.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<Self::Answer>, TooManyPartitions> {
        let asked = self.partitions.len();
        if asked > Self::PARTITIONS_MAX {
            return Err(TooManyPartitions { asked, max: Self::PARTITIONS_MAX });
        }
        let (mut changed, brokers) = (Changed::new(image), Brokers::of(image));
        let answer = self.partitions.iter().map(|(topic, partition, replicas)| match replicas {
            Some(replicas) => {
                self.check_factor(&changed, *topic, *partition, replicas)?;
                reassign(&mut changed, &brokers, (*topic, *partition), replicas, given.configs)
            }
            None => cancel(&mut changed, &brokers, (*topic, *partition), given.configs),
        });
        let answer = answer.collect();
        Ok(Decided { records: changed.into_records(), answer, may_split: true })
    }
}

impl AlterReassignments {
    fn check_factor(
        &self,
        changed: &Changed<'_>,
        topic: Uuid,
        partition: i32,
        replicas: &[i32],
    ) -> Result<(), ReassignError> {
        let Some((_, known)) = changed.partition(topic, partition) else {
            return Err(ReassignError::Unknown { topic, partition });
        };
        let (known, asked) = (known.replicas.len() - known.adding.len(), replicas.len());
        if asked != known && !self.allow_replication_factor_change {
            return Err(ReassignError::ReplicationFactor { partition, known, asked });
        }
        Ok(())
    }
}

/// All reassignments that are under way.
pub fn reassignments(image: &Image) -> impl Iterator<Item = (&Topic, i32, &PartitionRegistration)> {
    let partitions =
        image.topics().flat_map(|topic| (0..).zip(&topic.partitions).map(|(index, one)| (&**topic, index, one)));
    partitions.filter(|(_, _, partition)| partition.is_reassigning())
}

/// The replicas a partition is to have once what is under way is done.
pub(super) fn target(partition: &PartitionRegistration) -> Vec<i32> {
    without(&partition.replicas, &partition.removing)
}

/// Gives a partition other replicas. One that has all it needs in sync already is done at once.
pub(super) fn reassign(
    changed: &mut Changed<'_>,
    brokers: &Brokers,
    (id, index): (Uuid, i32),
    target: &[i32],
    configs: &dyn ConfigRules,
) -> Result<(), ReassignError> {
    let Some((topic, before)) = changed.partition(id, index) else {
        return Err(ReassignError::Unknown { topic: id, partition: index });
    };
    check_replicas(changed.image, index, target, &before.replicas)?;
    // What an earlier reassignment was adding never counted as the partition's own.
    let own = without(&before.replicas, &before.adding);
    let (adding, removing) = (without(target, &own), without(&own, target));
    let replicas = target.iter().chain(&removing).copied().collect();
    let rules = TopicRules::of(topic, configs);
    let after = PartitionChange::of(before, brokers, rules).replicas(replicas, adding, removing).build();
    if let Some(after) = enough_left(index, before, after, rules)? {
        changed.put(id, index, after);
    }
    Ok(())
}

/// Takes a reassignment back: the replicas are those from before it.
pub(super) fn cancel(
    changed: &mut Changed<'_>,
    brokers: &Brokers,
    (id, index): (Uuid, i32),
    configs: &dyn ConfigRules,
) -> Result<(), ReassignError> {
    let Some((topic, before)) = changed.partition(id, index) else {
        return Err(ReassignError::Unknown { topic: id, partition: index });
    };
    if !before.is_reassigning() {
        return Err(ReassignError::NotReassigning { partition: index });
    }
    let rules = TopicRules::of(topic, configs);
    let own = without(&before.replicas, &before.adding);
    let after = PartitionChange::of(before, brokers, rules).replicas(own, Vec::new(), Vec::new()).build();
    if let Some(after) = enough_left(index, before, after, rules)? {
        changed.put(id, index, after);
    }
    Ok(())
}

/// Refuses a change that would leave nobody who has what was acknowledged, or nobody who could lead where there is a leader; or
/// that on fewer replicas than `min.insync.replicas` promises. Where it is on fewer already, on no fewer than that.
fn enough_left(
    partition: i32,
    before: &PartitionRegistration,
    after: Option<PartitionRegistration>,
    rules: TopicRules,
) -> Result<Option<PartitionRegistration>, ReassignError> {
    let Some(after) = after else { return Ok(None) };
    let had_leader = before.leader != PartitionRegistration::NO_LEADER;
    let is_led = after.leader != PartitionRegistration::NO_LEADER;
    let is_clean = before.recovering || !after.recovering;
    let have_it = |one: &PartitionRegistration| one.isr.len() + one.elr.len();
    let promised = rules.min_insync_replicas.clamp(1, after.replicas.len().max(1));
    let are_too_few = have_it(&after) == 0 || have_it(&after) < promised.min(have_it(before));
    if are_too_few || (had_leader && !is_led) || !is_clean {
        return Err(ReassignError::NobodyInSync { partition });
    }
    Ok(Some(after))
}

fn without(replicas: &[i32], others: &[i32]) -> Vec<i32> {
    replicas.iter().copied().filter(|replica| !others.contains(replica)).collect()
}

#[cfg(test)]
mod tests;
