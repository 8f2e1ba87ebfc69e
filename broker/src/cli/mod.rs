//! The `sluice` command: arguments in, an exit code out.
//!
//! Data goes to standard output, messages to standard error. Every command gives text or, with `--format json`, JSON. An
//! error names its cause and the next step. Exit codes: 0 done, 1 failed, 2 not called as it wants to be, 3 unhealthy.
//!
//! Topics and records go over Kafka's protocol ([`crate::client`]); plugins, gates and views over the admin API
//! (`admin_client`). Where the cluster is, and how to get in, comes from flags, the environment or a profile
//! (`cluster`).

mod admin_client;
mod broker;
mod cluster;
mod config;
mod consume;
mod demo;
mod dev;
mod error;
mod gate;
mod layout;
mod logging;
mod output;
mod plugin;
mod produce;
mod profile;
mod serve;
#[cfg(test)]
mod tests;
mod topic;
mod view;

use std::{ffi::OsString, future::Future, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::broker::COMPILE_COMMAND;
use cluster::ClusterArguments;
use error::CliError;
use output::{Format, Output};

/// A message broker that speaks Kafka's protocol and runs your WebAssembly plugins on the data.
#[derive(Debug, Parser)]
#[command(name = "sluice", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// How results are written to standard output.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, env = "SLUICE_FORMAT")]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker of a cluster that ZooKeeper coordinates.
    Broker(broker::Arguments),
    /// Run a broker on its own, to develop against: certificates and settings are made on the first start.
    Dev(dev::Arguments),
    /// Watch real events pass a gate and a view, in a broker that is gone afterwards.
    Demo(demo::Arguments),
    /// Create, list, describe and delete topics.
    #[command(subcommand)]
    Topic(topic::Command),
    /// Write lines of standard input to a topic.
    Produce(produce::Arguments),
    /// Read a topic to standard output.
    Consume(consume::Arguments),
    /// Push plugins to the cluster, list and remove them.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Bind a plugin to what is written to a topic.
    #[command(subcommand)]
    Gate(gate::Command),
    /// Show a topic through a plugin, under a name of its own.
    #[command(subcommand)]
    View(view::Command),
    /// Look at the cluster, empty and even brokers, move replicas and leaders.
    #[command(subcommand)]
    Cluster(cluster::commands::Command),
    /// Look at a broker's configuration.
    #[command(subcommand)]
    Config(config::Command),
}

/// The exit code for a command that was not called as it wants to be.
const USAGE: u8 = 2;

/// Runs the command that `arguments` name, the program itself first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter().peekable();
    let program = arguments.next();
    if arguments.peek().is_some_and(|command| command == COMPILE_COMMAND) {
        return sluice_plugin_host::compile_child();
    }
    let arguments = match Arguments::try_parse_from(program.into_iter().chain(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => {
            // To standard output if it is help or the version; a reader that has gone does not matter either way.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let output = Output::new(arguments.format);
    match execute(arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn execute(arguments: Arguments, output: &Output) -> Result<(), CliError> {
    let cluster = arguments.cluster;
    match arguments.command {
        Command::Broker(arguments) => broker::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::Topic(command) => block_on(topic::run(command, cluster, output)),
        Command::Produce(arguments) => block_on(produce::run(arguments, cluster, output)),
        Command::Consume(arguments) => block_on(consume::run(arguments, cluster, output)),
        Command::Plugin(command) => plugin::run(command, cluster, output),
        Command::Gate(command) => block_on(gate::run(command, cluster, output)),
        Command::View(command) => block_on(view::run(command, cluster, output)),
        Command::Cluster(command) => block_on(cluster::commands::run(command, cluster, output)),
        Command::Config(command) => config::run(&command, output),
    }
}

/// Runs one client's work to its end. A client waits for one answer at a time, so one thread is enough.
fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|cause| CliError::failed(format!("cannot start: {cause}")))?.block_on(work)
}
