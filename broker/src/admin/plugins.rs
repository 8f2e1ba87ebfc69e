//! `/v1/plugins`: take plugins in, list them, take them out.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use sluice_cluster::decide::{AddPluginError, RemovePlugin, RemovePluginError};
use sluice_cluster::{Image, Plugin, PluginKinds};

use super::refusal::Refusal;
use super::shapes::{PluginInfo, PluginKind, PluginPushed};
use crate::broker::Shared;
use crate::plugins::PushError;

#[derive(Debug, Deserialize)]
pub(super) struct Name {
    name: String,
}

pub(super) async fn push(
    State(shared): State<Arc<Shared>>,
    Query(Name { name }): Query<Name>,
    wasm: Bytes,
) -> Result<(StatusCode, Json<PluginPushed>), Refusal> {
    let added = shared.plugins.push(name.clone(), wasm).await.map_err(|error| refused(&name, error))?;
    let image = shared.metadata.image();
    let plugin = image.plugin(&name, added.version);
    let plugin = plugin.ok_or_else(|| Refusal::new(StatusCode::CONFLICT, "it was removed at once by somebody else"))?;
    let status = if added.known { StatusCode::OK } else { StatusCode::CREATED };
    let pushed = PluginPushed {
        name,
        version: added.version,
        digest: hex(&plugin.digest),
        known: added.known,
        kinds: kinds(plugin.kinds),
    };
    Ok((status, Json(pushed)))
}

fn refused(name: &str, error: PushError) -> Refusal {
    match error {
        PushError::Refused(refusal) => {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("`{name}` is refused: {refusal}"))
                .hint("build it with `sluice plugin build`")
        }
        PushError::Load(error) => {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("`{name}` is refused: {error}"))
        }
        PushError::Store(error) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, error),
        PushError::Submit(error) => Refusal::of_change(error, |refused| match refused {
            AddPluginError::Name { .. } | AddPluginError::NoKind { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            AddPluginError::OtherDigest { .. } | AddPluginError::NotNext { .. } => StatusCode::CONFLICT,
        }),
        PushError::Stopped => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the broker is stopping"),
    }
}

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<PluginInfo>> {
    let image = shared.metadata.image();
    Json(image.plugins().map(|plugin| info(&image, plugin)).collect())
}

pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    Path((name, version)): Path<(String, u32)>,
) -> Result<StatusCode, Refusal> {
    let removed = shared.metadata.submit(RemovePlugin { name, version }).await;
    removed.map_err(|error| {
        Refusal::of_change(error, |refused| match refused {
            RemovePluginError::Unknown { .. } => StatusCode::NOT_FOUND,
            RemovePluginError::InUse { .. } => StatusCode::CONFLICT,
        })
    })?;
    Ok(StatusCode::NO_CONTENT)
}

fn info(image: &Image, plugin: &Plugin) -> PluginInfo {
    PluginInfo {
        name: plugin.name.clone(),
        version: plugin.version,
        digest: hex(&plugin.digest),
        size: plugin.size,
        kinds: kinds(plugin.kinds),
        pushed_at_ms: plugin.at_ms,
        used_by: image.users_of(&plugin.name, plugin.version).map(str::to_owned).collect(),
    }
}

fn kinds(kinds: PluginKinds) -> Vec<PluginKind> {
    [(kinds.gate, PluginKind::Gate), (kinds.view, PluginKind::View)]
        .into_iter()
        .filter_map(|(is, kind)| is.then_some(kind))
        .collect()
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
