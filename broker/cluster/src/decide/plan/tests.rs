//! What every plan keeps to, and how even and how cheap it is.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::placement::spread::Place;
use super::layout::Partition;
use super::*;

#[test]
fn a_broker_that_comes_gets_its_share() {
    let partitions = (0..30).map(|index| Partition::new(index, three_of(&[1, 2, 3], index), 1_000)).collect();
    let plan = plan(&[(1, ""), (2, ""), (3, ""), (4, "")], partitions);
    let carried: Vec<_> = plan.after.values().map(|load| load.replicas).collect();
    assert!(carried.iter().all(|replicas| (21..=24).contains(replicas)), "{carried:?}");
    assert!(plan.moves.iter().map(|one| one.bytes).sum::<u64>() <= 24_000, "what it gets, once: {}", plan.bytes());
    let led: Vec<_> = plan.after.values().map(|load| load.leaders).collect();
    assert!(led.iter().all(|leaders| (7..=8).contains(leaders)), "{led:?}");
}

#[test]
fn thousands_of_partitions_of_all_sizes() {
    let bytes = |index: i32| 1_000 + u64::try_from(index).unwrap() * 7_919 % 100_000;
    let partitions = (0..3_000).map(|index| Partition::new(index, three_of(&[1, 2, 3], index), bytes(index))).collect();
    let plan = plan(&[(1, ""), (2, ""), (3, ""), (4, "")], partitions);
    let carried: Vec<u64> = plan.after.values().map(|load| load.bytes).collect();
    let (least, most) = (carried.iter().min().unwrap(), carried.iter().max().unwrap());
    let mean = carried.iter().sum::<u64>() / 4;
    assert!(most - least <= mean / 10, "{carried:?}");
    assert!(plan.bytes() <= mean + 100_000, "what it gets, once: {} of {mean}", plan.bytes());
    assert!(plan.moves.iter().filter(|one| one.bytes > 0).count() < 2_250, "big ones first");
}

#[test]
fn empty_topics_are_shared_too() {
    let partitions = (0..30).map(|index| Partition::new(index, vec![1], 0)).collect();
    let plan = plan(&[(1, ""), (2, ""), (3, "")], partitions);
    let carried: Vec<_> = plan.after.values().map(|load| load.replicas).collect();
    assert_eq!((carried, plan.bytes()), (vec![10, 10, 10], 0));
}

#[test]
fn leaders_are_evened_without_moving_a_byte() {
    let partitions = (0..30).map(|index| Partition::new(index, vec![1, 2, 3], 1_000)).collect();
    let plan = plan(&[(1, ""), (2, ""), (3, "")], partitions);
    let led: Vec<_> = plan.after.values().map(|load| load.leaders).collect();
    assert_eq!((led, plan.bytes(), plan.moves.len()), (vec![10, 10, 10], 0, 20));
}

#[test]
fn leaders_pass_through_others() {
    // 1 has too many and shares partitions with 2 alone; 2 shares with 3.
    let mut partitions: Vec<_> = (0..10).map(|index| Partition::new(index, vec![1, 2], 1_000)).collect();
    partitions.extend((10..16).map(|index| Partition::new(index, vec![2, 3], 1_000)));
    partitions.extend((16..20).map(|index| Partition::new(index, vec![3, 1], 10)));
    let plan = plan(&[(1, ""), (2, ""), (3, "")], partitions);
    let led: Vec<_> = plan.after.values().map(|load| load.leaders).collect();
    assert!(led.iter().all(|leaders| (6..=7).contains(leaders)), "{led:?}");
}

#[test]
fn racks_named_later_are_respected() {
    let partitions = (0..8).map(|index| Partition::new(index, vec![1, 2], 1_000)).collect();
    let plan = plan(&[(1, "a"), (2, "a"), (3, "b"), (4, "b")], partitions);
    assert_eq!(plan.moves.len(), 8);
    for one in &plan.moves {
        assert!(one.to.iter().any(|id| *id <= 2) && one.to.iter().any(|id| *id > 2), "one in each rack: {:?}", one.to);
    }
}

#[test]
fn a_big_replica_is_exchanged_for_a_smaller_one() {
    let partitions = [(0, 1, 600), (1, 1, 600), (2, 2, 400), (3, 2, 400)];
    let partitions = partitions.map(|(index, on, bytes)| Partition::new(index, vec![on], bytes)).into();
    let plan = plan(&[(1, ""), (2, "")], partitions);
    let bytes: Vec<_> = plan.after.values().map(|load| load.bytes).collect();
    assert_eq!((bytes, plan.moves.len()), (vec![1_000, 1_000], 2));
}

#[test]
fn what_is_even_stays() {
    let partitions = (0..30).map(|index| Partition::new(index, three_of(&[1, 2, 3, 4], index), 1_000)).collect();
    let plan = plan(&[(1, ""), (2, ""), (3, ""), (4, "")], partitions);
    assert_eq!(plan.moves, []);
}

/// Brokers by rack, and partitions with replicas somewhere among them.
#[derive(Debug, Clone)]
struct Case {
    racks: Vec<u8>,
    /// Not open for replicas: gone, or being drained.
    closed: BTreeSet<i32>,
    partitions: Vec<(Vec<i32>, u64)>,
}

fn cases() -> impl Strategy<Value = Case> {
    (proptest::collection::vec(0..3_u8, 2..9), 0..3_usize, 1..120_usize, any::<u64>(), any::<bool>()).prop_map(
        |(racks, closed, partitions, seed, skewed)| {
            let brokers = i32::try_from(racks.len()).unwrap();
            let mut state = seed | 1;
            let mut below = move |bound: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % bound
            };
            let partitions = (0..partitions).map(|_| {
                let mut ids: Vec<i32> = (1..=brokers).collect();
                let count = 1 + usize::try_from(below(3)).unwrap().min(ids.len() - 1);
                let mut draw = |_| {
                    // Skewed: low ids hold most.
                    let pick = below(ids.len() as u64);
                    let pick = if skewed { pick.min(below(ids.len() as u64)) } else { pick };
                    ids.remove(usize::try_from(pick).unwrap())
                };
                let replicas = (0..count).map(&mut draw).collect();
                let bits = 1 + below(20);
                (replicas, below(1 << bits))
            });
            let partitions = partitions.collect();
            Case { closed: (1..=brokers).take(closed.min(racks.len() - 1)).collect(), racks, partitions }
        },
    )
}

proptest! {
    #[test]
    fn what_every_balance_keeps_to(case in cases()) {
        let plan = Plan::balanced(case.layout(BTreeSet::new()));
        case.check_moves(&plan);
        let most = |loads: &BTreeMap<i32, BrokerLoad>| loads.values().map(|load| load.bytes).max();
        if case.racks_are_one() {
            prop_assert!(most(&plan.after) <= most(&plan.before), "nobody carries more than the most before");
        }
        let moved = Plan::balanced(case.after(&plan).layout(BTreeSet::new())).bytes();
        prop_assert_eq!(moved, 0, "what was balanced stays");
    }

    #[test]
    fn small_replicas_are_evened_within_a_tenth_and_moved_once(case in cases(), replica_bytes in 900..1_100_u64) {
        let mut case = case;
        case.racks.fill(0);
        case.closed.clear();
        let mut partitions = case.partitions.clone();
        while partitions.len() < 200 {
            partitions.extend(case.partitions.iter().cloned());
        }
        case.partitions = partitions.into_iter().map(|(replicas, bytes)| (replicas, replica_bytes + bytes % 100)).collect();
        let plan = Plan::balanced(case.layout(BTreeSet::new()));
        let bytes: Vec<u64> = plan.after.values().map(|load| load.bytes).collect();
        let mean = bytes.iter().sum::<u64>() / bytes.len() as u64;
        let (least, most) = (bytes.iter().min().unwrap(), bytes.iter().max().unwrap());
        prop_assert!(most - least <= mean / 10 + 2 * replica_bytes, "{:?}", plan.after);
        let over: u64 = plan.before.values().map(|load| load.bytes.saturating_sub(mean)).sum();
        let replica = 1_200;
        prop_assert!(plan.bytes() <= over + replica * bytes.len() as u64, "{} of {over} too much", plan.bytes());
    }

    #[test]
    fn a_drained_broker_is_empty(case in cases()) {
        let plan = Plan::made(case.layout(case.closed.clone()), |layout| {
            case.closed.iter().for_each(|broker| layout.evacuate(*broker));
        });
        case.check_moves(&plan);
        let open = case.racks.len() - case.closed.len();
        if case.partitions.iter().all(|(replicas, _)| replicas.len() <= open) {
            for broker in &case.closed {
                prop_assert_eq!(plan.after[broker], BrokerLoad::default(), "broker {}", broker);
            }
        }
    }
}

impl Case {
    fn layout(&self, emptied: BTreeSet<i32>) -> Layout<'_> {
        let racks: BTreeMap<i32, Option<&str>> =
            (1..).zip(self.racks.iter().map(|rack| Some(rack_name(*rack)))).collect();
        let open = racks.clone().into_iter().filter(|(id, _)| !self.closed.contains(id));
        let open: Vec<_> = open.map(|(id, rack)| Place { id, rack }).collect();
        let partitions = (0..).zip(&self.partitions);
        let partitions = partitions.map(|(index, (replicas, bytes))| Partition::new(index, replicas.clone(), *bytes));
        Layout::new(racks, open, emptied, partitions.collect())
    }

    fn after(&self, plan: &Plan) -> Self {
        let mut case = self.clone();
        for one in &plan.moves {
            case.partitions[usize::try_from(one.partition).unwrap()].0.clone_from(&one.to);
        }
        case
    }

    fn racks_are_one(&self) -> bool {
        self.racks.iter().collect::<BTreeSet<_>>().len() == 1
    }

    fn racks_of(&self, replicas: &[i32]) -> usize {
        replicas.iter().map(|id| self.racks[usize::try_from(*id - 1).unwrap()]).collect::<BTreeSet<_>>().len()
    }

    fn check_moves(&self, plan: &Plan) {
        let mut moved = BTreeSet::new();
        for one in &plan.moves {
            let (from, bytes) = &self.partitions[usize::try_from(one.partition).unwrap()];
            assert_eq!(&one.from, from);
            assert!(moved.insert(one.partition), "partition {} is moved twice", one.partition);
            assert_eq!(one.to.len(), from.len(), "as many replicas: {one:?}");
            assert_eq!(one.to.iter().collect::<BTreeSet<_>>().len(), from.len(), "none twice: {one:?}");
            assert!(self.racks_of(&one.to) >= self.racks_of(from) || !self.closed.is_empty(), "as many racks: {one:?}");
            let new: Vec<_> = one.to.iter().filter(|id| !from.contains(id)).collect();
            assert!(new.iter().all(|id| !self.closed.contains(id)), "nothing goes to who is closed: {one:?}");
            assert_eq!(one.bytes, bytes * new.len() as u64);
        }
    }
}

fn plan(brokers: &[(i32, &str)], partitions: Vec<Partition>) -> Plan {
    let racks: BTreeMap<i32, Option<&str>> = brokers.iter().map(|(id, rack)| (*id, Some(*rack))).collect();
    let open: Vec<_> = brokers.iter().map(|(id, rack)| Place { id: *id, rack: Some(*rack) }).collect();
    Plan::balanced(Layout::new(racks, open, [], partitions))
}

fn three_of(brokers: &[i32], index: i32) -> Vec<i32> {
    (0..3).map(|nth| brokers[usize::try_from(index).unwrap().wrapping_add(nth) % brokers.len()]).collect()
}

fn rack_name(rack: u8) -> &'static str {
    ["a", "b", "c"][usize::from(rack)]
}
