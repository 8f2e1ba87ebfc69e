//! The admin API over HTTPS: plugins, gates, views; the cluster's brokers and replicas; whether the broker lives and is ready;
//! its metrics.
//!
//! The server asks for a client certificate. Probes (`/livez`, `/readyz`) are answered without one; everything else is refused
//! to whoever does not show a certificate of the cluster's authorities. What the calls take and give is in [`shapes`].
//!
//! `/livez` says that the process answers; `/readyz` that this broker has its session and its seat, so a coordinator that is
//! away makes a broker unready and never dead.

mod bindings;
mod cluster;
mod membership;
mod plugins;
mod refusal;
mod server;
pub mod shapes;
mod views;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use sluice_cluster::Topic;
use sluice_plugin_host::{Kind, PLUGIN_BYTES_MAX};
use tokio::time::Instant;

use crate::broker::Shared;
use crate::coordination::Standing;
use crate::metrics::{BindingSnapshot, Census, Snapshot};
use refusal::Refusal;

pub(crate) use server::bind;
pub use server::{AdminError, Running};

/// Bytes of a JSON body: a binding with a long configuration, with room to spare.
const JSON_BYTES_MAX: usize = 1 << 20;

/// Whether the caller of this request showed a certificate.
#[derive(Debug, Clone, Copy)]
struct Certified(bool);

fn router(shared: Arc<Shared>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/plugins", get(plugins::list))
        .route("/v1/plugins", post(plugins::push).layer(DefaultBodyLimit::max(PLUGIN_BYTES_MAX + 1)))
        .route("/v1/plugins/{name}/{version}", delete(plugins::remove))
        .route("/v1/gates", get(bindings::list))
        .route("/v1/topics/{topic}/gate", put(bindings::set).get(bindings::show).delete(bindings::remove))
        .route("/v1/views", get(views::list))
        .route("/v1/views/{name}", put(views::put).get(views::show).delete(views::remove))
        .route("/v1/cluster", get(cluster::show))
        .route("/v1/cluster/features", get(membership::features).put(membership::set_level))
        .route("/v1/cluster/brokers/{id}", delete(membership::unregister))
        .route("/v1/cluster/balance", get(cluster::plan))
        .route("/v1/cluster/brokers/{id}/drain", put(cluster::drain).get(cluster::drained).delete(cluster::undrain))
        .route("/v1/topics/{topic}/partitions/{partition}/replicas", get(cluster::replicas))
        .route("/v1/topics/{topic}/partitions/{partition}/recover", post(cluster::recover))
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX))
        .layer(middleware::from_fn(only_certified));
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .merge(guarded)
        .fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is no such call") })
        .with_state(shared)
}

async fn only_certified(request: Request, next: Next) -> Response {
    match request.extensions().get() {
        Some(Certified(true)) => next.run(request).await,
        _ => Refusal::new(
            StatusCode::FORBIDDEN,
            "this call is for clients with a certificate of the cluster's authority",
        )
        .hint("give --cert and --key, or a profile that has them")
        .into_response(),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let standing = shared.metadata.standing().borrow().clone();
    match standing {
        Standing::Serving { .. } => (StatusCode::OK, "ready\n".to_owned()),
        Standing::Doubtful { why } => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        Standing::Halted(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
        Standing::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "not ready: stopping\n".to_owned()),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let image = shared.metadata.image();
    let min_insync_replicas = |topic: &Topic| {
        let config = shared.config.topics.resolve(&topic.configs);
        usize::try_from(config.min_insync_replicas).unwrap_or(1)
    };
    let stats = shared.plugins.stats().into_iter().filter_map(|(kind, id, stats)| {
        let binding = match kind {
            Kind::Gate => format!("gate:{}", image.topic_by_id(id)?.name),
            Kind::View => format!("view:{}", image.view_by_id(id)?.name),
        };
        Some(BindingSnapshot {
            binding,
            batches: stats.batches,
            records: stats.records,
            failures: stats.failures,
            cpu_seconds: stats.cpu.as_secs_f64(),
        })
    });
    let (metadata, partitions) = (&shared.metadata, &shared.partitions);
    let now = Snapshot {
        census: Census::take(&image, shared.node_id, min_insync_replicas),
        is_controller: metadata.is_controller(),
        session_connected: !metadata.is_doubtful(),
        metadata_entries: image.next_seq(),
        metadata_lag_entries: metadata.lag().entries(image.next_seq()),
        metadata_lag: metadata.lag().time(Instant::now()),
        offline_replicas: partitions.offline().len(),
        offline_log_dirs: partitions.offline_log_dirs(),
        replica_lag: partitions.replica_lag_max(),
        elections: metadata.elections().counts().collect(),
        bindings: stats.collect(),
    };
    let text = shared.metrics.render(&now);
    ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
