//! What can and can't be a topic.

use super::super::fixture::{Cluster, configs};
use super::*;

#[test]
fn a_topic_is_made_and_removed() {
    let mut cluster = Cluster::serving(1);
    let made = one(&mut cluster, new("orders", 3)).unwrap();
    let topic = cluster.image.topic("orders").unwrap();
    assert_eq!((topic.id, topic.partitions.len()), (made.id, 3));
    assert_eq!(topic.partitions, made.partitions);
    assert_eq!(topic.partitions[2], PartitionRegistration::new(vec![1]));
    let removed = cluster.decide(&DeleteTopics { topics: vec![TopicRef::Id(made.id)] }).unwrap();
    assert_eq!(removed[0].1, Ok(("orders".to_owned(), made.id)));
    assert!(cluster.image.resolve("orders").is_none());
    let again = one(&mut cluster, new("orders", 1)).unwrap();
    assert_ne!(again.id, made.id, "a topic made again is another");
}

#[test]
fn topics_that_cannot_be() {
    let few = |replication_factor, serving| PlacementError::TooFewBrokers { replication_factor, serving }.into();
    check("a bad name", new("a b", 1), NameError::Character { found: ' ' }.into());
    check(
        "made already",
        new("orders", 1),
        CreateTopicError::Exists { name: "orders".into(), kind: SourceKind::Topic },
    );
    check("a view's name", new("big", 1), CreateTopicError::Exists { name: "big".into(), kind: SourceKind::View });
    check("like another", new("a_b", 1), CreateTopicError::Collides { taken: "a.b".into() });
    check("two replicas on one broker", replicated("t", 2), few(2, 1));
    check("no replicas", replicated("t", 0), PlacementError::ReplicationFactor { replication_factor: 0 }.into());
    check("no partitions", new("t", 0), PlacementError::Partitions { partitions: 0 }.into());
    let manual = NewTopic { placement: Placement::Manual(vec![(0, vec![2])]), ..new("t", 1) };
    check("on a broker that is not there", manual, PlacementError::UnknownBroker { partition: 0, broker: 2 }.into());
    let config = |value: Option<&str>| NewTopic {
        configs: vec![("retention.ms".into(), value.map(str::to_owned))],
        ..new("t", 1)
    };
    let invalid = |reason: &str| InvalidConfig { name: "retention.ms".into(), reason: reason.into() };
    check("a bad config", config(Some("x")), invalid("\"x\" is not a number").into());
    check("a config of null", config(None), invalid("a value is needed; leave the config out for its default").into());
}

#[test]
fn assignments_by_hand_that_name_this_broker() {
    let mut cluster = Cluster::serving(1);
    let manual = NewTopic { placement: Placement::Manual(vec![(1, vec![1]), (0, vec![1])]), ..new("t", 1) };
    assert_eq!(one(&mut cluster, manual).unwrap().partitions.len(), 2);
}

#[test]
fn each_topic_of_a_request_is_decided_for_itself() {
    let mut cluster = Cluster::serving(1);
    let topics = vec![new("a.b", 1), new("a b", 1), new("a_b", 1), new("a.b", 1), new("c", 1)];
    let answers = cluster.decide(&CreateTopics { topics, validate_only: false }).unwrap();
    let made: Vec<_> = answers.iter().map(|(name, made)| (name.as_str(), made.is_ok())).collect();
    assert_eq!(made, [("a.b", true), ("a b", false), ("a_b", false), ("a.b", false), ("c", true)]);
    assert_eq!(cluster.image.topics().count(), 2);
}

#[test]
fn only_asking_makes_nothing() {
    let mut cluster = Cluster::serving(1);
    let answers = cluster.decide(&CreateTopics { topics: vec![new("t", 1)], validate_only: true }).unwrap();
    assert_eq!(answers[0].1.as_ref().map(|made| made.id), Ok(Uuid::ZERO));
    assert_eq!(cluster.image.topics().count(), 0);
}

#[test]
fn too_many_partitions_at_once() {
    let mut cluster = Cluster::serving(1);
    let refused =
        cluster.decide(&CreateTopics { topics: vec![new("a", 6_000), new("b", 4_001)], validate_only: false });
    assert_eq!(refused, Err(TooManyPartitions { asked: 10_001, max: 10_000 }));
    let huge =
        cluster.decide(&CreateTopics { topics: vec![new("a", i32::MAX), new("b", i32::MAX)], validate_only: true });
    assert!(huge.is_err());
}

#[test]
fn configs_of_a_new_topic() {
    let cluster = Cluster::serving(1).topic_with("t", &[("retention.ms", "5"), ("cleanup.policy", "compact")]);
    assert_eq!(configs(&cluster.image, "t"), ["cleanup.policy=compact", "retention.ms=5"]);
}

#[test]
fn topics_that_cannot_be_removed() {
    let mut cluster = Cluster::serving(1).topic("orders", 1).view("big", "orders");
    let base = cluster.image.topic("orders").unwrap().id;
    let view = cluster.image.view("big").unwrap().id;
    let topics =
        vec![TopicRef::Name("big".into()), TopicRef::Id(view), TopicRef::Name("t".into()), TopicRef::Id(Uuid::ZERO)];
    let answers = cluster.decide(&DeleteTopics { topics: topics.clone() }).unwrap();
    let is_view = Err(DeleteTopicError::IsView { name: "big".into(), base });
    let unknown = |asked: &TopicRef| Err(DeleteTopicError::Unknown { topic: asked.clone() });
    let expected = [is_view.clone(), is_view, unknown(&topics[2]), unknown(&topics[3])];
    assert_eq!(answers.into_iter().map(|(_, removed)| removed).collect::<Vec<_>>(), expected);
    let twice = vec![TopicRef::Name("orders".into()), TopicRef::Id(base)];
    let answers = cluster.decide(&DeleteTopics { topics: twice }).unwrap();
    assert!(answers[0].1.is_ok() && answers[1].1.is_err(), "named twice, removed once");
}

/// On a broker with topics `orders` and `a.b` and the view `big`.
fn check(what: &str, topic: NewTopic, why: CreateTopicError) {
    let mut cluster = Cluster::serving(1).topic("orders", 1).topic("a.b", 1).view("big", "orders");
    let before = cluster.image.topics().count();
    assert_eq!(one(&mut cluster, topic), Err(why), "{what}");
    assert_eq!(cluster.image.topics().count(), before, "{what}");
}

fn one(cluster: &mut Cluster, topic: NewTopic) -> Result<TopicCreated, CreateTopicError> {
    let mut answers = cluster.decide(&CreateTopics { topics: vec![topic], validate_only: false }).unwrap();
    answers.remove(0).1
}

fn new(name: &str, partitions: i32) -> NewTopic {
    let placement = Placement::Count { partitions, replication_factor: 1 };
    NewTopic { name: name.into(), placement, configs: Vec::new(), internal: false }
}

fn replicated(name: &str, replication_factor: i16) -> NewTopic {
    NewTopic { placement: Placement::Count { partitions: 1, replication_factor }, ..new(name, 1) }
}
