//! Brokers that come: one more serves new topics at once.

use sluice_tests::{PATIENCE, Workload};

use crate::{HEALED, TWO_OF_THREE, three_with};

#[test]
fn a_broker_added_under_load_serves_new_topics_at_once() {
    let mut cluster = three_with("old", 3);
    let workload = Workload::on("old", 3).start(&cluster.contact());
    workload.await_stored(200, PATIENCE);
    let added = cluster.add_broker();
    cluster.create_topic("new", 8, 3, TWO_OF_THREE);
    let all = cluster.await_whole("new", HEALED);
    assert!(all.iter().any(|one| one.replicas.contains(&added)), "{all:#?}");
    assert!(all.iter().any(|one| one.leader == Some(added)), "{all:#?}");
    let sent: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    assert!(cluster.rdkafka().send("new", &sent).iter().all(Result::is_ok));
    let read = cluster.rdkafka().read("new", 0);
    assert!(read.iter().map(|record| record.value.as_deref()).eq(sent.iter().map(|value| Some(value.as_str()))));
    workload.await_stored(200, PATIENCE);
    let stalls = workload.take_stalls();
    assert!(stalls.refused().is_empty(), "{stalls}");
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
}
