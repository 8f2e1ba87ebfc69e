//! Evens preferred leaders, without moving a byte: only the order of a partition's replicas changes.
//!
//! A leadership passes from a broker that has too many to one that has too few, directly or through others: along the shortest
//! row of brokers in which each gives one on to the next. When there is no such row, no order of the replicas is more even.

use std::collections::{BTreeMap, VecDeque};

use super::layout::Layout;

/// Nothing is changed while the brokers with the most and the fewest leaders are within this share of the mean of each other.
const UNEVEN_PERCENT: usize = 10;

pub(super) fn even(layout: &mut Layout<'_>) {
    let mut led = Led::of(layout);
    let (least, most) = (led.counts.values().min().copied(), led.counts.values().max().copied());
    let (Some(least), Some(most)) = (least, most) else { return };
    let mean = led.counts.values().sum::<usize>() / led.counts.len();
    if most - least <= (mean * UNEVEN_PERCENT / 100).max(1) {
        return;
    }
    while let Some(row) = led.row() {
        for pair in row.windows(2) {
            led.pass(layout, pair[0], pair[1]);
        }
    }
}

/// Who prefers to lead what.
struct Led {
    /// Of brokers that may be given replicas.
    counts: BTreeMap<i32, usize>,
    /// By the broker that leads and one that could instead: the partitions. Some may be led by others by now.
    passable: BTreeMap<i32, BTreeMap<i32, Vec<usize>>>,
}

impl Led {
    fn of(layout: &Layout<'_>) -> Self {
        let open = layout.loads().into_iter().filter(|(id, _)| layout.is_open(*id));
        let counts = open.map(|(id, load)| (id, load.leaders)).collect();
        let mut led = Self { counts, passable: BTreeMap::new() };
        for (at, partition) in layout.partitions() {
            led.note(at, &partition.replicas);
        }
        led
    }

    fn note(&mut self, at: usize, replicas: &[i32]) {
        let Some((leader, others)) = replicas.split_first() else { return };
        if !self.counts.contains_key(leader) {
            return;
        }
        let passable = self.passable.entry(*leader).or_default();
        for other in others.iter().filter(|other| self.counts.contains_key(other)) {
            passable.entry(*other).or_default().push(at);
        }
    }

    /// A row of brokers from one with many leaders to one with at least two fewer, if there is one.
    fn row(&self) -> Option<Vec<i32>> {
        let mut sources: Vec<_> = self.counts.iter().map(|(id, count)| (*count, *id)).collect();
        sources.sort_unstable_by(|a, b| b.cmp(a));
        sources.into_iter().find_map(|(count, source)| self.row_from(source, count))
    }

    fn row_from(&self, source: i32, count: usize) -> Option<Vec<i32>> {
        let mut came_from = BTreeMap::from([(source, source)]);
        let mut queue = VecDeque::from([source]);
        let mut best: Option<(usize, i32)> = None;
        while let Some(broker) = queue.pop_front() {
            let next =
                self.passable.get(&broker).into_iter().flatten().filter(|(_, partitions)| !partitions.is_empty());
            for (other, _) in next {
                if came_from.contains_key(other) {
                    continue;
                }
                came_from.insert(*other, broker);
                queue.push_back(*other);
                let found = (self.counts[other], *other);
                if found.0 + 2 <= count && best.is_none_or(|best| found.0 < best.0) {
                    best = Some(found);
                }
            }
        }
        let mut row = vec![best?.1];
        while let Some(from) = row.last().map(|last| came_from[last]).filter(|from| Some(from) != row.last()) {
            row.push(from);
        }
        row.reverse();
        Some(row)
    }

    fn pass(&mut self, layout: &mut Layout<'_>, from: i32, to: i32) {
        let partitions = self.passable.get_mut(&from).and_then(|passable| passable.get_mut(&to));
        let Some(at) = partitions.and_then(Vec::pop) else { return };
        for partitions in self.passable.get_mut(&from).into_iter().flat_map(BTreeMap::values_mut) {
            partitions.retain(|other| *other != at);
        }
        layout.prefer(at, to);
        self.note(at, layout.replicas(at));
        *self.counts.entry(from).or_default() -= 1;
        *self.counts.entry(to).or_default() += 1;
    }
}
