//! Who holds what while a plan is made: the replicas as they would be, what each broker would carry, and the rules that every
//! move keeps to.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use sluice_protocol::Uuid;

use super::super::placement::INTERNAL_REPLICAS_MAX;
use super::super::placement::spread::Place;
use super::{BrokerLoad, Image, Move, PartitionSizes, places, target};

/// The partitions of a cluster, as planned so far.
pub(super) struct Layout<'a> {
    /// The rack of every broker there is.
    racks: BTreeMap<i32, Option<&'a str>>,
    /// What brokers carry: those that may be given replicas, and those to be emptied.
    carried: BTreeMap<i32, Carried>,
    /// How many racks have brokers that may be given replicas.
    open_racks: usize,
    partitions: Vec<Partition>,
}

/// What a broker carries.
#[derive(Debug, Default)]
struct Carried {
    /// It may be given replicas.
    open: bool,
    /// Sum of the weights of all its replicas.
    weight: u64,
    /// Its replicas that may be moved: weight, and which partition's.
    movable: BTreeSet<(u64, usize)>,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: Uuid,
    pub(super) index: i32,
    pub(super) internal: bool,
    pub(super) before: Vec<i32>,
    pub(super) replicas: Vec<i32>,
    pub(super) bytes: u64,
    /// Bytes, and a little for being there: of replicas that are all empty each broker gets its share, too.
    weight: u64,
    /// On its way already: counted, not moved.
    moving: bool,
}

/// How unevenly a partition lies over racks; the less the better: most replicas in one rack, then how few racks.
type Unevenness = (usize, Reverse<usize>);

/// In place of a broker whose replica another takes, where nobody gives one.
const NOBODY: i32 = -1;

/// One hundredth of a replica's mean size is what a replica weighs for being there.
const PRESENCE: u64 = 100;

impl<'a> Layout<'a> {
    pub(super) fn of(image: &'a Image, sizes: &PartitionSizes) -> Self {
        let partitions = image.topics().flat_map(|topic| {
            (0..).zip(&topic.partitions).map(|(index, partition)| {
                let replicas = target(partition);
                Partition {
                    topic: topic.id,
                    index,
                    internal: topic.internal,
                    before: replicas.clone(),
                    replicas,
                    bytes: sizes.get(&(topic.id, index)).copied().unwrap_or(0),
                    weight: 0,
                    moving: partition.is_reassigning(),
                }
            })
        });
        let racks = image.brokers().map(|broker| (broker.id, broker.rack.as_deref()));
        let emptied = image.brokers().filter(|broker| broker.draining).map(|broker| broker.id);
        Self::new(racks.collect(), places(image), emptied, partitions.collect())
    }

    pub(super) fn new(
        racks: BTreeMap<i32, Option<&'a str>>,
        open: impl IntoIterator<Item = Place<'a>>,
        emptied: impl IntoIterator<Item = i32>,
        mut partitions: Vec<Partition>,
    ) -> Self {
        let mut carried: BTreeMap<i32, Carried> = emptied.into_iter().map(|id| (id, Carried::default())).collect();
        carried.extend(open.into_iter().map(|place| (place.id, Carried { open: true, ..Carried::default() })));
        let bytes: u64 = partitions.iter().map(|partition| partition.bytes * partition.replicas.len() as u64).sum();
        let replicas: u64 = partitions.iter().map(|partition| partition.replicas.len() as u64).sum();
        let presence = (bytes / (PRESENCE * replicas.max(1))).max(1);
        for (at, partition) in partitions.iter_mut().enumerate() {
            partition.weight = partition.bytes + presence;
            for replica in &partition.replicas {
                if let Some(carried) = carried.get_mut(replica) {
                    carried.put(partition, at);
                }
            }
        }
        let open = carried.iter().filter(|(_, carried)| carried.open);
        let open_racks = open.map(|(id, _)| racks.get(id).copied().flatten()).collect::<BTreeSet<_>>().len();
        Self { racks, carried, open_racks, partitions }
    }

    /// What brokers carry, in bytes.
    pub(super) fn loads(&self) -> BTreeMap<i32, BrokerLoad> {
        let mut loads: BTreeMap<i32, BrokerLoad> = self.carried.keys().map(|id| (*id, BrokerLoad::default())).collect();
        for partition in &self.partitions {
            for (at, replica) in partition.replicas.iter().enumerate() {
                if let Some(load) = loads.get_mut(replica) {
                    load.bytes += partition.bytes;
                    load.replicas += 1;
                    load.leaders += usize::from(at == 0);
                }
            }
        }
        loads
    }

    /// The partitions whose replicas are no longer what they were.
    pub(super) fn moves(&self) -> Vec<Move> {
        let changed = self.partitions.iter().filter(|partition| partition.replicas != partition.before);
        let moves = changed.map(|partition| {
            let new = partition.replicas.iter().filter(|replica| !partition.before.contains(replica)).count();
            Move {
                topic: partition.topic,
                partition: partition.index,
                from: partition.before.clone(),
                to: partition.replicas.clone(),
                bytes: partition.bytes * new as u64,
            }
        });
        moves.collect()
    }

    /// Brokers that may be given replicas with what they carry, the one with the least first.
    pub(super) fn by_weight(&self) -> Vec<(u64, i32)> {
        let open = self.carried.iter().filter(|(_, carried)| carried.open);
        let mut by_weight: Vec<_> = open.map(|(id, carried)| (carried.weight, *id)).collect();
        by_weight.sort_unstable();
        by_weight
    }

    /// The replicas of a broker that may be moved: weight, and which partition's.
    pub(super) fn movable(&self, broker: i32) -> &BTreeSet<(u64, usize)> {
        static NONE: BTreeSet<(u64, usize)> = BTreeSet::new();
        self.carried.get(&broker).map_or(&NONE, |carried| &carried.movable)
    }

    pub(super) fn replica_count(&self) -> usize {
        self.partitions.iter().map(|partition| partition.replicas.len()).sum()
    }

    /// Partitions that may be changed.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (usize, &Partition)> {
        self.partitions.iter().enumerate().filter(|(_, partition)| !partition.moving)
    }

    pub(super) fn replicas(&self, at: usize) -> &[i32] {
        &self.partitions[at].replicas
    }

    pub(super) fn is_open(&self, broker: i32) -> bool {
        self.carried.get(&broker).is_some_and(|carried| carried.open)
    }

    /// Whether `to` may take `from`'s replica: it holds none, and the racks are no worse for it.
    pub(super) fn may_replace(&self, at: usize, from: i32, to: i32) -> bool {
        let replicas = self.replicas(at);
        let same_rack = || self.rack(from) == self.rack(to);
        !replicas.contains(&to)
            && (same_rack() || self.unevenness(replicas, Some((from, to))) <= self.unevenness(replicas, None))
    }

    /// `to` takes `from`'s replica, in its place in the order.
    pub(super) fn replace(&mut self, at: usize, from: i32, to: i32) {
        let partition = &mut self.partitions[at];
        assert!(!partition.moving && !partition.replicas.contains(&to), "the rules of a move are checked before it");
        if let Some(replica) = partition.replicas.iter_mut().find(|replica| **replica == from) {
            *replica = to;
        }
        if let Some(carried) = self.carried.get_mut(&from) {
            carried.take(partition, at);
        }
        if let Some(carried) = self.carried.get_mut(&to) {
            carried.put(partition, at);
        }
    }

    /// The partition's preferred leader is `to`, which changes places with the one before.
    pub(super) fn prefer(&mut self, at: usize, to: i32) {
        let replicas = &mut self.partitions[at].replicas;
        if let Some(place) = replicas.iter().position(|replica| *replica == to) {
            replicas.swap(0, place);
        }
    }

    /// Takes every replica off a broker that can be taken off: big ones first, each to the broker that leaves the racks most
    /// even and of these to the one that carries the least.
    pub(super) fn evacuate(&mut self, broker: i32) {
        let replicas: Vec<usize> = self.movable(broker).iter().rev().map(|(_, at)| *at).collect();
        for at in replicas {
            if let Some(to) = self.best_instead(at, broker) {
                self.replace(at, broker, to);
            } else if self.partitions[at].internal && self.partitions[at].replicas.len() > 1 {
                self.drop_replica(at, broker);
            }
        }
    }

    /// Gives topics of the brokers' own the replicas they lack, where there are brokers for them.
    pub(super) fn widen_internal(&mut self) {
        let open = self.carried.values().filter(|carried| carried.open).count();
        let wanted = open.min(usize::try_from(INTERNAL_REPLICAS_MAX).unwrap_or(1));
        for at in 0..self.partitions.len() {
            let partition = &self.partitions[at];
            if !partition.internal || partition.moving {
                continue;
            }
            let has = partition.replicas.iter().filter(|replica| self.is_open(**replica)).count();
            for _ in has..wanted {
                let Some(to) = self.best_instead(at, NOBODY) else { break };
                let partition = &mut self.partitions[at];
                partition.replicas.push(to);
                if let Some(carried) = self.carried.get_mut(&to) {
                    carried.put(partition, at);
                }
            }
        }
    }

    /// Moves replicas out of racks that hold several of a partition into racks that hold none: racks are what was asked for,
    /// and may have been named after the topic was made.
    pub(super) fn mend_racks(&mut self) {
        for at in 0..self.partitions.len() {
            // Each move makes the partition's racks more even, so this ends before the replicas do.
            while let Some((from, to)) = self.better_rack(at) {
                self.replace(at, from, to);
            }
        }
    }

    fn better_rack(&self, at: usize) -> Option<(i32, i32)> {
        let partition = &self.partitions[at];
        if partition.moving {
            return None;
        }
        let now = self.unevenness(&partition.replicas, None);
        if now <= self.evenest(partition.replicas.len()) {
            return None;
        }
        // The preferred leader last: its place is the one that moves most with it.
        let found = partition.replicas.iter().rev().filter(|from| self.is_open(**from)).filter_map(|from| {
            let to = self.best_instead(at, *from)?;
            let then = self.unevenness(&partition.replicas, Some((*from, to)));
            (then < now).then_some((then, *from, to))
        });
        found.min_by_key(|(then, ..)| *then).map(|(_, from, to)| (from, to))
    }

    /// The broker that had best take `from`'s replica, or with [`NOBODY`] one more.
    fn best_instead(&self, at: usize, from: i32) -> Option<i32> {
        let replicas = self.replicas(at);
        let open = self.carried.iter().filter(|(id, carried)| carried.open && !replicas.contains(id));
        let rated = open.map(|(id, carried)| {
            let unevenness = if from == NOBODY {
                self.unevenness(&[replicas, &[*id]].concat(), None)
            } else {
                self.unevenness(replicas, Some((from, *id)))
            };
            (unevenness, carried.weight, *id)
        });
        rated.min().map(|(_, _, id)| id)
    }

    fn drop_replica(&mut self, at: usize, from: i32) {
        let partition = &mut self.partitions[at];
        partition.replicas.retain(|replica| *replica != from);
        if let Some(carried) = self.carried.get_mut(&from) {
            carried.take(partition, at);
        }
    }

    fn unevenness(&self, replicas: &[i32], replaced: Option<(i32, i32)>) -> Unevenness {
        // Replicas are few: looking through a list costs less than any map.
        let mut by_rack: Vec<(Option<&str>, usize)> = Vec::with_capacity(replicas.len());
        for replica in replicas {
            let broker = replaced.filter(|(from, _)| from == replica).map_or(*replica, |(_, to)| to);
            let rack = self.rack(broker);
            match by_rack.iter_mut().find(|(known, _)| *known == rack) {
                Some((_, count)) => *count += 1,
                None => by_rack.push((rack, 1)),
            }
        }
        (by_rack.iter().map(|(_, count)| *count).max().unwrap_or(0), Reverse(by_rack.len()))
    }

    /// As even as so many replicas could lie over the racks there are.
    fn evenest(&self, replicas: usize) -> Unevenness {
        let racks = self.open_racks.max(1);
        (replicas.div_ceil(racks), Reverse(replicas.min(racks)))
    }

    fn rack(&self, broker: i32) -> Option<&'a str> {
        self.racks.get(&broker).copied().flatten()
    }
}

impl Carried {
    fn put(&mut self, partition: &Partition, at: usize) {
        self.weight += partition.weight;
        if !partition.moving {
            self.movable.insert((partition.weight, at));
        }
    }

    fn take(&mut self, partition: &Partition, at: usize) {
        self.weight -= partition.weight;
        self.movable.remove(&(partition.weight, at));
    }
}

#[cfg(test)]
impl Partition {
    pub(super) fn new(index: i32, replicas: Vec<i32>, bytes: u64) -> Self {
        let before = replicas.clone();
        Self { topic: Uuid([7; 16]), index, internal: false, before, replicas, bytes, weight: 0, moving: false }
    }
}
