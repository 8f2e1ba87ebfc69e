//! Settings as DescribeConfigs tells them (KIP-133, KIP-226, KIP-569): value, source, synonyms, type, documentation.

use std::collections::BTreeMap;

use super::{
    BrokerConfig,
    key::Key,
    resolved::{CHANGED_WHILE_RUNNING, broker_key, broker_keys},
    source::Origin,
    topic::{SYNONYMS, TOPIC_KEYS, check_topic_config, converted},
};

/// One setting, described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its row: name, kind, documentation.
    pub name: &'static str,
    /// Its value; none if it has none or is not to be shown.
    pub value: Option<String>,
    /// Which level the value is from.
    pub source: ConfigSource,
    /// Whether clients cannot change it.
    pub is_read_only: bool,
    /// Whether its value is never shown.
    pub is_sensitive: bool,
    /// Kafka's number of its type.
    pub config_type: i8,
    /// What it is for.
    pub documentation: String,
    /// Every level that says something, the one in force first.
    pub synonyms: Vec<Synonym>,
}

/// One level's say in a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    /// What the setting is called there.
    pub name: &'static str,
    /// Its text there.
    pub value: Option<String>,
    /// The level.
    pub source: ConfigSource,
}

/// Kafka's levels, by the numbers of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// The topic's own.
    DynamicTopic = 1,
    /// Set for this broker while it runs.
    DynamicBroker = 2,
    /// Set for all brokers while they run.
    DynamicDefaultBroker = 3,
    /// The broker's configuration: file, environment, flags.
    StaticBroker = 4,
    /// Nobody said anything.
    Default = 5,
}

impl BrokerConfig {
    /// All settings of this broker, over which while it runs others may have been `set`: for it alone, and for all.
    pub fn describe_broker(&self, set: impl Fn(ConfigSource, &str) -> Option<String>) -> Vec<Described> {
        let described_key = |key: &'static Key| {
            let name = key.name;
            let dynamic = [ConfigSource::DynamicBroker, ConfigSource::DynamicDefaultBroker].into_iter();
            let mut synonyms: Vec<Synonym> =
                dynamic.filter_map(|source| Some(Synonym { name, value: Some(set(source, name)?), source })).collect();
            synonyms.extend(self.broker_synonyms(name));
            described(key, synonyms, !CHANGED_WHILE_RUNNING.contains(&name))
        };
        broker_keys().map(described_key).collect()
    }

    /// All settings of a topic that has `own` ones.
    pub fn describe_topic(&self, own: &BTreeMap<String, String>) -> Vec<Described> {
        TOPIC_KEYS.iter().map(|key| described(key, self.topic_synonyms(key, own), false)).collect()
    }

    fn broker_synonyms(&self, name: &'static str) -> Vec<Synonym> {
        let mut synonyms = Vec::new();
        if let Some(setting) = self.resolved.get(name) {
            synonyms.push(Synonym { name, value: Some(setting.value.clone()), source: ConfigSource::StaticBroker });
        }
        if let Some(default) = broker_key(name).and_then(|key| key.default) {
            synonyms.push(Synonym { name, value: Some(default.to_owned()), source: ConfigSource::Default });
        }
        synonyms
    }

    fn topic_synonyms(&self, key: &'static Key, own: &BTreeMap<String, String>) -> Vec<Synonym> {
        let mut synonyms = Vec::new();
        if let Some(value) = own.get(key.name).filter(|value| check_topic_config(key.name, value).is_ok()) {
            synonyms.push(Synonym { name: key.name, value: Some(value.clone()), source: ConfigSource::DynamicTopic });
        }
        let broker = SYNONYMS.iter().find(|(topic, _)| *topic == key.name).map_or(&[][..], |(_, broker)| broker);
        for (name, unit) in broker {
            if let Some(text) = self.resolved.text(name) {
                synonyms.push(Synonym {
                    name,
                    value: Some(converted(text, *unit)),
                    source: ConfigSource::StaticBroker,
                });
            }
        }
        let name = broker.first().map_or(key.name, |(name, _)| name);
        synonyms.push(Synonym { name, value: key.default.map(str::to_owned), source: ConfigSource::Default });
        synonyms
    }
}

fn described(key: &'static Key, mut synonyms: Vec<Synonym>, is_read_only: bool) -> Described {
    if key.is_sensitive() {
        for synonym in &mut synonyms {
            synonym.value = None;
        }
    }
    let first = synonyms.first();
    Described {
        name: key.name,
        value: first.and_then(|synonym| synonym.value.clone()),
        source: first.map_or(ConfigSource::Default, |synonym| synonym.source),
        is_read_only,
        is_sensitive: key.is_sensitive(),
        config_type: key.kind.kafka_type(),
        documentation: key.doc(),
        synonyms,
    }
}

/// One line of `sluice config show`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The setting.
    pub name: String,
    /// Its value; a key or password shows as `[hidden]`.
    pub value: Option<String>,
    /// Where it is from.
    pub origin: Origin,
}

impl BrokerConfig {
    /// Every setting with its origin, in the order of the tables, listeners' own ones last.
    pub fn show(&self) -> Vec<Shown> {
        let hidden = |key: &Key, value: &str| if key.is_sensitive() { "[hidden]".to_owned() } else { value.to_owned() };
        let mut shown: Vec<Shown> = broker_keys()
            .map(|key| Shown {
                name: key.name.to_owned(),
                value: self.resolved.text_or_default(key.name).map(|value| hidden(key, value)),
                origin: self.resolved.origin(key.name),
            })
            .collect();
        for (name, _, setting) in self.resolved.of_listeners() {
            let Some((_, key)) = super::resolved::listener_and_key(name) else { continue };
            shown.push(Shown {
                name: name.to_owned(),
                value: Some(hidden(key, &setting.value)),
                origin: setting.origin.clone(),
            });
        }
        shown
    }
}
