//! `sluice plugin new`: a crate that builds and passes its test as it is.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use sluice_plugin_kit::{Scaffold, ScaffoldError, scaffold};

use super::{
    super::{
        error::CliError,
        output::{Output, say},
    },
    unindented,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The plugin's name, and its folder's: a-z, 0-9 and -.
    name: String,
    /// The folder that the new one is made in.
    #[arg(long = "in", value_name = "FOLDER", default_value = ".")]
    parent: PathBuf,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), CliError> {
    let Scaffold { dir, files } = scaffold(&arguments.parent, &arguments.name)?;
    output.give(&json!({ "name": arguments.name, "folder": dir, "files": files }), |_| {
        let folder = dir.strip_prefix(".").unwrap_or(&dir).display();
        say(format_args!("made {folder}: {}, and the SDK in vendor/", files.join(", ")));
        say(format_args!("  next: cd {folder} && cargo test && sluice plugin build"));
        String::new()
    })
}

impl From<ScaffoldError> for CliError {
    fn from(error: ScaffoldError) -> Self {
        let message = unindented(&error.to_string());
        match error {
            ScaffoldError::Name(_) => Self::usage(message),
            ScaffoldError::Exists(_) | ScaffoldError::File { .. } => Self::failed(message),
        }
    }
}
