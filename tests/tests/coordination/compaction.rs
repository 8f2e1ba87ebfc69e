//! The log that snapshots replace: what is kept of it, who still finds the way, and what is damaged beyond use.

use futures::FutureExt;
use futures::future::BoxFuture;
use sluice::coordination::coordinator::{Change, Session};
use sluice::coordination::{Halt, LogError, SnapshotEvery, StartError};
use sluice_cluster::metadata::batch::Head;

use crate::broker::{Broker, Settings};
use crate::ground::Ground;
use crate::soon;
use crate::switchboard::Switchboard;

type Case = fn(Ground) -> BoxFuture<'static, ()>;

const CASES: &[(&str, Case)] = &[
    ("entries-that-two-snapshots-have-are-deleted", |ground| deleted(ground).boxed()),
    ("whoever-was-away-for-long-begins-with-a-snapshot", |ground| away(ground).boxed()),
    ("a-damaged-snapshot-is-refused", |ground| damaged(ground).boxed()),
];

#[tokio::test(flavor = "multi_thread")]
async fn compaction_on_the_local_service() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(Ground::local()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_on_zookeeper() {
    let server = sluice_tests::ZooKeeper::start();
    for (name, case) in CASES {
        eprintln!("{name}");
        case(Ground::zookeeper(&server, name)).await;
    }
}

const EVERY: u64 = 10;

fn often(mut settings: Settings) -> Settings {
    settings.snapshot_every = SnapshotEvery { entries: EVERY, bytes: u64::MAX };
    settings
}

async fn topics(broker: &Broker, prefix: &str, count: u64) {
    for n in 0..count {
        broker.create_topic(&format!("{prefix}-{n}"), 1).await.expect("a topic of that name can be made");
    }
}

async fn head(session: &dyn Session) -> Head {
    session.sync().await.unwrap();
    Head::decode(&session.read("/meta/head").await.unwrap().unwrap().data).unwrap()
}

/// Until no entry before `seq` is there.
async fn gone_before(session: &dyn Session, seq: u64) {
    loop {
        let (names, changed) = session.children_and_watch("/meta/log").await.unwrap();
        if names.iter().all(|name| name.parse::<u64>().unwrap() >= seq) {
            return;
        }
        soon("more of the log is deleted", changed).await;
    }
}

async fn deleted(ground: Ground) {
    let (_observing, observer) = ground.session().await;
    let client = ground.client().await;
    let mut settings = often(Settings::new(&client.coordinator, 1, &ground.data("1")));
    let broker = settings.start().await;
    topics(&broker, "t", 5 * EVERY).await;
    gone_before(observer.as_ref(), 2 * EVERY).await;
    let named = head(observer.as_ref()).await.snapshot.expect("the head names a snapshot").next_seq;
    let kept = observer.children("/meta/snap").await.unwrap();
    assert!(kept.len() <= 3, "two, and one that may be under way: {kept:?}");
    assert!(kept.contains(&format!("{named:020}")), "the one that is named is kept: {kept:?}");

    // Another broker that has seen nothing, and this one that has seen all of it.
    let board = Switchboard::default();
    let other = ground.client().await;
    let second = often(Settings::new(&other.coordinator, 2, &ground.data("2"))).on(&board).start().await;
    let image = second.metadata.image();
    assert_eq!(image.topics().count() as u64, 5 * EVERY);
    broker.knows("both are registered", |image| image.serving().count() == 2).await;
    broker.stops().await;
    second.stops().await;
    let again = settings.start().await;
    assert_eq!(again.metadata.image().topics().count() as u64, 5 * EVERY);
    topics(&again, "more", 3 * EVERY).await;
    again.stops().await;
}

async fn away(ground: Ground) {
    if !ground.has_line() {
        // A client in this process is never away.
        return;
    }
    let (_observing, observer) = ground.session().await;
    let board = Switchboard::default();
    let (one, two) = (ground.client().await, ground.client().await);
    let broker = often(Settings::new(&one.coordinator, 1, &ground.data("1"))).on(&board).start().await;
    let away = often(Settings::new(&two.coordinator, 2, &ground.data("2"))).on(&board).start().await;
    assert!(broker.metadata.is_controller());
    two.proxy().cut();
    away.doubts().await;
    let last = away.metadata.image().next_seq();
    topics(&broker, "t", 4 * EVERY).await;
    gone_before(observer.as_ref(), last + 1).await;
    two.proxy().mend();
    away.serves().await;
    away.knows("all of it", |image| image.topics().count() as u64 == 4 * EVERY).await;
    topics(&away, "more", 2).await;
    broker.stops().await;
    away.stops().await;
}

async fn damaged(ground: Ground) {
    let (_observing, observer) = ground.session().await;
    let client = ground.client().await;
    let broker = often(Settings::new(&client.coordinator, 1, &ground.data("1"))).start().await;
    topics(&broker, "t", 4 * EVERY).await;
    gone_before(observer.as_ref(), EVERY).await;
    broker.stops().await;
    let named = head(observer.as_ref()).await.snapshot.unwrap().next_seq;
    let path = format!("/meta/snap/{named:020}/0000000000");
    let node = observer.read(&path).await.unwrap().unwrap();
    let mut data = node.data.clone();
    data[20] ^= 1;
    observer.multi(vec![Change::Set { path, data, version: node.version }]).await.unwrap();
    let other = ground.client().await;
    let new = often(Settings::new(&other.coordinator, 2, &ground.data("2")));
    let refused = new.try_start().await.unwrap_err();
    let StartError::Halted(Halt::Log(LogError::Snapshot { seq, .. })) = refused else { panic!("{refused:?}") };
    assert_eq!(seq, named);
}
