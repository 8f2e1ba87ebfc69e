//! `sluice plugin build`: from a crate to a component that can be pushed.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use sluice_plugin_kit::{BuildError, build};

use super::{
    super::{
        error::CliError,
        output::{Output, say},
    },
    unindented,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The plugin's crate.
    #[arg(value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), CliError> {
    let built = build(&arguments.dir)?;
    // As short as it can be typed from here.
    let here = std::env::current_dir().ok();
    let path = here.and_then(|here| built.path.strip_prefix(here).ok()).unwrap_or(&built.path);
    let (bytes, kinds, digest) = (built.component.bytes.len(), &built.component.kinds, built.component.digest());
    let result = json!({
        "name": built.name,
        "path": path,
        "bytes": bytes,
        "kinds": kinds,
        "digest": digest,
        "compiler": built.compiler.to_string(),
    });
    output.give(&result, |_| {
        let path = path.display();
        say(format_args!("compiled with {}", built.compiler));
        say(format_args!("{path}: {bytes} bytes, can be bound as {}, sha256 {digest}", kinds.join(" or ")));
        say(format_args!("  next: sluice plugin push {path}"));
        String::new()
    })
}

impl From<BuildError> for CliError {
    fn from(error: BuildError) -> Self {
        Self::failed(unindented(&error.to_string()))
    }
}
