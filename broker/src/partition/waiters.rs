//! Who waits on a partition's high watermark: producers for an offset, fetches for bytes.
//!
//! A producer's answer waits until the high watermark has passed its last record. It waits within one reign: when the leader is
//! deposed everybody is told at once, because behind the same offset another record may stand by the time it is committed. A
//! fetch waits until enough bytes lie below the high watermark, over all the partitions it asked for; it hangs on each of them
//! and is woken once. Nobody polls, and an append that satisfies nobody wakes nobody.
//!
//! Owned by [`super::Partition`], behind its own short lock, which is never held while waiting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// One waiting fetch, hung on every partition it reads.
#[derive(Debug)]
pub(crate) struct FetchWaiter {
    /// Bytes that still have to come under some high watermark before it is worth reading again.
    missing: AtomicI64,
    woken: AtomicBool,
    notify: Notify,
}

impl FetchWaiter {
    /// A fetch that wants `missing` more bytes. None or fewer means the next byte wakes it.
    pub(crate) fn new(missing: usize) -> Arc<Self> {
        let missing = i64::try_from(missing).unwrap_or(i64::MAX).max(1);
        Arc::new(Self { missing: AtomicI64::new(missing), woken: AtomicBool::new(false), notify: Notify::new() })
    }

    /// Returns once enough bytes came, or a partition it hangs on changed under it.
    pub(crate) async fn satisfied(&self) {
        self.notify.notified().await;
    }

    fn gained(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if bytes > 0 && self.missing.fetch_sub(bytes, Ordering::AcqRel) <= bytes {
            self.wake();
        }
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }
}

/// Why a producer's wait ended without its records being committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotCommitted {
    #[error("the log directory failed before the records were durable")]
    Storage,
    #[error("the partition was taken away")]
    Gone,
    #[error("another broker leads the partition, or this one in a later epoch")]
    Deposed,
    #[error("too few replicas are left in sync to acknowledge what was appended")]
    NotEnoughReplicas,
}

/// Appends above the high watermark that are told apart. While too few replicas are in sync it stands still, and producers that
/// do not wait for it go on: from here on they are counted with the newest.
const UNCOMMITTED_MAX: usize = 4_096;

/// The waiters of one partition and the bytes that have come below its high watermark.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    high_watermark: i64,
    /// Bytes below the high watermark since this process opened the log: a clock that fetches measure by.
    committed_bytes: u64,
    /// Appends above the high watermark: their end offset and their size.
    uncommitted: BTreeMap<i64, u64>,
    producers: BTreeMap<i64, Vec<oneshot::Sender<Result<(), NotCommitted>>>>,
    fetches: Vec<HungFetch>,
    /// The leader epoch of the reign under way; `None` while this broker follows.
    reign: Option<i32>,
    /// The ISR is below `min.insync.replicas`: nothing is committed until it grows.
    too_few: bool,
    ended: Option<NotCommitted>,
}

#[derive(Debug)]
struct HungFetch {
    waiter: Arc<FetchWaiter>,
    /// What `committed_bytes` was when this fetch last counted.
    counted: u64,
}

/// Where a partition's byte clock stood; a fetch takes it before it reads, so that nothing is missed between read and wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByteClock(u64);

impl Waiters {
    pub(crate) fn new(high_watermark: i64) -> Self {
        Self { inner: Mutex::new(Inner { high_watermark, ..Inner::default() }) }
    }

    /// A reign begins, or with `None` this broker follows: nobody who waits in an earlier reign is answered by this one. Waiting
    /// fetches look again.
    pub(super) fn reign(&self, leader_epoch: Option<i32>) {
        let mut inner = self.inner.lock();
        if inner.reign == leader_epoch {
            return;
        }
        inner.reign = leader_epoch;
        inner.too_few = false;
        inner.fail_producers(NotCommitted::Deposed);
        for hung in std::mem::take(&mut inner.fetches) {
            hung.waiter.wake();
        }
    }

    /// The ISR fell below `min.insync.replicas`, or grew again. Who waits is told at once: the records are in the log, and may yet
    /// be committed, as Kafka's NOT_ENOUGH_REPLICAS_AFTER_APPEND says.
    pub(super) fn too_few(&self, too_few: bool) {
        let mut inner = self.inner.lock();
        inner.too_few = too_few;
        if too_few {
            inner.fail_producers(NotCommitted::NotEnoughReplicas);
        }
    }

    /// The log was cut at `log_end`: what was above it will not be committed. The high watermark is given anew, for it was cut
    /// too if the leader was chosen uncleanly.
    pub(super) fn truncated(&self, log_end: i64, high_watermark: i64) {
        let mut inner = self.inner.lock();
        inner.uncommitted.split_off(&(log_end + 1));
        inner.high_watermark = high_watermark;
    }

    /// Records that an append ends at `log_end` and added `bytes`.
    pub(crate) fn appended(&self, log_end: i64, bytes: u64) {
        let mut inner = self.inner.lock();
        if log_end > inner.high_watermark {
            inner.note_uncommitted(log_end, bytes);
        } else {
            // The high watermark overtook the append before it was noted here: its bytes are committed already.
            inner.committed_bytes += bytes;
            inner.wake_fetches();
        }
    }

    /// The high watermark rose: answers what it satisfies.
    pub(crate) fn advanced(&self, high_watermark: i64) {
        let mut inner = self.inner.lock();
        if high_watermark <= inner.high_watermark {
            return;
        }
        inner.high_watermark = high_watermark;
        let still = inner.uncommitted.split_off(&(high_watermark + 1));
        let passed = std::mem::replace(&mut inner.uncommitted, still);
        inner.committed_bytes += passed.values().sum::<u64>();
        let still = inner.producers.split_off(&(high_watermark + 1));
        for waiting in std::mem::replace(&mut inner.producers, still).into_values().flatten() {
            // A producer that hung up no longer wants to know.
            let _ = waiting.send(Ok(()));
        }
        inner.wake_fetches();
    }

    /// Ends every wait: nothing will be committed here any more.
    pub(crate) fn end(&self, why: NotCommitted) {
        let mut inner = self.inner.lock();
        inner.ended = Some(why);
        inner.fail_producers(why);
        for hung in std::mem::take(&mut inner.fetches) {
            hung.waiter.wake();
        }
    }

    /// Why nothing will be committed here any more, if that is so.
    pub(crate) fn ended(&self) -> Option<NotCommitted> {
        self.inner.lock().ended
    }

    /// Waits until the high watermark reaches `offset`, within the reign of `leader_epoch`, in which the offset was given.
    pub(crate) fn committed(&self, offset: i64, leader_epoch: i32) -> oneshot::Receiver<Result<(), NotCommitted>> {
        let (answer, waiting) = oneshot::channel();
        let mut inner = self.inner.lock();
        let now = match inner.ended {
            _ if inner.reign != Some(leader_epoch) => Err(inner.ended.unwrap_or(NotCommitted::Deposed)),
            _ if offset <= inner.high_watermark => Ok(()),
            Some(why) => Err(why),
            None if inner.too_few => Err(NotCommitted::NotEnoughReplicas),
            None => {
                inner.producers.entry(offset).or_default().push(answer);
                return waiting;
            }
        };
        // The receiver is in our hands, so this cannot fail.
        let _ = answer.send(now);
        waiting
    }

    /// Where the byte clock stands.
    pub(crate) fn byte_clock(&self) -> ByteClock {
        ByteClock(self.inner.lock().committed_bytes)
    }

    /// Hangs a fetch here. What came since `since` counts at once.
    pub(crate) fn hang(&self, waiter: &Arc<FetchWaiter>, since: ByteClock) {
        let mut inner = self.inner.lock();
        if inner.ended.is_some() {
            waiter.wake();
            return;
        }
        waiter.gained(inner.committed_bytes - since.0);
        let counted = inner.committed_bytes;
        inner.fetches.push(HungFetch { waiter: Arc::clone(waiter), counted });
    }

    /// Takes a fetch down again: it was answered or its client left.
    pub(crate) fn take_down(&self, waiter: &Arc<FetchWaiter>) {
        self.inner.lock().fetches.retain(|hung| !Arc::ptr_eq(&hung.waiter, waiter));
    }
}

impl Inner {
    fn note_uncommitted(&mut self, log_end: i64, bytes: u64) {
        let joined = match self.uncommitted.len() < UNCOMMITTED_MAX {
            true => None,
            false => self.uncommitted.pop_last(),
        };
        let (end, before) = joined.unwrap_or_default();
        *self.uncommitted.entry(log_end.max(end)).or_default() += bytes + before;
    }

    fn fail_producers(&mut self, why: NotCommitted) {
        for waiting in std::mem::take(&mut self.producers).into_values().flatten() {
            // A producer that hung up no longer wants to know.
            let _ = waiting.send(Err(why));
        }
    }

    fn wake_fetches(&mut self) {
        let now = self.committed_bytes;
        self.fetches.retain_mut(|hung| {
            hung.waiter.gained(now - hung.counted);
            hung.counted = now;
            !hung.waiter.is_woken()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: i32 = 7;

    fn led() -> Waiters {
        let waiters = Waiters::new(0);
        waiters.reign(Some(EPOCH));
        waiters
    }

    fn answered(waiting: &mut oneshot::Receiver<Result<(), NotCommitted>>) -> Option<Result<(), NotCommitted>> {
        waiting.try_recv().ok()
    }

    #[test]
    fn a_producer_is_answered_when_the_high_watermark_passes_its_records() {
        let waiters = led();
        waiters.appended(3, 100);
        waiters.appended(5, 100);
        let (mut first, mut second) = (waiters.committed(3, EPOCH), waiters.committed(5, EPOCH));
        waiters.advanced(2);
        assert_eq!(answered(&mut first), None, "below its last record");
        waiters.advanced(3);
        assert_eq!(answered(&mut first), Some(Ok(())));
        assert_eq!(answered(&mut second), None);
        waiters.advanced(5);
        assert_eq!(answered(&mut second), Some(Ok(())));
        assert_eq!(answered(&mut waiters.committed(4, EPOCH)), Some(Ok(())), "already passed");
    }

    #[test]
    fn appends_that_are_never_committed_do_not_pile_up() {
        let waiters = led();
        let many = UNCOMMITTED_MAX as i64 + 100;
        for end in 1..=many {
            waiters.appended(end, 10);
        }
        assert_eq!(waiters.inner.lock().uncommitted.len(), UNCOMMITTED_MAX);
        waiters.advanced(many - 1);
        assert_eq!(waiters.byte_clock().0, (UNCOMMITTED_MAX as u64 - 1) * 10, "the newest are counted together");
        waiters.advanced(many);
        assert_eq!(waiters.byte_clock().0, many.unsigned_abs() * 10, "and none is forgotten");
    }

    #[test]
    fn a_failed_disk_answers_all_who_wait_and_all_who_come() {
        let waiters = led();
        waiters.appended(3, 100);
        let mut waiting = waiters.committed(3, EPOCH);
        waiters.end(NotCommitted::Storage);
        assert_eq!(answered(&mut waiting), Some(Err(NotCommitted::Storage)));
        assert_eq!(answered(&mut waiters.committed(3, EPOCH)), Some(Err(NotCommitted::Storage)));
        assert_eq!(answered(&mut waiters.committed(0, EPOCH)), Some(Ok(())), "what was committed stays so");
    }

    #[test]
    fn a_deposed_leader_tells_its_producers_at_once() {
        let waiters = led();
        waiters.appended(3, 100);
        let mut waiting = waiters.committed(3, EPOCH);
        waiters.reign(None);
        assert_eq!(answered(&mut waiting), Some(Err(NotCommitted::Deposed)));
        waiters.advanced(3);
        assert_eq!(
            answered(&mut waiters.committed(3, EPOCH)),
            Some(Err(NotCommitted::Deposed)),
            "what stands below the high watermark by now may be another's"
        );
        waiters.reign(Some(EPOCH + 1));
        assert_eq!(answered(&mut waiters.committed(3, EPOCH)), Some(Err(NotCommitted::Deposed)), "a later reign");
    }

    #[test]
    fn an_isr_that_is_too_small_tells_those_who_wait() {
        let waiters = led();
        waiters.appended(3, 100);
        let mut waiting = waiters.committed(3, EPOCH);
        waiters.too_few(true);
        assert_eq!(answered(&mut waiting), Some(Err(NotCommitted::NotEnoughReplicas)));
        assert_eq!(answered(&mut waiters.committed(3, EPOCH)), Some(Err(NotCommitted::NotEnoughReplicas)));
        waiters.too_few(false);
        let mut waiting = waiters.committed(3, EPOCH);
        waiters.advanced(3);
        assert_eq!(answered(&mut waiting), Some(Ok(())));
    }

    #[test]
    fn what_was_cut_is_not_counted_when_the_high_watermark_passes_it() {
        let waiters = Waiters::new(0);
        let fetch = FetchWaiter::new(150);
        waiters.hang(&fetch, waiters.byte_clock());
        waiters.appended(1, 100);
        waiters.appended(2, 100);
        waiters.truncated(1, 0);
        waiters.advanced(1);
        assert!(!fetch.is_woken(), "100 of 150 bytes");
    }

    #[test]
    fn a_fetch_wakes_once_its_bytes_are_below_the_high_watermark() {
        let waiters = Waiters::new(0);
        let fetch = FetchWaiter::new(150);
        waiters.hang(&fetch, waiters.byte_clock());
        waiters.appended(1, 100);
        waiters.appended(2, 100);
        waiters.advanced(1);
        assert!(!fetch.is_woken(), "100 of 150 bytes");
        waiters.advanced(2);
        assert!(fetch.is_woken());
    }

    #[test]
    fn a_fetch_counts_bytes_over_its_partitions() {
        let (a, b) = (Waiters::new(0), Waiters::new(0));
        let fetch = FetchWaiter::new(150);
        a.hang(&fetch, a.byte_clock());
        b.hang(&fetch, b.byte_clock());
        a.appended(1, 100);
        a.advanced(1);
        assert!(!fetch.is_woken());
        b.appended(1, 60);
        b.advanced(1);
        assert!(fetch.is_woken());
    }

    #[test]
    fn what_came_between_read_and_wait_is_not_missed() {
        let waiters = Waiters::new(0);
        let before_reading = waiters.byte_clock();
        waiters.appended(1, 100);
        waiters.advanced(1);
        let fetch = FetchWaiter::new(1);
        waiters.hang(&fetch, before_reading);
        assert!(fetch.is_woken());
    }

    #[test]
    fn an_append_noted_after_its_commit_still_counts() {
        let waiters = Waiters::new(0);
        let fetch = FetchWaiter::new(1);
        waiters.hang(&fetch, waiters.byte_clock());
        waiters.advanced(1);
        waiters.appended(1, 100);
        assert!(fetch.is_woken());
    }

    #[test]
    fn a_fetch_taken_down_is_forgotten() {
        let waiters = Waiters::new(0);
        let fetch = FetchWaiter::new(1);
        waiters.hang(&fetch, waiters.byte_clock());
        waiters.take_down(&fetch);
        waiters.appended(1, 100);
        waiters.advanced(1);
        assert!(!fetch.is_woken());
    }
}
