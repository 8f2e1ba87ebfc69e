//! `sluice plugin`: from a crate to a plugin that the cluster has.

mod build;
mod new;
mod push;

use clap::Subcommand;
use hyper::Method;

use super::{
    admin_client::{Body, path_segment},
    block_on,
    cluster::ClusterArguments,
    error::CliError,
    output::{Output, say},
};
use crate::admin::shapes::{PluginInfo, PluginKind};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a new plugin's crate, which builds and passes its test.
    New(new::Arguments),
    /// Build a plugin's crate into a component.
    Build(build::Arguments),
    /// Push a plugin to the cluster, where it gets the next version of its name.
    Push(push::Arguments),
    /// List the cluster's plugins, each version.
    List,
    /// Remove a version of a plugin that nothing uses any more.
    Remove {
        /// The plugin's name.
        name: String,
        /// Its version.
        version: u32,
    },
}

pub(super) fn run(command: Command, cluster: ClusterArguments, output: &Output) -> Result<(), CliError> {
    match command {
        Command::New(arguments) => new::run(&arguments, output),
        Command::Build(arguments) => build::run(&arguments, output),
        Command::Push(arguments) => push::run(&arguments, cluster, output),
        Command::List => block_on(list(cluster, output)),
        Command::Remove { name, version } => block_on(remove(&name, version, cluster)),
    }
}

async fn list(cluster: ClusterArguments, output: &Output) -> Result<(), CliError> {
    let plugins: Vec<PluginInfo> = cluster.admin()?.call(Method::GET, "/v1/plugins", Body::Empty).await?;
    output.give(&plugins, |plugins| {
        let row = |plugin: &PluginInfo| {
            vec![
                plugin.name.clone(),
                plugin.version.to_string(),
                kinds(&plugin.kinds),
                plugin.size.to_string(),
                plugin.digest.chars().take(12).collect(),
                plugin.used_by.join(","),
            ]
        };
        Output::table(
            &["plugin", "version", "kinds", "bytes", "digest", "used by"],
            &plugins.iter().map(row).collect::<Vec<_>>(),
        )
    })
}

async fn remove(name: &str, version: u32, cluster: ClusterArguments) -> Result<(), CliError> {
    cluster.admin()?.order(Method::DELETE, &format!("/v1/plugins/{}/{version}", path_segment(name))).await?;
    say(format_args!("plugin `{name}` version {version} removed"));
    Ok(())
}

/// What a plugin can be bound as, in words.
fn kinds(kinds: &[PluginKind]) -> String {
    let word = |kind: &PluginKind| match kind {
        PluginKind::Gate => "gate",
        PluginKind::View => "view",
    };
    kinds.iter().map(word).collect::<Vec<_>>().join(",")
}

/// A message of the kit's, whose further lines are indented already, as [`CliError`] wants it.
fn unindented(message: &str) -> String {
    message.replace("\n  ", "\n")
}
