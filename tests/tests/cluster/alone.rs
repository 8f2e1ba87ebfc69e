//! One broker, killed, paused and cut off from ZooKeeper under a workload that is judged: what a cluster must not do worse.

use sluice_tests::{Cluster, Line, PATIENCE, Workload};

#[test]
fn a_broker_alone_keeps_its_word_whatever_happens() {
    let mut cluster = Cluster::builder().brokers(1).proxied().start();
    cluster.create_topic("alone", 3, 1, &[]);
    let workload = Workload::on("alone", 3).start(&cluster.contact());
    workload.await_stored(100, PATIENCE);
    cluster.kill(1);
    cluster.restart(1);
    workload.await_stored(100, PATIENCE);
    cluster.pause(1);
    cluster.resume(1);
    cluster.set_zookeeper_link(1, Line::Reset);
    workload.await_stored(100, PATIENCE);
    cluster.mend();
    workload.await_stored(100, PATIENCE);
    let verdict = workload.finish(&mut cluster);
    assert!(verdict.report.is_clean(), "{verdict:#?}");
    assert!(verdict.report.counts.stored >= 400, "{}", verdict.report.counts);
}

#[test]
fn an_ensemble_with_tls_on_every_link_serves_a_broker() {
    let mut cluster = Cluster::builder().brokers(1).zookeepers(3).zookeeper_tls().start();
    cluster.create_topic("sealed", 1, 1, &[]);
    cluster.zookeeper.server(0).kill();
    cluster.create_topic("sealed-again", 1, 1, &[]);
}
