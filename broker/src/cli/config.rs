//! `sluice config`: a broker's configuration as it would be in force, with the origin of each value, and what there is to
//! configure.

use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::{error::CliError, output::Output};
use crate::config::{BrokerConfig, Key, TOPIC_KEYS, broker_keys};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the configuration that a broker would have with this file, this environment and these flags.
    Show {
        /// The configuration file, .toml or .properties.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Set a setting, over file and environment. Can be given several times.
        #[arg(short, long, value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// Say where each value comes from.
        #[arg(long)]
        origin: bool,
        /// Show settings that have their default, too.
        #[arg(long)]
        all: bool,
    },
    /// Explain the settings: what each is for, what it may be and what it is by default.
    Keys {
        /// Only this setting, or those that begin with this.
        name: Option<String>,
        /// Topics' settings instead of the broker's.
        #[arg(long)]
        topic: bool,
    },
}

pub(super) fn run(command: &Command, output: &Output) -> Result<(), CliError> {
    match command {
        Command::Show { config, set, origin, all } => {
            let config = BrokerConfig::load(config.as_deref(), environment(), set)?;
            show(&config, *origin, *all, output)
        }
        Command::Keys { name, topic } => keys(name.as_deref(), *topic, output),
    }
}

/// The environment's variables; what is not text cannot be a setting.
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[derive(Serialize)]
struct Line {
    name: String,
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

fn show(config: &BrokerConfig, origin: bool, all: bool, output: &Output) -> Result<(), CliError> {
    let lines: Vec<Line> = config
        .show()
        .into_iter()
        .filter(|shown| all || shown.origin != crate::config::Origin::Default)
        .map(|shown| Line { name: shown.name, value: shown.value, origin: origin.then(|| shown.origin.to_string()) })
        .collect();
    output.give(&lines, |lines| {
        let row = |line: &Line| {
            let mut row = vec![line.name.clone(), line.value.clone().unwrap_or_default()];
            row.extend(line.origin.clone());
            row
        };
        let heading: &[&str] = if origin { &["setting", "value", "origin"] } else { &["setting", "value"] };
        Output::table(heading, &lines.iter().map(row).collect::<Vec<_>>())
    })
}

#[derive(Serialize)]
struct Explained {
    name: &'static str,
    kind: String,
    default: Option<&'static str>,
    documentation: String,
}

fn keys(name: Option<&str>, topic: bool, output: &Output) -> Result<(), CliError> {
    let explain = |key: &'static Key| Explained {
        name: key.name,
        kind: key.kind.to_string(),
        default: key.default,
        documentation: key.doc(),
    };
    let known: Vec<&'static Key> = if topic { TOPIC_KEYS.iter().collect() } else { broker_keys().collect() };
    let explained: Vec<Explained> =
        known.into_iter().filter(|key| name.is_none_or(|name| key.name.starts_with(name))).map(explain).collect();
    if explained.is_empty() {
        return Err(CliError::failed(format!("no setting begins with `{}`", name.unwrap_or_default()))
            .hint("see: sluice config keys"));
    }
    output.give(&explained, |explained| {
        let paragraph = |key: &Explained| {
            let default = key.default.map_or_else(String::new, |default| format!(", by default {default}"));
            format!("{}\n  {}\n  {}{default}", key.name, key.documentation, key.kind)
        };
        explained.iter().map(paragraph).collect::<Vec<_>>().join("\n")
    })
}
