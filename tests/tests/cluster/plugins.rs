//! Gates and views where there are several brokers: they are ready on whoever leads next, and show the same everywhere.

use std::time::Duration;

use sluice_protocol::ErrorCode;
use sluice_tests::clients::ReadRecord;
use sluice_tests::clients::calls::batch;
use sluice_tests::{Cluster, Line, PATIENCE, Plugin, plugin_file, poll_until};

use crate::{HEALED, three_with};

#[test]
fn a_gate_and_a_view_are_there_after_a_failover() {
    let mut cluster = three_with("gated", 1);
    for plugin in ["redact", "select"] {
        let file = plugin_file(plugin);
        cluster.cli(["plugin", "push", &file.to_string_lossy(), "--name", plugin]).ok();
    }
    let gate = Plugin::redact(&["$.secret"], &[]);
    cluster.cli(["gate", "set", "gated", "--plugin", gate.name(), "--config", gate.config()]).ok();
    let view = Plugin::select("$.size >= 5", "drop");
    cluster.cli(["view", "create", "large", "--of", "gated", "--plugin", view.name(), "--config", view.config()]).ok();

    let record = |size: usize| format!(r#"{{"secret":"x","size":{size}}}"#);
    send(&cluster, (0..10).map(record));
    let before = read(&cluster);
    let leader = cluster.await_leader("gated", 0, |_| true);
    cluster.kill(leader);
    cluster.await_leader("gated", 0, |next| next != leader);
    assert_eq!(read(&cluster), before, "the same offsets give the same records on every broker");

    send(&cluster, (10..20).map(record));
    let (gated, large) = read(&cluster);
    assert_eq!(gated.len(), 20);
    assert!(gated.iter().all(|record| !record.value.as_deref().unwrap_or_default().contains("secret")), "{gated:?}");
    assert_eq!(large.len(), 15, "{large:?}");
    cluster.restart(leader);
    cluster.await_whole("gated", HEALED);
    assert_eq!(read(&cluster), (gated, large));
}

/// The leader hears of the gate after everybody else: until then it would take what the gate refuses.
#[test]
fn a_gate_that_is_set_is_in_force_on_every_broker() {
    let cluster = Cluster::builder().proxied().start();
    let controller = cluster.controller().expect("there is one");
    let others: Vec<i32> = cluster.ids().into_iter().filter(|&id| id != controller).collect();
    let (leader, asked) = (others[0], others[1]);
    cluster.create_topic_on("gated", 1, &[leader, asked, controller]);
    cluster.await_whole("gated", HEALED);
    cluster.await_leader("gated", 0, |id| id == leader);
    let cli = |arguments: &[&str]| cluster.contact_of(asked).cli(arguments).ok();
    cli(&["plugin", "push", &plugin_file("select").to_string_lossy(), "--name", "select"]);
    let mut producer = cluster.connection(leader);
    let mut produce = || producer.produce("gated", batch([r#"{"size":1}"#]).build()).error_code;
    let taken = poll_until(PATIENCE, || match produce() {
        ErrorCode::None => Ok(()),
        other => Err(other),
    });
    assert_eq!(taken, Ok(()), "there is no gate");

    cluster.set_zookeeper_link(leader, Line::Delayed(Duration::from_millis(200)));
    let gate = Plugin::select("$.size >= 5", "reject");
    cli(&["gate", "set", "gated", "--plugin", gate.name(), "--config", gate.config()]);
    assert_eq!(produce(), ErrorCode::InvalidRecord, "it is set");
    cli(&["gate", "remove", "gated"]);
    assert_eq!(produce(), ErrorCode::None, "it is removed");
}

fn send(cluster: &Cluster, values: impl Iterator<Item = String>) {
    let sent = cluster.rdkafka().send("gated", values);
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
}

fn read(cluster: &Cluster) -> (Vec<ReadRecord>, Vec<ReadRecord>) {
    (cluster.rdkafka().read("gated", 0), cluster.rdkafka().read("large", 0))
}
