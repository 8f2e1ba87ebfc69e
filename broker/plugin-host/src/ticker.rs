//! The clock that interrupts plugins: a thread that raises the engine's epoch once a millisecond while plugins run.
//!
//! An epoch only makes the plugin look up; at each the callback of its store reads the thread's CPU time and the clock,
//! and decides. So the tick is the grain of the limits, not their measure, and a late tick makes a limit late, never
//! wrong. An OS thread, since a task starves when the runtime's workers are busy. While nothing has run for a while the
//! thread is parked and costs nothing.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use wasmtime::Engine;

/// A hundredth of the default CPU limit, and the least limit that can be set. Each tick costs a running plugin two
/// readings of clocks, about half a microsecond, so 0.05 % of its time; ten times finer would be felt, ten times
/// coarser would let a batch overrun by 10 %.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Ticks without a call before the thread parks. Parking costs the next call a wake-up of some microseconds, so it
/// takes a real pause.
const QUIET_TICKS: u32 = 100;

/// The running clock; stops when dropped.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Calls going on now.
    running: AtomicUsize,
    /// Calls begun since the start: short ones are over before a tick sees them in `running`.
    begun: AtomicU64,
    /// The thread is parked, or about to. Sequentially consistent with `begun`: either the thread sees the call, or the
    /// call sees this.
    parked: AtomicBool,
    stop: AtomicBool,
}

/// A call that goes on: while it lives the clock ticks.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl Ticker {
    pub(crate) fn start(engine: Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new().name("plugin-ticker".to_owned()).spawn(move || its.run(&engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// To be held around each call into a plugin.
    pub(crate) fn running(&self) -> Running<'_> {
        self.shared.running.fetch_add(1, SeqCst);
        self.shared.begun.fetch_add(1, SeqCst);
        if self.shared.parked.load(SeqCst) {
            self.unpark();
        }
        Running(&self.shared)
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        self.unpark();
        if let Some(thread) = self.thread.take() {
            // It runs nothing that can panic; and if it did there would be no one left to tell.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, engine: &Engine) {
        let (mut seen, mut quiet) = (0, 0);
        while !self.stop.load(SeqCst) {
            thread::park_timeout(TICK);
            engine.increment_epoch();
            if self.anything_since(&mut seen) {
                quiet = 0;
                continue;
            }
            quiet += 1;
            if quiet < QUIET_TICKS {
                continue;
            }
            self.parked.store(true, SeqCst);
            while !self.stop.load(SeqCst) && !self.anything_since(&mut seen) {
                thread::park();
            }
            self.parked.store(false, SeqCst);
            quiet = 0;
        }
    }

    fn anything_since(&self, seen: &mut u64) -> bool {
        let begun = self.begun.load(SeqCst);
        let before = std::mem::replace(seen, begun);
        begun != before || self.running.load(SeqCst) > 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn parks_when_nothing_runs_and_wakes_for_a_call() {
        let ticker = Ticker::start(crate::engine::compiling().unwrap()).unwrap();
        let becomes = |parked: bool| {
            let deadline = Instant::now() + Duration::from_secs(60);
            while ticker.shared.parked.load(SeqCst) != parked {
                assert!(Instant::now() < deadline, "parked is still {}", !parked);
                thread::yield_now();
            }
        };
        for _ in 0..3 {
            becomes(true);
            let running = ticker.running();
            becomes(false);
            drop(running);
        }
    }
}
