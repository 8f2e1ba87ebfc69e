//! Replication between managers of one process: what is acknowledged is everywhere, whatever breaks in between.

mod cluster;

use cluster::{Cluster, TOPIC, append, batch, commit, eventually};
use sluice_storage::FlushMode;
use sluice_storage::testing::{Call, Crash};

use super::{NotCommitted, Passed, Rates};
use crate::rpc::{FetchPartition, ReplicaFetch};

#[tokio::test(flavor = "multi_thread")]
async fn followers_hold_what_their_leader_holds() {
    for flush_mode in [FlushMode::Group, FlushMode::Os] {
        let cluster = Cluster::new(3, flush_mode, &[&[1, 2, 3], &[2, 3, 1]]);
        for index in [0, 1] {
            let leader = cluster.leader(index).await;
            for n in 0..50 {
                commit(&leader, &format!("record {n}")).await;
            }
            let content = cluster.converged(index).await;
            assert!(content.len() > 50 * 70, "{flush_mode:?}: fifty batches are there");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_that_a_member_of_the_isr_lacks() {
    let cluster = Cluster::new(3, FlushMode::Os, &[&[1, 2, 3]]);
    let leader = cluster.leader(0).await;
    commit(&leader, "before").await;
    // The controller as well, so that the ISR stays.
    cluster.cut(1, 3);
    cluster.cut(1, 1);
    let (end, mut committed) = append(&leader, "to two of three");
    let second = cluster.replica(2, 0).await;
    eventually("the second has it", || second.reader().log_end_offset() == end).await;
    assert!(committed.try_recv().is_err(), "the third is in the ISR and has not got it");
    assert!(leader.high_watermark() < end);
    cluster.heal();
    assert_eq!(committed.await, Ok(Ok(())));
    cluster.converged(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_falls_silent_leaves_the_isr_and_comes_back_into_it() {
    let cluster = Cluster::new(3, FlushMode::Group, &[&[1, 2, 3]]);
    let leader = cluster.leader(0).await;
    commit(&leader, "before").await;
    cluster.cut(1, 3);
    commit(&leader, "without the third").await;
    assert_eq!(cluster.world.registration(0).isr, [1, 2], "it waited until the third had left");
    cluster.heal();
    eventually("the third is back", || cluster.world.registration(0).isr == [1, 2, 3]).await;
    cluster.converged(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_learns_that_too_few_replicas_are_left() {
    let cluster = Cluster::new(3, FlushMode::Os, &[&[1, 2, 3]]);
    let leader = cluster.leader(0).await;
    commit(&leader, "before").await;
    cluster.cut(1, 2);
    cluster.cut(1, 3);
    let (_, committed) = append(&leader, "to one of three");
    assert_eq!(committed.await, Ok(Err(NotCommitted::NotEnoughReplicas)), "it is in the log, and may yet be committed");
    assert!(leader.enough_replicas().is_err(), "the next is not even appended");
    cluster.heal();
    eventually("all are back", || cluster.world.registration(0).isr.len() == 3).await;
    commit(&leader, "after").await;
    cluster.converged(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_tells_its_producers_and_cuts_what_nobody_else_has() {
    let cluster = Cluster::new(3, FlushMode::Group, &[&[1, 2, 3]]);
    let old = cluster.leader(0).await;
    commit(&old, "acknowledged").await;
    cluster.cut(1, 2);
    cluster.cut(1, 3);
    let waiting = [append(&old, "never acknowledged").1, append(&old, "nor this").1];
    cluster.elect(0, 2, &[2, 3]);
    for committed in waiting {
        let answer = committed.await.expect("an answer");
        assert!(matches!(answer, Err(NotCommitted::Deposed | NotCommitted::NotEnoughReplicas)), "{answer:?}");
    }
    let new = cluster.leader(0).await;
    commit(&new, "acknowledged by the next").await;
    cluster.heal();
    eventually("the deposed leader is back in sync", || cluster.world.registration(0).isr == [1, 2, 3]).await;
    commit(&new, "by all three").await;
    let content = cluster.converged(0).await;
    assert!(!String::from_utf8_lossy(&content).contains("never acknowledged"));
}

/// KAFKA-10778: EIO in the middle of an append.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_directory_that_fails_hands_its_partitions_over_and_no_others() {
    let cluster = Cluster::new(3, FlushMode::Group, &[&[1, 2, 3], &[1, 2, 3]]);
    let (failing, working) = (cluster.leader(0).await, cluster.leader(1).await);
    commit(&failing, "on one disk").await;
    commit(&working, "on the other").await;
    cluster.nodes[&1].disk.fail(Call::Write, 0, std::io::ErrorKind::Other);
    failing.append(&batch("lost"), Passed::NoGate, 0).map(drop).expect_err("EIO");
    eventually("another leads", || cluster.world.registration(0).leader == 2).await;
    assert_eq!(cluster.world.registration(0).isr, [2, 3]);
    let next = cluster.leader(0).await;
    commit(&next, "without the first").await;
    commit(&working, "the first's other disk works").await;
    assert_eq!(cluster.world.registration(1).isr, [1, 2, 3]);
    assert_eq!(cluster.world.registration(1).leader, 1, "it leads on");
    cluster.nodes[&1].disk.fail(Call::Write, 0, std::io::ErrorKind::Other);
    working.append(&batch("lost"), Passed::NoGate, 0).map(drop).expect_err("EIO");
    cluster.nodes[&1].failures.none_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_durable_of_a_log_that_diverges_does_not_count() {
    let cluster = Cluster::new(2, FlushMode::Os, &[&[1, 2]]);
    let leader = cluster.leader(0).await;
    commit(&leader, "before").await;
    cluster.elect(0, 1, &[1, 2]);
    let leader = cluster.leader(0).await;
    let committed = commit(&leader, "of the second reign").await;
    cluster.cut(1, 2);
    let (end, _) = append(&leader, "only here");
    // As the second would report a tail of the reign before: longer than what was kept of it.
    let says = |max_bytes| FetchPartition {
        topic: TOPIC,
        index: 0,
        leader_epoch: leader.leader_epoch(),
        fetch_offset: end,
        durable: end,
        last_fetched_epoch: leader.leader_epoch() - 1,
        max_bytes,
    };
    let begin = ReplicaFetch { max_wait_ms: 1, min_bytes: 1, max_bytes: 1 << 20, ..ReplicaFetch::default() };
    let begin = ReplicaFetch { partitions: vec![says(1 << 20)], ..begin };
    let first = cluster.ask(2, 1, begin.clone()).await;
    assert!(first.partitions[0].diverging.is_some());
    let next = ReplicaFetch { session: first.session, sequence: 1, partitions: vec![says(0)], ..begin };
    cluster.ask(2, 1, next).await;
    assert_eq!(leader.high_watermark(), committed, "the second does not hold this leader's last record");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_its_leader_and_a_restart() {
    let mut cluster = Cluster::new(3, FlushMode::Group, &[&[1, 2, 3]]);
    let leader = cluster.leader(0).await;
    let end = commit(&leader, "first").await;
    drop(leader);
    let disk = cluster.kill(1);
    cluster.elect(0, 3, &[2, 3]);
    let leader = cluster.leader(0).await;
    eventually("the new leader knows", || leader.readable_latest() == Some(end)).await;
    commit(&leader, "second").await;
    cluster.start(1, disk.crash(Crash::PowerCut), 2);
    eventually("the first is back in sync", || cluster.world.registration(0).isr == [1, 2, 3]).await;
    commit(&leader, "third").await;
    cluster.converged(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_round_under_load_and_nothing_is_lost() {
    let cluster = Cluster::new(3, FlushMode::Os, &[&[1, 2, 3]]);
    let mut acknowledged = Vec::new();
    for round in 0..12 {
        let leader = cluster.leader(0).await;
        for n in 0..20 {
            let value = format!("record {round}-{n};");
            let placed = append(&leader, &value).1;
            if n == 19 {
                // The next leader is elected with this on its way.
                cluster.elect(0, round % 3 + 1, &[1, 2, 3]);
            }
            match placed.await.expect("an answer") {
                Ok(()) => acknowledged.push(value),
                Err(NotCommitted::Deposed) => break,
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    assert!(acknowledged.len() >= 12 * 19);
    let leader = cluster.leader(0).await;
    commit(&leader, "last").await;
    let content = cluster.converged(0).await;
    let text = String::from_utf8_lossy(&content);
    let mut from = 0;
    for value in acknowledged {
        let found = text[from..].find(&value);
        from += found.unwrap_or_else(|| panic!("{value} was acknowledged and is not there, in order"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_taken_away_is_deleted_and_a_new_one_is_filled() {
    let cluster = Cluster::new(3, FlushMode::Os, &[&[1, 2]]);
    let leader = cluster.leader(0).await;
    for n in 0..200 {
        commit(&leader, &format!("record {n}")).await;
    }
    let disk = &cluster.nodes[&2].disk;
    let held = || disk.files().iter().any(|file| file.ends_with("orders-0/00000000000000000000.log"));
    assert!(held());
    cluster.reassign(0, &[1, 3], &[1]);
    eventually("the new replica is in sync", || cluster.world.registration(0).isr == [1, 3]).await;
    eventually("the old one is gone", || !held()).await;
    let leader = cluster.leader(0).await;
    commit(&leader, "to the new one").await;
    cluster.converged(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_below_the_high_watermark_is_not_replicated() {
    let cluster = Cluster::new(3, FlushMode::Os, &[&[1, 2, 3]]);
    let leader = cluster.leader(0).await;
    commit(&leader, "before").await;
    cluster.cut(1, 3);
    let end = commit(&leader, "committed without the third").await;
    cluster.corrupt(Some(1));
    cluster.heal();
    let third = cluster.replica(3, 0).await;
    let first_end = third.reader().log_end_offset();
    // Another reign of the same leader, whose answers are whole again.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(third.reader().log_end_offset(), first_end, "nothing damaged was appended");
    cluster.corrupt(None);
    cluster.elect(0, 1, &[1, 2]);
    eventually("the third follows again", || third.reader().log_end_offset() == end).await;
    cluster.converged(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_replica_is_filled_no_faster_than_allowed() {
    const RATE: i64 = 8_000;
    let unbounded = Rates { leader: i64::MAX, follower: i64::MAX };
    for rates in [Rates { leader: RATE, ..unbounded }, Rates { follower: RATE, ..unbounded }] {
        let cluster = Cluster::throttled(3, FlushMode::Os, &[&[1, 2]], rates);
        let leader = cluster.leader(0).await;
        for n in 0..40 {
            commit(&leader, &format!("{n}{}", "x".repeat(500))).await;
        }
        let bytes = leader.reader().size();
        let began = std::time::Instant::now();
        cluster.reassign(0, &[1, 3], &[1]);
        eventually("the new replica is in sync", || cluster.world.registration(0).isr == [1, 3]).await;
        // All of it but the burst of a second and what the first answer may go beyond.
        let least = (bytes as f64 - 2.0 * RATE as f64) / RATE as f64;
        assert!(least > 0.5 && began.elapsed().as_secs_f64() >= least.min(1.0), "{rates:?}: {:?}", began.elapsed());
        cluster.converged(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_partitions_are_named_once() {
    let partitions: Vec<&[i32]> = vec![&[1, 2]; 100];
    let cluster = Cluster::new(2, FlushMode::Os, &partitions);
    for index in 0..100 {
        cluster.converged(index).await;
    }
    for index in 0..100 {
        let leader = cluster.leader(index).await;
        commit(&leader, "one").await;
        cluster.converged(index).await;
    }
    let leader = cluster.leader(42).await;
    let before = *cluster.world.named.lock();
    for n in 0..20 {
        commit(&leader, &format!("record {n}")).await;
    }
    cluster.converged(42).await;
    let named = *cluster.world.named.lock() - before;
    assert!(named <= 3 * 20, "{named} partitions named for twenty batches of one");
}
