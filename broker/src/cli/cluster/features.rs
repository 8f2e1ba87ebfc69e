//! `sluice cluster features`: the level at which brokers of several versions work together.

use clap::Args;
use hyper::Method;

use super::super::{
    admin_client::{AdminClient, Body},
    error::CliError,
    output::{Output, say},
};
use crate::admin::shapes::{BrokerFeatures, BrokerState, FeaturesInfo, FeaturesSpec};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Raise the level to the highest that any broker can work at, if all can. There is no way back.
    #[arg(long, conflicts_with = "level")]
    upgrade: bool,
    /// Raise the level to this one, if all brokers can work at it. There is no way back.
    #[arg(long, value_name = "N")]
    level: Option<u16>,
}

const PATH: &str = "/v1/cluster/features";

pub(super) async fn run(admin: &AdminClient, arguments: Arguments, output: &Output) -> Result<(), CliError> {
    let mut info: FeaturesInfo = admin.call(Method::GET, PATH, Body::Empty).await?;
    // The newest version that is there: whoever asks for an upgrade wants to be told of brokers that were forgotten.
    let newest = || info.brokers.iter().map(|broker| broker.highest).max();
    let level = arguments.level.or_else(|| newest().filter(|_| arguments.upgrade));
    if let Some(level) = level {
        info = admin.call(Method::PUT, PATH, Body::json(&FeaturesSpec { level })?).await?;
    }
    output.give(&info, |info| {
        say(format_args!("the cluster works at feature level {}", info.level));
        let rows: Vec<_> = info.brokers.iter().map(row).collect();
        Output::table(&["broker", "state", "lowest", "highest"], &rows)
    })
}

fn row(broker: &BrokerFeatures) -> Vec<String> {
    let state = match broker.state {
        BrokerState::Serving => "serving",
        BrokerState::ShuttingDown => "shutting down",
        BrokerState::Fenced => "fenced",
    };
    vec![broker.broker.to_string(), state.to_owned(), broker.lowest.to_string(), broker.highest.to_string()]
}
