//! Failures that Kafka, ZooKeeper and those who tested them are known by, each made to happen here: those that take real
//! processes. Those that are about decisions are in the simulator of `broker/cluster`.

use std::time::{Duration, Instant};

use sluice_protocol::ErrorCode;
use sluice_tests::clients::calls::batch;
use sluice_tests::{Cluster, Line, PATIENCE, Way, Workload, poll_until};

use crate::{HEALED, SESSION, TWO_OF_THREE, three_with};

/// Three brokers whose links can be cut, with a topic that is whole.
fn three_linked(topic: &str, partitions: i32) -> Cluster {
    let cluster = Cluster::builder().proxied().start();
    cluster.create_topic(topic, partitions, 3, TWO_OF_THREE);
    cluster.await_whole(topic, HEALED);
    cluster
}

/// Until somebody else is the controller.
#[track_caller]
fn await_other_controller(cluster: &Cluster, former: i32) -> i32 {
    let next = poll_until(PATIENCE, || match cluster.controller() {
        Ok(next) if next != former => Ok(next),
        other => Err(format!("{other:?}")),
    });
    next.unwrap_or_else(|last| panic!("nobody takes the seat of {former}: {last}"))
}

#[test]
fn kafka_6082_a_controller_frozen_past_its_session_writes_nothing_when_it_thaws() {
    let mut cluster = three_with("steady", 3);
    let workload = Workload::on("steady", 3).start(&cluster.contact());
    workload.await_stored(200, PATIENCE);
    let frozen = cluster.controller().expect("there is one");
    cluster.pause(frozen);
    let next = await_other_controller(&cluster, frozen);
    cluster.create_topic("meanwhile", 2, 2, &[]);
    cluster.resume(frozen);
    // The one that thaws tells what it knew until it has heard what happened.
    for id in cluster.ids() {
        let told = poll_until(PATIENCE, || cluster.topic_at(id, "meanwhile")).expect("it knows");
        assert_eq!(told.len(), 2, "broker {id} tells what the others do");
    }
    cluster.await_whole("steady", HEALED);
    assert_eq!(cluster.controller().expect("there is one"), next, "who thaws finds the seat taken");
    cluster.create_topic("after", 2, 3, TWO_OF_THREE);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn kafka_6517_a_session_that_expires_with_requests_outstanding_begins_anew() {
    let cluster = three_linked("steady", 1);
    for id in cluster.ids() {
        cluster.set_zookeeper_link(id, Line::Stalled(Way::Both));
        // Asked of the broker that is cut off: it may say what it likes, and must not be stuck with it for good.
        let asked = cluster.try_create_topic(&format!("outstanding-{id}"), 1, 2, &[]);
        // As one tells that is not cut off: what this one knows is old.
        let other = cluster.ids().into_iter().find(|other| *other != id).expect("there are three");
        cluster.await_topic_told_by(other, "steady", PATIENCE, |all| !all[0].isr.contains(&id));
        cluster.mend();
        cluster.await_whole("steady", HEALED);
        drop(asked);
        cluster.create_topic(&format!("after-{id}"), 1, 3, TWO_OF_THREE);
    }
}

#[test]
fn kafka_5473_an_ensemble_away_longer_than_sessions_is_come_back_to_unaided() {
    let mut cluster = three_with("steady", 3);
    let workload = Workload::on("steady", 3).start(&cluster.contact());
    workload.await_stored(200, PATIENCE);
    cluster.zookeeper.server(0).kill();
    let gone = Instant::now();
    // Zookeeper 1669 and Pulsar 6259: all that while, what needs no decision goes on.
    while gone.elapsed() < 3 * SESSION {
        workload.await_stored(200, SESSION);
    }
    let refused = cluster.try_create_topic("during", 1, 1, &[]).expect("a broker answers");
    assert_ne!(refused.0, ErrorCode::None, "nobody can decide: {refused:?}");
    for id in cluster.ids() {
        let lag = cluster.metric(id, "sluice_metadata_lag_seconds");
        assert!(lag > 2.0 * SESSION.as_secs_f64(), "broker {id} knows nothing newer than {lag} s");
        let seen =
            ["sluice_coordination_session_connected", "sluice_active_controller"].map(|name| cluster.metric(id, name));
        assert_eq!(seen, [0.0; 2], "broker {id}");
    }
    cluster.zookeeper.restart_all();
    // Until sessions are back, changes are answered with why they can't be.
    let made = poll_until(HEALED, || match cluster.try_create_topic("after", 3, 3, TWO_OF_THREE) {
        // An answer that came too late may have been of one that was made.
        Ok((ErrorCode::None | ErrorCode::TopicAlreadyExists, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    made.unwrap_or_else(|last| panic!("changes are not taken again: {last}"));
    cluster.await_whole("after", HEALED);
    cluster.await_whole("steady", HEALED);
    workload.await_stored(200, PATIENCE);
    let controllers = cluster.ids().into_iter().map(|id| cluster.metric(id, "sluice_active_controller"));
    assert_eq!(controllers.sum::<f64>(), 1.0, "one decides");
    for id in cluster.ids() {
        for name in ["sluice_metadata_lag_seconds", "sluice_metadata_lag_entries"] {
            cluster.await_metric(id, name, "it follows the log again", |lag| lag == 0.0);
        }
        let sessions = cluster.said(id).lines().filter(|line| line.contains("session 0x")).count();
        assert!(sessions <= 3, "no storm of sessions: broker {id} began {sessions}:\n{}", cluster.said(id));
    }
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn kafka_7165_a_broker_restarted_before_its_session_ends_serves_at_once() {
    let session = Duration::from_secs(18);
    let mut cluster = Cluster::builder().set("zookeeper.session.timeout.ms", session.as_millis()).start();
    cluster.create_topic("steady", 3, 3, TWO_OF_THREE);
    for id in cluster.ids() {
        cluster.await_whole("steady", HEALED);
        let killed = Instant::now();
        cluster.kill(id);
        cluster.restart(id);
        assert!(killed.elapsed() < session, "broker {id} waited for its own session: {:?}", killed.elapsed());
    }
    cluster.await_whole("steady", HEALED);
}

#[test]
fn kafka_7235_brokers_bounced_faster_than_anybody_notices() {
    let mut cluster = three_with("bounced", 3);
    let workload = Workload::on("bounced", 3).start(&cluster.contact());
    for round in 0..6 {
        workload.await_stored(100, PATIENCE);
        let id = cluster.ids()[round % 3];
        cluster.kill(id);
        cluster.restart(id);
    }
    cluster.await_whole("bounced", HEALED);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn kafka_9539_a_topic_deleted_and_made_again_while_a_replica_was_away_is_another() {
    let mut cluster = three_with("again", 1);
    assert!(cluster.rdkafka().send("again", ["old"]).iter().all(Result::is_ok));
    let leader = cluster.await_leader("again", 0, |_| true);
    let away = cluster.ids().into_iter().find(|&id| id != leader).expect("three brokers");
    cluster.kill(away);
    assert_eq!(cluster.connection(leader).delete_topic("again"), ErrorCode::None);
    poll_until(PATIENCE, || cluster.topic("again").map_or(Ok(()), Err)).expect("it is gone");
    cluster.restart(away);
    cluster.create_topic("again", 1, 3, TWO_OF_THREE);
    cluster.await_whole("again", HEALED);
    assert!(cluster.rdkafka().send("again", ["new"]).iter().all(Result::is_ok));
    // Whoever leads: the one that was away too.
    for id in cluster.ids().into_iter().filter(|&id| id != away) {
        cluster.kill(id);
        cluster.restart(id);
        cluster.await_whole("again", HEALED);
        let read = cluster.rdkafka().read("again", 0);
        assert!(read.iter().map(|record| record.value.as_deref()).eq([Some("new")]), "{read:?}");
    }
}

#[test]
fn aphyr_293_an_isolated_leader_acknowledges_nothing_that_is_lost() {
    let cluster = three_linked("alone", 1);
    let leader = cluster.await_leader("alone", 0, |_| true);
    let mut connection = cluster.connection(leader);
    cluster.isolate(leader);
    cluster.set_zookeeper_link(leader, Line::Stalled(Way::Both));
    // Its session is in doubt before ZooKeeper ends it, and from then on acks=1 would promise what it cannot keep.
    let refused =
        poll_until(PATIENCE, || match connection.produce_acks("alone", 1, batch(["alone"]).build()).error_code {
            ErrorCode::None => Err("acknowledged"),
            other => Ok(other),
        });
    refused.expect("it stops acknowledging alone");
    let next = cluster.await_leader_told_by_others("alone", leader);
    // It may be told of its reign a moment after the others; producers ask again, and so does this.
    let kept = poll_until(PATIENCE, || match cluster.connection(next).produce("alone", batch(["kept"]).build()) {
        refused if refused.error_code == ErrorCode::NotLeaderOrFollower => Err(refused),
        answered => Ok(answered),
    });
    assert!(kept.as_ref().is_ok_and(|kept| kept.error_code == ErrorCode::None), "{kept:?}");
    let all = connection.produce_acks("alone", -1, batch(["never"]).build());
    assert_ne!(all.error_code, ErrorCode::None, "{all:?}");
    cluster.mend();
    cluster.await_whole("alone", HEALED);
    let read = cluster.rdkafka().read("alone", 0);
    assert!(read.iter().any(|record| record.value.as_deref() == Some("kept")), "{read:?}");
    assert!(!read.iter().any(|record| record.value.as_deref() == Some("never")), "{read:?}");
}

#[test]
fn zookeeper_4785_a_metadata_log_that_is_gone_halts_every_broker() {
    let mut cluster = three_with("known", 1);
    cluster.zookeeper.server(0).kill();
    cluster.zookeeper.server(0).wipe();
    cluster.zookeeper.server(0).restart();
    for id in cluster.ids() {
        let status = cluster.await_own_end(id, PATIENCE);
        assert!(!status.success(), "broker {id} ended with {status}");
    }
}
