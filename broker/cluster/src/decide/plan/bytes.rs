//! Evens what brokers carry, by moving single replicas from those that carry most to those that carry least.
//!
//! Every move is the one that comes nearest to what the one has too much and the other too little, so that nothing is moved
//! twice; where no single replica comes near, two change places. It ends when all are within [`TOLERANCE_PERCENT`] of the mean
//! or no move helps: each move narrows the gap between its two brokers, so it does end.

use super::layout::Layout;

/// Nothing is moved while the brokers that carry most and least are within this share of the mean of each other.
const UNEVEN_PERCENT: u64 = 10;

/// Once something is moved, every broker gets this near to the mean: near enough that the next few records don't begin it anew.
const TOLERANCE_PERCENT: u64 = 4;

/// Replicas looked at for one move, and for one exchange. More brings little: they are looked at in order of their fit.
const CANDIDATES_MAX: usize = 2_048;
const EXCHANGES_MAX: usize = 64;

pub(super) fn even(layout: &mut Layout<'_>) {
    let Some(level) = Level::of(layout) else { return };
    let by_weight = layout.by_weight();
    let (least, most) = (by_weight.first().map_or(0, |one| one.0), by_weight.last().map_or(0, |one| one.0));
    if most - least <= level.mean / 100 * UNEVEN_PERCENT {
        return;
    }
    // A bound that is never reached: moves end by themselves.
    for _ in 0..2 * layout.replica_count() {
        if !step(layout, level) {
            return;
        }
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
fn step(layout: &mut Layout<'_>, level: Level) -> bool {
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
    let found = direct.chain(through).find_map(|pair| Some((pair, passing(layout, pair)?)));
    let Some((pair, passing)) = found else { return false };
    layout.replace(passing.over, pair.high, pair.low);
    if let Some(back) = passing.back {
        layout.replace(back, pair.low, pair.high);
    }
    true
}

fn passing(layout: &Layout<'_>, pair: Pair) -> Option<Passing> {
    let single = single(layout, pair);
    match single {
        Some(single) if single.miss <= pair.want / 2 => Some(single),
        // Two moves for one have to be worth it.
        _ => match exchange(layout, pair) {
            Some(exchange) if single.is_none_or(|single| exchange.miss < single.miss / 2) => Some(exchange),
            _ => single,
        },
    }
}

/// The replica whose weight is nearest to what should pass.
fn single(layout: &Layout<'_>, pair: Pair) -> Option<Passing> {
    let movable = layout.movable(pair.high);
    let fits = |(weight, at): &&(u64, usize)| *weight < pair.gap && layout.may_replace(*at, pair.high, pair.low);
    let lighter = movable.range(..=(pair.want, usize::MAX)).rev().take(CANDIDATES_MAX).find(fits);
    let heavier = movable.range((pair.want, usize::MAX)..).take(CANDIDATES_MAX).find(fits);
    let nearest = lighter.into_iter().chain(heavier).min_by_key(|(weight, _)| weight.abs_diff(pair.want));
    nearest.map(|(weight, at)| Passing { over: *at, back: None, miss: weight.abs_diff(pair.want) })
}

/// The two replicas whose difference is nearest to what should pass.
fn exchange(layout: &Layout<'_>, pair: Pair) -> Option<Passing> {
    let over = layout.movable(pair.high).range((pair.want, 0)..);
    let over = over.filter(|(_, at)| layout.may_replace(*at, pair.high, pair.low)).take(EXCHANGES_MAX);
    let found = over.filter_map(|(weight, at)| {
        let wanted = weight - pair.want;
        let back = layout.movable(pair.low);
        let fits = |(back, other): &&(u64, usize)| {
            other != at
                && *weight > *back
                && weight - back < pair.gap
                && layout.may_replace(*other, pair.low, pair.high)
        };
        let lighter = back.range(..=(wanted, usize::MAX)).rev().take(EXCHANGES_MAX).find(fits);
        let heavier = back.range((wanted, usize::MAX)..).take(EXCHANGES_MAX).find(fits);
        let nearest = lighter.into_iter().chain(heavier).min_by_key(|(weight, _)| weight.abs_diff(wanted));
        nearest.map(|(back, other)| Passing { over: *at, back: Some(*other), miss: back.abs_diff(wanted) })
    });
    found.min_by_key(|passing| passing.miss)
}
