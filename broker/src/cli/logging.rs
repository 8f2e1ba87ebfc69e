//! Where a broker's log goes: standard error, as text on a terminal and as JSON otherwise.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::error::CliError;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people.
    Text,
    /// For collectors: one JSON object a line.
    Json,
}

/// What a broker that serves others logs.
pub(super) const SERVING: &str = crate::coordination::zookeeper::LOG_FILTER;

/// The environment variable with a filter such as `info,sluice::net=debug`.
const FILTER_VARIABLE: &str = "SLUICE_LOG";

/// Starts logging for the rest of the process: what `SLUICE_LOG` says, or else `filter`.
pub(super) fn start(format: Option<LogFormat>, filter: &str) -> Result<(), CliError> {
    let filter = match std::env::var(FILTER_VARIABLE) {
        Ok(filter) => {
            EnvFilter::try_new(&filter).map_err(|cause| CliError::usage(format!("{FILTER_VARIABLE}: {cause}")))?
        }
        Err(_) => EnvFilter::new(filter),
    };
    let is_terminal = std::io::stderr().is_terminal();
    let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => builder.with_ansi(colours).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|cause| CliError::failed(format!("cannot start logging: {cause}")))
}
