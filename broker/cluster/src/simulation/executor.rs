//! Virtual time on one thread: a heap of events ordered by (time, the order in which they were planned), and tasks that are
//! polled in the order in which they were woken. Nothing else decides what happens next.
//!
//! A task belongs to an [`Owner`], one life of one process. Killing an owner drops its tasks wherever they wait; freezing it
//! leaves them unpolled while time goes on, as a process that is stopped and continued later.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use super::sync::{Receiver, oneshot};

/// A life of a process. [`WORLD`] never dies.
pub(super) type Owner = u64;

/// Owns what belongs to nobody's process: clients, the nemesis.
pub(super) const WORLD: Owner = 0;

/// Polls and events within one moment before the run is taken for a loop that time can't leave.
const STEPS_PER_MOMENT_MAX: u32 = 50_000;

#[derive(Default)]
pub(super) struct Executor {
    now: Cell<i64>,
    planned: Cell<u64>,
    happened: Cell<u64>,
    events: RefCell<BinaryHeap<Event>>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    tasks_made: Cell<u64>,
    woken: Arc<Woken>,
    /// What waits for a frozen owner to go on.
    frozen: RefCell<BTreeMap<Owner, Vec<Waiting>>>,
    dead: RefCell<BTreeSet<Owner>>,
    stopped: Cell<bool>,
}

struct Event {
    at: i64,
    order: u64,
    run: Box<dyn FnOnce()>,
}

struct Task {
    owner: Owner,
    /// Taken out while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Waker,
}

enum Waiting {
    Task(u64),
    Arrival(Box<dyn FnOnce()>),
}

/// Tasks to poll, in order. Behind a lock because a `Waker` has to be `Send`; nobody ever waits for it.
#[derive(Default)]
struct Woken(Mutex<VecDeque<u64>>);

struct TaskWaker {
    task: u64,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.woken.push(self.task);
    }
}

impl Woken {
    fn push(&self, task: u64) {
        self.0.lock().expect("one thread").push_back(task);
    }

    fn pop(&self) -> Option<u64> {
        self.0.lock().expect("one thread").pop_front()
    }
}

impl Executor {
    /// Milliseconds since the run began.
    pub(super) fn now(&self) -> i64 {
        self.now.get()
    }

    /// Events so far.
    pub(super) fn happened(&self) -> u64 {
        self.happened.get()
    }

    /// Runs `run` in so many milliseconds, behind what was planned for that moment before.
    pub(super) fn after(&self, ms: i64, run: impl FnOnce() + 'static) {
        let order = self.planned.replace(self.planned.get() + 1);
        self.events.borrow_mut().push(Event { at: self.now() + ms.max(0), order, run: Box::new(run) });
    }

    /// Resolves in so many milliseconds.
    pub(super) fn sleep(&self, ms: i64) -> Receiver<()> {
        let (sender, receiver) = oneshot();
        self.after(ms, move || sender.send(()));
        receiver
    }

    /// Begins a task. One of a dead owner never runs.
    pub(super) fn spawn(&self, owner: Owner, future: impl Future<Output = ()> + 'static) {
        if self.dead.borrow().contains(&owner) {
            return;
        }
        let task = self.tasks_made.replace(self.tasks_made.get() + 1);
        let waker = Waker::from(Arc::new(TaskWaker { task, woken: Arc::clone(&self.woken) }));
        self.tasks.borrow_mut().insert(task, Task { owner, future: Some(Box::pin(future)), waker });
        self.woken.push(task);
    }

    /// Its tasks are gone, wherever they wait.
    pub(super) fn kill(&self, owner: Owner) {
        self.dead.borrow_mut().insert(owner);
        self.frozen.borrow_mut().remove(&owner);
        let gone: Vec<Task> =
            self.tasks.borrow_mut().extract_if(.., |_, task| task.owner == owner).map(|(_, t)| t).collect();
        // Outside the borrow: what a future drops may wake others.
        drop(gone);
    }

    pub(super) fn is_alive(&self, owner: Owner) -> bool {
        !self.dead.borrow().contains(&owner)
    }

    /// Its tasks are not polled until [`Executor::thaw`].
    pub(super) fn freeze(&self, owner: Owner) {
        self.frozen.borrow_mut().entry(owner).or_default();
    }

    pub(super) fn thaw(&self, owner: Owner) {
        let waiting = self.frozen.borrow_mut().remove(&owner).unwrap_or_default();
        for waiting in waiting {
            match waiting {
                Waiting::Task(task) => self.woken.push(task),
                Waiting::Arrival(run) => self.after(0, run),
            }
        }
    }

    /// Something reaches a process: handled at once, or when it goes on.
    pub(super) fn arrive(&self, owner: Owner, run: impl FnOnce() + 'static) {
        let mut frozen = self.frozen.borrow_mut();
        match frozen.get_mut(&owner) {
            Some(waiting) => waiting.push(Waiting::Arrival(Box::new(run))),
            None => {
                drop(frozen);
                run();
            }
        }
    }

    /// Nothing happens any more.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
    }

    /// Until that time, or until stopped.
    pub(super) fn run_until(&self, end: i64) {
        let mut steps = 0;
        while !self.stopped.get() {
            assert!(steps < STEPS_PER_MOMENT_MAX, "time stands still: tasks wake each other without end");
            steps += 1;
            if let Some(task) = self.woken.pop() {
                self.poll(task);
                continue;
            }
            let due = self.events.borrow().peek().is_some_and(|event| event.at <= end);
            let Some(event) = due.then(|| self.events.borrow_mut().pop()).flatten() else { break };
            if event.at > self.now() {
                (steps, _) = (0, self.now.set(event.at));
            }
            self.happened.set(self.happened.get() + 1);
            (event.run)();
        }
        self.now.set(end.max(self.now()));
    }

    /// Drops all tasks and events, which hold what holds this.
    pub(super) fn clear(&self) {
        self.stop();
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
        let events = std::mem::take(&mut *self.events.borrow_mut());
        drop(events);
    }

    fn poll(&self, id: u64) {
        let (mut future, waker) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = tasks.get_mut(&id) else { return };
            if let Some(parked) = self.frozen.borrow_mut().get_mut(&task.owner) {
                parked.push(Waiting::Task(id));
                return;
            }
            let Some(future) = task.future.take() else { return };
            (future, task.waker.clone())
        };
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let gone = {
            let mut tasks = self.tasks.borrow_mut();
            match polled {
                Poll::Ready(()) => tasks.remove(&id),
                Poll::Pending => {
                    // Gone if it killed its own owner.
                    if let Some(task) = tasks.get_mut(&id) {
                        task.future = Some(future);
                    }
                    None
                }
            }
        };
        drop(gone);
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    /// Backwards: the heap gives its greatest, and the next event is the earliest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_of_planning() {
        let (executor, seen) = fixture();
        for (ms, name) in [(5, "c"), (1, "a"), (5, "d"), (2, "b")] {
            let seen = Rc::clone(&seen);
            executor.after(ms, move || seen.borrow_mut().push(name));
        }
        executor.run_until(4);
        assert_eq!((*seen.borrow()).join(""), "ab");
        executor.run_until(9);
        assert_eq!(((*seen.borrow()).join(""), executor.now()), ("abcd".to_owned(), 9));
    }

    #[test]
    fn a_frozen_process_goes_on_late_and_a_dead_one_never() {
        let (executor, seen) = fixture();
        for (owner, name) in [(1, "frozen"), (2, "dead"), (3, "alive")] {
            let (seen, woken) = (Rc::clone(&seen), executor.sleep(5));
            executor.spawn(owner, async move {
                woken.await;
                seen.borrow_mut().push(name);
            });
        }
        executor.run_until(1);
        executor.freeze(1);
        executor.kill(2);
        executor.run_until(10);
        assert_eq!(*seen.borrow(), ["alive"]);
        executor.thaw(1);
        executor.run_until(10);
        assert_eq!(*seen.borrow(), ["alive", "frozen"]);
        assert!(!executor.is_alive(2) && executor.is_alive(1));
    }

    fn fixture() -> (Rc<Executor>, Rc<RefCell<Vec<&'static str>>>) {
        (Rc::default(), Rc::default())
    }
}
