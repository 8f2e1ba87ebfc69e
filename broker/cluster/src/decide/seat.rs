//! Who controls: the first decision of every reign. It says whose records follow, and refuses a log that isn't this cluster's or
//! that this broker can't work with.

use serde::{Deserialize, Serialize};

use super::{Change, Decided, Given};
use crate::metadata::{FeatureLevels, Image, MetadataRecord};

/// The first decision of a new controller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeSeat {
    /// The broker that holds the seat.
    pub id: i32,
    /// The controller epoch it holds it in.
    pub epoch: i32,
    /// The cluster's id, as the coordinator keeps it.
    pub cluster_id: String,
    /// The feature levels the broker can work at.
    pub features: FeatureLevels,
}

/// Why the log can't be this cluster's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum SeatError {
    /// The coordinator names another cluster than the log.
    #[error("the coordinator keeps cluster {coordinator}, its metadata log is of cluster {log}")]
    OtherCluster {
        /// As the coordinator says.
        coordinator: String,
        /// As the log says.
        log: String,
    },
    /// The log knows a controller with a later epoch.
    #[error("the log knows controller epoch {known}, the seat was taken in epoch {epoch}")]
    Epoch {
        /// As taken.
        epoch: i32,
        /// As the log says.
        known: i32,
    },
    /// The cluster works at a feature level that this broker can't.
    #[error("the cluster works at feature level {level}, this broker can work at {features}")]
    Features {
        /// The cluster's.
        level: u16,
        /// The broker's.
        features: FeatureLevels,
    },
}

impl Change for TakeSeat {
    const KIND: u16 = 12;
    type Answer = ();
    type Error = SeatError;

    fn decide(&self, image: &Image, _: &mut Given<'_>) -> Result<Decided<()>, SeatError> {
        let mut records = Vec::new();
        match image.cluster_id() {
            Some(log) if log != self.cluster_id => {
                return Err(SeatError::OtherCluster { coordinator: self.cluster_id.clone(), log: log.to_owned() });
            }
            Some(_) => {}
            // A new cluster works at the highest level that its first broker can.
            None => {
                records.push(MetadataRecord::Cluster { cluster_id: self.cluster_id.clone() });
                records.push(MetadataRecord::FeatureLevel { level: self.features.highest });
            }
        }
        let level = image.feature_level();
        if image.cluster_id().is_some() && !self.features.has(level) {
            return Err(SeatError::Features { level, features: self.features });
        }
        if let Some(known) = image.controller_epoch().filter(|known| *known >= self.epoch) {
            return Err(SeatError::Epoch { epoch: self.epoch, known });
        }
        records.push(MetadataRecord::ControllerElected { id: self.id, epoch: self.epoch });
        Ok(Decided::new(records, ()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Cluster;
    use super::*;

    #[test]
    fn the_seat() {
        let mut cluster = Cluster::default();
        cluster.decide(&seat(3, "here")).unwrap();
        assert_eq!((cluster.image.cluster_id(), cluster.image.controller_epoch()), (Some("here"), Some(3)));
        cluster.decide(&seat(4, "here")).unwrap();
        assert_eq!(cluster.decide(&seat(4, "here")), Err(SeatError::Epoch { epoch: 4, known: 4 }));
        let other = SeatError::OtherCluster { coordinator: "there".into(), log: "here".into() };
        assert_eq!(cluster.decide(&seat(5, "there")), Err(other));
    }

    #[test]
    fn a_broker_that_is_too_old_for_the_cluster() {
        let mut cluster = Cluster::default();
        cluster.decide(&seat(3, "here")).unwrap();
        let level = FeatureLevels::OURS.highest;
        assert_eq!(cluster.image.feature_level(), level, "a new cluster works at the highest level there is");
        let features = FeatureLevels::FIRST;
        let refused = cluster.decide(&TakeSeat { features, ..seat(4, "here") });
        assert_eq!(refused, Err(SeatError::Features { level, features }));
    }

    fn seat(epoch: i32, cluster_id: &str) -> TakeSeat {
        TakeSeat { id: 1, epoch, cluster_id: cluster_id.into(), features: FeatureLevels::OURS }
    }
}
