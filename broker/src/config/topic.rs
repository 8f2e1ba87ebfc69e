//! Topics' settings: Kafka's names, each with the broker setting that gives its default.
//!
//! A topic's own value overrules the broker's (`retention.ms` over `log.retention.ms`), which overrules the default here.
//! CreateTopics checks against these rows and DescribeConfigs answers from them.

use std::collections::BTreeMap;

use sluice_cluster::throttle::ThrottledReplicas;

use super::{
    kafka_names::KAFKA_TOPIC_NAMES,
    key::{BadValue, Key, Kind, keys},
    suggest::nearest,
};

keys! {
    /// One topic's settings as they are in force.
    pub struct TopicConfig, table TOPIC_KEYS {
        /// What becomes of old records.
        cleanup_policy: String = "cleanup.policy", Kind::OneOf(&["delete"]), Some("delete");
        /// Who chooses the codec batches are stored with.
        compression_type: String = "compression.type", Kind::OneOf(&["producer"]), Some("producer");
        /// Replicas whose fetching is held to follower.replication.throttled.rate while they are not in sync.
        follower_throttled_replicas: ThrottledReplicas = "follower.replication.throttled.replicas", Kind::Replicas, Some("");
        /// Replicas whose sending is held to leader.replication.throttled.rate while who fetches is not in sync.
        leader_throttled_replicas: ThrottledReplicas = "leader.replication.throttled.replicas", Kind::Replicas, Some("");
        /// Bytes of log between two entries of its offset index.
        index_interval_bytes: i32 = "index.interval.bytes", Kind::COUNT, Some("4096");
        /// The longest record batch in bytes, as it is sent: compressed.
        max_message_bytes: i32 = "max.message.bytes", Kind::COUNT, Some("1048588");
        /// Whose time a record carries: its producer's, or the broker's at the time of writing.
        message_timestamp_type: String = "message.timestamp.type", Kind::OneOf(&["CreateTime", "LogAppendTime"]), Some("CreateTime");
        /// In-sync replicas that acks=all asks for.
        min_insync_replicas: i32 = "min.insync.replicas", Kind::POSITIVE, Some("1");
        /// Bytes after which a partition's oldest segments are deleted; -1: never for their size.
        retention_bytes: i64 = "retention.bytes", Kind::LIMIT, Some("-1");
        /// Milliseconds after which a segment is deleted; -1: never for its age.
        retention_ms: i64 = "retention.ms", Kind::LIMIT, Some("604800000");
        /// Bytes after which a new segment is begun.
        segment_bytes: i32 = "segment.bytes", Kind::Int { min: 1 << 20, max: i32::MAX }, Some("1073741824");
        /// Milliseconds after which a new segment is begun, full or not.
        segment_ms: i64 = "segment.ms", Kind::LONG_POSITIVE, Some("604800000");
        /// Whether a replica that is not in sync may lead when none that is serves: records are lost, and writing goes on.
        unclean_leader_election_enable: bool = "unclean.leader.election.enable", Kind::Boolean, Some("false");
        /// What an acknowledged record has outlived: group, a write to the disk shared by all who wait; os, nothing but the process.
        flush_mode: String = "sluice.flush.mode", Kind::OneOf(&["group", "os"]), Some("group");
    }
}

/// The broker settings that give a topic setting its default, the first that is set: name, and how many of the topic's
/// units one of its own is. From Kafka's documentation of topic configs, "Server Default Property".
pub(super) static SYNONYMS: &[(&str, &[(&str, i64)])] = &[
    ("cleanup.policy", &[("log.cleanup.policy", 1)]),
    ("compression.type", &[("compression.type", 1)]),
    // Which replicas are throttled is each topic's own: no broker setting gives a default.
    ("follower.replication.throttled.replicas", &[]),
    ("leader.replication.throttled.replicas", &[]),
    ("index.interval.bytes", &[("log.index.interval.bytes", 1)]),
    ("max.message.bytes", &[("message.max.bytes", 1)]),
    ("message.timestamp.type", &[("log.message.timestamp.type", 1)]),
    ("min.insync.replicas", &[("min.insync.replicas", 1)]),
    ("retention.bytes", &[("log.retention.bytes", 1)]),
    ("retention.ms", &[("log.retention.ms", 1), ("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)]),
    ("segment.bytes", &[("log.segment.bytes", 1)]),
    ("segment.ms", &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)]),
    ("sluice.flush.mode", &[("sluice.flush.mode", 1)]),
    ("unclean.leader.election.enable", &[("unclean.leader.election.enable", 1)]),
];

/// Why a topic setting is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicConfigError {
    /// Kafka knows it, this broker does not act on it.
    #[error("`{name}` is a Kafka setting that sluice does not act on yet")]
    NotInForce {
        /// The setting.
        name: String,
    },
    /// Nobody knows it.
    #[error("there is no topic setting `{name}`{}", did_you_mean(*.nearest))]
    Unknown {
        /// The setting.
        name: String,
        /// The setting that is written most like it.
        nearest: Option<&'static str>,
    },
    /// Its value does not fit.
    #[error("`{name}` {cause}, and `{value}` is not")]
    Bad {
        /// The setting.
        name: &'static str,
        /// The value.
        value: String,
        /// What it has to be.
        #[source]
        cause: BadValue,
    },
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

/// The row of a topic setting.
pub fn topic_key(name: &str) -> Option<&'static Key> {
    TOPIC_KEYS.iter().find(|key| key.name == name)
}

/// Whether a topic may be given this setting.
pub fn check_topic_config(name: &str, value: &str) -> Result<(), TopicConfigError> {
    let Some(key) = topic_key(name) else {
        return Err(if KAFKA_TOPIC_NAMES.contains(&name) {
            TopicConfigError::NotInForce { name: name.to_owned() }
        } else {
            TopicConfigError::Unknown {
                name: name.to_owned(),
                nearest: nearest(name, TOPIC_KEYS.iter().map(|key| key.name)),
            }
        });
    };
    key.kind.check(value).map_err(|cause| TopicConfigError::Bad { name: key.name, value: value.to_owned(), cause })
}

/// What topics have that do not say otherwise: the broker's settings over the defaults of the rows.
#[derive(Debug, Clone)]
pub struct TopicDefaults {
    values: BTreeMap<&'static str, String>,
}

impl TopicDefaults {
    /// Reads the broker settings that topics inherit. `broker` gives a broker setting's text if somebody set it.
    pub(super) fn new<'a>(broker: impl Fn(&str) -> Option<&'a str>) -> Self {
        let mut values = BTreeMap::new();
        for key in TOPIC_KEYS {
            let value = inherited(key.name, &broker).or_else(|| key.default.map(str::to_owned));
            if let Some(value) = value {
                values.insert(key.name, value);
            }
        }
        Self { values }
    }

    /// A topic's settings: its own over these. Its own have been checked when they were set; what a later version of
    /// the rows no longer takes counts as not set.
    pub fn resolve(&self, own: &BTreeMap<String, String>) -> TopicConfig {
        let text = |name: &'static str| {
            let own = own.get(name).filter(|value| check_topic_config(name, value).is_ok());
            own.or_else(|| self.values.get(name)).map(String::as_str)
        };
        match TopicConfig::read(text) {
            Ok(config) => config,
            Err(name) => {
                unreachable!("every topic setting has a default that fits its type, `{name}` too: a test says so")
            }
        }
    }

    /// A default's text.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

impl TopicConfig {
    /// Milliseconds that records are kept; none: for ever.
    pub fn retention_time_ms(&self) -> Option<u64> {
        u64::try_from(self.retention_ms).ok()
    }

    /// Bytes that a partition keeps; none: all.
    pub fn retention_size_bytes(&self) -> Option<u64> {
        u64::try_from(self.retention_bytes).ok()
    }

    /// Whether records get the broker's time.
    pub fn is_log_append_time(&self) -> bool {
        self.message_timestamp_type == "LogAppendTime"
    }

    /// Whether acknowledged records are on the disk.
    pub fn flushes_in_groups(&self) -> bool {
        self.flush_mode == "group"
    }
}

/// What a topic setting inherits from the broker's settings, in the topic's units.
fn inherited<'a>(name: &str, broker: &impl Fn(&str) -> Option<&'a str>) -> Option<String> {
    let (_, synonyms) = SYNONYMS.iter().find(|(topic, _)| *topic == name)?;
    synonyms.iter().find_map(|(synonym, unit)| Some(converted(broker(synonym)?, *unit)))
}

/// A value in units of the topic's setting; -1 is "no limit" in all units.
pub(super) fn converted(value: &str, unit: i64) -> String {
    match value.trim().parse::<i64>() {
        Ok(number) if unit != 1 && number >= 0 => number.saturating_mul(unit).to_string(),
        _ => value.trim().to_owned(),
    }
}

keys! {
    /// The broker's settings that are only defaults of topics.
    pub struct TopicDefaultSettings, table TOPIC_DEFAULT_KEYS {
        /// Default of cleanup.policy.
        log_cleanup_policy: Option<String> = "log.cleanup.policy", Kind::OneOf(&["delete"]), None;
        /// Default of the topic setting of the same name.
        compression_type: Option<String> = "compression.type", Kind::OneOf(&["producer"]), None;
        /// Default of index.interval.bytes.
        log_index_interval_bytes: Option<i32> = "log.index.interval.bytes", Kind::COUNT, None;
        /// Default of max.message.bytes.
        message_max_bytes: Option<i32> = "message.max.bytes", Kind::COUNT, None;
        /// Default of message.timestamp.type.
        log_message_timestamp_type: Option<String> = "log.message.timestamp.type", Kind::OneOf(&["CreateTime", "LogAppendTime"]), None;
        /// Default of the topic setting of the same name.
        min_insync_replicas: Option<i32> = "min.insync.replicas", Kind::POSITIVE, None;
        /// Default of retention.bytes.
        log_retention_bytes: Option<i64> = "log.retention.bytes", Kind::LIMIT, None;
        /// Default of retention.ms.
        log_retention_ms: Option<i64> = "log.retention.ms", Kind::LIMIT, None;
        /// Default of retention.ms, in minutes, if log.retention.ms does not say.
        log_retention_minutes: Option<i64> = "log.retention.minutes", Kind::Long { min: -1, max: i32::MAX as i64 }, None;
        /// Default of retention.ms, in hours, if neither log.retention.ms nor log.retention.minutes says.
        log_retention_hours: Option<i64> = "log.retention.hours", Kind::Long { min: -1, max: i32::MAX as i64 }, None;
        /// Default of segment.bytes.
        log_segment_bytes: Option<i32> = "log.segment.bytes", Kind::Int { min: 1 << 20, max: i32::MAX }, None;
        /// Default of segment.ms.
        log_roll_ms: Option<i64> = "log.roll.ms", Kind::LONG_POSITIVE, None;
        /// Default of segment.ms, in hours, if log.roll.ms does not say.
        log_roll_hours: Option<i64> = "log.roll.hours", Kind::Long { min: 1, max: i32::MAX as i64 }, None;
        /// Default of the topic setting of the same name.
        flush_mode: Option<String> = "sluice.flush.mode", Kind::OneOf(&["group", "os"]), None;
        /// Default of the topic setting of the same name.
        unclean_leader_election_enable: Option<bool> = "unclean.leader.election.enable", Kind::Boolean, None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults(broker: &[(&'static str, &'static str)]) -> TopicDefaults {
        TopicDefaults::new(|name| broker.iter().find(|(key, _)| *key == name).map(|(_, value)| *value))
    }

    #[test]
    fn every_row_has_a_good_default_and_synonyms_that_exist() {
        for key in TOPIC_KEYS {
            let default = key.default.unwrap_or_else(|| panic!("{} has no default", key.name));
            assert_eq!(key.kind.check(default), Ok(()), "{}", key.name);
            let synonyms = SYNONYMS
                .iter()
                .find(|(name, _)| *name == key.name)
                .unwrap_or_else(|| panic!("{} has no synonym", key.name));
            for (synonym, _) in synonyms.1 {
                assert!(TOPIC_DEFAULT_KEYS.iter().any(|key| key.name == *synonym), "{synonym}");
            }
        }
        let config = defaults(&[]).resolve(&BTreeMap::new());
        assert_eq!((config.retention_time_ms(), config.retention_size_bytes()), (Some(604_800_000), None));
    }

    #[test]
    fn the_topics_own_value_comes_first_then_the_brokers_finest_unit() {
        let check = |broker: &[(&'static str, &'static str)], own: Option<&str>, expected: i64| {
            let own = own.map(|value| ("retention.ms".to_owned(), value.to_owned())).into_iter().collect();
            assert_eq!(defaults(broker).resolve(&own).retention_ms, expected, "{broker:?} {own:?}");
        };
        check(&[], None, 604_800_000);
        check(&[("log.retention.hours", "2")], None, 7_200_000);
        check(&[("log.retention.hours", "2"), ("log.retention.minutes", "3")], None, 180_000);
        check(&[("log.retention.hours", "2"), ("log.retention.ms", "4")], None, 4);
        check(&[("log.retention.hours", "-1")], None, -1);
        check(&[("log.retention.hours", "2")], Some("5"), 5);
        check(&[("log.retention.hours", "2")], Some("a value that older rules took"), 7_200_000);
    }

    #[test]
    fn what_a_topic_may_be_given() {
        let check = |name: &str, value: &str, expected: &str| {
            let said = check_topic_config(name, value).map_or_else(|error| error.to_string(), |()| "taken".to_owned());
            assert_eq!(said, expected, "{name}={value}");
        };
        check("retention.ms", "1000", "taken");
        check("retention.ms", "-1", "taken");
        check("retention.ms", "-2", "`retention.ms` has to be a whole number from -1, and `-2` is not");
        check("cleanup.policy", "delete", "taken");
        check("cleanup.policy", "compact", "`cleanup.policy` has to be delete, and `compact` is not");
        check("compression.type", "zstd", "`compression.type` has to be producer, and `zstd` is not");
        check("sluice.flush.mode", "os", "taken");
        check("preallocate", "true", "`preallocate` is a Kafka setting that sluice does not act on yet");
        check("retension.ms", "1", "there is no topic setting `retension.ms`, did you mean `retention.ms`?");
        check("colour", "red", "there is no topic setting `colour`");
    }
}
