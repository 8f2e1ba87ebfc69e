//! ZooKeeper late, killed, paused, away for long, answering into the void; and a broker that is killed under it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluice::coordination::coordinator::ConnectError;
use sluice::coordination::{ConnectString, Coordinator, StartError, SubmitError, ZooKeeper, ZooKeeperTls};
use sluice_tests::{Certificates, ZooKeeper as Server};

use crate::broker::Settings;
use crate::ground::{Ground, SESSION};
use crate::proxy::Proxy;
use crate::soon;
use crate::switchboard::Switchboard;

#[tokio::test(flavor = "multi_thread")]
async fn zookeeper_not_there_at_start_is_waited_for_and_given_up() {
    let nowhere = Proxy::to("127.0.0.1:9".parse().unwrap()).await;
    nowhere.cut();
    let folder = tempfile::tempdir().unwrap();
    let coordinator = zookeeper(&nowhere.address().to_string(), Duration::from_secs(4));
    let mut settings = Settings::new(&coordinator, 1, folder.path());
    settings.connection_timeout = Duration::from_secs(2);
    let since = Instant::now();
    let refused = settings.try_start().await.unwrap_err();
    assert!(since.elapsed() >= settings.connection_timeout, "it waits as long as it may: {:?}", since.elapsed());
    let StartError::Unreachable { place, waited, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!((place, *waited), (&coordinator.place(), settings.connection_timeout));
}

#[tokio::test(flavor = "multi_thread")]
async fn zookeeper_that_comes_in_time_is_enough() {
    let mut server = Server::start();
    server.kill();
    let folder = tempfile::tempdir().unwrap();
    let coordinator = zookeeper(&server.connect(), Duration::from_secs(4));
    let mut settings = Settings::new(&coordinator, 1, folder.path());
    settings.connection_timeout = Duration::from_secs(50);
    let starting = tokio::spawn(async move { settings.start().await });
    server.restart();
    soon("it starts", starting).await.unwrap().stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zookeeper_killed_and_restarted_under_a_broker() {
    let mut server = Server::start();
    let ground = Ground::zookeeper(&server, "killed");
    let client = ground.client().await;
    let broker = Settings::new(&client.coordinator, 1, &ground.data("1")).start().await;
    broker.create_topic("before", 1).await.unwrap();
    server.kill();
    broker.doubts().await;
    let refused = soon("an answer without ZooKeeper", broker.create_topic("during", 1)).await.unwrap_err();
    assert!(matches!(refused, SubmitError::Unavailable { .. }), "nothing was sent: {refused:?}");
    assert!(broker.metadata.image().topic("before").is_some(), "what is known stays known");
    server.restart();
    broker.serves().await;
    broker.create_topic("after", 1).await.unwrap();
    let image = broker.metadata.image();
    assert!(image.topic("before").is_some() && image.topic("during").is_none() && image.topic("after").is_some());
    broker.stops().await;
}

/// Away for longer than sessions last: nothing is left of them, and all have to begin anew.
#[tokio::test(flavor = "multi_thread")]
async fn zookeeper_away_for_long_under_three_brokers() {
    let mut server = Server::start();
    let ground = Ground::zookeeper(&server, "away");
    let board = Switchboard::default();
    let mut brokers = Vec::new();
    for id in 1..=3 {
        let client = ground.client().await;
        let settings = Settings::new(&client.coordinator, id, &ground.data(&id.to_string()));
        brokers.push((settings.on(&board).start().await, client));
    }
    brokers[0].0.create_topic("before", 1).await.unwrap();
    let lives: Vec<i64> = brokers.iter().map(|(broker, _)| broker.epoch()).collect();
    server.kill();
    for (broker, _) in &brokers {
        broker.doubts().await;
        assert!(broker.metadata.is_doubtful() && !broker.metadata.is_controller());
        let refused = soon("an answer without ZooKeeper", broker.create_topic("during", 1)).await.unwrap_err();
        assert!(matches!(refused, SubmitError::Unavailable { .. }), "{refused:?}");
    }
    tokio::time::sleep(SESSION * 2).await;
    server.restart();
    let since = Instant::now();
    for ((broker, _), life) in brokers.iter().zip(lives) {
        broker.serves().await;
        assert!(broker.epoch() > life, "in a new life");
    }
    eprintln!("all serve again after {:?}", since.elapsed());
    for (at, (broker, _)) in brokers.iter().enumerate() {
        broker.create_topic(&format!("after-{at}"), 1).await.unwrap();
        let image = broker.metadata.image();
        assert!(image.topic("before").is_some() && image.topic("during").is_none());
    }
    for (broker, _) in brokers {
        broker.stops().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn zookeeper_paused_under_a_change() {
    let server = Server::start();
    let ground = Ground::zookeeper(&server, "paused");
    let client = ground.client().await;
    let broker = Settings::new(&client.coordinator, 1, &ground.data("1")).start().await;
    server.pause();
    let undecided = soon("an answer while ZooKeeper hangs", broker.create_topic("orders", 1)).await;
    assert!(matches!(undecided, Err(SubmitError::Unknown { .. })), "{undecided:?}");
    server.resume();
    broker.serves().await;
    // Whether it was made is known now; once it is known it stays so.
    let made = broker.metadata.image().topic("orders").map(|topic| topic.id);
    broker.create_topic("more", 1).await.unwrap();
    assert_eq!(broker.metadata.image().topic("orders").map(|topic| topic.id), made);
    broker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_reply_is_lost_is_made_once() {
    let server = Server::start();
    let ground = Ground::zookeeper(&server, "lost");
    let client = ground.client().await;
    let broker = Settings::new(&client.coordinator, 1, &ground.data("1")).start().await;
    let before = broker.metadata.image().next_seq();
    client.proxy().lose_replies();
    let undecided = soon("an answer when the reply is lost", broker.create_topic("orders", 1)).await;
    assert!(matches!(undecided, Err(SubmitError::Unknown { .. })), "{undecided:?}");
    client.proxy().mend();
    broker.serves().await;
    let image = broker.metadata.image();
    assert!(image.topic("orders").is_some(), "ZooKeeper had it");
    let (_observing, observer) = ground.session().await;
    let entries = observer.children("/meta/log").await.unwrap().len() as u64;
    assert_eq!(entries, image.next_seq(), "and it is there once");
    assert!(image.next_seq() > before + 1, "with the entries of the next reign behind it");
    broker.stops().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restarted_right_after_it_was_killed_does_not_wait_for_its_old_session() {
    let server = Server::start();
    let ground = Ground::zookeeper(&server, "sigkill");
    // Its line is cut before it ends, so that ZooKeeper hears nothing of the end; the session would last on.
    let killed = ground.client_for(Duration::from_secs(20)).await;
    let mut settings = Settings::new(&killed.coordinator, 1, &ground.data("1"));
    let broker = settings.start().await;
    broker.create_topic("orders", 1).await.unwrap();
    let before = broker.epoch();
    killed.proxy().cut();
    drop(broker);
    let (_observing, observer) = ground.session().await;
    assert!(observer.read("/brokers/ids/1").await.unwrap().is_some(), "its node is still there");

    let again = ground.client().await;
    settings.coordinator = Arc::clone(&again.coordinator);
    let since = Instant::now();
    let broker = settings.start().await;
    eprintln!("started again after {:?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(10), "half the old session: {:?}", since.elapsed());
    assert!(broker.epoch() > before);
    assert!(broker.metadata.image().topic("orders").is_some());
    broker.create_topic("more", 1).await.unwrap();
    broker.stops().await;
}

/// Nodes made over TLS can be touched only by who shows the certificate that made them.
#[tokio::test(flavor = "multi_thread")]
async fn zookeeper_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(&folder.path().join("certificates"));
    let server = Server::start_with_tls(&certificates);
    let connect: ConnectString = format!("{}/over/tls", server.connect()).parse().unwrap();
    let with = |keystore: Option<&Path>| -> Arc<dyn Coordinator> {
        let tls = Some(ZooKeeperTls::from_files(&certificates.ca, keystore).unwrap());
        Arc::new(ZooKeeper { connect: connect.clone(), session_timeout: SESSION, tls, set_acl: true })
    };
    let mut settings = Settings::new(&with(Some(&certificates.client.both)), 1, folder.path());
    settings.start().await.stops().await;
    let broker = settings.start().await;
    broker.create_topic("orders", 1).await.unwrap();

    for (who, keystore) in [("nobody", None), ("a stranger", Some(certificates.stranger.both.as_path()))] {
        let refused = soon("an answer", with(keystore).connect()).await;
        assert!(matches!(refused, Err(ConnectError::Unreachable { .. })), "{who}: {refused:?}");
    }
    let refused = soon("an answer", with(Some(&certificates.broker.both)).connect()).await;
    assert!(matches!(refused, Err(ConnectError::Config { .. })), "another of the same authority: {refused:?}");
    broker.stops().await;
}

fn zookeeper(connect: &str, session_timeout: Duration) -> Arc<dyn Coordinator> {
    Arc::new(ZooKeeper { connect: connect.parse().unwrap(), session_timeout, tls: None, set_acl: false })
}
