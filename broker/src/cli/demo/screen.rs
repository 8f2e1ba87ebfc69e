//! The demo on standard output: tables of a sample of events, and the counts of all.
//!
//! On a terminal the counts and the state of the cluster stand in the last two lines and are written over. Without one nothing is
//! ever written over: they are lines now and then. For JSON there is no screen, only the counts at the end.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::compare::table;
use super::sampler::Sampler;
use super::stream::VIEW;
use super::tally::{Counts, Story};
use crate::cli::error::CliError;
use crate::cli::output::Output;

/// How often the counts are given a line where they cannot be written over.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Back to the line's beginning, and the line emptied.
const ERASE_LINE: &str = "\r\x1b[2K";

/// Up to the line before.
const UP: &str = "\x1b[1A";

/// Where stories, events and counts are shown.
pub(super) struct Screen<'a> {
    output: &'a Output,
    sampler: Sampler,
    is_terminal: bool,
    colours: bool,
    /// On a terminal: how many lines the status has that is being written over.
    status_lines: usize,
    last_line: Instant,
}

/// What the last lines say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    /// The counts.
    pub(super) counts: String,
    /// How the cluster is, and what can be done about it.
    pub(super) cluster: String,
}

impl<'a> Screen<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        let is_terminal = io::stdout().is_terminal() && !is_dumb;
        let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { output, sampler: Sampler::default(), is_terminal, colours, status_lines: 0, last_line: Instant::now() }
    }

    /// Shows an event, if it is one of the sample.
    pub(super) fn story(&mut self, story: &Story, status: &Status, now: Instant) -> Result<(), CliError> {
        if self.output.is_json() || !self.sampler.picks(story, now) {
            return Ok(());
        }
        let table = table(story, self.colours);
        self.above(&table, status)
    }

    /// Shows something that happened.
    pub(super) fn news(&mut self, news: &str, status: &Status) -> Result<(), CliError> {
        if self.output.is_json() { Ok(()) } else { self.above(&format!("{news}\n"), status) }
    }

    /// Shows the status anew.
    pub(super) fn status(&mut self, status: &Status, now: Instant) -> Result<(), CliError> {
        if self.output.is_json() {
            return Ok(());
        }
        if self.is_terminal {
            return self.above("", status);
        }
        if now.saturating_duration_since(self.last_line) < LINE_EVERY {
            return Ok(());
        }
        self.last_line = now;
        self.output.line(&format!("{}\n{}\n", status.counts, status.cluster))
    }

    /// Writes `text`, which ends its line, where the status stood, and the status below it.
    fn above(&mut self, text: &str, status: &Status) -> Result<(), CliError> {
        if !self.is_terminal {
            return self.output.line(text);
        }
        let up = UP.repeat(self.status_lines.saturating_sub(1));
        let erase = if self.status_lines > 0 { format!("{ERASE_LINE}{up}{ERASE_LINE}") } else { String::new() };
        let gap = if text.is_empty() { "" } else { "\n" };
        self.status_lines = 2;
        let Status { counts, cluster } = status;
        self.output.raw(format!("{erase}{text}{gap}{counts}\n{cluster}").as_bytes())
    }
}

impl Drop for Screen<'_> {
    /// Whatever is said next stands on a line of its own.
    fn drop(&mut self) {
        if self.status_lines > 0 {
            // A terminal that is gone needs no new line.
            let _ = writeln!(io::stdout().lock());
        }
    }
}

/// The counts on one line.
pub(super) fn counts(counts: &Counts) -> String {
    let Counts { sent, stored, refused, seen_in_view } = counts;
    format!("sent {sent}   stored {stored}   refused {refused}   seen in {VIEW} {seen_in_view}")
}
