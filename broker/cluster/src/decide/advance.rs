//! Reassignments taken further: the step the controller takes whenever something has changed, and from time to time.
//!
//! One step ends the reassignments that can end, then begins more, few enough at a time that what was begun soon ends: a broker
//! that is being emptied gives its replicas away, topics of the brokers' own are spread over brokers that came, and if it is
//! wanted brokers are evened. Nothing of this is remembered between steps: each is decided from the image alone, so it makes no
//! difference which controller takes it, or how often.

use serde::{Deserialize, Serialize};

use super::changed::Changed;
use super::drain::held;
use super::partition_change::{Brokers, PartitionChange, TopicRules};
use super::placement::{INTERNAL_REPLICAS_MAX, places};
use super::plan::{Move, PartitionSizes, Plan};
use super::reassign::{reassign, reassignments};
use super::{Change, Decided, Given, Never};
use crate::metadata::{Image, PartitionRegistration};

/// Takes reassignments one step further.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvanceReassignments {
    /// Bytes of partitions, as far as they are known.
    pub sizes: PartitionSizes,
    /// Brokers are to be evened, without being asked (`sluice.balancer.enable`).
    pub balance: bool,
    /// Reassignments under way at a time; those that only wait for brokers that are away are none of them.
    pub moves_max: usize,
}

/// What a step did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advanced {
    /// Reassignments that ended.
    pub completed: usize,
    /// Reassignments that began.
    pub begun: Vec<Move>,
    /// Moves that were planned and have to wait.
    pub waiting: usize,
}

impl AdvanceReassignments {
    /// Reassignments under way at a time, if nobody says otherwise: enough to keep every broker copying, few enough that a
    /// cancelled drain has little to take back.
    pub const MOVES_MAX: usize = 64;

    /// Whether a step could do something besides evening brokers: looks at all partitions, and is cheap all the same.
    #[must_use]
    pub fn is_needed(image: &Image) -> bool {
        let internal = || image.topics().filter(|topic| topic.internal).flat_map(|topic| &topic.partitions);
        let open = places(image).len().min(usize::try_from(INTERNAL_REPLICAS_MAX).unwrap_or(1));
        let drains = || image.brokers().filter(|broker| broker.draining);
        reassignments(image).next().is_some()
            || drains().any(|broker| held(image, broker.id).next().is_some())
            || internal().any(|partition| partition.replicas.len() < open)
    }
}

impl Default for AdvanceReassignments {
    fn default() -> Self {
        Self { sizes: PartitionSizes::new(), balance: false, moves_max: Self::MOVES_MAX }
    }
}

impl Change for AdvanceReassignments {
    const KIND: u16 = 27;
    type Answer = Advanced;
    type Error = Never;

    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<Advanced>, Never> {
        let (mut changed, brokers) = (Changed::new(image), Brokers::of(image));
        let mut advanced = Advanced::default();
        let mut under_way = 0;
        for (topic, index, partition) in reassignments(image) {
            let change = PartitionChange::of(partition, &brokers, TopicRules::of(topic, given.configs));
            match change.build().filter(|after| !after.is_reassigning()) {
                Some(after) => {
                    changed.put(topic.id, index, after);
                    advanced.completed += 1;
                }
                None => under_way += usize::from(is_copied(partition, &brokers)),
            }
        }
        // One kind at a time: a balance is not planned around a broker that is being emptied.
        let mut plan = Plan::upkeep(image, &self.sizes);
        if plan.moves.is_empty() && self.balance && !image.brokers().any(|broker| broker.draining) {
            plan = Plan::balance(image, &self.sizes);
        }
        let mut room = self.moves_max.saturating_sub(under_way);
        for one in plan.moves {
            let copies = one.to.iter().any(|replica| !one.from.contains(replica));
            if copies && room == 0 {
                advanced.waiting += 1;
                continue;
            }
            // What the rules of reassignments forbid at this moment is planned again at the next.
            if reassign(&mut changed, &brokers, (one.topic, one.partition), &one.to, given.configs).is_ok() {
                room -= usize::from(copies);
                advanced.begun.push(one);
            }
        }
        Ok(Decided { records: changed.into_records(), answer: advanced, may_split: true })
    }
}

/// Whether somebody copies for it. One that waits for brokers that are away keeps no other waiting for that long.
fn is_copied(partition: &PartitionRegistration, brokers: &Brokers) -> bool {
    partition.adding.iter().any(|id| !partition.isr.contains(id) && brokers.is_active(*id))
}

#[cfg(test)]
mod tests {
    use super::super::Drain;
    use super::super::fixture::Cluster;
    use super::*;
    use crate::metadata::MetadataRecord;

    #[test]
    fn a_broker_is_emptied_step_by_step() {
        let replicas: Vec<&[i32]> = vec![&[1, 2]; 10];
        let mut cluster = Cluster::of(&[(1, ""), (2, ""), (3, ""), (4, "")]).assigned("orders", &replicas);
        cluster.decide(&Drain { id: 1 }).unwrap();
        let step = AdvanceReassignments { moves_max: 4, ..AdvanceReassignments::default() };
        let mut steps = Vec::new();
        for _ in 0..10 {
            let advanced = cluster.decide(&step).unwrap();
            if advanced == Advanced::default() {
                break;
            }
            steps.push((advanced.completed, advanced.begun.len(), advanced.waiting));
            assert!(reassignments(&cluster.image).count() <= 4);
            catch_up(&mut cluster);
        }
        assert_eq!(steps, [(0, 4, 6), (4, 4, 2), (4, 2, 0), (2, 0, 0)]);
        assert_eq!(held(&cluster.image, 1).count(), 0);
        let on = |id| held(&cluster.image, id).count();
        assert_eq!((on(2), on(3), on(4)), (10, 5, 5));
        assert!(
            cluster.image.topic("orders").unwrap().partitions.iter().all(|one| one.leader != 1 && one.isr.len() == 2)
        );
    }

    #[test]
    fn a_step_waits_for_those_who_are_behind() {
        let mut cluster = Cluster::of(&[(1, ""), (2, ""), (3, "")]).assigned("orders", &[&[1, 2]]);
        cluster.decide(&Drain { id: 1 }).unwrap();
        let step = AdvanceReassignments::default();
        assert_eq!(cluster.decide(&step).unwrap().begun.len(), 1);
        assert_eq!(cluster.decide(&step), Ok(Advanced::default()), "nothing to do, and nothing done twice");
    }

    #[test]
    fn who_is_away_keeps_no_other_waiting() {
        let mut cluster =
            Cluster::of(&[(1, ""), (2, ""), (3, ""), (4, "")]).assigned("orders", &[&[1, 2], &[1, 2], &[1, 2]]);
        cluster.decide(&Drain { id: 1 }).unwrap();
        let step = AdvanceReassignments { moves_max: 1, ..AdvanceReassignments::default() };
        let first = cluster.decide(&step).unwrap().begun.remove(0).to;
        assert_eq!(cluster.decide(&step).unwrap().begun, [], "one at a time");
        let away = *first.iter().find(|id| **id != 2).unwrap();
        cluster.dies(away);
        let advanced = cluster.decide(&step).unwrap();
        assert_eq!((advanced.begun.len(), advanced.waiting), (1, 1), "{advanced:?}");
        assert!(!advanced.begun[0].to.contains(&away));
        assert_eq!(cluster.decide(&step).unwrap().begun, [], "still one at a time");
        cluster.returns(away);
        assert_eq!(cluster.decide(&step).unwrap().begun, [], "and what waited is copied now");
        assert_eq!(reassignments(&cluster.image).count(), 2);
    }

    #[test]
    fn own_topics_grow_with_the_cluster() {
        let mut cluster = Cluster::of(&[(1, "")]).internal("__sluice_plugins", &[1]);
        let step = AdvanceReassignments::default();
        let replicas =
            |cluster: &Cluster| cluster.image.topic("__sluice_plugins").unwrap().partitions[0].replicas.clone();
        assert_eq!(cluster.decide(&step), Ok(Advanced::default()));
        assert!(!AdvanceReassignments::is_needed(&cluster.image));
        for (id, expected) in [(2, vec![1, 2]), (3, vec![1, 2, 3]), (4, vec![1, 2, 3])] {
            cluster.join(id, "");
            assert_eq!(AdvanceReassignments::is_needed(&cluster.image), id < 4);
            cluster.decide(&step).unwrap();
            catch_up(&mut cluster);
            cluster.decide(&step).unwrap();
            assert_eq!(replicas(&cluster), expected, "with broker {id}");
        }
        cluster.decide(&Drain { id: 1 }).unwrap();
        cluster.decide(&step).unwrap();
        catch_up(&mut cluster);
        cluster.decide(&step).unwrap();
        assert_eq!(replicas(&cluster), [4, 2, 3]);
        cluster.decide(&Drain { id: 2 }).unwrap();
        cluster.decide(&step).unwrap();
        assert_eq!(replicas(&cluster), [4, 3], "fewer, where there are fewer");
    }

    #[test]
    fn brokers_are_evened_if_it_is_wanted() {
        let replicas: Vec<&[i32]> = vec![&[1, 2]; 12];
        let mut cluster = Cluster::of(&[(1, ""), (2, ""), (3, "")]).assigned("orders", &replicas);
        let mut step = AdvanceReassignments::default();
        assert_eq!(cluster.decide(&step), Ok(Advanced::default()), "nobody asked");
        step.balance = true;
        for _ in 0..5 {
            cluster.decide(&step).unwrap();
            catch_up(&mut cluster);
        }
        assert_eq!([1, 2, 3].map(|id| held(&cluster.image, id).count()), [8, 8, 8]);
        assert_eq!(cluster.decide(&step), Ok(Advanced::default()), "even is even");
    }

    #[test]
    fn nobody_is_evened_while_one_is_emptied() {
        let mut cluster = Cluster::of(&[(1, ""), (2, ""), (3, "")]).assigned("orders", &[&[2, 3], &[2, 3]]);
        cluster.decide(&Drain { id: 1 }).unwrap();
        let step = AdvanceReassignments { balance: true, ..AdvanceReassignments::default() };
        assert_eq!(cluster.decide(&step), Ok(Advanced::default()));
    }

    /// Replicas to come are in sync now.
    fn catch_up(cluster: &mut Cluster) {
        let caught_up = |partition: &PartitionRegistration| {
            let mut isr = partition.isr.clone();
            isr.extend(&partition.adding);
            let partition_epoch = partition.partition_epoch + 1;
            PartitionRegistration { isr, partition_epoch, ..partition.clone() }
        };
        let records: Vec<_> = reassignments(&cluster.image)
            .map(|(topic, index, one)| MetadataRecord::Partitions {
                topic: topic.id,
                partitions: vec![(index, caught_up(one))],
            })
            .collect();
        records.iter().for_each(|record| cluster.replay(record));
    }
}
