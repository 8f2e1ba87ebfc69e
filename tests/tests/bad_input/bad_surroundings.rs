//! Around the broker: another broker, another cluster, no ZooKeeper.

use std::time::Instant;

use sluice_protocol::ErrorCode;
use sluice_tests::clients::calls::batch;
use sluice_tests::{PATIENCE, Sluice, ZooKeeper};

use crate::the_next_client_is_served;

#[test]
fn a_second_broker_on_the_same_data_folder() {
    let sluice = Sluice::start();
    let other = ZooKeeper::start();
    let mut second = sluice.launch(&[
        ("broker.id", "2"),
        ("listeners", "SSL://127.0.0.1:0"),
        ("sluice.admin.listener", "https://127.0.0.1:0"),
        ("zookeeper.connect", &other.connect()),
    ]);
    assert_eq!(second.await_end(PATIENCE).code(), Some(1));
    let folder = sluice.log_dir();
    assert!(second.said().contains(&*folder.to_string_lossy()), "it does not say which folder: {}", second.said());
    the_next_client_is_served(&sluice);
}

#[test]
fn a_data_folder_of_another_cluster() {
    let mut sluice = Sluice::start();
    let cluster = sluice.cluster_id().to_owned();
    assert!(sluice.stop().success());
    let other = ZooKeeper::start();
    let mut stray = sluice.launch(&[("zookeeper.connect", &other.connect())]);
    assert_eq!(stray.await_end(PATIENCE).code(), Some(1));
    assert!(stray.said().contains(&cluster), "it does not say whose folder it is: {}", stray.said());
    sluice.restart();
    assert_eq!(sluice.cluster_id(), cluster);
    the_next_client_is_served(&sluice);
}

#[test]
fn zookeeper_not_there_at_start() {
    let mut sluice = Sluice::builder().set("zookeeper.connection.timeout.ms", 1_000).without_broker();
    let address = sluice.zookeeper.connect();
    sluice.zookeeper.kill();
    let mut broker = sluice.launch(&[]);
    broker.await_line(PATIENCE, |line| (line.contains("waiting") && line.contains(&address)).then_some(()));
    assert_eq!(broker.await_end(PATIENCE).code(), Some(1), "it gives up after the time it has");
    sluice.zookeeper.restart();
    sluice.restart();
    the_next_client_is_served(&sluice);
}

#[test]
fn zookeeper_late_at_start() {
    let mut sluice = Sluice::builder().set("zookeeper.connection.timeout.ms", 30_000).without_broker();
    sluice.zookeeper.kill();
    let broker = sluice.launch(&[]);
    broker.await_line(PATIENCE, |line| line.contains("waiting").then_some(()));
    sluice.zookeeper.restart();
    broker.await_line(PATIENCE, |line| line.contains("sluice: serving").then_some(()));
}

#[test]
fn zookeeper_gone_and_back_while_running() {
    let mut sluice = Sluice::start();
    let mut connection = sluice.connection();
    assert_eq!(connection.create_topic("steady", &[]).error_code, ErrorCode::None);
    sluice.zookeeper.kill();
    for n in 0..10 {
        let stored = connection.produce("steady", batch([format!("{n}")]).build());
        assert_eq!(stored.error_code, ErrorCode::None, "acks=all needs no ZooKeeper: {:?}", stored.error_message);
    }
    sluice.zookeeper.restart();
    // Until the session is there again, what needs it is refused with a code that clients try again on.
    let until = Instant::now() + PATIENCE;
    loop {
        match connection.create_topic("afterwards", &[]).error_code {
            ErrorCode::None | ErrorCode::TopicAlreadyExists => break,
            code => assert!(code.is_retriable() && Instant::now() < until, "{code:?}"),
        }
    }
    the_next_client_is_served(&sluice);
    assert_eq!(sluice.read("steady").len(), 10);
}
