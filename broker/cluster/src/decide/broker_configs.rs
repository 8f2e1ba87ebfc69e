//! Configs of brokers that change while they run, one broker's or all brokers' (KIP-226). As it was started, a broker has its own
//! file; what is set here goes over it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::configs::{ConfigChange, InvalidConfig};
use super::{Change, Decided, Given};
use crate::metadata::{Image, MetadataRecord};

/// Changes some configs of one broker, or of all that don't set them themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterBrokerConfigs {
    /// The broker; none: all.
    pub broker: Option<i32>,
    /// What changes, by config; each at most once.
    pub changes: Vec<(String, ConfigChange)>,
    /// Only say whether it would be done.
    pub validate_only: bool,
}

/// Why configs of brokers are not altered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AlterBrokerConfigsError {
    /// There is none.
    #[error("there is no broker {id}")]
    UnknownBroker {
        /// As asked.
        id: i32,
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
    /// Some brokers can't read it yet.
    #[error("configs of brokers are set from feature level {needed} on; the cluster works at {known}")]
    FeatureLevel {
        /// The level that has them.
        needed: u16,
        /// The level as it is.
        known: u16,
    },
}

impl Change for AlterBrokerConfigs {
    const KIND: u16 = 24;
    type Answer = ();
    type Error = AlterBrokerConfigsError;

    fn decide(&self, image: &Image, given: &mut Given<'_>) -> Result<Decided<()>, AlterBrokerConfigsError> {
        if let Some(id) = self.broker.filter(|id| image.broker(*id).is_none()) {
            return Err(AlterBrokerConfigsError::UnknownBroker { id });
        }
        let mut values: BTreeMap<&str, Option<String>> = BTreeMap::new();
        for (name, change) in &self.changes {
            let invalid = |reason: String| InvalidConfig { name: name.clone(), reason };
            let value = match change {
                ConfigChange::Set(value) => {
                    given.configs.check_broker(name, value).map_err(invalid)?;
                    Some(value.clone())
                }
                ConfigChange::Delete => None,
                ConfigChange::Append(_) | ConfigChange::Subtract(_) => {
                    return Err(invalid("it is not a list; set it".to_owned()).into());
                }
            };
            if values.insert(name, value).is_some() {
                return Err(AlterBrokerConfigsError::Repeated { name: name.clone() });
            }
        }
        let configs = image.broker_configs(self.broker);
        let is_news = |name: &str, value: Option<&String>| configs.and_then(|known| known.get(name)) != value;
        let news = values.into_iter().filter(|(name, value)| is_news(name, value.as_ref()));
        let records: Vec<MetadataRecord> = news
            .map(|(name, value)| MetadataRecord::BrokerConfig { broker: self.broker, name: name.to_owned(), value })
            .collect();
        let (needed, known) = (records.iter().map(MetadataRecord::feature_level).max(), image.feature_level());
        if let Some(needed) = needed.filter(|needed| *needed > known) {
            return Err(AlterBrokerConfigsError::FeatureLevel { needed, known });
        }
        Ok(Decided::new(if self.validate_only { Vec::new() } else { records }, ()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;
    use crate::metadata::FeatureLevels;

    const RATE: &str = "leader.replication.throttled.rate";

    #[test]
    fn one_broker_and_all() {
        let mut cluster = Cluster::registered(&[1, 2]);
        cluster.decide(&set(None, RATE, "100")).unwrap();
        cluster.decide(&set(Some(2), RATE, "200")).unwrap();
        let rates = |cluster: &Cluster| [1, 2].map(|id| cluster.image.broker_config(id, RATE).map(str::to_owned));
        assert_eq!(rates(&cluster), [Some("100".into()), Some("200".into())]);
        let back = AlterBrokerConfigs { changes: vec![(RATE.into(), ConfigChange::Delete)], ..set(Some(2), RATE, "") };
        cluster.decide(&AlterBrokerConfigs { validate_only: true, ..back.clone() }).unwrap();
        assert_eq!(rates(&cluster), [Some("100".into()), Some("200".into())], "only asked about");
        cluster.decide(&back).unwrap();
        assert_eq!(rates(&cluster), [Some("100".into()), Some("100".into())]);
    }

    #[test]
    fn configs_that_cannot_be_set() {
        check(set(Some(9), RATE, "1"), AlterBrokerConfigsError::UnknownBroker { id: 9 });
        let invalid = |name: &str, reason: &str| InvalidConfig { name: name.into(), reason: reason.into() }.into();
        check(set(None, RATE, "fast"), invalid(RATE, "\"fast\" is not a number"));
        check(set(None, "colour", "red"), invalid("colour", "there is no such config"));
        let mut twice = set(None, RATE, "1");
        twice.changes.push(twice.changes[0].clone());
        check(twice, AlterBrokerConfigsError::Repeated { name: RATE.into() });
        let append = vec![(RATE.to_owned(), ConfigChange::Append("1".into()))];
        check(AlterBrokerConfigs { changes: append, ..set(None, RATE, "") }, invalid(RATE, "it is not a list; set it"));
        let mut cluster = Cluster::founded_at(FeatureLevels::FIRST);
        let level = AlterBrokerConfigsError::FeatureLevel { needed: 2, known: 1 };
        assert_eq!(cluster.decide(&set(None, RATE, "1")), Err(level));
    }

    fn check(asked: AlterBrokerConfigs, why: AlterBrokerConfigsError) {
        assert_eq!(Cluster::registered(&[1]).decide(&asked), Err(why));
    }

    fn set(broker: Option<i32>, name: &str, value: &str) -> AlterBrokerConfigs {
        let changes = vec![(name.to_owned(), ConfigChange::Set(value.to_owned()))];
        AlterBrokerConfigs { broker, changes, validate_only: false }
    }
}
