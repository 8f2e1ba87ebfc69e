//! `sluice gate`: the plugin between producers and a topic's log.

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;

use super::{
    admin_client::{Body, path_segment},
    cluster::ClusterArguments,
    error::CliError,
    output::{Output, say},
};
use crate::admin::shapes::{BindingInfo, BindingSpec, ErrorPolicy, GateInfo, LimitsSpec, PluginUseSpec};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Put a gate on a topic, or change the one it has. From the answer on, no batch passes by it.
    Set {
        /// The topic.
        topic: String,
        #[command(flatten)]
        binding: BindingArguments,
    },
    /// Show a topic's gate; without a topic, all gates.
    Show {
        /// The topic.
        topic: Option<String>,
    },
    /// Take a topic's gate away.
    Remove {
        /// The topic.
        topic: String,
    },
}

/// What gates and views have in common.
#[derive(Debug, Args)]
pub(super) struct BindingArguments {
    /// The plugin, NAME or NAME@VERSION; without a version the newest.
    #[arg(long, value_name = "NAME[@VERSION]")]
    plugin: String,
    /// The plugin's configuration: JSON, or @FILE with JSON in it.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// What becomes of a batch on which the plugin fails.
    #[arg(long, value_enum, default_value_t = OnError::Fail)]
    on_error: OnError,
    /// Bytes of memory of one instance.
    #[arg(long, value_name = "BYTES")]
    memory_bytes: Option<u64>,
    /// Milliseconds of CPU time for one batch.
    #[arg(long, value_name = "MS")]
    cpu_ms: Option<u32>,
    /// Milliseconds by the clock for one batch.
    #[arg(long, value_name = "MS")]
    wall_ms: Option<u32>,
    /// Bytes handed back for one batch.
    #[arg(long, value_name = "BYTES")]
    output_bytes: Option<u64>,
}

/// What becomes of a batch on which a plugin fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnError {
    /// It is refused, or not shown.
    Fail,
    /// It passes unseen by the plugin.
    Pass,
}

impl BindingArguments {
    /// The binding that was asked for.
    pub(super) fn spec(self) -> Result<BindingSpec, CliError> {
        let (plugin, version) = match self.plugin.split_once('@') {
            None => (self.plugin, None),
            Some((name, version)) => {
                let wrong =
                    || CliError::usage(format!("--plugin wants NAME or NAME@VERSION, and `{}` is not", self.plugin));
                (name.to_owned(), Some(version.parse().map_err(|_| wrong())?))
            }
        };
        let text = match self.config.strip_prefix('@') {
            None => self.config,
            Some(path) => std::fs::read_to_string(path)
                .map_err(|cause| CliError::failed(format!("cannot read {path}: {cause}")))?,
        };
        let config =
            serde_json::from_str(&text).map_err(|cause| CliError::usage(format!("--config is not JSON: {cause}")))?;
        Ok(BindingSpec {
            chain: vec![PluginUseSpec { plugin, version, config }],
            on_error: match self.on_error {
                OnError::Fail => ErrorPolicy::Fail,
                OnError::Pass => ErrorPolicy::Pass,
            },
            limits: LimitsSpec {
                memory_bytes: self.memory_bytes,
                cpu_ms: self.cpu_ms,
                wall_ms: self.wall_ms,
                output_bytes: self.output_bytes,
                ..LimitsSpec::default()
            },
        })
    }
}

pub(super) async fn run(command: Command, cluster: ClusterArguments, output: &Output) -> Result<(), CliError> {
    let path = |topic: &str| format!("/v1/topics/{}/gate", path_segment(topic));
    match command {
        Command::Set { topic, binding } => {
            let body = Body::json(&binding.spec()?)?;
            let gate: GateInfo = cluster.admin()?.call(Method::PUT, &path(&topic), body).await?;
            output.give(&gate, |gate| {
                say(format_args!("gate of `{}` set: {}", gate.topic, summary(&gate.binding)));
                String::new()
            })
        }
        Command::Show { topic: Some(topic) } => {
            let gate: GateInfo = cluster.admin()?.call(Method::GET, &path(&topic), Body::Empty).await?;
            output.give(&gate, |gate| details(&[("topic", gate.topic.clone())], &gate.binding))
        }
        Command::Show { topic: None } => {
            let gates: Vec<GateInfo> = cluster.admin()?.call(Method::GET, "/v1/gates", Body::Empty).await?;
            output.give(&gates, |gates| {
                let rows: Vec<_> = gates.iter().map(|gate| vec![gate.topic.clone(), summary(&gate.binding)]).collect();
                Output::table(&["topic", "gate"], &rows)
            })
        }
        Command::Remove { topic } => {
            cluster.admin()?.order(Method::DELETE, &path(&topic)).await?;
            say(format_args!("gate of `{topic}` removed"));
            Ok(())
        }
    }
}

/// A binding on one line.
pub(super) fn summary(binding: &BindingInfo) -> String {
    let plugin = |entry: &PluginUseSpec| match entry.version {
        Some(version) => format!("{}@{version}", entry.plugin),
        None => entry.plugin.clone(),
    };
    let chain = binding.chain.iter().map(plugin).collect::<Vec<_>>().join(" | ");
    let not_yet: Vec<String> = binding.not_yet_on.iter().map(i32::to_string).collect();
    match &binding.not_ready {
        None if not_yet.is_empty() => chain,
        None => format!("{chain} (not yet in force on brokers {})", not_yet.join(", ")),
        Some(why) => format!("{chain} (not running: {why})"),
    }
}

/// A binding in full, a line for each of its parts.
pub(super) fn details(head: &[(&str, String)], binding: &BindingInfo) -> String {
    let mut lines: Vec<(String, String)> =
        head.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    for entry in &binding.chain {
        lines.push(("plugin".to_owned(), format!("{}@{}", entry.plugin, entry.version.unwrap_or_default())));
        lines.push(("config".to_owned(), entry.config.to_string()));
    }
    let on_error = match binding.on_error {
        ErrorPolicy::Fail => "fail",
        ErrorPolicy::Pass => "pass",
    };
    lines.push(("on error".to_owned(), on_error.to_owned()));
    let limits = &binding.limits;
    let limit = |name: &str, value: Option<u64>| value.map(|value| (name.to_owned(), value.to_string()));
    lines.extend(limit("memory bytes", limits.memory_bytes));
    lines.extend(limit("cpu ms", limits.cpu_ms.map(u64::from)));
    lines.extend(limit("wall ms", limits.wall_ms.map(u64::from)));
    lines.extend(limit("output bytes", limits.output_bytes));
    lines.extend(limit("log bytes a second", limits.log_bytes_per_second.map(u64::from)));
    lines.extend(limit("metric names", limits.metric_names.map(u64::from)));
    lines.push(("revision".to_owned(), binding.revision.to_string()));
    if let Some(why) = &binding.not_ready {
        lines.push(("not running".to_owned(), why.clone()));
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    lines.iter().map(|(name, value)| format!("{name:width$}  {value}")).collect::<Vec<_>>().join("\n")
}
