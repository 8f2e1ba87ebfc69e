//! `/v1/views`: make views, change what they show, list them, take them away.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sluice_cluster::View;
use sluice_cluster::decide::{AlterView, CreateTopicError, CreateView, RemoveView, ViewError};
use sluice_plugin_host::Kind;

use super::bindings::{asked, attempt, binding_status, describe_binding};
use super::refusal::Refusal;
use super::shapes::{ViewInfo, ViewSpec};
use crate::broker::Shared;
use crate::in_force;

pub(super) async fn put(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Json(spec): Json<ViewSpec>,
) -> Result<Json<ViewInfo>, Refusal> {
    let binding = asked(&spec.chain, spec.on_error, &spec.limits);
    attempt(&shared, Kind::View, &name, &binding).await?;
    let image = shared.metadata.image();
    let known = image.view(&name).map(|view| image.topic_by_id(view.base).map(|base| base.name.clone()));
    let changed = match known {
        Some(base) if base.as_ref() != Some(&spec.base) => {
            let base = base.map_or_else(|| "a topic that is gone".to_owned(), |base| format!("`{base}`"));
            return Err(Refusal::new(StatusCode::CONFLICT, format!("`{name}` is a view of {base}"))
                .hint("remove the view and make it anew: consumers will see another topic"));
        }
        Some(_) => shared.metadata.submit(AlterView { name: name.clone(), binding }).await.map(drop),
        None => {
            let change =
                CreateView { name: name.clone(), base: spec.base, binding, allow_unfiltered: spec.allow_unfiltered };
            shared.metadata.submit(change).await.map(drop)
        }
    };
    changed.map_err(|error| Refusal::of_change(error, view_status))?;
    let not_yet_on = in_force::everywhere(&shared).await;
    let mut set = show(State(shared), Path(name)).await?;
    set.binding.not_yet_on = not_yet_on;
    Ok(set)
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
) -> Result<Json<ViewInfo>, Refusal> {
    let image = shared.metadata.image();
    let view = image.view(&name).map(|view| Json(describe(&shared, view)));
    view.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, format!("there is no view `{name}`")))
}

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<ViewInfo>> {
    Json(shared.metadata.image().views().map(|view| describe(&shared, view)).collect())
}

pub(super) async fn remove(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<StatusCode, Refusal> {
    let removed = shared.metadata.submit(RemoveView { name }).await;
    removed.map_err(|error| Refusal::of_change(error, view_status))?;
    in_force::everywhere(&shared).await;
    Ok(StatusCode::NO_CONTENT)
}

fn describe(shared: &Shared, view: &View) -> ViewInfo {
    let image = shared.metadata.image();
    ViewInfo {
        name: view.name.clone(),
        id: view.id.to_string(),
        base: image.topic_by_id(view.base).map(|base| base.name.clone()).unwrap_or_default(),
        allow_unfiltered: view.allow_unfiltered,
        binding: describe_binding(shared, Kind::View, view.id, &view.binding),
    }
}

fn view_status(refused: &ViewError) -> StatusCode {
    match refused {
        ViewError::UnknownBase { .. } | ViewError::UnknownView { .. } => StatusCode::NOT_FOUND,
        ViewError::Name(CreateTopicError::Exists { .. } | CreateTopicError::Collides { .. })
        | ViewError::BaseIsView { .. }
        | ViewError::BaseIsInternal { .. } => StatusCode::CONFLICT,
        ViewError::Name(CreateTopicError::Name(_) | CreateTopicError::Placement(_) | CreateTopicError::Config(_))
        | ViewError::PassUnfiltered => StatusCode::UNPROCESSABLE_ENTITY,
        ViewError::Binding(error) => binding_status(error),
    }
}
