//! A broker and its cluster, on both services: what survives, who is refused, what comes back by itself.

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use sluice::coordination::coordinator::{Change, Session};
use sluice::coordination::{Halt, LogError, StartError, SubmitError};
use sluice_cluster::decide::{
    AllocateProducerIds, CreateTopics, CreateView, NewBinding, NewPluginUse, NewTopic, Placement, SetGate,
};
use sluice_cluster::metadata::batch::{Hash, Head};
use sluice_cluster::{Image, OnError, PluginLimits};
use sluice_protocol::Uuid;

use crate::broker::Settings;
use crate::ground::Ground;
use crate::soon;

type Case = fn(Ground) -> BoxFuture<'static, ()>;

const CASES: &[(&str, Case)] = &[
    ("everything-restarts-from-the-log", |ground| restarts(ground).boxed()),
    ("an-id-in-use-is-refused", |ground| id_in_use(ground).boxed()),
    ("a-data-folder-of-another-cluster-is-refused", |ground| other_cluster(ground).boxed()),
    ("an-empty-data-folder-takes-the-place-of-one-that-is-gone", |ground| other_folder(ground).boxed()),
    ("a-log-that-went-back-is-refused", |ground| went_back(ground).boxed()),
    ("a-damaged-log-is-refused", |ground| damaged(ground).boxed()),
    ("changes-that-come-together-share-an-entry", |ground| together(ground).boxed()),
    ("what-does-not-fit-is-refused-and-the-rest-goes-on", |ground| too_large(ground).boxed()),
    ("a-session-that-expires-is-followed-by-another", |ground| expires(ground).boxed()),
];

#[tokio::test(flavor = "multi_thread")]
async fn clusters_on_the_local_service() {
    for (name, case) in CASES {
        eprintln!("{name}");
        case(Ground::local()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_on_zookeeper() {
    let server = sluice_tests::ZooKeeper::start();
    for (name, case) in CASES {
        eprintln!("{name}");
        case(Ground::zookeeper(&server, name)).await;
    }
}

async fn restarts(ground: Ground) {
    let client = ground.client().await;
    let mut settings = Settings::new(&client.coordinator, 1, &ground.data("1"));
    let broker = settings.start().await;
    let (cluster_id, first) = (broker.cluster_id.clone(), broker.epoch());
    let reign = broker.metadata.image().controller_epoch();
    broker.create_topic("orders", 3).await.unwrap();
    broker.add_plugin("select").await;
    let link = NewPluginUse { plugin: "select".into(), version: None, config: "{}".into() };
    let binding = NewBinding { chain: vec![link], limits: PluginLimits::default(), on_error: OnError::Fail };
    broker.metadata.submit(SetGate { topic: "orders".into(), binding: binding.clone() }).await.unwrap();
    let view = CreateView { name: "big".into(), base: "orders".into(), binding, allow_unfiltered: false };
    broker.metadata.submit(view).await.unwrap();
    let block = broker.metadata.submit(AllocateProducerIds).await.unwrap();
    let before = broker.metadata.image();
    broker.stops().await;

    let broker = settings.start().await;
    assert_eq!(broker.cluster_id, cluster_id);
    assert!(broker.epoch() > first && broker.metadata.image().controller_epoch() > reign);
    let after = broker.metadata.image();
    let content = |image: &Image| {
        let orders = image.topic("orders").unwrap();
        (orders.id, orders.gate.clone(), orders.partitions.len(), image.view("big").cloned(), image.plugins().count())
    };
    assert_eq!(content(&after), content(&before));
    let epochs = |image: &Image| image.topic("orders").unwrap().partitions[0].leader_epoch;
    assert!(epochs(&after) > epochs(&before), "every life leads in a new epoch");
    let next = broker.metadata.submit(AllocateProducerIds).await.unwrap();
    assert_eq!(next.first, block.first + block.count, "no producer id is given twice");
    broker.stops().await;
}

async fn id_in_use(ground: Ground) {
    let client = ground.client().await;
    let first = Settings::new(&client.coordinator, 1, &ground.data("1")).start().await;
    let other = ground.client().await;
    let mut same_id = Settings::new(&other.coordinator, 1, &ground.data("other"));
    same_id.identity.uuid = Uuid([9; 16]);
    assert_eq!(same_id.try_start().await.unwrap_err(), StartError::Halted(Halt::IdInUse { id: 1 }));
    first.create_topic("orders", 1).await.expect("the first is not disturbed");
    first.stops().await;
}

async fn other_cluster(ground: Ground) {
    let client = ground.client().await;
    let mut settings = Settings::new(&client.coordinator, 1, &ground.data("1"));
    settings.identity.cluster_id = Some("elsewhere".into());
    let other = |found| StartError::Halted(Halt::OtherCluster { data: "elsewhere".into(), found });
    assert_eq!(settings.try_start().await.unwrap_err(), other(None));
    assert_eq!(client.session().await.read("/cluster/id").await.unwrap(), None, "nothing is founded for it");
    let founded = Settings::new(&client.coordinator, 1, &ground.data("2")).start().await;
    let cluster_id = founded.cluster_id.clone();
    founded.stops().await;
    assert_eq!(settings.try_start().await.unwrap_err(), other(Some(cluster_id)));
}

/// As a broker whose disks were replaced: nobody counts on what it held.
async fn other_folder(ground: Ground) {
    let client = ground.client().await;
    let mut settings = Settings::new(&client.coordinator, 1, &ground.data("1"));
    let broker = settings.start().await;
    let life = broker.epoch();
    broker.stops().await;
    settings.identity.uuid = Uuid([9; 16]);
    let broker = settings.start().await;
    let image = broker.metadata.image();
    let registered = image.broker(1).unwrap();
    assert_eq!((registered.uuid, registered.epoch > life), (Uuid([9; 16]), true));
    broker.stops().await;
}

/// As a coordinator restored from an old copy, or one that lost what it confirmed.
async fn went_back(ground: Ground) {
    let client = ground.client().await;
    let mut settings = Settings::new(&client.coordinator, 1, &ground.data("1"));
    let broker = settings.start().await;
    broker.create_topic("orders", 1).await.unwrap();
    let seen = broker.metadata.image().next_seq();
    broker.stops().await;
    let session = client.session().await;
    forget_last_entry(session.as_ref()).await;
    session.close().await;
    let refused = settings.try_start().await.unwrap_err();
    let StartError::Halted(Halt::Log(LogError::WentBack { seen_seq, found_seq, .. })) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!((*seen_seq, *found_seq), (seen, seen - 1));
    // Whoever has seen nothing can't know.
    std::fs::remove_file(ground.data("1").join("metadata.seen")).unwrap();
    settings.start().await.stops().await;
}

async fn damaged(ground: Ground) {
    let client = ground.client().await;
    let mut settings = Settings::new(&client.coordinator, 1, &ground.data("1"));
    settings.start().await.stops().await;
    let session = client.session().await;
    let node = session.read(ENTRY_0).await.unwrap().unwrap();
    let mut data = node.data;
    data[20] ^= 1;
    session.multi(vec![Change::Set { path: ENTRY_0.into(), data, version: node.version }]).await.unwrap();
    session.close().await;
    let refused = settings.try_start().await.unwrap_err();
    assert!(matches!(refused, StartError::Halted(Halt::Log(LogError::Apply(_)))), "{refused:?}");
}

async fn together(ground: Ground) {
    let client = ground.client().await;
    let broker = Settings::new(&client.coordinator, 1, &ground.data("1")).start().await;
    let before = broker.metadata.image().next_seq();
    let blocks = join_all((0..200).map(|_| broker.metadata.submit(AllocateProducerIds))).await;
    let mut firsts: Vec<i64> = blocks.into_iter().map(|block| block.unwrap().first).collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (0..200).map(|n| n * 1_000).collect::<Vec<_>>(), "each block once");
    let entries = broker.metadata.image().next_seq() - before;
    assert!(entries <= 20, "200 changes took {entries} entries");
    assert_eq!(*broker.metadata.changed().borrow(), broker.metadata.image().next_seq());
    broker.stops().await;
}

async fn too_large(ground: Ground) {
    let client = ground.client().await;
    let broker = Settings::new(&client.coordinator, 1, &ground.data("1")).start().await;
    let topics = |prefix: &str, count: usize| {
        let placement = Placement::Count { partitions: 1, replication_factor: 1 };
        let name = |n| format!("{prefix}-{n:04}-{}", "x".repeat(200));
        let topic = |n| NewTopic { name: name(n), placement: placement.clone(), configs: Vec::new(), internal: false };
        CreateTopics { topics: (0..count).map(topic).collect(), validate_only: false }
    };
    let (small, large, medium) = tokio::join!(
        broker.metadata.submit(topics("small", 10)),
        broker.metadata.submit(topics("large", 5_000)),
        broker.metadata.submit(topics("medium", 1_500)),
    );
    assert!(small.unwrap().iter().all(|(_, made)| made.is_ok()));
    assert!(medium.unwrap().iter().all(|(_, made)| made.is_ok()), "it takes an entry of its own");
    let large = large.unwrap_err();
    assert!(matches!(large, SubmitError::TooLarge { bytes, max } if bytes > max), "{large:?}");
    assert_eq!(broker.metadata.image().topics().count(), 1_510);
    broker.stops().await;
}

async fn expires(ground: Ground) {
    let client = ground.client().await;
    let broker = Settings::new(&client.coordinator, 1, &ground.data("1")).start().await;
    broker.create_topic("orders", 1).await.unwrap();
    let before = broker.metadata.image().broker(1).unwrap().epoch;
    let (_observing, observer) = ground.session().await;
    let owner = observer.read("/brokers/ids/1").await.unwrap().unwrap().owner.unwrap();
    let (_, gone) = observer.read_and_watch("/brokers/ids/1").await.unwrap();
    client.begin_to_expire(owner);
    soon("the registration goes with the session", gone).await;
    if ground.has_line() {
        broker.doubts().await;
        let refused = broker.create_topic("more", 1).await.unwrap_err();
        assert!(matches!(refused, SubmitError::Unavailable { .. }), "{refused:?}");
        client.proxy().mend();
    }
    let mut changed = broker.metadata.changed();
    let returned = |image: &Image| image.broker(1).is_some_and(|broker| broker.epoch > before && !broker.fenced);
    soon("it registers again", changed.wait_for(|_| returned(&broker.metadata.image()))).await.unwrap();
    broker.serves().await;
    let image = broker.metadata.image();
    broker.create_topic("more", 1).await.unwrap();
    assert_eq!(image.topic("orders").unwrap().partitions[0].leader, 1);
    broker.stops().await;
}

const ENTRY_0: &str = "/meta/log/00000000000000000000";

pub(crate) async fn forget_last_entry(session: &dyn Session) {
    let entry = |seq: u64| format!("/meta/log/{seq:020}");
    let node = session.read("/meta/head").await.unwrap().unwrap();
    let head = Head::decode(&node.data).unwrap();
    let last = head.next_seq - 1;
    let hash = Hash::of(&session.read(&entry(last - 1)).await.unwrap().unwrap().data);
    let data = Head { next_seq: last, hash, snapshot: None }.encode();
    let changes = vec![
        Change::Set { path: "/meta/head".into(), data, version: node.version },
        Change::Delete { path: entry(last), version: 0 },
    ];
    session.multi(changes).await.unwrap();
}
