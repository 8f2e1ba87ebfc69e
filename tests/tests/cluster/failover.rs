//! Brokers that go away: killed, stopped, silent, cut off. What was acknowledged stays, and somebody else leads.

use std::thread;
use std::time::{Duration, Instant};

use sluice_protocol::ErrorCode;
use sluice_tests::clients::calls::{batch, values};
use sluice_tests::{Cluster, PATIENCE, Workload, poll_until};

use crate::{HEALED, SESSION, TWO_OF_THREE, three_with};

#[test]
fn a_leader_killed_under_load_loses_nothing() {
    let mut cluster = three_with("kept", 3);
    let workload = Workload::on("kept", 3).consumers(2).start(&cluster.contact());
    for _ in 0..3 {
        workload.await_stored(300, PATIENCE);
        let leader = cluster.await_leader("kept", 0, |_| true);
        cluster.kill(leader);
        cluster.await_leader("kept", 0, |next| next != leader);
        workload.await_stored(300, PATIENCE);
        cluster.restart(leader);
        cluster.await_whole("kept", HEALED);
    }
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
    assert_eq!(verdict.report.counts.unknown, 0, "a producer that goes on delivers everything: {verdict:#?}");
}

#[test]
fn the_controller_killed_under_load_loses_nothing() {
    let mut cluster = three_with("kept", 3);
    let workload = Workload::on("kept", 3).start(&cluster.contact());
    workload.await_stored(300, PATIENCE);
    let controller = cluster.controller().expect("there is one");
    cluster.kill(controller);
    workload.await_stored(300, PATIENCE);
    let next = poll_until(PATIENCE, || match cluster.controller() {
        Ok(next) if next != controller => Ok(next),
        other => Err(other),
    });
    next.expect("another broker takes the seat");
    cluster.create_topic("after", 1, 2, &[]);
    cluster.restart(controller);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn a_controlled_shutdown_is_no_error_to_a_producer() {
    let mut cluster = three_with("calm", 6);
    // As librdkafka comes: not idempotent, all acknowledgements.
    let workload = Workload::on("calm", 6).set("enable.idempotence", "false").start(&cluster.contact());
    for id in cluster.ids() {
        workload.await_stored(300, PATIENCE);
        assert!(cluster.stop(id).success(), "broker {id}");
        let all =
            cluster.await_topic("calm", PATIENCE, "all are led", |all| all.iter().all(|one| one.leader.is_some()));
        assert!(all.iter().all(|one| one.leader != Some(id)), "{all:#?}");
        workload.await_stored(300, PATIENCE);
        cluster.restart(id);
        cluster.await_whole("calm", HEALED);
    }
    let stalls = workload.take_stalls();
    assert!(stalls.refused().is_empty(), "{stalls}");
    let verdict = workload.finish(&mut cluster);
    assert_eq!(verdict.report.counts.unknown, 0, "{verdict:#?}");
}

/// Clients that hear of it only by the end of their connections ask whoever may not know yet.
#[test]
fn a_broker_that_ends_says_that_it_leads_no_more_before_it_goes() {
    let mut cluster = three_with("told", 1);
    let leader = cluster.await_leader("told", 0, |_| true);
    let (mut producer, mut consumer) = (cluster.connection(leader), cluster.connection(leader));
    let end = producer.produce("told", batch(["before"]).build()).base_offset + 1;
    let parked = thread::spawn(move || consumer.fetch_waiting("told", end, 60_000).error_code);
    cluster.begin_stop(leader);
    let mut end = end;
    let told = poll_until(PATIENCE, || match producer.produce("told", batch(["then"]).build()) {
        stored if stored.error_code == ErrorCode::None => {
            end = stored.base_offset + 1;
            Err(end)
        }
        refused => Ok(refused.error_code),
    });
    assert_eq!(told, Ok(ErrorCode::NotLeaderOrFollower));
    let next = producer.metadata("told").partitions[0].leader_id;
    assert!(next >= 0 && next != leader, "and that broker {next} does");
    let consumed = parked.join().expect("it is answered");
    assert!(
        [ErrorCode::None, ErrorCode::NotLeaderOrFollower].contains(&consumed),
        "{consumed:?}, and not after a minute"
    );
    assert!(cluster.stop(leader).success());
    let kept = cluster.connection(next).list_offset("told", -1).offset;
    assert_eq!(kept, end, "what was stored is there");
}

#[test]
fn a_follower_that_was_away_catches_up() {
    let mut cluster = three_with("behind", 1);
    let workload = Workload::on("behind", 1).records_per_second(500).start(&cluster.contact());
    workload.await_stored(300, PATIENCE);
    let leader = cluster.await_leader("behind", 0, |_| true);
    let follower = cluster.ids().into_iter().find(|&id| id != leader).expect("three brokers");
    cluster.kill(follower);
    cluster.await_topic("behind", PATIENCE, "it left", |all| !all[0].isr.contains(&follower));
    workload.await_stored(2_000, PATIENCE);
    let away = |name, so: fn(f64) -> bool| cluster.await_metric(leader, name, "a follower is away", so);
    away("sluice_under_replicated_partitions", |partitions| partitions == 1.0);
    away("sluice_replica_lag_max_records", |records| records > 1_000.0);
    away("sluice_replica_lag_max_seconds", |seconds| seconds > 1.0);
    cluster.restart(follower);
    cluster.await_whole("behind", HEALED);
    let back = |name, so: fn(f64) -> bool| cluster.await_metric(leader, name, "all are there", so);
    back("sluice_under_replicated_partitions", |partitions| partitions == 0.0);
    back("sluice_replica_lag_max_seconds", |seconds| seconds < 1.0);
    back("sluice_isr_expands_total", |changes| changes >= 1.0);
    for id in cluster.ids() {
        for times in ["sluice_log_append_seconds", "sluice_log_flush_seconds"] {
            let [count, sum] = ["count", "sum"].map(|part| cluster.metric(id, &format!("{times}_{part}")));
            assert!(count > 0.0 && sum > 0.0 && sum / count < 10.0, "broker {id}: {count} {times}, in all {sum}");
        }
    }
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn a_follower_whose_disk_was_replaced_copies_everything() {
    let mut cluster = three_with("copied", 2);
    let workload = Workload::on("copied", 2).start(&cluster.contact());
    workload.await_stored(500, PATIENCE);
    let leader = cluster.await_leader("copied", 0, |_| true);
    cluster.kill(leader);
    cluster.wipe(leader);
    cluster.restart(leader);
    cluster.await_whole("copied", HEALED);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn with_one_of_three_left_a_producer_is_told_and_nothing_is_appended() {
    let mut cluster = three_with("few", 1);
    let leader = cluster.await_leader("few", 0, |_| true);
    let mut connection = cluster.connection(leader);
    assert_eq!(connection.produce("few", batch(["both"]).build()).error_code, ErrorCode::None);
    for id in cluster.ids().into_iter().filter(|&id| id != leader) {
        cluster.kill(id);
    }
    cluster.await_topic("few", PATIENCE, "one in sync", |all| all[0].isr == [leader]);
    // What comes in before the partition has heard of its ISR is appended, and said to be: that is its answer too.
    let mut appended = 0;
    let refused = poll_until(PATIENCE, || match connection.produce("few", batch(["alone"]).build()).error_code {
        ErrorCode::NotEnoughReplicasAfterAppend => {
            appended += 1;
            Err(())
        }
        refused => Ok(refused),
    });
    assert_eq!(refused, Ok(ErrorCode::NotEnoughReplicas));
    cluster.start_brokers();
    cluster.await_whole("few", HEALED);
    let leader = cluster.await_leader("few", 0, |_| true);
    let mut connection = cluster.connection(leader);
    assert_eq!(connection.produce("few", batch(["again"]).build()).error_code, ErrorCode::None);
    let read = values(&connection.fetch_waiting("few", 0, 5_000), 0).into_iter().map(|(_, value)| value);
    let expected = [vec!["both"], vec!["alone"; appended], vec!["again"]].concat();
    assert!(read.eq(expected), "and nothing of what was refused");
}

#[test]
fn all_brokers_killed_at_once_come_back_with_everything() {
    let mut cluster = three_with("dark", 3);
    let workload = Workload::on("dark", 3).start(&cluster.contact());
    workload.await_stored(500, PATIENCE);
    cluster.ids().into_iter().for_each(|id| cluster.kill(id));
    cluster.start_brokers();
    cluster.await_whole("dark", HEALED);
    workload.await_stored(500, PATIENCE);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn a_silent_leader_falls_with_its_session() {
    let mut cluster = three_with("silent", 1);
    let workload = Workload::on("silent", 1).start(&cluster.contact());
    workload.await_stored(200, PATIENCE);
    let leader = cluster.await_leader("silent", 0, |_| true);
    cluster.pause(leader);
    let paused = Instant::now();
    cluster.await_leader("silent", 0, |next| next != leader);
    let taken = paused.elapsed();
    // Session, a tick and a second is the promise; what is more is for two busy cores and for asking.
    assert!(taken < SESSION + Duration::from_secs(5), "{taken:?}");
    workload.await_stored(200, PATIENCE);
    cluster.resume(leader);
    cluster.await_whole("silent", HEALED);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn a_leader_cut_off_its_followers_steps_down_or_waits() {
    let mut cluster = Cluster::builder().proxied().start();
    cluster.create_topic("cut", 1, 3, TWO_OF_THREE);
    cluster.await_whole("cut", HEALED);
    let workload = Workload::on("cut", 1).start(&cluster.contact());
    workload.await_stored(200, PATIENCE);
    let leader = cluster.await_leader("cut", 0, |_| true);
    cluster.isolate(leader);
    cluster.mend();
    workload.await_stored(200, PATIENCE);
    cluster.await_whole("cut", HEALED);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

/// A retry that is in flight when its leader is killed: the producer's window follows the log, so that the next leader knows it.
#[test]
fn a_retry_at_a_kill_is_not_stored_twice() {
    let mut cluster = three_with("retried", 1);
    let leader = cluster.await_leader("retried", 0, |_| true);
    let producer_id = cluster.connection(leader).producer_id();
    let sent = |sequence, value: &str| batch([value]).producer(producer_id, 0, sequence).build();
    let mut first = cluster.connection(leader);
    for sequence in 0..5 {
        let answer = first.produce("retried", sent(sequence, &sequence.to_string()));
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::None, i64::from(sequence)));
    }
    cluster.kill(leader);
    let next = cluster.await_leader("retried", 0, |next| next != leader);
    let mut second = cluster.connection(next);
    for sequence in 0..5 {
        let again = second.produce("retried", sent(sequence, &sequence.to_string()));
        assert_eq!((again.error_code, again.base_offset), (ErrorCode::None, i64::from(sequence)), "as it was stored");
    }
    let new = second.produce("retried", sent(5, "5"));
    assert_eq!((new.error_code, new.base_offset), (ErrorCode::None, 5));
    let read = values(&second.fetch_waiting("retried", 0, 5_000), 0);
    assert_eq!(read.len(), 6, "{read:?}");
}
