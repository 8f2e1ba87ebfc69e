//! Where a follower goes on after each answer.

use super::*;

#[test]
fn it_appends_what_comes() {
    let mut follower = follower(10);
    let fetched = FetchAnswer::Fetched { high_watermark: 12, log_start: 0 };
    assert_eq!(follower.on_answer(&fetched, |_| None), Step::Append);
    assert_eq!(follower.high_watermark(), 10, "never beyond its own end");
    assert_eq!(follower.on_log(LogEnd { log_start: 0, log_end: 15, durable: 10 }), Some(12));
}

fn follower(log_end: i64) -> Follower {
    let registration = PartitionRegistration { leader_epoch: 5, ..PartitionRegistration::new(vec![1, 2]) };
    Follower::begin(2, &registration, LogEnd { log_start: 0, log_end, durable: log_end }, 7)
}
