//! How far something is that goes on in the cluster: a bar with an estimate on a terminal, JSON lines or nothing elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::text::{bytes, duration};

/// How often it is asked how far it is: often enough for a bar, seldom enough to be no work.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(500);

/// What is left of it, as it is shown.
pub(super) struct Progress {
    bar: ProgressBar,
    began: Instant,
    first: Option<Left>,
}

/// What is left to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) bytes: u64,
    pub(super) replicas: usize,
}

impl Progress {
    /// A bar on standard error, if that is a terminal: indicatif draws nothing otherwise.
    pub(super) fn new(what: &str) -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {percent:>3}%  {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what.to_owned());
        Self { bar, began: Instant::now(), first: None }
    }

    pub(super) fn show(&mut self, left: Left) {
        let first = *self.first.get_or_insert(left);
        let (total, done) = share(first, left);
        self.bar.set_length(total);
        self.bar.set_position(done);
        let estimate = estimate(self.began.elapsed(), total, done);
        let estimate = estimate.map_or_else(String::new, |estimate| format!(", about {}", duration(estimate)));
        self.bar.set_message(format!("{} in {} replicas left{estimate}", bytes(left.bytes), left.replicas));
    }

    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}

/// What there was and what of it is done: in bytes, or in replicas where these are empty. More may be written meanwhile.
fn share(first: Left, left: Left) -> (u64, u64) {
    if first.bytes > 0 {
        return (first.bytes, first.bytes.saturating_sub(left.bytes));
    }
    (first.replicas as u64, first.replicas.saturating_sub(left.replicas) as u64)
}

/// How long it goes on, if it goes on like this.
fn estimate(elapsed: Duration, total: u64, done: u64) -> Option<Duration> {
    if done == 0 {
        return None;
    }
    let whole = elapsed.as_secs_f64() * total as f64 / done as f64;
    Duration::try_from_secs_f64(whole).ok().map(|whole| whole.saturating_sub(elapsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far() {
        let left = |bytes, replicas| Left { bytes, replicas };
        assert_eq!(share(left(1_000, 5), left(250, 2)), (1_000, 750));
        assert_eq!(share(left(1_000, 5), left(1_200, 5)), (1_000, 0), "more was written than was moved");
        assert_eq!(share(left(0, 5), left(0, 2)), (5, 3), "of empty replicas each counts");
        let minute = Duration::from_secs(60);
        assert_eq!(estimate(minute, 1_000, 0), None);
        assert_eq!(estimate(minute, 1_000, 250), Some(Duration::from_secs(180)));
        assert_eq!(estimate(minute, 0, 0), None);
    }
}
