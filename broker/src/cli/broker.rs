//! `sluice broker`: one broker of a cluster that ZooKeeper coordinates.

use std::{path::PathBuf, sync::Arc};

use clap::Args;

use super::{
    config::environment,
    error::CliError,
    logging::{self, LogFormat},
    serve::serve,
};
use crate::{
    config::{BrokerConfig, millis},
    coordination::{ZooKeeper, ZooKeeperTls},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration file, .toml or .properties, with Kafka's names.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a setting, over file and environment. Can be given several times.
    #[arg(short, long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// How the log is written; text on a terminal and JSON otherwise.
    #[arg(long, value_enum, env = "SLUICE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let config = BrokerConfig::load(arguments.config.as_deref(), environment(), &arguments.set)?;
    let zookeeper = zookeeper(&config)?;
    logging::start(arguments.log_format, logging::SERVING)?;
    serve(config, Arc::new(zookeeper))
}

fn zookeeper(config: &BrokerConfig) -> Result<ZooKeeper, CliError> {
    let settings = &config.settings;
    let connect = settings.zookeeper_connect.as_deref().filter(|connect| !connect.is_empty()).ok_or_else(|| {
        CliError::failed("`zookeeper.connect` is not set: a broker belongs to a cluster, and ZooKeeper keeps it")
            .hint("name its servers: --set zookeeper.connect=HOST:PORT,HOST:PORT")
            .hint("or run a broker on its own, with nothing else installed: sluice dev")
    })?;
    let connect = connect
        .parse()
        .map_err(|cause: crate::coordination::ConnectStringError| CliError::failed(cause.to_string()))?;
    let tls = match &settings.zookeeper_ssl_truststore_location {
        None => None,
        Some(truststore) => {
            let keystore = settings.zookeeper_ssl_keystore_location.as_ref().map(PathBuf::from);
            let files = ZooKeeperTls::from_files(truststore.as_ref(), keystore.as_deref());
            Some(files.map_err(|cause| {
                CliError::failed(format!("zookeeper.ssl.truststore.location or keystore.location: {cause}"))
            })?)
        }
    };
    Ok(ZooKeeper {
        connect,
        session_timeout: millis(settings.zookeeper_session_timeout_ms.into()),
        tls,
        set_acl: settings.zookeeper_set_acl,
    })
}
