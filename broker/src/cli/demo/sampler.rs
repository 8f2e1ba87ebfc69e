//! Which events are shown: few enough to read, and of each kind about as many.

use std::time::{Duration, Instant};

use super::tally::{End, Story};

/// How long an event is left to be read.
const EVERY: Duration = Duration::from_secs(4);

/// How long the rarer kinds are waited for.
const WAIT: Duration = Duration::from_secs(8);

/// The kinds: refused, stored, stored and seen.
const KINDS: usize = 3;

/// Picks events to show.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    shown: [u32; KINDS],
    last: Option<Instant>,
}

impl Sampler {
    /// Whether this one is shown. The first of each kind always is.
    pub(super) fn picks(&mut self, story: &Story, now: Instant) -> bool {
        let kind = match story.end {
            End::Refused { .. } => 0,
            End::Stored { seen: None, .. } => 1,
            End::Stored { seen: Some(_), .. } => 2,
        };
        let since = self.last.map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        let is_due = self.shown.iter().all(|&shown| self.shown[kind] <= shown);
        let picked = self.shown[kind] == 0 || since >= WAIT || (since >= EVERY && is_due);
        if picked {
            self.shown[kind] += 1;
            self.last = Some(now);
        }
        picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::tally::Place;
    use bytes::Bytes;

    fn story(kind: usize) -> Story {
        let at = Place { partition: 0, offset: 0 };
        let stored = |seen| End::Stored { at, stored: Bytes::new(), seen };
        let end = match kind {
            0 => End::Refused { why: String::new() },
            1 => stored(None),
            _ => stored(Some(Bytes::new())),
        };
        Story { number: 1, sent: "", end }
    }

    #[test]
    fn few_and_of_each_kind() {
        let mut sampler = Sampler::default();
        let start = Instant::now();
        let mut check = |second, kind, picked, why| {
            assert_eq!(sampler.picks(&story(kind), start + Duration::from_secs(second)), picked, "{why}");
        };
        check(0, 1, true, "the first");
        check(0, 1, false, "too soon");
        check(0, 2, true, "the first of its kind");
        check(0, 0, true, "the first of its kind");
        check(3, 1, false, "still too soon");
        check(4, 1, true, "as many as of the others");
        check(9, 1, false, "more than of the others");
        check(9, 0, true, "fewer than of the first kind");
        check(14, 0, false, "the view's turn");
        check(17, 0, true, "the view's turn was waited for");
    }
}
