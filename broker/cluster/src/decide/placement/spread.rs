//! Which brokers hold a new topic's partitions: leaders go round the brokers, followers over the racks.
//!
//! Brokers are arranged so that neighbours are of different racks. Partition by partition the leader is the next one along; its
//! followers are looked for behind it, from a place that shifts by one after every full round, so that what a lost leader led
//! falls on all the others (Kafka's rule). Of these the first is taken whose rack has the fewest replicas of the partition.
//! Brokers without a rack count as one rack together.

use std::collections::{BTreeMap, VecDeque};

/// A broker that may be given replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decide) struct Place<'a> {
    pub(in crate::decide) id: i32,
    pub(in crate::decide) rack: Option<&'a str>,
}

/// Where the round begins: chance, so that topics of few partitions don't all lie on the same brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decide) struct Start {
    /// The broker that leads the first partition, by its place in the arrangement.
    leader: usize,
    /// How far behind it its followers begin.
    shift: usize,
}

impl Start {
    pub(in crate::decide) fn random(bytes: [u8; 16]) -> Self {
        let half = |at: usize| {
            let bytes = bytes[at..at + 4].iter();
            bytes.fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
        };
        Self { leader: half(0) ^ half(4), shift: half(8) ^ half(12) }
    }
}

/// Brokers in the order in which they are given partitions.
#[derive(Debug)]
pub(in crate::decide) struct Arranged<'a> {
    places: Vec<Place<'a>>,
}

impl<'a> Arranged<'a> {
    /// One broker of each rack in turn, until all are in.
    pub(in crate::decide) fn new(places: impl IntoIterator<Item = Place<'a>>) -> Self {
        let mut racks: BTreeMap<Option<&str>, VecDeque<Place<'a>>> = BTreeMap::new();
        for place in places {
            racks.entry(place.rack).or_default().push_back(place);
        }
        let mut places = Vec::new();
        while !racks.is_empty() {
            places.extend(racks.values_mut().filter_map(VecDeque::pop_front));
            racks.retain(|_, rest| !rest.is_empty());
        }
        Self { places }
    }

    pub(in crate::decide) fn len(&self) -> usize {
        self.places.len()
    }

    /// The replicas of the partition that is `nth` in the round, the leader first.
    pub(in crate::decide) fn replicas(&self, nth: usize, count: usize, start: Start) -> Vec<i32> {
        let brokers = self.places.len();
        assert!((1..=brokers).contains(&count), "the caller has compared {count} with {brokers}");
        let (leader, round) = (start.leader.wrapping_add(nth) % brokers, start.shift.wrapping_add(nth / brokers));
        let behind = |step: usize| (leader + 1 + round.wrapping_add(step) % (brokers - 1)) % brokers;
        let mut free: Vec<usize> = (0..brokers - 1).map(behind).collect();
        let mut chosen = vec![self.places[leader]];
        while chosen.len() < count {
            let in_rack = |at: &usize| chosen.iter().filter(|place| place.rack == self.places[*at].rack).count();
            // The first of those with the fewest, as `min_by_key` gives it.
            let next = (0..free.len()).min_by_key(|slot| in_rack(&free[*slot])).map(|slot| free.remove(slot));
            chosen.extend(next.map(|at| self.places[at]));
        }
        chosen.into_iter().map(|place| place.id).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_racks() {
        check("one broker", &[(7, "")], (3, 1), (5, 0), &[&[7], &[7], &[7]]);
        let round: [&[i32]; 6] = [&[2, 3], &[3, 1], &[1, 2], &[2, 1], &[3, 2], &[1, 3]];
        check("followers shift after a round", &[(1, ""), (2, ""), (3, "")], (6, 2), (1, 0), &round);
    }

    #[test]
    fn over_racks() {
        let six = [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")];
        let round: [&[i32]; 6] = [&[1, 3, 5], &[3, 5, 2], &[5, 2, 4], &[2, 4, 6], &[4, 6, 1], &[6, 1, 3]];
        check("three racks of two, arranged 1 3 5 2 4 6", &six, (6, 3), (0, 0), &round);
        check("two racks, four replicas", &six[..4], (1, 4), (0, 0), &[&[1, 3, 2, 4]]);
    }

    #[test]
    fn chance_moves_the_start() {
        let mut bytes = [0; 16];
        assert_eq!(Start::random(bytes), Start { leader: 0, shift: 0 });
        (bytes[3], bytes[15]) = (5, 7);
        assert_eq!(Start::random(bytes), Start { leader: 5, shift: 7 });
        assert_ne!(Start::random([0xff; 16]), Start::random(bytes));
    }

    proptest! {
        #[test]
        fn what_holds_for_every_topic(
            racks in proptest::collection::vec(0..4_u8, 1..12),
            partitions in 1..60_usize,
            count in 1..5_usize,
            seed: [u8; 16],
        ) {
            let names = ["a", "b", "c", "d"];
            let places = (1..).zip(&racks).map(|(id, rack)| Place { id, rack: Some(names[usize::from(*rack)]) });
            let arranged = Arranged::new(places);
            let count = count.min(arranged.len());
            let rack = |id: i32| racks[usize::try_from(id - 1).unwrap()];
            let racks_of = |ids: &[i32]| ids.iter().map(|id| rack(*id)).collect::<BTreeSet<_>>().len();
            let rack_count = racks.iter().collect::<BTreeSet<_>>().len();
            let mut leaders: BTreeMap<i32, usize> = (1..).zip(&racks).map(|(id, _)| (id, 0)).collect();
            for nth in 0..partitions {
                let replicas = arranged.replicas(nth, count, Start::random(seed));
                prop_assert_eq!(replicas.len(), count);
                prop_assert_eq!(replicas.iter().collect::<BTreeSet<_>>().len(), count, "none twice: {:?}", replicas);
                prop_assert_eq!(racks_of(&replicas), count.min(rack_count), "as many racks as can be: {:?}", replicas);
                *leaders.get_mut(&replicas[0]).unwrap() += 1;
            }
            let (least, most) = (leaders.values().min().unwrap(), leaders.values().max().unwrap());
            prop_assert!(most - least <= 1, "leaders are even: {:?}", leaders);
        }
    }

    /// `(partitions, replicas)`, beginning at `(leader, shift)`.
    fn check(what: &str, brokers: &[(i32, &str)], asked: (usize, usize), start: (usize, usize), expected: &[&[i32]]) {
        let arranged = Arranged::new(brokers.iter().map(|(id, rack)| Place { id: *id, rack: Some(rack) }));
        let start = Start { leader: start.0, shift: start.1 };
        let placed: Vec<_> = (0..asked.0).map(|nth| arranged.replicas(nth, asked.1, start)).collect();
        assert_eq!(placed, expected, "{what}");
    }
}
