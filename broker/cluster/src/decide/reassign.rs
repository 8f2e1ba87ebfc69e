//! Reassignments: a partition's replicas replaced while it serves (KIP-455).
//!
//! What is wanted is written down at once: replicas to come are `adding`, replicas to go are `removing`, and the partition has
//! both until those to come are in sync. Then the ones to go are dropped in one step, with a new leader if it was one of them.
//! From then on they are no replicas, so no leader can bring them back into the ISR. All of it is in the metadata log: a new
//! controller goes on where the last one was.

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::changed::Changed;
use super::placement::{PlacementError, check_replicas, is_active};
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
    /// Of the replicas that would stay none can lead: what was acknowledged is on the ones to go.
    #[error("no replica of partition {partition} that would stay is in sync and serving")]
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
        let mut changed = Changed::new(image);
        let answer = self.partitions.iter().map(|(topic, partition, replicas)| match replicas {
            Some(replicas) => {
                self.check_factor(&changed, *topic, *partition, replicas)?;
                reassign(&mut changed, (*topic, *partition), replicas, given.configs)
            }
            None => cancel(&mut changed, (*topic, *partition)),
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
    (id, index): (Uuid, i32),
    target: &[i32],
    configs: &dyn ConfigRules,
) -> Result<(), ReassignError> {
    let image = changed.image;
    let Some((topic, before)) = changed.partition(id, index) else {
        return Err(ReassignError::Unknown { topic: id, partition: index });
    };
    check_replicas(image, index, target, &before.replicas)?;
    // What an earlier reassignment was adding never counted as the partition's own.
    let own: Vec<i32> = without(&before.replicas, &before.adding);
    let mut after = before.clone();
    after.adding = without(target, &own);
    after.removing = without(&own, target);
    after.replicas = target.iter().chain(&after.removing).copied().collect();
    if after == *before {
        return Ok(());
    }
    let after = keeping_only_replicas(image, index, after)?;
    let after = completed(image, topic, &after, configs).unwrap_or(after);
    changed.put(id, index, risen(before.partition_epoch, after));
    Ok(())
}

/// Takes a reassignment back: the replicas are those from before it.
pub(super) fn cancel(changed: &mut Changed<'_>, (id, index): (Uuid, i32)) -> Result<(), ReassignError> {
    let Some((_, before)) = changed.partition(id, index) else {
        return Err(ReassignError::Unknown { topic: id, partition: index });
    };
    if !before.is_reassigning() {
        return Err(ReassignError::NotReassigning { partition: index });
    }
    let epoch = before.partition_epoch;
    let mut after = before.clone();
    after.replicas = without(&before.replicas, &before.adding);
    after.adding.clear();
    after.removing.clear();
    let after = keeping_only_replicas(changed.image, index, after)?;
    changed.put(id, index, risen(epoch, after));
    Ok(())
}

/// The partition after its reassignment, if it can end now: all replicas to come are in sync, those to go are not needed for
/// `min.insync.replicas`, and somebody who stays can lead. Its epoch is the caller's to raise.
pub(super) fn completed(
    image: &Image,
    topic: &Topic,
    partition: &PartitionRegistration,
    configs: &dyn ConfigRules,
) -> Option<PartitionRegistration> {
    if !partition.is_reassigning() || partition.recovering {
        return None;
    }
    let mut after = partition.clone();
    after.replicas = target(partition);
    after.isr = without(&partition.isr, &partition.removing);
    let needed = min_insync_replicas(topic, configs).clamp(1, after.replicas.len().max(1));
    // Fewer in sync than needed is no worse than before if nobody who goes was in sync.
    let enough = after.isr.len() >= needed || after.isr.len() == partition.isr.len();
    if !enough || after.isr.is_empty() || !partition.adding.iter().all(|replica| after.isr.contains(replica)) {
        return None;
    }
    after.adding.clear();
    after.removing.clear();
    keeping_only_replicas(image, 0, after).ok()
}

/// The topic's `min.insync.replicas` in force.
fn min_insync_replicas(topic: &Topic, configs: &dyn ConfigRules) -> usize {
    configs.value(&topic.configs, "min.insync.replicas").and_then(|value| value.trim().parse().ok()).unwrap_or(1)
}

/// The partition with nobody in its ISR, among its eligible leaders or at its head who is not one of its replicas.
fn keeping_only_replicas(
    image: &Image,
    index: i32,
    mut partition: PartitionRegistration,
) -> Result<PartitionRegistration, ReassignError> {
    let nobody = ReassignError::NobodyInSync { partition: index };
    let replicas = &partition.replicas;
    partition.isr.retain(|replica| replicas.contains(replica));
    partition.elr.retain(|replica| replicas.contains(replica));
    if partition.isr.is_empty() && partition.elr.is_empty() {
        return Err(nobody);
    }
    if partition.leader != PartitionRegistration::NO_LEADER && !replicas.contains(&partition.leader) {
        let mut eligible = replicas.iter().filter(|id| partition.isr.contains(id) && is_active(image, **id));
        partition.leader = *eligible.next().ok_or(nobody)?;
        partition.leader_epoch += 1;
    }
    Ok(partition)
}

fn risen(epoch: i32, mut after: PartitionRegistration) -> PartitionRegistration {
    after.partition_epoch = epoch + 1;
    after
}

fn without(replicas: &[i32], others: &[i32]) -> Vec<i32> {
    replicas.iter().copied().filter(|replica| !others.contains(replica)).collect()
}

#[cfg(test)]
mod tests;
