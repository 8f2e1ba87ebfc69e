//! `/v1/cluster/features` and `/v1/cluster/brokers/{id}`: the level at which brokers of several versions work together, and
//! brokers that are gone for good, which would hold it down for ever.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sluice_cluster::Image;
use sluice_cluster::decide::{FeatureLevelError, SetFeatureLevel, UnregisterBroker, UnregisterError};

use super::cluster::state_of;
use super::refusal::Refusal;
use super::shapes::{BrokerFeatures, FeaturesInfo, FeaturesSpec};
use crate::broker::Shared;

pub(super) async fn features(State(shared): State<Arc<Shared>>) -> Json<FeaturesInfo> {
    let image = shared.metadata.image();
    let brokers = image.brokers().map(|broker| BrokerFeatures {
        broker: broker.id,
        state: state_of(broker),
        lowest: broker.features.lowest,
        highest: broker.features.highest,
    });
    Json(FeaturesInfo { level: image.feature_level(), brokers: brokers.collect() })
}

/// Raises the level.
pub(super) async fn set_level(
    State(shared): State<Arc<Shared>>,
    Json(FeaturesSpec { level }): Json<FeaturesSpec>,
) -> Result<Json<FeaturesInfo>, Refusal> {
    let set = shared.metadata.submit(SetFeatureLevel { level }).await;
    set.map_err(|error| {
        let refusal = Refusal::of_change(error, |refused| match refused {
            FeatureLevelError::Lower { .. } | FeatureLevelError::NotSupported { .. } => StatusCode::CONFLICT,
        });
        match who_cannot(&shared.metadata.image(), level) {
            // The refusal names one of them.
            Some(all) => refusal.hint(format!(
                "can't work at feature level {level}: {all}\nreplace them by a newer version; one that is gone for good: sluice \
                 cluster unregister ID"
            )),
            None => refusal,
        }
    })?;
    Ok(features(State(shared)).await)
}

/// The brokers that can't work at a level, if there are any.
fn who_cannot(image: &Image, level: u16) -> Option<String> {
    let cannot = image.brokers().filter(|broker| !broker.features.has(level));
    let named: Vec<String> = cannot.map(|broker| format!("broker {} ({})", broker.id, broker.features)).collect();
    (!named.is_empty()).then(|| named.join(", "))
}

/// Forgets a broker.
pub(super) async fn unregister(State(shared): State<Arc<Shared>>, Path(id): Path<i32>) -> Result<StatusCode, Refusal> {
    match shared.metadata.submit(UnregisterBroker { id }).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) => {
            let mut hint = None;
            let refusal = Refusal::of_change(error, |refused| match refused {
                UnregisterError::Unknown { .. } => {
                    hint = Some("see: sluice cluster brokers".to_owned());
                    StatusCode::NOT_FOUND
                }
                UnregisterError::Serving { .. } => StatusCode::CONFLICT,
                UnregisterError::HoldsReplicas { .. } => {
                    hint = Some(format!(
                        "{}\nsee: sluice cluster drain {id}, which moves them to others",
                        some_of(&shared.metadata.image(), id)
                    ));
                    StatusCode::CONFLICT
                }
            });
            Err(match hint {
                Some(hint) => refusal.hint(hint),
                None => refusal,
            })
        }
    }
}

/// Partitions that a refusal names: enough to see what they are.
const NAMED_MAX: usize = 5;

/// The first partitions that a broker is a replica of.
fn some_of(image: &Image, id: i32) -> String {
    let mut held = sluice_cluster::decide::held(image, id);
    let first: Vec<String> =
        held.by_ref().take(NAMED_MAX).map(|(topic, index, _)| format!("{}-{index}", topic.name)).collect();
    match held.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
