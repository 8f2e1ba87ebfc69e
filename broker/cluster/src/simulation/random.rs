//! Chance, from one seed: xoshiro256**, its state filled by splitmix64. Everything that is random in a run draws from one of
//! these, in the order in which things happen, so the seed is the run.

use std::cell::Cell;
use std::ops::RangeInclusive;

/// A stream of numbers.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: Cell<[u64; 4]>,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut filler = seed;
        let state = std::array::from_fn(|_| {
            filler = filler.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = filler;
            word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ word >> 31
        });
        Self { state: Cell::new(state) }
    }

    pub(super) fn next(&self) -> u64 {
        let [a, b, c, d] = self.state.get();
        let drawn = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state.set([a ^ d, b ^ c, c ^ b << 17, d.rotate_left(45)]);
        drawn
    }

    /// Less than `bound`, which is not 0. The bias of the remainder is far below what a run could show.
    pub(super) fn below(&self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub(super) fn between(&self, range: RangeInclusive<i64>) -> i64 {
        let span = (range.end() - range.start() + 1) as u64;
        range.start() + (self.next() % span) as i64
    }

    /// True in so many cases of a thousand.
    pub(super) fn chance(&self, per_mille: u32) -> bool {
        self.next() % 1_000 < u64::from(per_mille)
    }

    pub(super) fn pick<'a, T>(&self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.below(from.len())])
    }

    pub(super) fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.next().to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_stream() {
        let (one, same, other) = (Random::new(7), Random::new(7), Random::new(8));
        let drawn: Vec<u64> = (0..100).map(|_| one.next()).collect();
        assert_eq!(drawn, (0..100).map(|_| same.next()).collect::<Vec<_>>());
        assert_ne!(drawn, (0..100).map(|_| other.next()).collect::<Vec<_>>());
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let random = Random::new(1);
        let drawn: Vec<i64> = (0..1_000).map(|_| random.between(-1..=2)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&-1), Some(&2)));
        assert_eq!(random.pick::<u8>(&[]), None);
        let heads = (0..10_000).filter(|_| random.chance(300)).count();
        assert!((2_700..3_300).contains(&heads), "{heads} of 10,000 at 300 per mille");
    }
}
