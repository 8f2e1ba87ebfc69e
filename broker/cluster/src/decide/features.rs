//! The feature level: records of a higher one are not written before every broker can read them, so brokers of two versions
//! can work side by side for as long as an upgrade takes.

use serde::{Deserialize, Serialize};

use super::{Change, Decided, Given};
use crate::metadata::{FeatureLevels, Image, MetadataRecord};

/// Raises the level the cluster works at. There is no way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFeatureLevel {
    /// The level.
    pub level: u16,
}

/// Why the level is not raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum FeatureLevelError {
    /// The cluster works at a higher level.
    #[error("the cluster works at feature level {known}; it is not lowered to {level}")]
    Lower {
        /// As asked.
        level: u16,
        /// As it is.
        known: u16,
    },
    /// A registered broker can't work at it. One that is gone for good is unregistered first.
    #[error("broker {broker} can work at feature levels {features}, not at {level}")]
    NotSupported {
        /// As asked.
        level: u16,
        /// The broker.
        broker: i32,
        /// What it can work at.
        features: FeatureLevels,
    },
}

impl Change for SetFeatureLevel {
    const KIND: u16 = 26;
    type Answer = ();
    type Error = FeatureLevelError;

    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<()>, FeatureLevelError> {
        let (level, known) = (self.level, image.feature_level());
        if level < known {
            return Err(FeatureLevelError::Lower { level, known });
        }
        if let Some(broker) = image.brokers().find(|broker| !broker.features.has(level)) {
            return Err(FeatureLevelError::NotSupported { level, broker: broker.id, features: broker.features });
        }
        let records = if level == known { Vec::new() } else { vec![MetadataRecord::FeatureLevel { level }] };
        Ok(Decided::new(records, ()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Cluster, register};
    use super::super::{RegisterBroker, RegisterError, UnregisterBroker};
    use super::*;

    #[test]
    fn a_level_waits_for_every_broker() {
        let old = RegisterBroker { features: FeatureLevels::FIRST, ..register(1, 10) };
        let mut cluster = Cluster::founded_at(FeatureLevels::FIRST);
        cluster.decide(&old).unwrap();
        cluster.decide(&register(2, 20)).unwrap();
        assert_eq!(cluster.image.feature_level(), 1, "brokers of two versions work side by side");
        let raise = SetFeatureLevel { level: 2 };
        let why = FeatureLevelError::NotSupported { level: 2, broker: 1, features: FeatureLevels::FIRST };
        assert_eq!(cluster.decide(&raise), Err(why));
        cluster.dies(1);
        assert_eq!(cluster.decide(&raise), Err(why), "it may come back");
        cluster.decide(&UnregisterBroker { id: 1 }).unwrap();
        cluster.decide(&raise).unwrap();
        assert_eq!(cluster.image.feature_level(), 2);
        assert_eq!(cluster.decide(&raise), Ok(()), "said twice");
        assert_eq!(cluster.decide(&SetFeatureLevel { level: 1 }), Err(FeatureLevelError::Lower { level: 1, known: 2 }));
        let refused = RegisterError::Features { id: 1, level: 2, features: FeatureLevels::FIRST };
        assert_eq!(cluster.decide(&RegisterBroker { epoch: 30, ..old }), Err(refused));
    }
}
