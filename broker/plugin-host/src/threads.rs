//! The plugin threads: a fixed number of them, and a bounded queue before them. Plugins never run on the broker's own
//! workers.
//!
//! The queue is shared fairly between bindings: one of them may hold all threads but one, and half of the places. So a
//! plugin that loops until its deadline, batch after batch, slows its own binding and leaves a thread to the others.

use std::{
    collections::{HashMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
};

use parking_lot::{Condvar, Mutex};

use crate::observer::BindingName;

/// A plugin thread's stack: what Wasm may use (512 KiB, see the engine), and as much again and more for the host's own
/// calls above and below it.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// The queue is full, for all or for this binding: the batch is not taken, and the job has not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue before the plugin threads is full")]
pub struct QueueFull;

type Job = Box<dyn FnOnce() + Send>;

/// The threads; stop when dropped, each after its present job. Jobs that still wait are dropped unrun.
#[derive(Debug)]
pub(crate) struct Threads {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Threads that one binding may hold.
    running_max: usize,
    waiting_max: usize,
    /// Places that one binding may hold.
    waiting_max_each: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(BindingName, Job)>,
    /// Of bindings that have any.
    shares: HashMap<BindingName, Share>,
    closed: bool,
}

/// What a binding holds now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Share {
    waiting: usize,
    running: usize,
}

impl Threads {
    pub(crate) fn start(threads: usize, queue: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            changed: Condvar::new(),
            running_max: threads.saturating_sub(1).max(1),
            waiting_max: queue,
            waiting_max_each: queue.div_ceil(2),
        });
        // Built before it is filled, so that threads already there are stopped if one more cannot be had.
        let mut all = Self { shared, threads: Vec::with_capacity(threads) };
        for n in 0..threads {
            let its = Arc::clone(&all.shared);
            let thread =
                thread::Builder::new().name(format!("plugin-{n}")).stack_size(STACK_BYTES).spawn(move || its.run())?;
            all.threads.push(thread);
        }
        Ok(all)
    }

    pub(crate) fn submit(&self, binding: &BindingName, job: Job) -> Result<(), QueueFull> {
        let mut queue = self.shared.queue.lock();
        let waiting = queue.shares.get(binding).map_or(0, |share| share.waiting);
        if queue.waiting.len() >= self.shared.waiting_max || waiting >= self.shared.waiting_max_each {
            return Err(QueueFull);
        }
        queue.shares.entry(binding.clone()).or_default().waiting += 1;
        queue.waiting.push_back((binding.clone(), job));
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }

    pub(crate) fn waiting(&self) -> usize {
        self.shared.queue.lock().waiting.len()
    }

    pub(crate) fn len(&self) -> usize {
        self.threads.len()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let unrun = {
            let mut queue = self.shared.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.waiting)
        };
        self.shared.changed.notify_all();
        // Outside the lock: what a job holds may do anything when it goes.
        drop(unrun);
        for thread in self.threads.drain(..) {
            // The last handle may go inside a job; that thread then ends by itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a plugin thread panicked");
            }
        }
    }
}

impl Shared {
    fn run(&self) {
        while let Some((binding, job)) = self.next() {
            // A panic here is a bug of ours, not the plugin's: it costs the job, not the thread.
            if catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!(%binding, "a job on a plugin thread panicked");
            }
            self.done(&binding);
        }
    }

    /// The first job whose binding may run one more; `None` once the threads are to end.
    fn next(&self) -> Option<(BindingName, Job)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            let may_run = |name: &BindingName, queue: &Queue| {
                queue.shares.get(name).is_none_or(|share| share.running < self.running_max)
            };
            let found = queue.waiting.iter().position(|(binding, _)| may_run(binding, &queue));
            if let Some((binding, job)) = found.and_then(|at| queue.waiting.remove(at)) {
                let share = queue.shares.entry(binding.clone()).or_default();
                share.waiting = share.waiting.saturating_sub(1);
                share.running += 1;
                return Some((binding, job));
            }
            self.changed.wait(&mut queue);
        }
    }

    fn done(&self, binding: &BindingName) {
        let mut queue = self.queue.lock();
        if let Some(share) = queue.shares.get_mut(binding) {
            share.running = share.running.saturating_sub(1);
            if *share == Share::default() {
                queue.shares.remove(binding);
            }
        }
        // This thread takes one job next; with its share given back another thread may find one too.
        if !queue.waiting.is_empty() {
            self.changed.notify_one();
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.waiting.len()).field("shares", &self.shares).finish()
    }
}
