//! What becomes of a partition when the facts about it change: the one place where a registration is followed by the next.
//!
//! Facts: which brokers serve, who is in the ISR, which replicas there are to be, who may have lost what it held. Decided from
//! them, as Kafka's PartitionChangeBuilder does (KIP-966):
//! - a reassignment is complete once its new replicas are in sync, and enough of those that stay;
//! - who leads. A leader that may lead stays, so that nothing moves without need;
//! - who may lead besides the ISR. While the ISR has fewer than `min.insync.replicas` members nothing is acknowledged, so whoever
//!   left it then still has all that ever was, and stays eligible. Once there are enough again, nobody but the ISR is;
//! - the epochs. A leader epoch begins with every change of the leader, also to none, and when replicas are taken away, which must
//!   not fetch any more. A partition epoch begins with every change.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::ConfigRules;
use crate::metadata::{Image, MetadataRecord, PartitionRegistration, Topic};
use crate::planted::{Bug, planted};

/// Partitions in one record: at some thirty bytes each it fits into an entry of the metadata log beside others.
const PARTITIONS_PER_RECORD: usize = 2_000;

/// How a leader is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Election {
    /// The leader there is if it may lead, else the first replica that may.
    Stay,
    /// The first replica if it may lead, else as [`Election::Stay`].
    Preferred,
    /// As [`Election::Stay`]; and where nobody may lead, the first replica that serves, whatever it lacks: one that is still being
    /// added, and so lacks the most, only if there is no other.
    Unclean,
    /// This replica, whatever it lacks.
    Chosen(i32),
}

/// Who can be counted on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Brokers {
    /// May join and be elected.
    active: BTreeSet<i32>,
    /// About to end: lead on where nobody else can.
    ending: BTreeSet<i32>,
}

/// What a topic's configuration says of elections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicRules {
    pub(super) min_insync_replicas: usize,
    pub(super) unclean_elections: bool,
    /// What a replica counted as stored was on its disk, so an unclean end takes nothing of it.
    pub(super) counts_what_is_on_disk: bool,
}

/// A change of one partition, as it is put together.
#[derive(Debug)]
pub(super) struct PartitionChange<'a> {
    before: &'a PartitionRegistration,
    brokers: &'a Brokers,
    rules: TopicRules,
    election: Election,
    /// As it is to be; fields that nobody sets stay as they were.
    after: PartitionRegistration,
    /// May have lost what they held.
    lossy: Option<i32>,
}

impl Brokers {
    pub(super) fn of(image: &Image) -> Self {
        let (active, ending): (Vec<_>, Vec<_>) = image.serving().partition(|broker| broker.is_active());
        let ids = |brokers: Vec<&std::sync::Arc<crate::metadata::BrokerRegistration>>| {
            brokers.into_iter().map(|broker| broker.id).collect()
        };
        Self { active: ids(active), ending: ids(ending) }
    }

    /// Without that broker.
    pub(super) fn without(mut self, id: i32) -> Self {
        self.active.remove(&id);
        self.ending.remove(&id);
        self
    }

    /// With that broker about to end, if it serves.
    pub(super) fn ending(mut self, id: i32) -> Self {
        if self.active.remove(&id) {
            self.ending.insert(id);
        }
        self
    }

    pub(super) fn is_active(&self, id: i32) -> bool {
        self.active.contains(&id)
    }

    pub(super) fn is_ending(&self, id: i32) -> bool {
        self.ending.contains(&id)
    }
}

impl TopicRules {
    pub(super) fn of(topic: &Topic, configs: &dyn ConfigRules) -> Self {
        let value = |name: &str| configs.value(&topic.configs, name);
        Self {
            // What can't be read is what Kafka's defaults are: values are checked before they get into the log.
            min_insync_replicas: value("min.insync.replicas").and_then(|value| value.trim().parse().ok()).unwrap_or(1),
            unclean_elections: value("unclean.leader.election.enable").is_some_and(|value| value.trim() == "true"),
            counts_what_is_on_disk: value("sluice.flush.mode").is_none_or(|value| value.trim() != "os"),
        }
    }
}

impl<'a> PartitionChange<'a> {
    /// A change that so far says: as it is, with these brokers and rules.
    pub(super) fn of(before: &'a PartitionRegistration, brokers: &'a Brokers, rules: TopicRules) -> Self {
        let election = if rules.unclean_elections { Election::Unclean } else { Election::Stay };
        Self { before, brokers, rules, election, after: before.clone(), lossy: None }
    }

    /// The ISR is to be this one.
    pub(super) fn isr(mut self, isr: Vec<i32>) -> Self {
        self.after.isr = isr;
        self
    }

    /// These brokers leave the ISR.
    pub(super) fn leave(mut self, leaves: impl Fn(i32) -> bool) -> Self {
        self.after.isr.retain(|member| !leaves(*member));
        self
    }

    /// That broker may have lost what it held: nothing it is, it is any more.
    pub(super) fn lossy(mut self, id: i32) -> Self {
        self.after.isr.retain(|member| *member != id);
        self.lossy = Some(id);
        self
    }

    /// The replicas are to be these, of which some are being added and some removed (KIP-455).
    pub(super) fn replicas(mut self, replicas: Vec<i32>, adding: Vec<i32>, removing: Vec<i32>) -> Self {
        (self.after.replicas, self.after.adding, self.after.removing) = (replicas, adding, removing);
        self
    }

    /// The leader is to be chosen so, in place of what the topic's rules say.
    pub(super) fn election(mut self, election: Election) -> Self {
        self.election = election;
        self
    }

    /// The leader has recovered from an unclean election.
    pub(super) fn recovered(mut self) -> Self {
        self.after.recovering = false;
        self
    }

    /// The registration that follows, if it is another one.
    pub(super) fn build(mut self) -> Option<PartitionRegistration> {
        self.complete_reassignment();
        self.after.isr = self.in_order(&self.after.isr, &self.before.isr);
        let mut eligible = self.eligible();
        self.elect(&mut eligible);
        let elr = if self.after.isr.len() < self.min_insync_replicas() { eligible } else { Vec::new() };
        self.after.elr = self.in_order(&elr, &self.before.elr);
        let is_replica = |id: &&i32| self.after.replicas.contains(id);
        let are_removed = self.before.replicas.iter().filter(is_replica).count() < self.before.replicas.len();
        if self.after.leader != self.before.leader && !planted(Bug::EpochNotRaised) || are_removed {
            self.after.leader_epoch = self.before.leader_epoch + 1;
        }
        (self.after != *self.before).then(|| {
            self.after.partition_epoch = self.before.partition_epoch + 1;
            self.after
        })
    }

    /// What is removed goes as soon as what is added is in sync, and not before as many stay in sync as `min.insync.replicas`
    /// asks for: the removed ones are no longer eligible, and what was acknowledged has to outlive what it was promised to.
    fn complete_reassignment(&mut self) {
        let after = &mut self.after;
        if !after.is_reassigning() {
            return;
        }
        let stays = |id: &i32| !after.removing.contains(id);
        let replicas: Vec<i32> = after.replicas.iter().copied().filter(stays).collect();
        let isr: Vec<i32> = after.isr.iter().copied().filter(stays).collect();
        let are_added = after.adding.iter().all(|id| isr.contains(id));
        let enough = isr.len() >= self.rules.min_insync_replicas.clamp(1, replicas.len().max(1));
        // Fewer than enough are no worse off without those that nothing is counted on.
        let counts = |id: &i32| after.isr.contains(id) || self.before.isr.contains(id) || self.before.elr.contains(id);
        if are_added && !isr.is_empty() && (enough || !after.removing.iter().any(counts)) {
            (after.replicas, after.isr) = (replicas, isr);
            (after.adding, after.removing) = (Vec::new(), Vec::new());
        }
    }

    /// Members in the order of the replicas; or in the order they had, if they are the same: that is no change.
    fn in_order(&self, members: &[i32], before: &[i32]) -> Vec<i32> {
        let ordered: Vec<i32> = self.after.replicas.iter().copied().filter(|id| members.contains(id)).collect();
        let is_same = ordered.len() == before.len() && ordered.iter().all(|id| before.contains(id));
        if is_same { before.to_vec() } else { ordered }
    }

    /// Replicas outside the ISR that have all that was ever acknowledged, if nothing is acknowledged without them.
    fn eligible(&self) -> Vec<i32> {
        if self.after.isr.len() >= self.min_insync_replicas() || planted(Bug::EligibleForgotten) {
            return Vec::new();
        }
        let was = |id: &i32| self.before.isr.contains(id) || self.before.elr.contains(id);
        let is = |id: &i32| was(id) && !self.after.isr.contains(id) && self.lossy != Some(*id);
        self.after.replicas.iter().copied().filter(is).collect()
    }

    fn elect(&mut self, eligible: &mut Vec<i32>) {
        let leader = self.leader(eligible);
        let PartitionRegistration { replicas, isr, elr: _, .. } = &mut self.after;
        match leader {
            Some(id) if isr.contains(&id) => {}
            Some(id) if eligible.contains(&id) => {
                // Whoever is in sync and does not serve has all that was acknowledged as well.
                let others = |other: &i32| *other != id && (isr.contains(other) || eligible.contains(other));
                *eligible = replicas.iter().copied().filter(others).collect();
                *isr = vec![id];
            }
            Some(id) => {
                // What the others have more is lost: they follow this one now.
                eligible.clear();
                *isr = vec![id];
                self.after.recovering = true;
            }
            None => {}
        }
        self.after.leader = leader.unwrap_or(PartitionRegistration::NO_LEADER);
    }

    fn leader(&self, eligible: &[i32]) -> Option<i32> {
        let PartitionRegistration { replicas, isr, .. } = &self.after;
        let known = self.before.leader;
        let serves = |id: &i32| self.brokers.is_active(*id);
        let in_sync = |id: &i32| isr.contains(id) && serves(id);
        let clean = || {
            let stays = Some(known).filter(in_sync);
            let first_in_sync = || replicas.iter().copied().find(in_sync);
            // Eligible ones come after: what the ISR has more was not acknowledged, but why lose it?
            let first_eligible = || replicas.iter().copied().find(|id| eligible.contains(id) && serves(id));
            stays.or_else(first_in_sync).or_else(first_eligible)
        };
        let ends = || Some(known).filter(|id| isr.contains(id) && self.brokers.is_ending(*id));
        let unclean = || {
            let is_whole = |id: &i32| serves(id) && !self.after.adding.contains(id);
            replicas.iter().copied().find(is_whole).or_else(|| replicas.iter().copied().find(serves))
        };
        match self.election {
            Election::Stay => clean().or_else(ends),
            Election::Preferred => replicas.first().copied().filter(in_sync).or_else(clean).or_else(ends),
            Election::Unclean => clean().or_else(ends).or_else(unclean),
            Election::Chosen(id) => Some(id),
        }
    }

    /// More than there are replicas can't be asked for.
    fn min_insync_replicas(&self) -> usize {
        self.rules.min_insync_replicas.clamp(1, self.after.replicas.len().max(1))
    }
}

/// Goes over all partitions and gives the records of those that change. `touched` says cheaply which to look at: most of the time
/// most are not.
pub(super) fn change_partitions(
    image: &Image,
    configs: &dyn ConfigRules,
    touched: impl Fn(&PartitionRegistration) -> bool,
    mut change: impl FnMut(&PartitionRegistration, TopicRules) -> Option<PartitionRegistration>,
) -> Vec<MetadataRecord> {
    let mut records = Vec::new();
    for topic in image.topics() {
        let rules = OnceCell::new();
        let changed: Vec<_> = (0..)
            .zip(&topic.partitions)
            .filter(|(_, partition)| touched(partition))
            .filter_map(|(index, partition)| {
                let rules = *rules.get_or_init(|| TopicRules::of(topic, configs));
                Some((index, change(partition, rules)?))
            })
            .collect();
        records.extend(partition_records(topic, changed));
    }
    records
}

/// The records of a topic's partitions that changed.
pub(super) fn partition_records(
    topic: &Topic,
    changed: Vec<(i32, PartitionRegistration)>,
) -> impl Iterator<Item = MetadataRecord> {
    let topic = topic.id;
    let chunks: Vec<_> = changed.chunks(PARTITIONS_PER_RECORD).map(<[_]>::to_vec).collect();
    chunks.into_iter().map(move |partitions| MetadataRecord::Partitions { topic, partitions })
}

#[cfg(test)]
mod tests;
