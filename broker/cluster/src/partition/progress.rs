//! How far one follower is, as its leader knows it: from its fetches in this reign and from nothing else.

use super::FollowerFetch;

/// A follower, seen from its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Its log end; [`UNKNOWN`] until it fetched in this reign.
    pub(super) log_end: i64,
    /// What it counts as stored.
    pub(super) durable: i64,
    /// The life of it that fetched last.
    pub(super) broker_epoch: Option<i64>,
    /// When it last had, durably, all that the leader had at that moment.
    pub(super) last_caught_up_ms: i64,
    /// The same, for those who watch and for no decision: it outlives the ISR's doubts. Of a replica that never had all in this
    /// reign, since when it is waited for; nothing until it is looked at.
    pub(super) behind_since_ms: Option<i64>,
    /// The leader's log end at some fetch, and when that was: once the follower has that much durable, it was caught up then.
    /// The next mark is set when this one is reached, not at every fetch: what is fetched becomes durable some fetches later, and
    /// under a steady load a mark that moves with every fetch is never reached.
    mark: Option<(i64, i64)>,
    /// Its broker serves in the life that fetched, and it keeps up: the high watermark waits for it, else it could run after
    /// it for ever and never join.
    pub(super) joining: bool,
}

/// The end of a log that has not been heard of in this reign.
pub(super) const UNKNOWN: i64 = -1;

impl Progress {
    /// At the beginning of a reign. A member of the ISR gets the whole of `replica.lag.time.max.ms` to be heard of.
    pub(super) fn unheard(is_in_sync: bool, now_ms: i64) -> Self {
        Self {
            log_end: UNKNOWN,
            durable: UNKNOWN,
            broker_epoch: None,
            last_caught_up_ms: if is_in_sync { now_ms } else { i64::MIN },
            behind_since_ms: None,
            mark: None,
            joining: false,
        }
    }

    /// It fetched. What it says replaces what was known, also where that was more: a new life of it may have lost some.
    pub(super) fn on_fetch(&mut self, fetch: &FollowerFetch, leader_log_end: i64, now_ms: i64) {
        if self.broker_epoch.is_some_and(|known| known != fetch.broker_epoch) {
            (self.mark, self.joining) = (None, false);
        }
        self.broker_epoch = Some(fetch.broker_epoch);
        self.log_end = fetch.fetch_offset;
        // More stored than there is cannot be: a follower that says so does not count for more.
        self.durable = fetch.durable.min(fetch.fetch_offset);
        if let Some((_, at_ms)) = self.mark.filter(|(offset, _)| self.durable >= *offset) {
            self.last_caught_up_ms = self.last_caught_up_ms.max(at_ms);
            self.mark = None;
        }
        if self.durable >= leader_log_end {
            self.last_caught_up_ms = self.last_caught_up_ms.max(now_ms);
        }
        self.wait_since(now_ms);
        self.mark.get_or_insert((leader_log_end, now_ms));
    }

    /// It is waited for from now on, if it was not before, or has caught up since.
    pub(super) fn wait_since(&mut self, now_ms: i64) {
        let since = self.behind_since_ms.get_or_insert(now_ms);
        *since = (*since).max(self.last_caught_up_ms);
    }

    /// Nothing is known of it until it fetches again; that an earlier life of it is over stays known.
    pub(super) fn forget(&mut self) {
        let Self { broker_epoch, behind_since_ms, .. } = *self;
        *self = Self { broker_epoch, behind_since_ms, ..Self::unheard(false, 0) };
    }

    /// Whether it has all there is, or had it not long ago.
    pub(super) fn is_caught_up(&self, leader_log_end: i64, now_ms: i64, lag_time_max_ms: i64) -> bool {
        self.durable >= leader_log_end || now_ms.saturating_sub(self.last_caught_up_ms) <= lag_time_max_ms
    }
}
