//! How fast replicas are copied where an operator says so: this broker's two bounds, shared by all its sessions and fetchers.
//!
//! Only replicas that a topic lists and that are not in the ISR wait (KIP-73): what keeps up is what producers wait for. A leader
//! holds such a partition back in its answers; a follower takes it out of its session until it may fetch again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sluice_cluster::throttle::{Throttle, ThrottledReplicas};

/// Bytes a second in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rates {
    /// `leader.replication.throttled.rate`.
    pub(crate) leader: i64,
    /// `follower.replication.throttled.rate`.
    pub(crate) follower: i64,
}

/// Replicas that a topic lists for each direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Throttled {
    /// `leader.replication.throttled.replicas`.
    pub(crate) leader: ThrottledReplicas,
    /// `follower.replication.throttled.replicas`.
    pub(crate) follower: ThrottledReplicas,
}

/// This broker's bounds.
pub(crate) struct Throttles {
    origin: Instant,
    pub(super) leader: Bound,
    pub(super) follower: Bound,
}

/// One of them.
pub(super) struct Bound(Mutex<Throttle>);

/// Where nothing may ever go: looked at again after so long, for the rate may have been changed.
const NEVER: Duration = Duration::from_secs(1);

impl Throttles {
    pub(crate) fn new(rates: Rates) -> Self {
        let bound = |rate| Bound(Mutex::new(Throttle::new(rate, 0)));
        Self { origin: Instant::now(), leader: bound(rates.leader), follower: bound(rates.follower) }
    }

    /// The metadata says these now.
    pub(super) fn set(&self, rates: Rates) {
        let now_ms = self.now_ms();
        self.leader.0.lock().set_rate(rates.leader, now_ms);
        self.follower.0.lock().set_rate(rates.follower, now_ms);
    }

    pub(super) fn now_ms(&self) -> i64 {
        i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Bound {
    /// Whether anything may go now, or how long nothing may.
    pub(super) fn room(&self, now_ms: i64) -> Result<(), Duration> {
        let mut throttle = self.0.lock();
        if !throttle.is_exhausted(now_ms) {
            return Ok(());
        }
        let wait = |at: i64| Duration::from_millis(u64::try_from(at.saturating_sub(now_ms)).unwrap_or(0).max(1));
        Err(throttle.ready_at(now_ms).map_or(NEVER, wait))
    }

    /// So many went.
    pub(super) fn record(&self, bytes: usize, now_ms: i64) {
        self.0.lock().record(bytes as u64, now_ms);
    }
}
