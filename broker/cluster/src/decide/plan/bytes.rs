//! Evens what brokers carry, by moving single replicas from those that carry most to those that carry least.
//!
//! Every move is the one that comes nearest to what the one has too much and the other too little, so that nothing is moved
//! twice; where no single replica comes near, two change places. It ends when all are within [`TOLERANCE_PERCENT`] of the mean
//! or no move helps: each move narrows the gap between its two brokers, so it does end.

use std::collections::{BTreeMap, BTreeSet};

use super::layout::Layout;

/// Nothing is moved while the brokers that carry most and least are within this share of the mean of each other.
const UNEVEN_PERCENT: u64 = 10;

/// Once something is moved, every broker gets this near to the mean: near enough that the next few records don't begin it anew.
const TOLERANCE_PERCENT: u64 = 4;

/// Replicas looked at for one exchange. More brings little: they are looked at in order of their fit.
const EXCHANGES_MAX: usize = 64;

pub(super) fn even(layout: &mut Layout<'_>) {
    let Some(level) = Level::of(layout) else { return };
    let by_weight = layout.by_weight();
    let (least, most) = (by_weight.first().map_or(0, |one| one.0), by_weight.last().map_or(0, |one| one.0));
    if most - least <= level.mean / 100 * UNEVEN_PERCENT {
        return;
    }
    let mut candidates = Candidates::default();
    // A bound that is never reached: moves end by themselves.
    for _ in 0..2 * layout.replica_count() {
        if !step(layout, &mut candidates, level) {
            return;
        }
    }
}

/// Which replicas may pass from one broker to another, by weight, for pairs that were asked about. What is taken out of the list
/// because it may not pass is not looked at again; what may pass only since a later move is found once nothing else is.
#[derive(Debug, Default)]
struct Candidates {
    pairs: BTreeMap<(i32, i32), BTreeSet<(u64, usize)>>,
    /// Something has moved since the first of the lists was made.
    stale: bool,
}

impl Candidates {
    fn of(&mut self, layout: &Layout<'_>, high: i32, low: i32) -> &mut BTreeSet<(u64, usize)> {
        let all = || layout.movable(high).iter().copied();
        let may = |(_, at): &(u64, usize)| layout.may_replace(*at, high, low);
        self.pairs.entry((high, low)).or_insert_with(|| all().filter(may).collect())
    }

    /// Replicas whose weight is at most that much or a little more, nearest first to either side, at most so many each.
    fn near(&mut self, layout: &Layout<'_>, (high, low): (i32, i32), weight: u64, count: usize) -> Vec<(u64, usize)> {
        let list = self.of(layout, high, low);
        let passes = |one: &(u64, usize)| layout.movable(high).contains(one) && layout.may_replace(one.1, high, low);
        let mut near = Vec::with_capacity(2 * count);
        let mut gone = Vec::new();
        let mut take = |one: &(u64, usize), found: &mut usize| {
            if passes(one) {
                near.push(*one);
                *found += 1;
            } else {
                gone.push(*one);
            }
        };
        let mut found = 0;
        list.range(..=(weight, usize::MAX)).rev().try_for_each(|one| {
            take(one, &mut found);
            (found < count).then_some(())
        });
        found = 0;
        list.range((weight, usize::MAX)..).try_for_each(|one| {
            take(one, &mut found);
            (found < count).then_some(())
        });
        for one in gone {
            list.remove(&one);
        }
        near
    }
}

/// What every broker should carry.
#[derive(Debug, Clone, Copy)]
struct Level {
    mean: u64,
    tolerance: u64,
}

impl Level {
    fn of(layout: &Layout<'_>) -> Option<Self> {
        let by_weight = layout.by_weight();
        let sum: u64 = by_weight.iter().map(|(weight, _)| weight).sum();
        let mean = sum.checked_div(by_weight.len() as u64)?;
        Some(Self { mean, tolerance: mean / 100 * TOLERANCE_PERCENT })
    }
}

/// Two brokers, and what should pass from the one to the other.
#[derive(Debug, Clone, Copy)]
struct Pair {
    high: i32,
    low: i32,
    want: u64,
    /// What the one carries more: whatever passes has to be less, or the two would only have changed roles.
    gap: u64,
}

/// Replicas that would pass: one that goes over, and perhaps one that comes back for it.
#[derive(Debug, Clone, Copy)]
struct Passing {
    over: usize,
    back: Option<usize>,
    /// How far from what should pass.
    miss: u64,
}

/// Makes one move; says whether there was one to make.
fn step(layout: &mut Layout<'_>, candidates: &mut Candidates, level: Level) -> bool {
    loop {
        if let Some((pair, passing)) = find(layout, candidates, level) {
            layout.replace(passing.over, pair.high, pair.low);
            if let Some(back) = passing.back {
                layout.replace(back, pair.low, pair.high);
            }
            candidates.stale = true;
            return true;
        }
        if !candidates.stale {
            return false;
        }
        *candidates = Candidates::default();
    }
}

fn find(layout: &Layout<'_>, candidates: &mut Candidates, level: Level) -> Option<(Pair, Passing)> {
    let by_weight = layout.by_weight();
    let pairs = || {
        let out = |weight: u64| weight.abs_diff(level.mean) > level.tolerance;
        let pairs = by_weight.iter().rev().flat_map(|high| by_weight.iter().map(move |low| (*high, *low)));
        pairs.filter(move |(high, low)| high.0 > low.0 && (out(high.0) || out(low.0)))
    };
    // First what one has above the mean to who is below it. Where rules forbid that, through others that are between.
    let direct = pairs().filter_map(|(high, low)| {
        let want = high.0.saturating_sub(level.mean).min(level.mean.saturating_sub(low.0));
        (want > 0).then_some(Pair { high: high.1, low: low.1, want, gap: high.0 - low.0 })
    });
    let through = pairs().filter_map(|(high, low)| {
        let gap = high.0 - low.0;
        (gap > 2 * level.tolerance).then_some(Pair { high: high.1, low: low.1, want: gap / 2, gap })
    });
    direct.chain(through).find_map(|pair| Some((pair, passing(layout, candidates, pair)?)))
}

fn passing(layout: &Layout<'_>, candidates: &mut Candidates, pair: Pair) -> Option<Passing> {
    let single = single(layout, candidates, pair);
    match single {
        Some(single) if single.miss <= pair.want / 2 => Some(single),
        // Where one could only be a poor fit, or there is none; of many that are too light each is a good one.
        Some(single) if layout.movable(pair.high).len() > EXCHANGES_MAX => Some(single),
        // Two moves for one have to be worth it.
        _ => match exchange(layout, candidates, pair) {
            Some(exchange) if single.is_none_or(|single| exchange.miss < single.miss / 2) => Some(exchange),
            _ => single,
        },
    }
}

/// The replica whose weight is nearest to what should pass.
fn single(layout: &Layout<'_>, candidates: &mut Candidates, pair: Pair) -> Option<Passing> {
    let near = candidates.near(layout, (pair.high, pair.low), pair.want, 1).into_iter();
    let fits = near.filter(|(weight, _)| *weight < pair.gap);
    let nearest = fits.min_by_key(|(weight, _)| weight.abs_diff(pair.want));
    nearest.map(|(weight, at)| Passing { over: at, back: None, miss: weight.abs_diff(pair.want) })
}

/// The two replicas whose difference is nearest to what should pass.
fn exchange(layout: &Layout<'_>, candidates: &mut Candidates, pair: Pair) -> Option<Passing> {
    let mut best: Option<Passing> = None;
    for (weight, at) in candidates.near(layout, (pair.high, pair.low), pair.want, EXCHANGES_MAX) {
        let Some(wanted) = weight.checked_sub(pair.want) else { continue };
        for (back, other) in candidates.near(layout, (pair.low, pair.high), wanted, 1) {
            let passes = other != at && weight > back && weight - back < pair.gap;
            let miss = back.abs_diff(wanted);
            if passes && best.is_none_or(|best| miss < best.miss) {
                best = Some(Passing { over: at, back: Some(other), miss });
            }
        }
    }
    best
}
