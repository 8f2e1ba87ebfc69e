//! `/v1/topics/{topic}/gate` and `/v1/gates`, and what gates and views share: a binding asked for, tried, described.
//!
//! A binding is tried before it is written: its plugin is loaded and initialised with its configuration, so that a mistake is
//! the operator's to see now and not the producers' later. The answer comes when the change is in force, on every broker that
//! serves.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sluice_cluster::decide::{BindingError, GateError, NewBinding, NewPluginUse, RemoveGate, SetGate};
use sluice_cluster::{Binding, OnError, PluginLimits, PluginUse, Topic};
use sluice_plugin_host::Kind;

use super::refusal::Refusal;
use super::shapes::{BindingInfo, BindingSpec, ErrorPolicy, GateInfo, LimitsSpec, PluginUseSpec};
use crate::broker::Shared;
use crate::in_force;

pub(super) async fn set(
    State(shared): State<Arc<Shared>>,
    Path(topic): Path<String>,
    Json(spec): Json<BindingSpec>,
) -> Result<Json<GateInfo>, Refusal> {
    let binding = asked(&spec.chain, spec.on_error, &spec.limits);
    attempt(&shared, Kind::Gate, &topic, &binding).await?;
    let set = shared.metadata.submit(SetGate { topic: topic.clone(), binding }).await;
    set.map_err(|error| Refusal::of_change(error, gate_status))?;
    let not_yet_on = in_force::everywhere(&shared).await;
    let mut set = show(State(shared), Path(topic)).await?;
    set.binding.not_yet_on = not_yet_on;
    Ok(set)
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Path(topic): Path<String>,
) -> Result<Json<GateInfo>, Refusal> {
    let image = shared.metadata.image();
    let gated = image.topic(&topic).and_then(|topic| describe(&shared, topic));
    gated.map(Json).ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("there is no gate on `{topic}`")))
}

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<GateInfo>> {
    Json(shared.metadata.image().topics().filter_map(|topic| describe(&shared, topic)).collect())
}

pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(topic): Path<String>,
) -> Result<StatusCode, Refusal> {
    let removed = shared.metadata.submit(RemoveGate { topic }).await;
    removed.map_err(|error| Refusal::of_change(error, gate_status))?;
    in_force::everywhere(&shared).await;
    Ok(StatusCode::NO_CONTENT)
}

fn describe(shared: &Shared, topic: &Topic) -> Option<GateInfo> {
    let binding = describe_binding(shared, Kind::Gate, topic.id, topic.gate.as_ref()?);
    Some(GateInfo { topic: topic.name.clone(), binding })
}

fn gate_status(refused: &GateError) -> StatusCode {
    match refused {
        GateError::UnknownTopic { .. } | GateError::NoGate { .. } => StatusCode::NOT_FOUND,
        GateError::IsView { .. } | GateError::Internal { .. } => StatusCode::CONFLICT,
        GateError::Binding(error) => binding_status(error),
    }
}

/// The status for a binding that was decided against.
pub(super) fn binding_status(refused: &BindingError) -> StatusCode {
    match refused {
        BindingError::UnknownPlugin { .. } => StatusCode::NOT_FOUND,
        BindingError::ChainLength { .. }
        | BindingError::WrongKind { .. }
        | BindingError::ConfigTooLong { .. }
        | BindingError::Limit(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// A binding as the controller takes it.
pub(super) fn asked(chain: &[PluginUseSpec], on_error: ErrorPolicy, limits: &LimitsSpec) -> NewBinding {
    let defaults = PluginLimits::default();
    NewBinding {
        chain: chain
            .iter()
            .map(|link| NewPluginUse {
                plugin: link.plugin.clone(),
                version: link.version,
                config: match &link.config {
                    serde_json::Value::Null => "{}".to_owned(),
                    config => config.to_string(),
                },
            })
            .collect(),
        on_error: match on_error {
            ErrorPolicy::Fail => OnError::Fail,
            ErrorPolicy::Pass => OnError::Pass,
        },
        limits: PluginLimits {
            memory_bytes: limits.memory_bytes.unwrap_or(defaults.memory_bytes),
            cpu_ms: limits.cpu_ms.unwrap_or(defaults.cpu_ms),
            wall_ms: limits.wall_ms.unwrap_or(defaults.wall_ms),
            output_bytes: limits.output_bytes.unwrap_or(defaults.output_bytes),
            log_bytes_per_second: limits.log_bytes_per_second.unwrap_or(defaults.log_bytes_per_second),
            metric_names: limits.metric_names.unwrap_or(defaults.metric_names),
        },
    }
}

/// Loads and initialises the plugins of a binding that is asked for. One that the metadata will refuse is left to it: its
/// refusal says more.
pub(super) async fn attempt(shared: &Shared, kind: Kind, name: &str, asked: &NewBinding) -> Result<(), Refusal> {
    let image = shared.metadata.image();
    let chain: Option<Vec<PluginUse>> = asked
        .chain
        .iter()
        .map(|link| {
            let plugin = match link.version {
                Some(version) => image.plugin(&link.plugin, version),
                None => image.plugin_latest(&link.plugin),
            }?;
            Some(PluginUse {
                plugin: plugin.name.clone(),
                version: plugin.version,
                digest: plugin.digest,
                config: link.config.clone(),
            })
        })
        .collect();
    let Some(chain) = chain else { return Ok(()) };
    let binding = Binding { chain, limits: asked.limits, on_error: asked.on_error, revision: 0 };
    let prepared = shared.plugins.prepare(kind, name, &binding).await;
    prepared.map(drop).map_err(|error| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error))
}

/// A binding as the API shows it.
pub(super) fn describe_binding(
    shared: &Shared,
    kind: Kind,
    id: sluice_protocol::Uuid,
    binding: &Binding,
) -> BindingInfo {
    let limits = &binding.limits;
    BindingInfo {
        chain: binding
            .chain
            .iter()
            .map(|link| PluginUseSpec {
                plugin: link.plugin.clone(),
                version: Some(link.version),
                config: serde_json::from_str(&link.config)
                    .unwrap_or_else(|_| serde_json::Value::String(link.config.clone())),
            })
            .collect(),
        on_error: match binding.on_error {
            OnError::Fail => ErrorPolicy::Fail,
            OnError::Pass => ErrorPolicy::Pass,
        },
        limits: LimitsSpec {
            memory_bytes: Some(limits.memory_bytes),
            cpu_ms: Some(limits.cpu_ms),
            wall_ms: Some(limits.wall_ms),
            output_bytes: Some(limits.output_bytes),
            log_bytes_per_second: Some(limits.log_bytes_per_second),
            metric_names: Some(limits.metric_names),
        },
        revision: binding.revision,
        not_ready: shared.plugins.why_not_ready(kind, id),
        not_yet_on: BTreeSet::new(),
    }
}
