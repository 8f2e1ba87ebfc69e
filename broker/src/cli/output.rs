//! Results on standard output, as text or as JSON. A reader that closes early, such as `head`, ends the command quietly.

use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write},
};

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

use super::error::CliError;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON value, or one a line where results stream.
    Json,
}

/// Standard output.
#[derive(Debug)]
pub(super) struct Output {
    format: Format,
}

impl Output {
    pub(super) const fn new(format: Format) -> Self {
        Self { format }
    }

    /// Whether results are JSON.
    pub(super) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One result: as JSON, or as the text that `text` makes of it.
    pub(super) fn give<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), CliError> {
        let line = if self.is_json() { json(value)? } else { text(value) };
        if line.is_empty() { Ok(()) } else { self.line(&line) }
    }

    /// A line as it is.
    pub(super) fn line(&self, line: &str) -> Result<(), CliError> {
        self.raw(format!("{line}\n").as_bytes())
    }

    /// Bytes as they are.
    pub(super) fn raw(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(write_error)
    }

    /// Rows under a heading. Without a terminal there are tabs between columns and no heading, for `cut` and `awk`.
    pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
        if !io::stdout().is_terminal() {
            return rows.iter().map(|row| row.join("\t")).collect::<Vec<_>>().join("\n");
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(heading.iter().map(|name| name.to_uppercase()));
        table.add_rows(rows.to_vec());
        table.trim_fmt()
    }
}

/// A message on standard error.
pub(super) fn say(message: impl Display) {
    // If standard error is gone there is nobody left to tell.
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// JSON on one line.
pub(super) fn json<T: Serialize>(value: &T) -> Result<String, CliError> {
    serde_json::to_string(value).map_err(|cause| CliError::failed(format!("cannot write JSON: {cause}")))
}

fn write_error(cause: io::Error) -> CliError {
    if cause.kind() == io::ErrorKind::BrokenPipe {
        CliError::said()
    } else {
        CliError::failed(format!("cannot write to standard output: {cause}"))
    }
}
