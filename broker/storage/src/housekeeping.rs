//! What a log directory does by itself: writes down recovery points, and syncs logs whose writers do not ask for it.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::dir_state::DirState;
use crate::flusher::{Flusher, join_all};

/// Checkpoints between two background syncs of everything written: with `sluice.flush.mode=os` nobody waits for the disk, but
/// what a crash makes recovery scan has to stay bounded, and the page cache would write it out within as long anyway.
const CHECKPOINTS_PER_SYNC: u32 = 3;

/// The thread; stopped and joined when dropped.
#[derive(Debug)]
pub(crate) struct Housekeeping {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeping {
    pub(crate) fn start(dir: Arc<DirState>, flusher: Flusher, every: Duration) -> io::Result<Self> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let thread = thread::Builder::new().name("sluice-checkpoint".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || run(&dir, &flusher, every, &stop)
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        *self.stop.0.lock() = true;
        self.stop.1.notify_all();
        join_all(self.thread.take().into_iter());
    }
}

fn run(dir: &DirState, flusher: &Flusher, every: Duration, stop: &(Mutex<bool>, Condvar)) {
    let mut checkpoints = 0u32;
    loop {
        let mut stopped = stop.0.lock();
        if !*stopped {
            stop.1.wait_for(&mut stopped, every);
        }
        if *stopped {
            return;
        }
        drop(stopped);
        checkpoints = checkpoints.wrapping_add(1);
        if checkpoints.is_multiple_of(CHECKPOINTS_PER_SYNC) {
            for log in dir.open_logs() {
                if log.is_behind() {
                    flusher.request_unattended(&log);
                }
            }
        }
        if let Err(failed) = dir.sweep_doomed().and_then(|()| dir.checkpoint()) {
            // Said once by whoever failed it; there is nothing left to look after.
            tracing::debug!(error = %failed, "housekeeping ends");
            return;
        }
    }
}
