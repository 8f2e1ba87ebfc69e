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

#[test]
fn the_last_of_the_isr_counts() {
    let mut leader = Reign::of(&[1, 2, 3]).begin();
    leader.on_append(20);
    assert_eq!(leader.on_durable(20), None, "two members have not been heard of");
    assert_eq!(leader.on_fetch(&fetch(2, 20), 1), Ok(None));
    assert_eq!(leader.on_fetch(&fetch(3, 12), 1), Ok(Some(12)));
    assert_eq!(leader.on_fetch(&FollowerFetch { durable: 15, ..fetch(3, 20) }, 1), Ok(Some(15)), "what it has durable");
    assert_eq!(
        leader.on_fetch(&FollowerFetch { durable: 90, ..fetch(3, 18) }, 1),
        Ok(Some(18)),
        "and of that, what it has"
    );
    assert_eq!(leader.on_fetch(&fetch(2, 11), 1), Ok(None), "a replica that lost some takes nothing back");
    assert_eq!(leader.high_watermark(), 18);
}

#[test]
fn too_few_in_sync() {
    let mut leader = Reign { min_insync_replicas: 2, ..Reign::of(&[1, 2, 3]).isr(&[1]) }.begin();
    assert_eq!(leader.enough_replicas(), Err(NotEnoughReplicas { isr: 1, min_insync_replicas: 2 }));
    leader.on_append(15);
    assert_eq!(leader.on_durable(15), None, "KAFKA-15583: an ISR below the minimum moves nothing");
    assert_eq!(leader.on_rules(LeaderRules { min_insync_replicas: 1, ..RULES }), Some(15), "until less is asked for");
    let leader = Reign { min_insync_replicas: 3, ..Reign::of(&[1]) }.begin();
    assert_eq!(leader.enough_replicas(), Ok(()), "more than there are replicas cannot be asked for");
}

/// The controller knows of a larger `min.insync.replicas` than has come here, and counts on who left the ISR.
#[test]
fn nothing_is_acknowledged_that_eligible_replicas_lack() {
    let mut leader = Reign::of(&[1, 2]).begin();
    leader.on_append(20);
    leader.on_durable(20);
    let shrunk = PartitionRegistration { elr: vec![2], ..granted(&[1], 1) };
    leader.propose(LAG_MS + 1, &serving).proposal.expect("broker 2 was never heard of");
    assert_eq!(leader.on_outcome(Outcome::Accepted(shrunk)), None);
    assert_eq!(leader.enough_replicas(), Err(NotEnoughReplicas { isr: 1, min_insync_replicas: 2 }));
    assert_eq!(leader.on_registration(&granted(&[1], 2)), Some(20), "until nobody is eligible");
}

#[test]
fn what_was_acknowledged_stays_so() {
    let begun = |known| Reign { known_high_watermark: known, ..Reign::of(&[1, 2]) }.begin().high_watermark();
    assert_eq!((begun(7), begun(99)), (7, 10), "never beyond the log's end");
}

#[test]
fn the_latest_offset_waits_for_the_reign_to_begin() {
    let mut leader = Reign { known_high_watermark: 7, ..Reign::of(&[1, 2]) }.begin();
    assert_eq!(leader.readable_latest(), None, "an earlier leader may have told clients more (KIP-207)");
    assert_eq!(leader.on_fetch(&fetch(2, 9), 1), Ok(Some(9)));
    assert_eq!(leader.readable_latest(), None);
    assert_eq!(leader.on_fetch(&fetch(2, 10), 1), Ok(Some(10)));
    assert_eq!(leader.readable_latest(), Some(10));
}

#[test]
fn fetches_that_are_refused() {
    let check = |what: &str, fetch: FollowerFetch, why: FetchRefused| {
        let mut leader = Reign { leader_epoch: 5, ..Reign::of(&[1, 2]) }.begin();
        leader.on_log_start(4);
        leader.on_fetch(&FollowerFetch { leader_epoch: 5, ..self::fetch(2, 8) }, 1).expect("a fetch as it should be");
        let before = leader.clone();
        assert_eq!(leader.on_fetch(&fetch, 2), Err(why), "{what}");
        assert_eq!(leader, before, "{what}: it counts for nothing");
    };
    let good = FollowerFetch { leader_epoch: 5, ..fetch(2, 8) };
    check("no replica", FollowerFetch { replica: 3, ..good }, FetchRefused::NotReplica);
    check("the leader itself", FollowerFetch { replica: 1, ..good }, FetchRefused::NotReplica);
    check("a reign that is over", FollowerFetch { leader_epoch: 4, ..good }, FetchRefused::FencedLeaderEpoch);
    check("a reign to come", FollowerFetch { leader_epoch: 6, ..good }, FetchRefused::UnknownLeaderEpoch);
    let stale = FetchRefused::StaleBroker { known: 20, given: 19 };
    check("KIP-903: an earlier life", FollowerFetch { broker_epoch: 19, ..good }, stale);
    let range = FetchRefused::Offset { log_start: 4, log_end: 10 };
    check("before the log", FollowerFetch { fetch_offset: 3, ..good }, range);
    check("beyond the log", FollowerFetch { fetch_offset: 11, ..good }, range);
}

#[test]
fn a_member_that_is_asked_for_counts_before_it_is_granted() {
    let mut leader = Reign::of(&[1, 2]).isr(&[1]).begin();
    leader.on_fetch(&fetch(2, 10), 1).unwrap();
    let proposal = leader.propose(1, &serving).proposal.expect("broker 2 caught up");
    assert_eq!((members(&proposal), proposal.partition_epoch, proposal.recovered), (vec![1, 2], 0, true));
    assert_eq!(leader.propose(1, &serving).proposal, None, "one at a time");
    leader.on_append(20);
    assert_eq!(leader.on_durable(20), None, "it may be a member already");
    assert_eq!(leader.isr(), &[1].into(), "but is not counted for min.insync.replicas");
    assert_eq!(leader.on_outcome(Outcome::Accepted(granted(&[1, 2], 1))), None);
    assert_eq!(leader.isr(), &[1, 2].into());
    assert_eq!(leader.on_fetch(&fetch(2, 20), 2), Ok(Some(20)));
}

#[test]
fn only_a_definite_refusal_gives_up() {
    let mut leader = asking();
    assert_eq!(leader.on_outcome(Outcome::Unknown), None);
    assert_eq!(leader.high_watermark(), 10, "it may have been granted");
    assert_eq!(leader.propose(2, &serving).proposal, None, "not at once");
    let again = leader.propose(2 + ASK_AGAIN_MS, &|_| None).proposal.expect("asked again");
    assert_eq!(members(&again), [1, 2], "the same, also when its members are gone by now");
    assert_eq!(leader.on_outcome(Outcome::Refused), Some(20), "not granted, and never will be");
    assert_eq!(leader.on_outcome(Outcome::Refused), None, "said twice");
    assert_eq!(leader.propose(3 + ASK_AGAIN_MS, &serving).proposal, None, "not at once");
}

/// Answers to AlterPartition that are lost, late or come twice.
#[test]
fn kafka_14144_12686_12751() {
    let mut leader = asking();
    leader.on_outcome(Outcome::Unknown);
    assert_eq!(leader.on_registration(&granted(&[1, 2], 1)), None, "the log says that it was granted");
    assert_eq!(leader.isr(), &[1, 2].into());
    assert_eq!(leader.on_outcome(Outcome::Accepted(granted(&[1, 2], 1))), None, "late");
    assert_eq!(leader.on_outcome(Outcome::Unknown), None, "twice");
    assert_eq!(leader.propose(9_999, &serving).proposal, None, "nothing is left to ask");

    let mut leader = asking();
    let gone = |id| serving(id).filter(|_| id != 2);
    assert_eq!(leader.propose(2, &gone), Review::default(), "its outcome is still to come");
    assert_eq!(leader.on_registration(&granted(&[1], 1)), Some(20), "something else changed: it can't be granted now");
    assert_eq!(leader.propose(2, &serving).proposal, None, "its outcome is still to come");
    assert_eq!(leader.on_outcome(Outcome::Refused), None);
    leader.on_fetch(&fetch(2, 20), 2).unwrap();
    let next = leader.propose(2, &serving).proposal.expect("the next");
    assert_eq!(next.partition_epoch, 1, "for the registration as it is");
}

/// "Cached zkVersion not equal": an ISR that never changes again because its leader missed a change.
#[test]
fn kafka_2729() {
    let mut leader = asking();
    // The controller answered that the partition epoch is stale; the log has not brought the news yet.
    leader.on_outcome(Outcome::Unknown);
    leader.on_registration(&granted(&[1], 7));
    leader.on_fetch(&fetch(2, 20), 3).unwrap();
    let proposal = leader.propose(3, &serving).proposal.expect("it goes on from what the log says");
    assert_eq!((members(&proposal), proposal.partition_epoch), (vec![1, 2], 7));
    assert_eq!(leader.on_registration(&granted(&[1], 6)), None, "older news are none");
    assert_eq!(leader.high_watermark(), 20);
}

/// The grant made another broker leader. Acknowledging with the ISR from before would lose what the new leader lacks.
#[test]
fn a_grant_that_ends_the_reign_moves_nothing() {
    let mut leader = asking();
    let elsewhere = PartitionRegistration { leader: 2, leader_epoch: 1, isr: vec![2], ..granted(&[2], 1) };
    assert_eq!(leader.on_outcome(Outcome::Accepted(elsewhere.clone())), None);
    assert_eq!(leader.high_watermark(), 10);
    let mut leader = asking();
    assert_eq!(leader.on_registration(&elsewhere), None);
    assert_eq!(leader.on_outcome(Outcome::Refused), None, "whatever comes then");
    assert_eq!((leader.high_watermark(), leader.propose(9_999, &serving)), (10, Review::default()));
}

/// A high watermark that stays behind when the ISR shrinks to those who have more.
#[test]
fn kafka_13091_13254() {
    let mut leader = Reign::of(&[1, 2]).begin();
    leader.on_append(20);
    leader.on_durable(20);
    let proposal = leader.propose(LAG_MS + 1, &serving).proposal.expect("broker 2 was never heard of");
    assert_eq!(members(&proposal), [1]);
    assert_eq!(leader.high_watermark(), 0, "it is a member until the log says otherwise");
    assert_eq!(leader.on_outcome(Outcome::Accepted(granted(&[1], 1))), Some(20));
    let mut leader = Reign::of(&[1, 2]).begin();
    leader.on_append(20);
    leader.on_durable(20);
    assert_eq!(leader.on_registration(&granted(&[1], 1)), Some(20), "or the log says so by itself");
}

/// A follower that joins with less than the leader began its reign with.
#[test]
fn kafka_7128() {
    let mut leader =
        Reign { known_high_watermark: 3, min_insync_replicas: 2, ..Reign::of(&[1, 2, 3]).isr(&[1]) }.begin();
    let mut joins = |end| {
        leader.on_fetch(&fetch(2, end), 1).unwrap();
        leader.propose(1, &serving).proposal.is_some()
    };
    assert!(!joins(5), "beyond the high watermark, before the start of this reign");
    assert!(joins(10));
}

/// A replica whose data folder was emptied, and which fetched all in its life before.
#[test]
fn kafka_14617_15221() {
    let mut leader = Reign::of(&[1, 2]).isr(&[1]).begin();
    leader.on_fetch(&fetch(2, 10), 1).unwrap();
    let registered = |id| if id == 2 { Some(21) } else { serving(id) };
    assert_eq!(leader.propose(1, &registered).proposal, None, "that life is over");
    leader.on_fetch(&FollowerFetch { broker_epoch: 21, ..fetch(2, 0) }, 1).unwrap();
    assert_eq!(leader.propose(1, &registered).proposal, None, "and this one has nothing");
    leader.on_fetch(&FollowerFetch { broker_epoch: 21, ..fetch(2, 10) }, 1).unwrap();
    let proposal = leader.propose(1, &registered).proposal.expect("until it has it all");
    assert_eq!(proposal.isr, [(1, 10), (2, 21)], "each with the life that is meant");
}

/// A replica that is about to end, or fenced, asked back into the ISR.
#[test]
fn kafka_14140() {
    let mut leader = Reign::of(&[1, 2]).isr(&[1]).begin();
    leader.on_fetch(&fetch(2, 10), 1).unwrap();
    let without_two = |id| serving(id).filter(|_| id != 2);
    assert_eq!(leader.propose(1, &without_two).proposal, None);
    let mut leader = Reign::of(&[1, 2]).begin();
    leader.on_fetch(&fetch(2, 10), 1).unwrap();
    let proposal = leader.propose(1, &without_two).proposal.expect("it leaves, caught up as it is");
    assert_eq!(members(&proposal), [1]);
    assert_eq!(Reign::of(&[1, 2]).begin().propose(LAG_MS * 2, &|_| None).proposal, None, "nor does such a leader ask");
}

#[test]
fn who_falls_behind_leaves() {
    let mut leader = Reign::of(&[1, 2, 3]).begin();
    let mut end = 10;
    for now_ms in (0..=LAG_MS * 2).step_by(100) {
        end += 10;
        leader.on_append(end);
        leader.on_durable(end);
        // Always some flushes behind, and never caught up at the moment it fetches.
        let behind = FollowerFetch { durable: (end - 60).max(10), ..fetch(2, end - 10) };
        leader.on_fetch(&behind, now_ms).unwrap();
        if now_ms <= 1_000 {
            leader.on_fetch(&fetch(3, end), now_ms).unwrap();
        }
        let expected = if now_ms <= 1_000 + LAG_MS { None } else { Some(vec![1, 2]) };
        let found = leader.clone().propose(now_ms, &serving).proposal;
        assert_eq!(found.as_ref().map(members), expected, "at {now_ms}");
    }
}

#[test]
fn silence_is_no_lag_where_there_is_nothing_to_fetch() {
    let mut leader = Reign::of(&[1, 2]).begin();
    leader.on_fetch(&fetch(2, 10), 0).unwrap();
    assert_eq!(leader.propose(LAG_MS * 9, &serving).proposal, None);
    leader.on_append(11);
    assert!(leader.propose(LAG_MS * 9, &serving).proposal.is_some());
}

/// Under load a follower's end is always behind a high watermark that doesn't wait for it.
#[test]
fn a_follower_can_join_under_load() {
    let mut leader = Reign::of(&[1, 2]).isr(&[1]).begin();
    let (mut end, mut joined_at) = (10, None);
    for now_ms in (0..5_000).step_by(10) {
        // What was fetched the round before is durable now.
        leader.on_fetch(&fetch(2, end), now_ms).unwrap();
        if leader.propose(now_ms, &serving).proposal.is_some() {
            joined_at = Some(now_ms);
            break;
        }
        end += 10;
        leader.on_append(end);
        leader.on_durable(end);
    }
    assert!(joined_at.is_some_and(|at| at < 100), "{joined_at:?}");
}

#[test]
fn a_follower_that_was_about_to_join_and_ends_holds_nothing_up() {
    let mut leader = Reign::of(&[1, 2]).isr(&[1]).begin();
    leader.on_fetch(&fetch(2, 10), 1).unwrap();
    leader.on_append(20);
    assert_eq!(leader.on_durable(20), Some(20));
    leader.on_fetch(&fetch(2, 15), 2).unwrap();
    assert_eq!(leader.propose(2, &serving), Review::default(), "not as far as the high watermark yet");
    leader.on_append(30);
    assert_eq!(leader.on_durable(30), None, "it keeps up: a moment more");
    let gone = |id| serving(id).filter(|_| id != 2);
    assert_eq!(leader.propose(2, &gone), Review { proposal: None, high_watermark: Some(30) });
}

/// Its broker goes on serving, and only it knows that its disk has failed.
#[test]
fn a_follower_that_gave_its_replica_up_holds_nothing_up_and_is_not_asked_for() {
    let mut leader = Reign::of(&[1, 2, 3]).begin();
    for (end, now_ms) in [(10, 1), (20, 2)] {
        leader.on_append(end);
        leader.on_durable(end);
        leader.on_fetch(&fetch(2, end), now_ms).unwrap();
        leader.on_fetch(&fetch(3, end), now_ms).unwrap();
    }
    let given_up = PartitionRegistration { replicas: vec![1, 2, 3], ..granted(&[1, 2], 1) };
    assert_eq!(leader.on_registration(&given_up), None);
    leader.on_append(30);
    leader.on_durable(30);
    assert_eq!(leader.propose(3, &serving).proposal, None, "though it had everything a moment ago");
    assert_eq!(leader.on_fetch(&fetch(2, 30), 4), Ok(Some(30)));
    leader.on_fetch(&fetch(3, 30), 5).unwrap();
    let proposal = leader.propose(5, &serving).proposal.expect("broker 3 is heard of again");
    assert_eq!(members(&proposal), [1, 2, 3]);
}

#[test]
fn a_follower_that_caught_up_while_it_was_taken_out_comes_back() {
    let mut leader = Reign::of(&[1, 2]).begin();
    leader.on_append(20);
    leader.on_durable(20);
    let proposal = leader.propose(LAG_MS + 1, &serving).proposal.expect("broker 2 was never heard of");
    assert_eq!(members(&proposal), [1]);
    leader.on_fetch(&fetch(2, 20), LAG_MS + 2).unwrap();
    // It has said all there is to say, and is silent from now on.
    leader.on_registration(&granted(&[1], 1));
    leader.on_outcome(Outcome::Accepted(granted(&[1], 1)));
    let proposal = leader.propose(LAG_MS + 3, &serving).proposal.expect("it caught up");
    assert_eq!(members(&proposal), [1, 2]);
}

/// Elected from what was left of an unclean election: it says once that it has recovered.
#[test]
fn a_leader_recovers_once() {
    let mut reign = Reign { known_high_watermark: 3, ..Reign::of(&[1, 2]).isr(&[1]) };
    reign.recovering = true;
    let mut leader = reign.begin();
    let proposal = leader.propose(1, &serving).proposal.expect("all it has is stored");
    assert_eq!((members(&proposal), proposal.recovered), (vec![1], true));
    leader.on_outcome(Outcome::Accepted(granted(&[1], 1)));
    assert_eq!(leader.propose(1, &serving).proposal, None);
}

#[test]
fn how_far_each_is() {
    let mut leader = Reign::of(&[1, 2, 3]).isr(&[1, 2]).begin();
    leader.on_fetch(&FollowerFetch { durable: 8, ..fetch(2, 9) }, 5).unwrap();
    let states = leader.replica_states(7);
    let shown: Vec<_> =
        states.iter().map(|it| (it.replica, it.log_end, it.durable, it.behind_since_ms, it.in_sync)).collect();
    let expected = [(1, 10, 10, Some(7), true), (2, 9, 8, Some(0), true), (3, -1, -1, Some(0), false)];
    assert_eq!(shown, expected);
}

#[test]
fn since_when_each_is_behind() {
    let mut leader = Reign::of(&[1, 2]).begin();
    let since = |leader: &Leader, replica: i32| {
        leader.replica_states(99).iter().find(|it| it.replica == replica).and_then(|it| it.behind_since_ms)
    };
    assert_eq!(since(&leader, 2), Some(0), "since the reign began");
    leader.on_fetch(&fetch(2, 10), 5).unwrap();
    leader.on_append(20);
    leader.on_fetch(&fetch(2, 15), 7).unwrap();
    leader.propose(8, &serving);
    assert_eq!(since(&leader, 2), Some(5), "since it had all");
    leader.on_registration(&PartitionRegistration { replicas: vec![1, 2, 3], ..granted(&[1], 1) });
    assert_eq!(since(&leader, 2), Some(5), "also when it is counted on no longer");
    assert_eq!(since(&leader, 3), None, "it is new");
    leader.propose(9, &serving);
    leader.propose(12, &serving);
    assert_eq!((since(&leader, 2), since(&leader, 3)), (Some(5), Some(9)), "since it was first looked for");
    leader.on_fetch(&fetch(3, 20), 14).unwrap();
    assert_eq!(since(&leader, 3), Some(14));
}

/// What a test begins a reign with: broker 1 leads with ten durable records.
struct Reign {
    replicas: Vec<i32>,
    isr: Vec<i32>,
    leader_epoch: i32,
    recovering: bool,
    min_insync_replicas: usize,
    known_high_watermark: i64,
}

const RULES: LeaderRules = LeaderRules { min_insync_replicas: 1, replica_lag_time_max_ms: LAG_MS };

impl Reign {
    fn of(replicas: &[i32]) -> Self {
        let (replicas, isr) = (replicas.to_vec(), replicas.to_vec());
        Self { replicas, isr, leader_epoch: 0, recovering: false, min_insync_replicas: 1, known_high_watermark: 0 }
    }

    fn isr(mut self, isr: &[i32]) -> Self {
        self.isr = isr.to_vec();
        self
    }

    fn begin(self) -> Leader {
        let Self { replicas, isr, leader_epoch, recovering, min_insync_replicas, known_high_watermark } = self;
        let registration =
            PartitionRegistration { isr, leader_epoch, recovering, ..PartitionRegistration::new(replicas) };
        let log = LogEnd { log_start: 0, log_end: 10, durable: 10 };
        let rules = LeaderRules { min_insync_replicas, ..RULES };
        Leader::begin(1, &registration, rules, log, known_high_watermark, 0)
    }
}

/// Alone in the ISR with records up to 20, high watermark 10, and asking for broker 2, which has ten.
fn asking() -> Leader {
    let mut leader = Reign::of(&[1, 2]).isr(&[1]).begin();
    leader.on_fetch(&fetch(2, 10), 1).unwrap();
    leader.propose(1, &serving).proposal.expect("broker 2 caught up");
    leader.on_append(20);
    assert_eq!(leader.on_durable(20), None);
    leader
}

/// Of a partition with replicas 1 and 2 in the reign that began.
fn granted(isr: &[i32], partition_epoch: i32) -> PartitionRegistration {
    PartitionRegistration { isr: isr.to_vec(), partition_epoch, ..PartitionRegistration::new(vec![1, 2]) }
}

/// A fetch of a follower that has everything durable, in a life of ten times its number.
fn fetch(replica: i32, end: i64) -> FollowerFetch {
    FollowerFetch {
        replica,
        broker_epoch: i64::from(replica) * 10,
        leader_epoch: 0,
        fetch_offset: end,
        durable: end,
        last_fetched_epoch: 0,
    }
}

fn members(proposal: &ProposedIsr) -> Vec<i32> {
    proposal.isr.iter().map(|(member, _)| *member).collect()
}

/// Every broker serves, in a life of ten times its number.
fn serving(id: i32) -> Option<i64> {
    Some(i64::from(id) * 10)
}
