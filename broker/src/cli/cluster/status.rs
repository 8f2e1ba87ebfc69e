//! `sluice cluster status` and `brokers`.

use hyper::Method;

use super::super::{
    admin_client::{AdminClient, Body},
    error::CliError,
    output::Output,
};
use super::text::{bytes, or_dash};
use crate::admin::shapes::{BrokerInfo, BrokerState, ClusterInfo};

pub(super) async fn show(admin: &AdminClient, output: &Output) -> Result<(), CliError> {
    let info = get(admin).await?;
    output.give(&info, in_words)?;
    if info.is_healthy() {
        return Ok(());
    }
    Err(CliError::unhealthy())
}

pub(super) async fn brokers(admin: &AdminClient, output: &Output) -> Result<(), CliError> {
    let brokers = get(admin).await?.brokers;
    output.give(&brokers, |brokers| {
        let heading = ["broker", "state", "rack", "leaders", "replicas", "size", "endpoints"];
        Output::table(&heading, &brokers.iter().map(row).collect::<Vec<_>>())
    })
}

async fn get(admin: &AdminClient) -> Result<ClusterInfo, CliError> {
    admin.call(Method::GET, "/v1/cluster", Body::Empty).await
}

fn in_words(info: &ClusterInfo) -> String {
    let serving = info.brokers.iter().filter(|broker| broker.state == BrokerState::Serving).count();
    let draining: Vec<String> =
        info.brokers.iter().filter(|broker| broker.draining).map(|broker| broker.broker.to_string()).collect();
    let controller = info.controller.map_or_else(|| "none".to_owned(), |id| format!("broker {id}"));
    let mut rows = vec![
        ("cluster", info.cluster_id.clone()),
        ("controller", controller),
        ("brokers", format!("{serving} of {} serving", info.brokers.len())),
        ("topics", info.topics.to_string()),
        ("partitions", info.partitions.to_string()),
        ("offline", info.offline.to_string()),
        ("under-replicated", info.under_replicated.to_string()),
        ("under min ISR", info.under_min_isr.to_string()),
        ("not led by preferred", info.not_preferred.to_string()),
        ("reassigning", info.reassigning.to_string()),
    ];
    if !draining.is_empty() {
        rows.push(("draining", draining.join(",")));
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = rows.into_iter().map(|(name, value)| format!("{name:width$}  {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn row(broker: &BrokerInfo) -> Vec<String> {
    let state = match (broker.state, broker.draining) {
        (BrokerState::Serving, false) => "serving",
        (BrokerState::Serving, true) => "draining",
        (BrokerState::ShuttingDown, _) => "shutting down",
        (BrokerState::Fenced, false) => "fenced",
        (BrokerState::Fenced, true) => "fenced, draining",
    };
    vec![
        broker.broker.to_string(),
        state.to_owned(),
        or_dash(broker.rack.clone()),
        broker.leaders.to_string(),
        broker.replicas.to_string(),
        or_dash(broker.bytes.map(bytes)),
        broker.endpoints.join(","),
    ]
}
