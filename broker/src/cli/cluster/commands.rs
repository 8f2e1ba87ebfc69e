//! `sluice cluster`: how it is, who is in it, what lies where, and changing that.
//!
//! What Kafka has calls for goes over its protocol (`reassign`, `elect`); the rest over the admin API.

use clap::Subcommand;
use hyper::Method;

use super::super::{
    admin_client::Body,
    error::CliError,
    output::{Output, say},
};
use super::{ClusterArguments, balance, drain, elect, features, reassign, recover, status, throttle};
use crate::admin::shapes::DrainInfo;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Command {
    /// Show how the cluster is. Exits with 3 if a partition is offline or a replica is not in sync.
    Status,
    /// List the brokers: racks, what they carry, whether they serve.
    Brokers,
    /// Show the feature level the cluster works at and what each broker can work at; with --upgrade or --level, raise it.
    Features(features::Arguments),
    /// Forget a broker that is gone for good. One that serves, or is to hold replicas, is not forgotten.
    Unregister {
        /// The broker's id.
        broker: i32,
    },
    /// Empty a broker, so that it can be stopped for good: its replicas are moved to others while all goes on.
    Drain {
        /// The broker's id.
        broker: i32,
        /// Return at once, and let it go on.
        #[arg(long)]
        no_wait: bool,
        /// Hold copying to so many bytes a second and broker, as in 50MB, until it is done.
        #[arg(long, value_name = "RATE", value_parser = throttle::rate, conflicts_with = "no_wait")]
        throttle: Option<u64>,
    },
    /// Stop emptying a broker. What is on its way goes back, what has moved stays where it is.
    Undrain {
        /// The broker's id.
        broker: i32,
    },
    /// Show how the brokers could be evened in bytes and leaders, with the fewest moves; with --yes, do it.
    Balance {
        /// Begin the moves that are shown.
        #[arg(long)]
        yes: bool,
        /// Return at once, and let it go on.
        #[arg(long, requires = "yes")]
        no_wait: bool,
        /// Hold copying to so many bytes a second and broker, as in 50MB, until it is done.
        #[arg(long, value_name = "RATE", value_parser = throttle::rate, conflicts_with = "no_wait", requires = "yes")]
        throttle: Option<u64>,
    },
    /// Give a partition other replicas while it serves, or take that back; without a topic, list what is under way.
    Reassign(reassign::Arguments),
    /// Have partitions led by their preferred replicas again.
    Elect(elect::Arguments),
    /// Bring back a partition that nobody may lead: show how far each replica is, and with --leader choose one.
    Recover(recover::Arguments),
}

pub(in crate::cli) async fn run(command: Command, cluster: ClusterArguments, output: &Output) -> Result<(), CliError> {
    match command {
        Command::Status => status::show(&cluster.admin()?, output).await,
        Command::Brokers => status::brokers(&cluster.admin()?, output).await,
        Command::Features(arguments) => features::run(&cluster.admin()?, arguments, output).await,
        Command::Unregister { broker } => {
            cluster.admin()?.order(Method::DELETE, &format!("/v1/cluster/brokers/{broker}")).await?;
            say(format_args!("broker {broker} is forgotten"));
            Ok(())
        }
        Command::Drain { broker, no_wait, throttle } => drain::run(cluster, broker, no_wait, throttle, output).await,
        Command::Undrain { broker } => {
            let path = drain::path(broker);
            let info: DrainInfo = cluster.admin()?.call(Method::DELETE, &path, Body::Empty).await?;
            drain::undrained(&info, output)
        }
        Command::Balance { yes, no_wait, throttle } => balance::run(cluster, yes, no_wait, throttle, output).await,
        Command::Reassign(arguments) => reassign::run(&mut cluster.client().await?, arguments, output).await,
        Command::Elect(arguments) => elect::run(&mut cluster.client().await?, arguments, output).await,
        Command::Recover(arguments) => recover::run(&cluster.admin()?, arguments, output).await,
    }
}
