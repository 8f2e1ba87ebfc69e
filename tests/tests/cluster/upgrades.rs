//! Brokers of two versions side by side: an older one is ours held to the older feature level. What the older can't read is not
//! written before all are new, and from then on an older one is refused. And brokers that are forgotten.

use serde_json::Value;
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::IncrementalAlterConfigsRequest;
use sluice_protocol::messages::incremental_alter_configs::{AlterConfigsResource, AlterableConfig};
use sluice_tests::{Cluster, PATIENCE, Workload};

use crate::{HEALED, TWO_OF_THREE};

const LEVEL: &str = "sluice.feature.level.max";

#[test]
fn two_levels_side_by_side_until_all_are_new() {
    let mut cluster = Cluster::builder().without_brokers();
    for id in [1, 2, 3] {
        cluster.set_of(id, LEVEL, 1);
    }
    cluster.start_brokers();
    cluster.create_topic("orders", 3, 3, TWO_OF_THREE);
    cluster.await_whole("orders", HEALED);
    let workload = Workload::on("orders", 3).start(&cluster.contact());
    workload.await_stored(200, HEALED);

    for id in [3, 2, 1] {
        assert!(cluster.stop(id).success());
        if id == 1 {
            // Whoever decides now is new, and does not write what the old one could not read when it comes back.
            assert_eq!(alter_all_brokers(&cluster), ErrorCode::UnsupportedVersion);
        }
        cluster.set_of(id, LEVEL, 2);
        cluster.restart(id);
        cluster.await_whole("orders", HEALED);
        workload.await_stored(200, PATIENCE);
        if id == 1 {
            break;
        }
        let features = features(&cluster, &[]);
        assert_eq!((&features["level"], &features["brokers"][2]["highest"]), (&Value::from(1), &Value::from(2)));
        let said = cluster.cli(["cluster", "features", "--upgrade"]).failed(1);
        assert!(said.contains("broker 1 can work at feature levels 1 to 1, not at 2"), "{said}");
        assert_eq!(said.contains("broker 2 (1 to 1)"), id == 3, "all that can't are named: {said}");
    }
    assert_eq!(features(&cluster, &[])["level"], 1, "it is raised by an operator, and not by itself");
    assert_eq!(features(&cluster, &["--upgrade"])["level"], 2);
    assert_eq!(alter_all_brokers(&cluster), ErrorCode::None);
    let said = cluster.cli(["cluster", "features", "--level", "1"]).failed(1);
    assert!(said.contains("it is not lowered to 1"), "{said}");
    workload.await_stored(200, PATIENCE);

    assert!(cluster.stop(2).success());
    let mut old = cluster.impostor(2, &[(LEVEL, "1")]);
    assert_eq!(old.await_end(PATIENCE).code(), Some(1));
    let said = old.said();
    assert!(said.contains("the cluster works at feature level 2, broker 2 can work at 1 to 1"), "{said}");
    cluster.restart(2);
    cluster.await_whole("orders", HEALED);
    let stalls = workload.take_stalls();
    assert!(stalls.refused().is_empty(), "no producer gave up a record: {stalls}");
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}

#[test]
fn a_broker_that_is_gone_is_forgotten() {
    let mut cluster = Cluster::start();
    cluster.create_topic_on("orders", 7, &[3, 1]);
    cluster.await_whole("orders", HEALED);
    let refused = |cluster: &Cluster, id: &str, why: &str| {
        let said = cluster.cli(["cluster", "unregister", id]).failed(1);
        assert!(said.contains(why), "{said}");
    };
    refused(&cluster, "9", "there is no broker 9");
    refused(&cluster, "3", "broker 3 serves");
    assert!(cluster.stop(3).success());
    cluster.await_topic("orders", HEALED, "it is missed", |all| all.iter().all(|one| one.isr == [1]));
    refused(&cluster, "3", "broker 3 holds 7 replicas");
    refused(&cluster, "3", "orders-0, orders-1, orders-2, orders-3, orders-4 and 2 more");
    cluster.cli(["cluster", "drain", "3"]).ok();
    cluster.cli(["cluster", "unregister", "3"]).ok();
    let brokers = features(&cluster, &[])["brokers"].as_array().map(Vec::len);
    assert_eq!(brokers, Some(2));
}

/// Sets for all brokers what only the second level can write down.
fn alter_all_brokers(cluster: &Cluster) -> ErrorCode {
    const BROKERS: i8 = 4;
    let rate = AlterableConfig {
        name: "leader.replication.throttled.rate".into(),
        value: Some("100000000".into()),
        ..AlterableConfig::default()
    };
    let all = AlterConfigsResource { resource_type: BROKERS, configs: vec![rate], ..AlterConfigsResource::default() };
    let request = IncrementalAlterConfigsRequest { resources: vec![all], validate_only: false };
    let answered = cluster.connection(3).ask(1, &request);
    answered.responses.first().expect("of the one resource").error_code
}

fn features(cluster: &Cluster, arguments: &[&str]) -> Value {
    let said = cluster.cli([&["cluster", "features", "--format", "json"], arguments].concat()).ok();
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}
