//! The demo on standard output: tables of a sample of events, and the counts of all.
//!
//! On a terminal the counts stand in the last line and are written over. Without one nothing is ever written over: the
//! counts are a line now and then. For JSON there is no screen, only the counts at the end.

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

/// Where stories and counts are shown.
pub(super) struct Screen<'a> {
    output: &'a Output,
    sampler: Sampler,
    is_terminal: bool,
    colours: bool,
    /// On a terminal: whether the last line is the counts.
    has_counts: bool,
    last_line: Instant,
}

impl<'a> Screen<'a> {
    pub(super) fn new(output: &'a Output) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
        let is_terminal = io::stdout().is_terminal() && !is_dumb;
        let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { output, sampler: Sampler::default(), is_terminal, colours, has_counts: false, last_line: Instant::now() }
    }

    /// Shows an event, if it is one of the sample.
    pub(super) fn story(&mut self, story: &Story, counts: &Counts, now: Instant) -> Result<(), CliError> {
        if self.output.is_json() || !self.sampler.picks(story, now) {
            return Ok(());
        }
        let table = table(story, self.colours);
        if self.is_terminal {
            let erase = if self.has_counts { ERASE_LINE } else { "" };
            self.has_counts = true;
            self.output.raw(format!("{erase}{table}\n{}", self::counts(counts)).as_bytes())
        } else {
            self.output.line(&table)
        }
    }

    /// Shows the counts anew.
    pub(super) fn counts(&mut self, counts: &Counts, now: Instant) -> Result<(), CliError> {
        if self.output.is_json() {
            return Ok(());
        }
        if self.is_terminal {
            self.has_counts = true;
            return self.output.raw(format!("{ERASE_LINE}{}", self::counts(counts)).as_bytes());
        }
        if now.saturating_duration_since(self.last_line) < LINE_EVERY {
            return Ok(());
        }
        self.last_line = now;
        self.output.line(&format!("{}\n", self::counts(counts)))
    }
}

impl Drop for Screen<'_> {
    /// Whatever is said next stands on a line of its own.
    fn drop(&mut self) {
        if self.has_counts {
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
