//! Where a follower goes on after each answer, and that it ends where its leader is.

use std::collections::BTreeMap;

use super::super::divergence;
use super::*;

#[test]
fn it_appends_what_comes() {
    let mut follower = follower(0, 10, 7);
    let fetched = |high_watermark| FetchAnswer::Fetched { high_watermark, log_start: 0 };
    assert_eq!(follower.on_answer(&fetched(12), |_| None), Step::Append);
    assert_eq!(follower.high_watermark(), 10, "never beyond its own end");
    assert_eq!(follower.on_log(LogEnd { log_start: 0, log_end: 15, durable: 10 }), Some(12));
    assert_eq!(follower.on_answer(&fetched(5), |_| None), Step::Append);
    assert_eq!(follower.high_watermark(), 12, "a leader that knows less yet takes nothing back");
    assert_eq!(
        follower.next_fetch(20, Some(3)),
        FollowerFetch {
            replica: 2,
            broker_epoch: 20,
            leader_epoch: 5,
            fetch_offset: 15,
            durable: 10,
            last_fetched_epoch: 3,
        }
    );
}

#[test]
fn what_each_answer_comes_to() {
    // Its log: from 5 to 20; epoch 1 up to 12, epoch 4 up to 20.
    let check = |what: &str, answer: FetchAnswer, expected: Step| {
        let epochs = [(1, 12), (4, 20)];
        let end_of = |epoch: i32| epochs.iter().rev().find(|(known, _)| *known <= epoch).copied();
        assert_eq!(follower(5, 20, 9).on_answer(&answer, end_of), expected, "{what}");
    };
    let diverging = |epoch, end_offset| FetchAnswer::Diverging(Diverging { epoch, end_offset });
    check("less of the same epoch", diverging(4, 17), Step::TruncateTo(17));
    check("the epoch before", diverging(1, 10), Step::TruncateTo(10));
    check("more of the epoch before than is here", diverging(1, 15), Step::TruncateTo(12));
    check("an epoch that is not here", diverging(3, 18), Step::TruncateTo(12));
    check("an epoch before all that is here", diverging(0, 18), Step::TruncateTo(5));
    check("nothing of it can be compared", diverging(-1, 3), Step::StartOver { log_start: 3 });
    check("an answer that takes nothing away", diverging(4, 20), Step::Wait);
    let offset = |log_start, log_end| FetchAnswer::Refused(FetchRefused::Offset { log_start, log_end });
    check("the leader's log begins later", offset(30, 40), Step::StartOver { log_start: 30 });
    check("the leader's log ends earlier", offset(0, 15), Step::TruncateTo(15));
    check("the leader's log ends before this one begins", offset(0, 3), Step::TruncateTo(5));
    check("a refusal without a reason", offset(0, 40), Step::Wait);
    check("a reign that is over", FetchAnswer::Refused(FetchRefused::FencedLeaderEpoch), Step::Stale);
    let stale = FetchRefused::StaleBroker { known: 2, given: 1 };
    check("a life that is over", FetchAnswer::Refused(stale), Step::Stale);
    check("a leader that is late", FetchAnswer::Refused(FetchRefused::UnknownLeaderEpoch), Step::Wait);
    check("a leader that has not heard of it", FetchAnswer::Refused(FetchRefused::NotReplica), Step::Wait);
    check("no answer", FetchAnswer::Failed, Step::Wait);
}

#[test]
fn an_empty_log_ahead_of_its_leader_starts_over() {
    let refused = FetchAnswer::Refused(FetchRefused::Offset { log_start: 0, log_end: 50 });
    assert_eq!(follower(100, 100, 100).on_answer(&refused, |_| None), Step::StartOver { log_start: 0 });
}

/// A high watermark outside the log after it was thrown away.
#[test]
fn kafka_9491_3978() {
    let mut follower = follower(0, 20, 15);
    assert_eq!(follower.on_log(LogEnd { log_start: 30, log_end: 30, durable: 30 }), Some(30));
    assert_eq!(follower.on_log(LogEnd { log_start: 3, log_end: 3, durable: 3 }), Some(3));
    assert_eq!(follower.on_log(LogEnd { log_start: 3, log_end: 9, durable: 3 }), None);
}

#[test]
fn records_that_the_leader_deleted_are_deleted() {
    let mut follower = follower(0, 20, 15);
    assert_eq!(follower.raise_log_start_to(), None);
    follower.on_answer(&FetchAnswer::Fetched { high_watermark: 15, log_start: 8 }, |_| None);
    assert_eq!(follower.raise_log_start_to(), Some(8));
    follower.on_log(LogEnd { log_start: 8, log_end: 20, durable: 20 });
    assert_eq!(follower.raise_log_start_to(), None);
}

/// Two logs, and fetches until the follower's is the leader's: KIP-101's lost and diverging records, KAFKA-6361's fast double
/// failover, KAFKA-6880's zombie whose tail is right and middle wrong, KAFKA-7164's missed epochs.
#[test]
fn kafka_1211_6361_6880_7164() {
    check("nothing missed", &[1, 1, 2], &[1, 1, 2], 0);
    check("behind", &[1, 1, 2, 3], &[1, 1], 0);
    check("empty", &[1, 1], &[], 0);
    check("an empty leader", &[], &[1, 1, 2], 1);
    check("a tail that was never acknowledged", &[1, 1, 2], &[1, 1, 1, 1], 1);
    check("KAFKA-6361: each wrote in an epoch the other missed", &[1, 1, 3, 3, 5], &[1, 1, 2, 2, 4], 2);
    check("KAFKA-6880: it missed the epochs in which others wrote", &[1, 2, 2, 6], &[1, 3, 4], 2);
    check("step by step, an epoch each", &[1, 3, 5, 7, 9], &[0, 2, 4, 6, 8], 5);
    check("one record in common", &[1, 9], &[1, 2, 3, 4, 5, 6, 7, 8], 1);
}

/// The logs as the epoch of each record, from offset 0; and how often the follower may truncate at most.
fn check(what: &str, leader: &[i32], own: &[i32], truncations_max: usize) {
    let (mut own, mut truncations) = (own.to_vec(), 0);
    let end = |log: &[i32]| i64::try_from(log.len()).expect("few records");
    let log_end = |log: &[i32]| LogEnd { log_start: 0, log_end: end(log), durable: end(log) };
    let mut follower = follower(0, end(&own), 0);
    follower.on_log(log_end(&own));
    for _ in 0..20 {
        let fetch = follower.next_fetch(20, own.last().copied());
        let answer = match divergence(&fetch, |epoch| end_of(leader, epoch), 0) {
            Some(diverging) => FetchAnswer::Diverging(diverging),
            None => FetchAnswer::Fetched { high_watermark: end(leader), log_start: 0 },
        };
        let before = own.len();
        match follower.on_answer(&answer, |epoch| end_of(&own, epoch)) {
            Step::Append => own.extend(leader.iter().skip(before).take(1)),
            Step::TruncateTo(to) => own.truncate(usize::try_from(to).expect("an offset")),
            Step::StartOver { log_start: 0 } => own.clear(),
            step => panic!("{what}: {step:?} after {answer:?}"),
        }
        truncations += usize::from(own.len() < before);
        follower.on_log(log_end(&own));
    }
    assert_eq!(own, leader, "{what}");
    assert!(truncations <= truncations_max, "{what}: truncated {truncations} times");
    assert_eq!(follower.high_watermark(), end(leader), "{what}");
}

/// The latest epoch of the log that is not after this one, and its end.
fn end_of(log: &[i32], epoch: i32) -> Option<(i32, i64)> {
    let ends: BTreeMap<i32, i64> = (1..).zip(log).map(|(end, epoch)| (*epoch, end)).collect();
    ends.range(..=epoch).next_back().map(|(epoch, end)| (*epoch, *end))
}

fn follower(log_start: i64, log_end: i64, known_high_watermark: i64) -> Follower {
    let registration = PartitionRegistration { leader_epoch: 5, ..PartitionRegistration::new(vec![1, 2]) };
    Follower::begin(2, &registration, LogEnd { log_start, log_end, durable: log_end }, known_high_watermark)
}
