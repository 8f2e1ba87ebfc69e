//! What records add up to, and which don't fit.

use super::super::binding::{OnError, PluginLimits, PluginUse};
use super::super::record::{BrokerRecord, MetadataRecord};
use super::super::snapshot;
use super::*;

const ORDERS: Uuid = Uuid([1; 16]);
const BIG: Uuid = Uuid([2; 16]);

#[test]
fn one_namespace() {
    let image = replayed(&[topic(ORDERS, "orders"), view(BIG, "big", ORDERS)]);
    assert!(matches!(image.resolve("orders"), Some(Source::Topic(_))));
    assert!(matches!(image.resolve("big"), Some(Source::View(_))));
    assert!(image.topic("big").is_none() && image.view("orders").is_none());
    assert!(matches!(image.resolve_id(BIG), Some(Source::View(_))));
    assert_eq!(image.confused_with("big"), None);
    let names: Vec<_> = image.sources().map(name).collect();
    assert_eq!(names, ["big", "orders"], "in order of their names");
}

#[test]
fn names_that_are_confused() {
    let image = replayed(&[topic(ORDERS, "a.b"), topic(BIG, "plain")]);
    assert_eq!(image.confused_with("a_b"), Some("a.b"));
    assert_eq!(image.confused_with("a.b"), None, "with itself it is not confused, it is the same");
    assert_eq!(image.confused_with("plain"), None);
    let image = replayed(&[topic(ORDERS, "a.b"), MetadataRecord::TopicRemoved { id: ORDERS }]);
    assert_eq!(image.confused_with("a_b"), None);
}

#[test]
fn a_clone_never_changes() {
    let before = replayed(&[topic(ORDERS, "orders")]);
    let mut after = before.clone();
    after.replay(&gate(ORDERS, 1)).unwrap();
    after.replay(&MetadataRecord::ProducerIds { next: 1_000 }).unwrap();
    assert!(before.topic("orders").unwrap().gate.is_none() && after.topic("orders").unwrap().gate.is_some());
    after.replay(&MetadataRecord::TopicRemoved { id: ORDERS }).unwrap();
    assert!(before.topic("orders").is_some() && after.topic("orders").is_none());
}

#[test]
fn who_uses_a_plugin() {
    let image = replayed(&[topic(ORDERS, "orders"), gate(ORDERS, 1), view(BIG, "big", ORDERS)]);
    assert_eq!(image.users_of("p", 1).collect::<Vec<_>>(), ["big", "orders"]);
    assert_eq!(image.users_of("p", 2).count(), 0);
}

#[test]
fn a_fence_meant_for_an_earlier_life() {
    let mut image = replayed(&[broker(1, 20)]);
    image.replay(&MetadataRecord::BrokerFenced { id: 1, epoch: 10 }).unwrap();
    assert_eq!(image.serving().count(), 1);
    image.replay(&MetadataRecord::BrokerFenced { id: 1, epoch: 20 }).unwrap();
    assert_eq!(image.serving().count(), 0);
}

#[test]
fn records_that_do_not_fit() {
    let cluster = |id: &str| MetadataRecord::Cluster { cluster_id: id.into() };
    let elected = |epoch| MetadataRecord::ControllerElected { id: 1, epoch };
    let known = || Some("a".to_owned());
    check(&[cluster("a")], cluster("b"), ReplayError::Cluster { known: known(), found: "b".into() });
    check(&[elected(3)], elected(2), ReplayError::Backwards { what: "the controller epoch", known: 3, found: 2 });
    check(&[topic(ORDERS, "t")], topic(BIG, "t"), ReplayError::NameTaken { name: "t".into() });
    check(&[topic(ORDERS, "t")], view(BIG, "t", ORDERS), ReplayError::NameTaken { name: "t".into() });
    check(&[], gate(ORDERS, 1), ReplayError::NoSuchId { id: ORDERS });
    check(&[], MetadataRecord::TopicRemoved { id: ORDERS }, ReplayError::NoSuchId { id: ORDERS });
    check(&[], MetadataRecord::ViewRemoved { id: BIG }, ReplayError::NoSuchId { id: BIG });
    let fenced = MetadataRecord::BrokerFenced { id: 1, epoch: 1 };
    check(&[], fenced, ReplayError::NoSuch { what: "broker", name: "1".into() });
    let gap = |partition| ReplayError::PartitionGap { topic: ORDERS, partition, known: 0 };
    check(&[topic(ORDERS, "t")], partition(ORDERS, 1), gap(1));
    check(&[topic(ORDERS, "t")], partition(ORDERS, -1), gap(-1));
    check(&[], MetadataRecord::BrokerUnregistered { id: 1 }, ReplayError::NoSuch { what: "broker", name: "1".into() });
    let level = |level| MetadataRecord::FeatureLevel { level };
    check(&[level(2)], level(1), ReplayError::Backwards { what: "the feature level", known: 2, found: 1 });
    let stale = MetadataRecord::Partitions {
        topic: ORDERS,
        partitions: vec![(0, PartitionRegistration { partition_epoch: -1, ..PartitionRegistration::new(vec![1]) })],
    };
    let backwards = ReplayError::Backwards { what: "a partition epoch", known: 0, found: -1 };
    check(&[topic(ORDERS, "t"), partition(ORDERS, 0)], stale, backwards);
    let ids = |next| MetadataRecord::ProducerIds { next };
    check(&[ids(2_000)], ids(1_000), ReplayError::Backwards { what: "producer ids", known: 2_000, found: 1_000 });
}

#[test]
fn a_snapshot_is_the_image() {
    let plugin = |version| MetadataRecord::Plugin {
        name: "p".into(),
        version,
        digest: [7; 32],
        size: 9,
        kinds: PluginKinds { gate: true, view: true },
        at_ms: 5,
    };
    let other = Uuid([3; 16]);
    let image = replayed(&[
        MetadataRecord::Cluster { cluster_id: "c".into() },
        MetadataRecord::ControllerElected { id: 1, epoch: 4 },
        MetadataRecord::FeatureLevel { level: 2 },
        broker(1, 20),
        MetadataRecord::BrokerFeatures { id: 1, epoch: 20, features: FeatureLevels::OURS },
        broker(2, 30),
        MetadataRecord::BrokerShuttingDown { id: 2, epoch: 30 },
        MetadataRecord::BrokerDraining { id: 2, draining: true },
        broker(3, 40),
        MetadataRecord::BrokerFenced { id: 3, epoch: 40 },
        broker(4, 50),
        MetadataRecord::BrokerUnregistered { id: 4 },
        broker_config(None, Some("5")),
        broker_config(Some(2), Some("6")),
        broker_config(Some(3), Some("7")),
        broker_config(Some(3), None),
        plugin(1),
        plugin(2),
        MetadataRecord::PluginRemoved { name: "p".into(), version: 2 },
        topic(ORDERS, "orders"),
        partition(ORDERS, 0),
        partition(ORDERS, 1),
        MetadataRecord::TopicConfig { topic: ORDERS, name: "retention.ms".into(), value: Some("5".into()) },
        gate(ORDERS, 1),
        view(BIG, "big", other),
        gate(ORDERS, 8),
        MetadataRecord::GateRemoved { topic: ORDERS },
        MetadataRecord::ProducerIds { next: 3_000 },
    ]);
    let read = snapshot::decode(&snapshot::encode(&image)).unwrap();
    assert_eq!(read, image);
    assert_eq!(read.last_revision(), 8, "the revision of a binding that is gone is not given again");
    assert_eq!(read.plugin_version_last("p"), 2, "nor the version of a plugin that is gone");
}

#[test]
fn what_became_of_a_broker() {
    let mut image = replayed(&[broker(1, 20), MetadataRecord::BrokerDraining { id: 1, draining: true }]);
    assert_eq!((image.is_active(1), image.active_epoch(1)), (true, Some(20)));
    image.replay(&MetadataRecord::BrokerShuttingDown { id: 1, epoch: 10 }).unwrap();
    assert!(image.is_active(1), "an earlier life's end");
    image.replay(&MetadataRecord::BrokerShuttingDown { id: 1, epoch: 20 }).unwrap();
    assert_eq!((image.is_active(1), image.serving().count()), (false, 1), "it serves until it is gone");
    image.replay(&broker(1, 30)).unwrap();
    let known = image.broker(1).unwrap();
    assert_eq!((known.shutting_down, known.draining), (false, true), "a new life is emptied as the one before");
}

#[test]
fn configs_of_brokers() {
    let image = replayed(&[
        MetadataRecord::FeatureLevel { level: 2 },
        broker(1, 20),
        broker_config(None, Some("5")),
        broker_config(Some(1), Some("6")),
    ]);
    assert_eq!((image.broker_config(1, "k"), image.broker_config(2, "k")), (Some("6"), Some("5")));
    assert_eq!(image.broker_config(1, "other"), None);
    let level = ReplayError::FeatureLevel { known: 1, found: 2 };
    check(&[], broker_config(None, Some("5")), level);
}

fn check(before: &[MetadataRecord], record: MetadataRecord, why: ReplayError) {
    assert_eq!(replayed(before).replay(&record), Err(why), "{record:?} after {before:?}");
}

fn replayed(records: &[MetadataRecord]) -> Image {
    let mut image = Image::default();
    records.iter().for_each(|record| image.replay(record).unwrap());
    image
}

fn topic(id: Uuid, name: &str) -> MetadataRecord {
    MetadataRecord::Topic { id, name: name.into(), internal: false, configs: BTreeMap::new() }
}

fn partition(topic: Uuid, index: i32) -> MetadataRecord {
    MetadataRecord::Partitions { topic, partitions: vec![(index, PartitionRegistration::new(vec![1]))] }
}

fn gate(topic: Uuid, revision: u64) -> MetadataRecord {
    MetadataRecord::Gate { topic, binding: binding(revision) }
}

fn view(id: Uuid, name: &str, base: Uuid) -> MetadataRecord {
    let configs = BTreeMap::new();
    MetadataRecord::View { id, name: name.into(), base, binding: binding(1), allow_unfiltered: false, configs }
}

fn binding(revision: u64) -> Binding {
    let link = PluginUse { plugin: "p".into(), version: 1, digest: [7; 32], config: "{}".into() };
    Binding { chain: vec![link], limits: PluginLimits::default(), on_error: OnError::Fail, revision }
}

fn broker(id: i32, epoch: i64) -> MetadataRecord {
    let uuid = Uuid([9; 16]);
    MetadataRecord::BrokerRegistered(BrokerRecord {
        id,
        uuid,
        epoch,
        endpoints: vec![],
        rack: None,
        clean: true,
        fenced: false,
    })
}

fn broker_config(broker: Option<i32>, value: Option<&str>) -> MetadataRecord {
    MetadataRecord::BrokerConfig { broker, name: "k".into(), value: value.map(Into::into) }
}

fn name(source: Source<'_>) -> &str {
    match source {
        Source::Topic(topic) => &topic.name,
        Source::View(view) => &view.name,
    }
}
