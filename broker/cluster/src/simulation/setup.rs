//! What a run is like: how big, how slow, how tight, and which faults it has. All of it follows from the seed, and each seed
//! draws its own mix (swarm testing): a run with everything at once hides what a run with two faults shows.

use super::faults::Kind;
use super::random::Random;

pub(super) struct Setup {
    pub(super) brokers: i32,
    pub(super) topics: Vec<TopicSetup>,
    pub(super) network: NetworkSetup,
    pub(super) session_timeout_ms: i64,
    pub(super) replica_lag_time_max_ms: i64,
    /// Changes asked of a controller, of a thousand, that are lost, or whose answer is, or that are carried out late, or again; and
    /// how late at most.
    pub(super) changes_lost: u32,
    change_late_ms: i64,
    /// High watermarks, of a thousand, that are noted on disk at a sync.
    pub(super) noted: u32,
    /// How long a transaction takes in the ensemble, and how far its servers are behind, at most.
    commit_ms: i64,
    lag_ms: i64,
    /// A sync takes so long at most.
    pub(super) sync_ms: i64,
    /// A follower fetches on while what it has appended is being synced.
    pub(super) fetch_ahead: bool,
    /// Batches in an answer to a follower: enough of them to catch up with any producer.
    pub(super) fetch_batches: usize,
    /// Changes a controller puts into one entry, and records of one change that may be split.
    pub(super) entry_changes: usize,
    pub(super) entry_records: usize,
    /// Entries after which a controller writes a snapshot, if it does.
    pub(super) snapshot_every: Option<u64>,
    /// How often a controller looks after reassignments and leaders.
    pub(super) look_after_ms: i64,
    /// `auto.leader.rebalance.enable`.
    pub(super) leaders_return: bool,
    pub(super) producers: usize,
    pub(super) in_flight: usize,
    /// Producers of a thousand that ask for `acks=1`.
    pub(super) acks_one: u32,
    pub(super) produce_every_ms: i64,
    /// Faults this run may have, each as often as it is listed.
    pub(super) faults: Vec<Kind>,
    pub(super) fault_every_ms: i64,
    /// More is lost than replication promises to survive: then records may be lost, and all else still holds.
    pub(super) beyond: bool,
    /// After the faults one broker stays away for a while, and the others go on without it.
    pub(super) one_stays_away: bool,
    /// The ensemble comes back from an old copy at last, and all brokers halt.
    pub(super) goes_back: bool,
    /// When the faults end and all is healed.
    pub(super) heal_at_ms: i64,
}

#[derive(Debug, Clone)]
pub(super) struct TopicSetup {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) replication_factor: i16,
    pub(super) min_insync_replicas: usize,
    /// `sluice.flush.mode=os`.
    pub(super) os: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct NetworkSetup {
    usual_ms: i64,
    slow_per_mille: u32,
    slow_ms: i64,
}

impl Setup {
    pub(super) fn draw(random: &Random) -> Self {
        let brokers = random.between(3..=5) as i32;
        // All topics in one mode half of the time: then all machines may lose power at once, or none may.
        let modes: &[bool] = [&[true][..], &[false], &[false], &[true, false]][random.below(4)];
        let topics = (0..random.between(1..=3)).map(|n| {
            let replication_factor = *random.pick(&[1, 2, 3, 3, 3]).expect("not empty");
            TopicSetup {
                name: format!("t{n}"),
                partitions: random.between(1..=2) as i32,
                replication_factor,
                min_insync_replicas: *random.pick(&[1, 2, 2]).expect("not empty"),
                os: *random.pick(modes).expect("not empty"),
            }
        });
        let topics = topics.collect();
        // With kills always among them: others may find nobody to strike.
        let kinds = Kind::ALL.into_iter().filter(|_| random.chance(400));
        let faults = kinds.chain([Kind::Kill]).collect();
        Self {
            brokers,
            topics,
            network: NetworkSetup {
                usual_ms: random.between(2..=12),
                slow_per_mille: *random.pick(&[0, 10, 100]).expect("not empty"),
                slow_ms: random.between(50..=600),
            },
            session_timeout_ms: random.between(600..=1_500),
            replica_lag_time_max_ms: random.between(300..=1_000),
            changes_lost: *random.pick(&[0, 100, 300]).expect("not empty"),
            change_late_ms: *random.pick(&[500, 1_500, 4_000]).expect("not empty"),
            noted: *random.pick(&[250, 10]).expect("not empty"),
            commit_ms: *random.pick(&[2, 5, 50]).expect("not empty"),
            lag_ms: *random.pick(&[2, 20, 300]).expect("not empty"),
            sync_ms: *random.pick(&[3, 10, 80]).expect("not empty"),
            fetch_ahead: random.chance(500),
            fetch_batches: *random.pick(&[10, 30, 100]).expect("not empty"),
            entry_changes: random.between(1..=4) as usize,
            entry_records: random.between(1..=4) as usize,
            snapshot_every: *random.pick(&[None, Some(8), Some(30)]).expect("not empty"),
            look_after_ms: random.between(200..=900),
            leaders_return: random.chance(500),
            producers: random.between(2..=5) as usize,
            in_flight: random.between(1..=4) as usize,
            acks_one: *random.pick(&[0, 0, 300]).expect("not empty"),
            produce_every_ms: random.between(10..=80),
            faults,
            fault_every_ms: random.between(250..=1_200),
            beyond: random.chance(60),
            one_stays_away: random.chance(250),
            goes_back: random.chance(30),
            heal_at_ms: random.between(9_000..=16_000),
        }
    }

    pub(super) fn change_is_late_ms(&self, random: &Random) -> i64 {
        random.between(0..=self.change_late_ms)
    }

    pub(super) fn zookeeper_commit_ms(&self, random: &Random) -> i64 {
        random.between(1..=self.commit_ms)
    }

    pub(super) fn zookeeper_lag_ms(&self, random: &Random) -> i64 {
        random.between(1..=self.lag_ms)
    }

    pub(super) fn sync_takes_ms(&self, random: &Random) -> i64 {
        random.between(1..=self.sync_ms)
    }

    /// The topic made under that name, also when it was removed and made again.
    pub(super) fn topic(&self, name: &str) -> &TopicSetup {
        self.topics.iter().find(|topic| topic.name == name).expect("only these are made")
    }
}

impl NetworkSetup {
    /// A frame is under way so long; once all is healed, never slowly.
    pub(super) fn delay(&self, random: &Random, healed: bool) -> i64 {
        let slow = !healed && random.chance(self.slow_per_mille);
        random.between(1..=if slow { self.slow_ms } else { self.usual_ms })
    }
}
