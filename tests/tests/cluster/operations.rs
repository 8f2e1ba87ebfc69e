//! What operators do: brokers added and balanced, drained and stopped, replicas moved by hand, leaders sent home. Each under a
//! workload that is judged, or with a word for why not.

use serde_json::Value;
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::create_topics::{CreatableReplicaAssignment, CreatableTopic};
use sluice_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use sluice_tests::clients::calls::batch;
use sluice_tests::{Cluster, PATIENCE, Partition, Workload, poll_until};

use crate::{HEALED, TWO_OF_THREE};

#[test]
fn a_fourth_broker_takes_its_share_and_the_first_is_drained() {
    let mut cluster = Cluster::start();
    cluster.create_topic("orders", 12, 3, TWO_OF_THREE);
    cluster.await_whole("orders", HEALED);
    let workload = Workload::on("orders", 12).record_bytes(1_000).start(&cluster.contact());
    workload.await_stored(2_000, HEALED);

    let added = cluster.add_broker();
    let plan = json(&cluster, &["cluster", "balance"]);
    assert!(plan["moves"].as_array().is_some_and(|moves| !moves.is_empty()), "{plan:#}");
    assert_eq!(replicas_on(&cluster, added), 0, "a plan that is shown moves nothing");
    cluster.cli(["cluster", "balance", "--yes"]).ok();
    let moved = cluster.await_whole("orders", HEALED);
    assert!(moved.iter().all(|one| one.leader == one.replicas.first().copied()), "led as the plan has it: {moved:#?}");
    let brokers = json(&cluster, &["cluster", "brokers"]);
    let each = |what: &str| -> Vec<u64> {
        let brokers = brokers.as_array().into_iter().flatten();
        brokers.map(|broker| broker[what].as_u64().unwrap_or_else(|| panic!("{what} of {broker:#}"))).collect()
    };
    let bytes = each("bytes");
    let mean = bytes.iter().sum::<u64>() / 4;
    assert!(bytes.iter().all(|bytes| bytes.abs_diff(mean) * 10 <= mean), "{bytes:?} bytes are not even within a tenth");
    assert_eq!(each("leaders"), [3, 3, 3, 3], "of twelve");
    workload.await_stored(500, PATIENCE);

    cluster.cli(["cluster", "drain", "1"]).ok();
    assert_eq!(replicas_on(&cluster, 1), 0);
    assert!(cluster.stop(1).success());
    workload.await_stored(500, PATIENCE);
    let stalls = workload.take_stalls();
    assert!(stalls.refused().is_empty(), "no producer gave up a record: {stalls}");
    cluster.remove(1);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn a_drain_that_leaves_too_few_replicas_is_refused() {
    let cluster = Cluster::start();
    cluster.create_topic("orders", 1, 3, TWO_OF_THREE);
    let said = cluster.cli(["cluster", "drain", "2"]).failed(1);
    assert!(said.contains("orders has 3 replicas, and without broker 2 there are 2 brokers"), "{said}");
    let said = cluster.cli(["cluster", "drain", "9"]).failed(1);
    assert!(said.contains("there is no broker 9"), "{said}");
    assert_eq!(json(&cluster, &["cluster", "brokers"])[1]["draining"], false);
}

#[test]
fn a_drain_outlives_its_controller_and_can_be_cancelled() {
    let mut cluster = Cluster::builder().brokers(4).start();
    cluster.create_topic("orders", 6, 2, &[]);
    cluster.await_whole("orders", HEALED);
    let drained = (1..=4).find(|id| Ok(*id) != cluster.controller().map_err(|_| ())).expect("three of four");
    cluster.cli(["cluster", "drain", &drained.to_string(), "--no-wait"]).ok();
    let controller = cluster.controller().expect("a controller");
    cluster.kill(controller);
    let emptied = poll_until(HEALED, || match replicas_on(&cluster, drained) {
        0 => Ok(()),
        left => Err(left),
    });
    assert_eq!(emptied, Ok(()), "replicas are still on broker {drained}");
    cluster.restart(controller);
    cluster.cli(["cluster", "undrain", &drained.to_string()]).ok();
    cluster.create_topic("new", 4, 4, &[]);
    assert_eq!(cluster.await_whole("new", HEALED).len(), 4, "it is given replicas again");
}

#[test]
fn replicas_are_moved_by_hand() {
    let cluster = Cluster::builder().brokers(4).start();
    cluster.create_topic("orders", 1, 2, &[]);
    let before = cluster.await_whole("orders", HEALED).remove(0).replicas;
    let others: Vec<i32> = (1..=4).filter(|id| !before.contains(id)).collect();
    let asked = others.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let sent: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert!(cluster.rdkafka().send("orders", &sent).iter().all(Result::is_ok));
    cluster.cli(["cluster", "reassign", "orders", "0", "--replicas", &asked]).ok();
    let moved = cluster.await_topic("orders", HEALED, "it is where it was asked to be", |all| {
        all.iter().all(|one| one.replicas == others && one.isr.len() == 2)
    });
    assert!(others.contains(&moved[0].leader.expect("a leader")));
    assert_eq!(json(&cluster, &["cluster", "reassign"]), Value::Array(Vec::new()), "nothing is under way");
    let read = cluster.rdkafka().read("orders", 0);
    assert!(read.iter().map(|record| record.value.as_deref()).eq(sent.iter().map(|value| Some(value.as_str()))));

    let refused = |arguments: &[&str], why: &str| {
        let said = cluster.cli([&["cluster", "reassign", "orders"], arguments].concat()).failed(1);
        assert!(said.contains(why), "{arguments:?}: {said}");
    };
    refused(&["0", "--replicas", "1,1"], "names broker 1 twice");
    refused(&["0", "--replicas", "1,9"], "names broker 9, which is unknown");
    refused(&["7", "--replicas", "1"], "UNKNOWN_TOPIC_OR_PARTITION");
    refused(&["0", "--cancel"], "is not being reassigned");
}

#[test]
fn leaders_are_sent_home() {
    let mut cluster = Cluster::builder().set("auto.leader.rebalance.enable", false).start();
    cluster.create_topic("orders", 3, 3, TWO_OF_THREE);
    cluster.await_whole("orders", HEALED);
    cluster.kill(1);
    cluster
        .await_topic("orders", HEALED, "others lead", |all| all.iter().all(|one| one.leader.is_some_and(|id| id != 1)));
    cluster.restart(1);
    let whole = cluster.await_whole("orders", HEALED);
    assert!(whole.iter().any(|one| one.leader != one.replicas.first().copied()), "{whole:#?}");
    cluster.cli(["cluster", "elect"]).ok();
    cluster.await_topic("orders", PATIENCE, "the preferred replicas lead", |all| {
        all.iter().all(|one| one.leader == one.replicas.first().copied())
    });
    let said = cluster.cli(["cluster", "elect"]).stderr_of_success();
    assert!(said.contains("all are led as they should be"), "{said}");
}

#[test]
fn replicas_are_spread_over_racks() {
    let mut cluster = Cluster::builder().brokers(4).without_brokers();
    for (id, rack) in [(1, "a"), (2, "a"), (3, "b"), (4, "b")] {
        cluster.set_of(id, "broker.rack", rack);
    }
    cluster.start_brokers();
    cluster.create_topic("orders", 8, 2, &[]);
    for one in cluster.topic("orders").expect("a broker answers") {
        let in_a = one.replicas.iter().filter(|id| **id <= 2).count();
        assert_eq!(in_a, 1, "one in each rack: {one:?}");
    }
    assert_eq!(json(&cluster, &["cluster", "brokers"])[2]["rack"], "b");
}

#[test]
fn status_says_what_is_missing() {
    let mut cluster = Cluster::start();
    cluster.create_topic("orders", 2, 3, TWO_OF_THREE);
    cluster.await_whole("orders", HEALED);
    let healthy = json(&cluster, &["cluster", "status"]);
    assert_eq!((&healthy["partitions"], &healthy["under_replicated"]), (&Value::from(2), &Value::from(0)));
    cluster.kill(3);
    let said = poll_until(HEALED, || {
        let ran = cluster.cli(["cluster", "status", "--format", "json"]);
        if ran.status.code() == Some(3) { Ok(ran.stdout) } else { Err(ran.stdout) }
    });
    let unhealthy: Value = serde_json::from_str(&said.expect("a replica is away")).expect("JSON");
    assert_eq!((&unhealthy["under_replicated"], &unhealthy["offline"]), (&Value::from(2), &Value::from(0)));
}

#[test]
fn a_topic_of_which_a_part_is_away_is_shown_and_read_as_far_as_it_is_there() {
    let mut cluster = Cluster::start();
    cluster.create_topic("single", 3, 1, &[]);
    let told = cluster.await_whole("single", HEALED);
    let leader = |index: usize| told[index].leader.expect("it is whole");
    let stored = cluster.connection(leader(0)).produce("single", batch(["there"]).build());
    assert_eq!(stored.error_code, ErrorCode::None);
    cluster.kill(leader(2));
    let gone = |all: &[Partition]| all[2].leader.is_none();
    cluster.await_topic("single", HEALED, "nobody leads the third partition", gone);
    let described = json(&cluster, &["topic", "describe", "single"]);
    let of = |what: &str| -> Vec<&Value> { (0..3).map(|index| &described["partitions"][index][what]).collect() };
    assert_eq!(of("leader"), [&Value::from(leader(0)), &Value::from(leader(1)), &Value::Null]);
    assert_eq!(of("high_watermark"), [&Value::from(1), &Value::from(0), &Value::Null]);
    assert_eq!(cluster.cli(["consume", "single", "--count", "1"]).ok(), "there\n");
}

#[test]
fn topics_are_assigned_by_hand() {
    let cluster = Cluster::start();
    let ask = |name: &str, assigned: &[(i32, &[i32])]| {
        let assignments = assigned.iter().map(|(partition_index, ids)| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: ids.to_vec(),
        });
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: assignments.collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 30_000, ..CreateTopicsRequest::default() };
        let mut answer: CreateTopicsResponse = cluster.connection(2).ask(7, &request);
        answer.topics.remove(0).error_code
    };
    let invalid = ErrorCode::InvalidReplicaAssignment;
    assert_eq!(ask("unknown", &[(0, &[1, 9])]), invalid);
    assert_eq!(ask("repeated", &[(0, &[1, 1])]), invalid);
    assert_eq!(ask("uneven", &[(0, &[1, 2]), (1, &[1])]), invalid);
    assert_eq!(ask("gap", &[(0, &[1, 2]), (2, &[1, 2])]), invalid);
    assert_eq!(ask("good", &[(1, &[3, 1]), (0, &[2, 3])]), ErrorCode::None);
    let made = cluster.await_whole("good", HEALED);
    let seen: Vec<_> = made.iter().map(|one| (one.replicas.clone(), one.leader)).collect();
    assert_eq!(seen, [(vec![2, 3], Some(2)), (vec![3, 1], Some(3))]);
    let said = cluster.cli(["topic", "create", "many", "--replication-factor", "4"]).failed(1);
    assert!(said.contains("4 replicas are asked for and 3 brokers are serving (INVALID_REPLICATION_FACTOR)"), "{said}");
}

fn json(cluster: &Cluster, arguments: &[&str]) -> Value {
    let said = cluster.cli([arguments, &["--format", "json"]].concat()).ok();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn replicas_on(cluster: &Cluster, id: i32) -> usize {
    let brokers = json(cluster, &["cluster", "brokers"]);
    let brokers = brokers.as_array().cloned().unwrap_or_default();
    let replicas = brokers.iter().find(|broker| broker["broker"] == id).map(|broker| broker["replicas"].clone());
    let replicas = replicas.and_then(|replicas| replicas.as_u64()).expect("the broker is listed");
    usize::try_from(replicas).expect("few replicas")
}
