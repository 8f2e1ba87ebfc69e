//! How far this broker is behind the metadata log, as far as it can know.
//!
//! The log's end is what its head said when it was last read, so in entries a broker is behind while it replays what it was told of.
//! Of what it was not told it knows only that there may be some: from when its watch on the head fires or its session is in doubt,
//! until it has replayed up to a head that was read since. Entries have no time of their own: how long that lasts is the lag in
//! time. The controller, who writes the log, is behind in neither.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Kept by the task that follows the log, read by anyone.
#[derive(Debug)]
pub struct MetadataLag {
    end: AtomicU64,
    /// Since when there may be entries that this broker was not told of, or has not replayed.
    since: Mutex<Option<Instant>>,
}

impl MetadataLag {
    /// Of a broker that has read nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { end: AtomicU64::new(0), since: Mutex::new(Some(now)) }
    }

    /// Entries that this broker was told of and has not replayed, of which it has `replayed` so many.
    pub fn entries(&self, replayed: u64) -> u64 {
        self.end.load(Ordering::Relaxed).saturating_sub(replayed)
    }

    /// For how long it has not known itself at the end.
    pub fn time(&self, now: Instant) -> Duration {
        self.since.lock().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// The log's head was read, and this is the next entry.
    pub(super) fn ends_at(&self, next_seq: u64) {
        self.end.store(next_seq, Ordering::Relaxed);
    }

    /// There may be more by now.
    pub(super) fn may_have_grown(&self, now: Instant) {
        self.since.lock().get_or_insert(now);
    }

    /// All of what was there is replayed, and it will be told of more.
    pub(super) fn caught_up(&self) {
        *self.since.lock() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_until_what_was_there_is_replayed() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let lag = MetadataLag::new(at(0));
        let check = |what: &str, now, replayed, entries, seconds| {
            assert_eq!((lag.entries(replayed), lag.time(at(now)).as_secs()), (entries, seconds), "{what}");
        };
        check("nothing read yet", 1, 0, 0, 1);
        lag.ends_at(5);
        check("some of it replayed", 2, 3, 2, 2);
        lag.caught_up();
        check("all of it", 3, 5, 0, 0);
        check("its own entries come before it is told of them", 3, 6, 0, 0);
        lag.may_have_grown(at(4));
        lag.may_have_grown(at(5));
        check("since the first doubt", 6, 6, 0, 2);
        lag.caught_up();
        check("over", 7, 6, 0, 0);
    }
}
