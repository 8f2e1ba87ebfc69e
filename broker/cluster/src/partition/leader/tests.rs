//! What counts as stored, who counts, and what is asked of the controller when.

use super::*;

const LAG_MS: i64 = 30_000;

#[test]
fn one_replica() {
    let mut leader = Reign::of(&[1]).begin();
    assert_eq!(leader.high_watermark(), 10, "what was recovered is durable");
    leader.on_append(15);
    assert_eq!(leader.high_watermark(), 10, "appended is not durable");
    assert_eq!(leader.on_durable(12), Some(12), "a flush that began before the last append");
    assert_eq!(leader.on_durable(11), None, "a flush reported late");
    assert_eq!(leader.on_durable(15), Some(15), "all of it");
    assert_eq!(leader.propose(0, &serving).proposal, None);
}

/// What a test begins a reign with: broker 1 leads with ten durable records.
struct Reign {
    registration: PartitionRegistration,
    rules: LeaderRules,
    known_high_watermark: i64,
}

impl Reign {
    fn of(replicas: &[i32]) -> Self {
        Self {
            registration: PartitionRegistration::new(replicas.to_vec()),
            rules: LeaderRules { min_insync_replicas: 1, replica_lag_time_max_ms: LAG_MS },
            known_high_watermark: 0,
        }
    }

    fn begin(self) -> Leader {
        let log = LogEnd { log_start: 0, log_end: 10, durable: 10 };
        Leader::begin(1, &self.registration, self.rules, log, self.known_high_watermark, 0)
    }
}

/// Every broker serves, in a life of ten times its number.
fn serving(id: i32) -> Option<i64> {
    Some(i64::from(id) * 10)
}
