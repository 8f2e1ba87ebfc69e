//! How fast replication may go where an operator says so, as Kafka does it (KIP-73).
//!
//! A reassignment copies whole partitions and would take the network from everybody else. `leader.replication.throttled.rate`
//! and `follower.replication.throttled.rate` bound, per broker, the bytes a second that replicas named in the topics' lists
//! send and fetch. Only replicas that are not in the ISR count and wait: one that keeps up costs what producers cost, and to
//! hold it back would hold back the high watermark.
//!
//! A [`Throttle`] is asked before ([`Throttle::allowance`]) and told after ([`Throttle::record`]). What was sent beyond the
//! allowance is a debt that is paid first, so that the rate holds over time whatever a single answer weighs.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The time whose bytes may be saved up while nothing is sent: what comes after a pause comes in a burst this long.
const BURST_MS: i64 = 1000;

/// One broker's bound in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// Bytes a second; `i64::MAX` is Kafka's word for no bound.
    rate: i64,
    /// Thousandths of bytes that may go now; below zero: a debt.
    balance: i128,
    at_ms: i64,
}

impl Throttle {
    /// A throttle of `rate` bytes a second, which has not been used yet.
    pub const fn new(rate: i64, now_ms: i64) -> Self {
        Self { rate, balance: rate as i128 * BURST_MS as i128, at_ms: now_ms }
    }

    /// Changes the rate. A debt stays one; what was saved up is bounded anew.
    pub fn set_rate(&mut self, rate: i64, now_ms: i64) {
        self.advance(now_ms);
        self.rate = rate;
        self.balance = self.balance.min(self.most());
    }

    /// Bytes that may go now; `None`: as many as there are. Zero: nothing before [`Throttle::ready_at`].
    pub fn allowance(&mut self, now_ms: i64) -> Option<u64> {
        if self.is_unbounded() {
            return None;
        }
        self.advance(now_ms);
        Some(u64::try_from(self.balance / 1000).unwrap_or(0))
    }

    /// Whether nothing may go now.
    pub fn is_exhausted(&mut self, now_ms: i64) -> bool {
        self.allowance(now_ms) == Some(0)
    }

    /// So many bytes went.
    pub fn record(&mut self, bytes: u64, now_ms: i64) {
        if !self.is_unbounded() {
            self.advance(now_ms);
            self.balance -= i128::from(bytes) * 1000;
        }
    }

    /// When something may go again; now, if it may. A rate of nothing is never ready.
    pub fn ready_at(&mut self, now_ms: i64) -> Option<i64> {
        if !self.is_exhausted(now_ms) {
            return Some(now_ms);
        }
        let missing = 1000 - self.balance;
        let rate = i128::from(self.rate.max(0));
        // Rounded up: a moment earlier it would still be nothing.
        let wait = missing.checked_div(rate)? + i128::from(missing % rate != 0);
        i64::try_from(wait).ok()?.checked_add(now_ms)
    }

    const fn is_unbounded(&self) -> bool {
        self.rate == i64::MAX
    }

    fn most(&self) -> i128 {
        i128::from(self.rate) * i128::from(BURST_MS)
    }

    /// A clock that goes back gives nothing and takes nothing.
    fn advance(&mut self, now_ms: i64) {
        let passed = i128::from(now_ms) - i128::from(self.at_ms);
        self.at_ms = self.at_ms.max(now_ms);
        if passed > 0 && !self.is_unbounded() {
            let earned = i128::from(self.rate) * passed;
            self.balance = self.balance.saturating_add(earned).min(self.most());
        }
    }
}

/// A topic's list of replicas that are throttled: `0:1,0:2,1:3` (partition, broker), or `*` for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ThrottledReplicas {
    /// None: the empty list, and Kafka's word `none`.
    #[default]
    None,
    /// All of the topic.
    All,
    /// These: partition and broker.
    These(BTreeSet<(i32, i32)>),
}

impl ThrottledReplicas {
    /// Whether the replica of `partition` on `broker` is one.
    pub fn contain(&self, partition: i32, broker: i32) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(replicas) => replicas.contains(&(partition, broker)),
        }
    }
}

/// A text that is no list of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("replicas are written PARTITION:BROKER with commas between them, or * for all")]
pub struct ParseThrottledReplicasError;

impl FromStr for ThrottledReplicas {
    type Err = ParseThrottledReplicasError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "" | "none" => return Ok(Self::None),
            "*" => return Ok(Self::All),
            _ => {}
        }
        let number = |text: &str| text.trim().parse::<i32>().ok().filter(|number| *number >= 0);
        let replica = |text: &str| {
            let (partition, broker) = text.split_once(':')?;
            Some((number(partition)?, number(broker)?))
        };
        let replicas: Option<BTreeSet<_>> = text.split(',').map(replica).collect();
        replicas.map(Self::These).ok_or(ParseThrottledReplicasError)
    }
}

impl fmt::Display for ThrottledReplicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::All => f.write_str("*"),
            Self::These(replicas) => {
                for (at, (partition, broker)) in replicas.iter().enumerate() {
                    let comma = if at > 0 { "," } else { "" };
                    write!(f, "{comma}{partition}:{broker}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pause_is_worth_one_burst_and_a_debt_is_paid_first() {
        let mut throttle = Throttle::new(1000, 0);
        let mut check = |now_ms, sent, allowance, ready_at| {
            throttle.record(sent, now_ms);
            assert_eq!(
                (throttle.allowance(now_ms), throttle.ready_at(now_ms)),
                (Some(allowance), ready_at),
                "{now_ms}"
            );
        };
        check(0, 0, 1000, Some(0));
        check(0, 600, 400, Some(0));
        check(100, 0, 500, Some(100));
        check(10_000, 0, 1000, Some(10_000));
        check(10_000, 3000, 0, Some(12_001));
        check(11_000, 0, 0, Some(12_001));
        check(12_000, 0, 0, Some(12_001));
        check(12_001, 0, 1, Some(12_001));
        check(12_500, 0, 500, Some(12_500));
        // The clock goes back, and on.
        check(5_000, 0, 500, Some(5_000));
        check(12_500, 0, 500, Some(12_500));
        check(12_600, 0, 600, Some(12_600));
    }

    #[test]
    fn no_bound_and_nothing_at_all() {
        let mut unbounded = Throttle::new(i64::MAX, 0);
        unbounded.record(u64::MAX, 5);
        assert_eq!((unbounded.allowance(5), unbounded.ready_at(5)), (None, Some(5)));
        let mut nothing = Throttle::new(0, 0);
        assert_eq!((nothing.allowance(i64::MAX), nothing.ready_at(7), nothing.is_exhausted(7)), (Some(0), None, true));
    }

    #[test]
    fn a_rate_changes_at_once() {
        let mut throttle = Throttle::new(1_000_000, 0);
        throttle.set_rate(10, 0);
        assert_eq!(throttle.allowance(0), Some(10), "what was saved up at the old rate is gone");
        throttle.record(1010, 0);
        throttle.set_rate(1000, 500);
        assert_eq!(throttle.allowance(500), Some(0), "the debt is not");
        assert_eq!(throttle.allowance(2000), Some(505));
        throttle.set_rate(i64::MAX, 2000);
        assert_eq!(throttle.allowance(2000), None);
        throttle.set_rate(1000, 2000);
        assert_eq!(throttle.allowance(2001), Some(506));
    }

    #[test]
    fn lists_of_replicas() {
        let check = |text: &str, inside: &[(i32, i32)], outside: &[(i32, i32)]| {
            let replicas: ThrottledReplicas = text.parse().expect(text);
            assert!(inside.iter().all(|&(partition, broker)| replicas.contain(partition, broker)), "{text}");
            assert!(!outside.iter().any(|&(partition, broker)| replicas.contain(partition, broker)), "{text}");
            assert_eq!(replicas.to_string().parse(), Ok(replicas), "{text}");
        };
        check("", &[], &[(0, 0)]);
        check("none", &[], &[(0, 0)]);
        check("*", &[(0, 0), (9, 9)], &[]);
        check("0:1, 0:2,10:3", &[(0, 1), (0, 2), (10, 3)], &[(1, 0), (10, 1)]);
        for text in ["0", "0:", ":1", "0:1,", "0:1;0:2", "-1:2", "1:-2", "a:b", "0:1:2", "**", "99999999999:1"] {
            assert_eq!(text.parse::<ThrottledReplicas>(), Err(ParseThrottledReplicasError), "{text}");
        }
    }

    proptest! {
        /// Whoever waits until he may, and then sends at most what he may and one batch, stays within rate, burst and batch.
        #[test]
        fn the_rate_holds_over_time(rate in 1_i64..1_000_000, batches in prop::collection::vec(1_u64..500_000, 1..200)) {
            let mut throttle = Throttle::new(rate, 0);
            let (mut now, mut sent, mut largest) = (0, 0_u64, 0);
            for batch in batches {
                now = throttle.ready_at(now).expect("a rate above nothing");
                prop_assert!(!throttle.is_exhausted(now));
                throttle.record(batch, now);
                sent += batch;
                largest = largest.max(batch);
                let most = rate.unsigned_abs() * (now.unsigned_abs() + BURST_MS.unsigned_abs()) / 1000 + largest;
                prop_assert!(sent <= most, "{sent} of {most} bytes in {now} ms at {rate}/s");
            }
        }
    }
}
