//! The memory that requests take between the socket and the service: read buffers, and one budget over all connections.
//!
//! A [`Buffer`] is charged for its whole capacity when it is handed out, and gives the charge back when the last slice
//! of it is dropped, wherever that slice went: the charge follows the memory and not the request. When the budget is
//! spent, readers wait their turn; nothing is refused and nobody is disconnected for it.
//!
//! Waiting alone could end in everybody holding half a frame and nobody able to finish one. So one reader at a time,
//! in the middle of a frame, may go into overdraft to finish that frame. The true bound is therefore the budget and
//! one frame of `socket.request.max.bytes`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Capacities of buffers. The smallest fits nearly every request that carries no records, the largest is where bigger
/// reads stop saving system calls that matter (a 64 KiB read costs 0.30 ns/B, a 1 MiB one 0.38).
pub(super) const CAPACITIES: [usize; 4] = [4 << 10, 16 << 10, 64 << 10, 256 << 10];

/// The largest buffer, and so the least a budget can be and still hand one out.
pub(super) const CAPACITY_MAX: usize = CAPACITIES[CAPACITIES.len() - 1];

/// Unused buffers kept for the next reader, per capacity: enough that a busy broker does not go to the allocator, and
/// zero the memory again, for each request. They are in addition to the budget.
const FREE_BYTES_MAX: usize = 4 << 20;

/// All read buffers of the broker.
#[derive(Debug)]
pub(crate) struct NetworkMemory {
    budget: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
    waiting: AtomicUsize,
    free: [Mutex<Vec<Box<[u8]>>>; CAPACITIES.len()],
}

impl NetworkMemory {
    /// Memory of `bytes` in all, at least one buffer of the largest capacity.
    pub(crate) fn new(bytes: usize) -> Arc<Self> {
        let bytes = bytes.clamp(CAPACITY_MAX, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            budget: Arc::new(Semaphore::new(bytes)),
            overdraft: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
            free: Default::default(),
        })
    }

    /// Permission for a buffer of at least `wanted` bytes (at most [`CAPACITY_MAX`]), if the budget has it now.
    pub(super) fn try_grant(&self, wanted: usize) -> Option<Grant> {
        let class = class_of(wanted);
        let permit = Arc::clone(&self.budget).try_acquire_many_owned(permits(class)).ok()?;
        Some(Grant { class, hold: Hold::Budget(permit) })
    }

    /// As [`Self::try_grant`], but waits. With `mid_frame` the grant may be the overdraft instead, of which there is one.
    pub(super) async fn grant(self: Arc<Self>, wanted: usize, mid_frame: bool) -> Grant {
        let class = class_of(wanted);
        let _waiting = Waiting::new(&self.waiting);
        // The semaphores are never closed, so that acquiring cannot fail.
        tokio::select! {
            biased;
            Ok(permit) = Arc::clone(&self.budget).acquire_many_owned(permits(class)) => Grant { class, hold: Hold::Budget(permit) },
            Ok(token) = Arc::clone(&self.overdraft).acquire_owned(), if mid_frame => Grant { class, hold: Hold::Overdraft(Arc::new(token)) },
        }
    }

    /// Permission under an overdraft that the caller already has.
    pub(super) fn grant_overdraft(&self, wanted: usize, token: &Arc<OwnedSemaphorePermit>) -> Grant {
        Grant { class: class_of(wanted), hold: Hold::Overdraft(Arc::clone(token)) }
    }

    /// Turns a permission into a buffer.
    pub(super) fn buffer(self: &Arc<Self>, grant: Grant) -> Buffer {
        let Grant { class, hold } = grant;
        let bytes = self.take_free(class);
        Buffer { bytes, class, filled: 0, hold, memory: Arc::clone(self) }
    }

    /// Runs `work` with a scratch buffer that is not charged, because it does not outlive the call: file parts pass
    /// through it on their way to the socket.
    pub(super) fn with_scratch<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut bytes = self.take_free(SCRATCH_CLASS);
        let out = work(&mut bytes);
        self.put_free(SCRATCH_CLASS, bytes);
        out
    }

    /// Whether somebody waits for memory.
    pub(super) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Bytes of the budget that are not handed out.
    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.budget.available_permits()
    }

    fn take_free(&self, class: usize) -> Box<[u8]> {
        let kept = self.free[class].lock().pop();
        kept.unwrap_or_else(|| vec![0; CAPACITIES[class]].into_boxed_slice())
    }

    fn put_free(&self, class: usize, bytes: Box<[u8]>) {
        let mut free = self.free[class].lock();
        if (free.len() + 1) * CAPACITIES[class] <= FREE_BYTES_MAX {
            free.push(bytes);
        }
    }
}

/// Scratch buffers have 64 KiB: what rustls buffers of one write, and a write that a socket usually takes whole.
const SCRATCH_CLASS: usize = 2;

/// Permission to hold one buffer.
#[derive(Debug)]
pub(super) struct Grant {
    class: usize,
    hold: Hold,
}

impl Grant {
    /// The overdraft's token, if that is what was granted.
    pub(super) fn overdraft(&self) -> Option<Arc<OwnedSemaphorePermit>> {
        match &self.hold {
            Hold::Budget(_) => None,
            Hold::Overdraft(token) => Some(Arc::clone(token)),
        }
    }
}

/// What a buffer's memory is charged to. Held only to be dropped.
#[derive(Debug)]
enum Hold {
    Budget(#[expect(dead_code, reason = "gives the charge back when dropped")] OwnedSemaphorePermit),
    Overdraft(Arc<OwnedSemaphorePermit>),
}

/// A charged buffer that fills from the front. `Bytes::from_owner` makes the filled part a byte string that can be shared.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    class: usize,
    filled: usize,
    #[expect(dead_code, reason = "gives the charge back when dropped")]
    hold: Hold,
    memory: Arc<NetworkMemory>,
}

impl Buffer {
    /// The bytes that have arrived.
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// The room that is left.
    pub(super) fn unfilled(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// `n` more bytes have arrived in [`Self::unfilled`].
    pub(super) fn advance(&mut self, n: usize) {
        assert!(n <= self.bytes.len() - self.filled, "a read cannot fill more than the room there was");
        self.filled += n;
    }

    /// Whether no room is left.
    pub(super) fn is_full(&self) -> bool {
        self.filled == self.bytes.len()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.filled()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.put_free(self.class, std::mem::take(&mut self.bytes));
    }
}

/// Counts one waiter for as long as it lives, so that a wait that is given up is not counted for ever.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The smallest class that holds `wanted`; the largest if none does.
fn class_of(wanted: usize) -> usize {
    CAPACITIES.iter().position(|&capacity| capacity >= wanted).unwrap_or(CAPACITIES.len() - 1)
}

fn permits(class: usize) -> u32 {
    u32::try_from(CAPACITIES[class]).expect("capacities are far below 4 GiB")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_slice_keeps_the_charge_until_it_is_dropped() {
        let memory = NetworkMemory::new(1 << 20);
        let mut buffer = memory.buffer(memory.try_grant(5000).expect("the budget is untouched"));
        buffer.unfilled()[..3].copy_from_slice(b"abc");
        buffer.advance(3);
        assert_eq!(memory.available(), (1 << 20) - (16 << 10), "charged for its capacity");
        let bytes = Bytes::from_owner(buffer);
        let slice = bytes.slice(1..2);
        drop(bytes);
        assert_eq!(memory.available(), (1 << 20) - (16 << 10), "a slice is still out there");
        drop(slice);
        assert_eq!(memory.available(), 1 << 20);
    }

    #[tokio::test]
    async fn one_reader_at_a_time_goes_into_overdraft_and_only_within_a_frame() {
        let memory = NetworkMemory::new(CAPACITY_MAX);
        let all = memory.buffer(memory.try_grant(CAPACITY_MAX).expect("the budget is untouched"));
        assert!(memory.try_grant(1).is_none(), "nothing is left");

        let mut between_frames = Box::pin(Arc::clone(&memory).grant(1, false));
        let mut second_frame = Box::pin(Arc::clone(&memory).grant(1, true));
        let first = Arc::clone(&memory).grant(1, true).await;
        assert!(first.overdraft().is_some(), "in the middle of a frame: granted although nothing is left");
        assert!(futures::poll!(&mut between_frames).is_pending(), "between frames: waits");
        assert!(futures::poll!(&mut second_frame).is_pending(), "the overdraft is taken: waits");
        assert!(memory.is_short());

        drop(first);
        assert!(second_frame.await.overdraft().is_some(), "the overdraft came back");
        drop(all);
        assert!(between_frames.await.overdraft().is_none(), "the budget came back");
        assert!(!memory.is_short());
    }
}
