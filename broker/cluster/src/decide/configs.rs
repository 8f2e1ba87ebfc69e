//! Topic configs: strings here. Which there are, and what they may be, is the broker's table, handed in as [`ConfigRules`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sluice_protocol::Uuid;

use super::partition_change::{Brokers, PartitionChange, TopicRules, partition_records};
use super::{Change, Decided, Given};
use crate::metadata::{Image, MetadataRecord, Topic};

/// What the broker knows of topic configs.
pub trait ConfigRules: Send + Sync {
    /// Whether the config is in force and the value one it can have; else why not.
    fn check(&self, name: &str, value: &str) -> Result<(), String>;

    /// The default of a config that is a list of words; nothing for one that is not.
    fn list_default(&self, name: &str) -> Option<String>;

    /// The value in force for a topic that has set `configs`: its own, else the broker's default. Nothing for a config that
    /// there is not.
    fn value(&self, configs: &BTreeMap<String, String>, name: &str) -> Option<String>;

    /// Whether a broker's config can be changed while it runs and the value is one it can have; else why not.
    fn check_broker(&self, name: &str, value: &str) -> Result<(), String>;
}

/// A config that can't be set so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("config {name}: {reason}")]
pub struct InvalidConfig {
    /// The config.
    pub name: String,
    /// Why not.
    pub reason: String,
}

/// Changes some configs of a topic and leaves the others (KIP-339).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterTopicConfigs {
    /// The topic's name.
    pub topic: String,
    /// What changes, by config; each at most once.
    pub changes: Vec<(String, ConfigChange)>,
    /// Only say whether it would be done.
    pub validate_only: bool,
}

/// What becomes of a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigChange {
    /// It has this value.
    Set(String),
    /// It has its default.
    Delete,
    /// These words are added to the list.
    Append(String),
    /// These words are taken from the list.
    Subtract(String),
}

/// Why configs are not altered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AlterConfigsError {
    /// No topic has this name.
    #[error("there is no topic {topic}")]
    UnknownTopic {
        /// The name.
        topic: String,
    },
    /// A config comes twice, so what is asked for depends on order.
    #[error("config {name} comes twice")]
    Repeated {
        /// The config.
        name: String,
    },
    /// A config can't be set so.
    #[error(transparent)]
    Invalid(#[from] InvalidConfig),
}

impl Change for AlterTopicConfigs {
    const KIND: u16 = 3;
    type Answer = Uuid;
    type Error = AlterConfigsError;

    /// Answers the topic's id.
    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<Uuid>, AlterConfigsError> {
        let topic =
            image.topic(&self.topic).ok_or_else(|| AlterConfigsError::UnknownTopic { topic: self.topic.clone() })?;
        let mut values: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for (name, change) in &self.changes {
            let value = changed(name, topic.configs.get(name), change, given.configs)?;
            if let Some(value) = &value {
                check(name, value, given.configs)?;
            }
            if values.insert(name, value).is_some() {
                return Err(AlterConfigsError::Repeated { name: name.clone() });
            }
        }
        values.retain(|name, value| topic.configs.get(*name) != value.as_ref());
        if self.validate_only || values.is_empty() {
            return Ok(Decided::new(Vec::new(), topic.id));
        }
        let partitions = partitions_under(image, topic, &values, given.configs);
        let set = values.into_iter().map(|(name, value)| (name.to_owned(), value));
        let records = set.map(|(name, value)| MetadataRecord::TopicConfig { topic: topic.id, name, value });
        Ok(Decided::new(records.chain(partitions).collect(), topic.id))
    }
}

/// What becomes of a topic's partitions under its new configs, in the same entry of the log: where less is asked for with
/// `min.insync.replicas`, records are acknowledged from then on that eligible replicas outside the ISR don't have; and where
/// elections may lose records, one that waited is made.
fn partitions_under(
    image: &Image,
    topic: &Topic,
    news: &BTreeMap<&str, Option<String>>,
    rules: &dyn ConfigRules,
) -> Vec<MetadataRecord> {
    let mut after = Topic { partitions: Vec::new(), ..topic.clone() };
    for (name, value) in news {
        match value {
            Some(value) => after.configs.insert((*name).to_owned(), value.clone()),
            None => after.configs.remove(*name),
        };
    }
    let (before, rules, brokers) = (TopicRules::of(topic, rules), TopicRules::of(&after, rules), Brokers::of(image));
    if before == rules {
        return Vec::new();
    }
    let changed = (0..)
        .zip(&topic.partitions)
        .filter_map(|(index, partition)| Some((index, PartitionChange::of(partition, &brokers, rules).build()?)));
    partition_records(topic, changed.collect()).collect()
}

/// The configs of a new topic. A config without a value is refused, as Kafka does: it says neither a value nor "default".
pub(super) fn check_new(
    configs: &[(String, Option<String>)],
    rules: &dyn ConfigRules,
) -> Result<BTreeMap<String, String>, InvalidConfig> {
    let mut checked = BTreeMap::new();
    for (name, value) in configs {
        let invalid = |reason: &str| InvalidConfig { name: name.clone(), reason: reason.to_owned() };
        let value =
            value.as_deref().ok_or_else(|| invalid("a value is needed; leave the config out for its default"))?;
        check(name, value, rules)?;
        if checked.insert(name.clone(), value.to_owned()).is_some() {
            return Err(invalid("it comes twice"));
        }
    }
    Ok(checked)
}

fn check(name: &str, value: &str, rules: &dyn ConfigRules) -> Result<(), InvalidConfig> {
    rules.check(name, value).map_err(|reason| InvalidConfig { name: name.to_owned(), reason })
}

/// The value after the change; nothing for the default.
fn changed(
    name: &str,
    known: Option<&String>,
    change: &ConfigChange,
    rules: &dyn ConfigRules,
) -> Result<Option<String>, InvalidConfig> {
    let words = match change {
        ConfigChange::Set(value) => return Ok(Some(value.clone())),
        ConfigChange::Delete => return Ok(None),
        ConfigChange::Append(words) | ConfigChange::Subtract(words) => words,
    };
    let default = rules
        .list_default(name)
        .ok_or_else(|| InvalidConfig { name: name.to_owned(), reason: "it is not a list; set it".to_owned() })?;
    let mut list = split(known.unwrap_or(&default));
    match change {
        ConfigChange::Append(_) => {
            let news: Vec<&str> = split(words).into_iter().filter(|word| !list.contains(word)).collect();
            list.extend(news);
        }
        _ => {
            let gone = split(words);
            list.retain(|word| !gone.contains(word));
        }
    }
    Ok(Some(list.join(",")))
}

fn split(list: &str) -> Vec<&str> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Cluster, configs};
    use super::*;

    #[test]
    fn less_to_be_in_sync_makes_nobody_else_eligible() {
        let mut cluster = Cluster::registered(&[1, 2]).topic_on("orders", &[1, 2], &[("min.insync.replicas", "2")]);
        cluster.dies(2);
        assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr 2");
        let set = |name: &str, value: &str, validate_only| AlterTopicConfigs {
            topic: "orders".into(),
            changes: vec![(name.to_owned(), ConfigChange::Set(value.to_owned()))],
            validate_only,
        };
        cluster.decide(&set("min.insync.replicas", "1", true)).unwrap();
        cluster.decide(&set("retention.ms", "5", false)).unwrap();
        assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr 2");
        cluster.decide(&set("min.insync.replicas", "1", false)).unwrap();
        assert_eq!(cluster.shown("orders"), "leader 1 isr 1 elr ", "broker 1 acknowledges alone from here on");
        cluster.returns(2);
        cluster.dies(1);
        assert_eq!(cluster.shown("orders"), "leader - isr  elr 1");
        cluster.decide(&set("unclean.leader.election.enable", "true", false)).unwrap();
        assert_eq!(cluster.shown("orders"), "leader 2 isr 2 elr ", "an election that waited");
    }

    #[test]
    fn altering() {
        check("set", ConfigChange::Set("5".into()), "retention.ms", Ok(&["cleanup.policy=compact", "retention.ms=5"]));
        check("back to the default", ConfigChange::Delete, "cleanup.policy", Ok(&[]));
        check("deleting what is not set", ConfigChange::Delete, "retention.ms", Ok(&["cleanup.policy=compact"]));
        check(
            "a word more",
            ConfigChange::Append("delete".into()),
            "cleanup.policy",
            Ok(&["cleanup.policy=compact,delete"]),
        );
        check(
            "a word it has",
            ConfigChange::Append("compact".into()),
            "cleanup.policy",
            Ok(&["cleanup.policy=compact"]),
        );
        check(
            "a word less",
            ConfigChange::Subtract("compact".into()),
            "cleanup.policy",
            Err("config cleanup.policy: \"\" is not a policy"),
        );
        check(
            "no list",
            ConfigChange::Append("5".into()),
            "retention.ms",
            Err("config retention.ms: it is not a list; set it"),
        );
        check(
            "unknown",
            ConfigChange::Set("5".into()),
            "retention.mss",
            Err("config retention.mss: there is no such config"),
        );
        check(
            "no number",
            ConfigChange::Set("x".into()),
            "retention.ms",
            Err("config retention.ms: \"x\" is not a number"),
        );
    }

    #[test]
    fn what_is_refused_whole() {
        let mut cluster = Cluster::serving(1).topic("orders", 1);
        let alter = |topic: &str, name: &str| AlterTopicConfigs {
            topic: topic.into(),
            changes: vec![("retention.ms".into(), ConfigChange::Set("5".into())), (name.into(), ConfigChange::Delete)],
            validate_only: false,
        };
        let unknown = AlterConfigsError::UnknownTopic { topic: "payments".into() };
        assert_eq!(cluster.decide(&alter("payments", "x")), Err(unknown));
        let repeated = AlterConfigsError::Repeated { name: "retention.ms".into() };
        assert_eq!(cluster.decide(&alter("orders", "retention.ms")), Err(repeated));
        assert!(cluster.image.topic("orders").unwrap().configs.is_empty(), "nothing of a refused change is done");
    }

    #[test]
    fn only_asking_changes_nothing() {
        let mut cluster = Cluster::serving(1).topic("orders", 1);
        let changes = vec![("retention.ms".into(), ConfigChange::Set("5".into()))];
        cluster.decide(&AlterTopicConfigs { topic: "orders".into(), changes, validate_only: true }).unwrap();
        assert!(cluster.image.topic("orders").unwrap().configs.is_empty());
    }

    /// One change to a topic that was made with `cleanup.policy=compact`.
    fn check(what: &str, change: ConfigChange, name: &str, expected: Result<&[&str], &str>) {
        let mut cluster = Cluster::serving(1).topic_with("orders", &[("cleanup.policy", "compact")]);
        let decided = cluster.decide(&AlterTopicConfigs {
            topic: "orders".into(),
            changes: vec![(name.into(), change)],
            validate_only: false,
        });
        let seen = decided.map(|_| configs(&cluster.image, "orders")).map_err(|error| error.to_string());
        let expected = expected.map(|configs| configs.iter().map(ToString::to_string).collect()).map_err(str::to_owned);
        assert_eq!(seen, expected, "{what}");
    }
}
