//! `sluice plugin push`: a component file, or the crate in the working folder, built first.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;
use hyper::Method;

use super::super::{
    admin_client::{Body, path_segment},
    block_on,
    cluster::ClusterArguments,
    error::CliError,
    output::{Output, say},
};
use crate::admin::shapes::PluginPushed;

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The component, a .wasm file. Without it, the crate in the working folder is built and its component pushed.
    file: Option<PathBuf>,
    /// The plugin's name; by default the file's or the crate's.
    #[arg(long)]
    name: Option<String>,
}

pub(super) fn run(arguments: &Arguments, cluster: ClusterArguments, output: &Output) -> Result<(), CliError> {
    let (name, path) = match &arguments.file {
        Some(path) => (name_of(path)?, path.clone()),
        None => {
            let built = sluice_plugin_kit::build(Path::new("."))?;
            (built.name, built.path)
        }
    };
    let name = arguments.name.as_deref().unwrap_or(&name);
    let component =
        fs::read(&path).map_err(|cause| CliError::failed(format!("cannot read {}: {cause}", path.display())))?;
    let call = format!("/v1/plugins?name={}", path_segment(name));
    let pushed: PluginPushed =
        block_on(async { cluster.admin()?.call(Method::POST, &call, Body::Wasm(Bytes::from(component))).await })?;
    output.give(&pushed, |pushed| {
        let known = if pushed.known { ", the same as before" } else { "" };
        say(format_args!(
            "plugin `{}` version {}{known}, can be bound as {}, sha256 {}",
            pushed.name,
            pushed.version,
            super::kinds(&pushed.kinds).replace(',', " or "),
            pushed.digest
        ));
        String::new()
    })
}

fn name_of(path: &Path) -> Result<String, CliError> {
    let name = path.file_stem().and_then(|stem| stem.to_str());
    name.map(str::to_owned)
        .ok_or_else(|| CliError::usage(format!("{} gives no name", path.display())).hint("say it: --name NAME"))
}
