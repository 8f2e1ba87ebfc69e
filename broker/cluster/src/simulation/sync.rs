//! What tasks of one thread wait for: a value once ([`oneshot`]), a change ([`Signal`]), the first of two ([`race`]).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A value that comes once, or never.
pub(super) fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Rc::new(Slot { value: RefCell::new(None), closed: Cell::new(false), waker: RefCell::new(None) });
    (Sender(Rc::clone(&slot)), Receiver(slot))
}

pub(super) struct Sender<T>(Rc<Slot<T>>);

/// Resolves to the value, or to nothing once the sender is gone.
pub(super) struct Receiver<T>(Rc<Slot<T>>);

struct Slot<T> {
    value: RefCell<Option<T>>,
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Sender<T> {
    pub(super) fn send(self, value: T) {
        *self.0.value.borrow_mut() = Some(value);
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.closed.set(true);
        let waker = self.0.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let value = self.0.value.borrow_mut().take();
        if value.is_some() || self.0.closed.get() {
            return Poll::Ready(value);
        }
        *self.0.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Something that changes, counted: who waits says which change it has seen, so that none is missed.
#[derive(Default)]
pub(super) struct Signal {
    changes: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    pub(super) fn seen(&self) -> u64 {
        self.changes.get()
    }

    pub(super) fn raise(&self) {
        self.changes.set(self.changes.get() + 1);
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Until there was a change after the one seen.
    pub(super) async fn after(&self, seen: u64) {
        poll_fn(|context| {
            if self.changes.get() > seen {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Which of two came first.
pub(super) enum First<A, B> {
    Left(A),
    Right(B),
}

/// The first of two; the left one if both are there.
pub(super) async fn race<A, B>(left: impl Future<Output = A>, right: impl Future<Output = B>) -> First<A, B> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(|context| {
        if let Poll::Ready(value) = left.as_mut().poll(context) {
            return Poll::Ready(First::Left(value));
        }
        right.as_mut().poll(context).map(First::Right)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::super::executor::{Executor, WORLD};
    use super::*;

    #[test]
    fn a_sender_that_is_dropped_ends_the_wait() {
        let executor = Executor::default();
        let outcomes: Rc<RefCell<Vec<Option<u8>>>> = Rc::default();
        let ((sent, first), (dropped, second)) = (oneshot(), oneshot());
        for receiver in [second, first] {
            let outcomes = Rc::clone(&outcomes);
            executor.spawn(WORLD, async move {
                let outcome = receiver.await;
                outcomes.borrow_mut().push(outcome);
            });
        }
        executor.run_until(1);
        assert_eq!(*outcomes.borrow(), []);
        sent.send(7);
        drop(dropped);
        executor.run_until(2);
        assert_eq!(*outcomes.borrow(), [Some(7), None]);
    }

    #[test]
    fn a_change_between_looking_and_waiting_is_not_missed() {
        let executor = Executor::default();
        let (signal, done): (Rc<Signal>, Rc<Cell<bool>>) = Default::default();
        let seen = signal.seen();
        signal.raise();
        let (waited, waiter) = (Rc::clone(&done), Rc::clone(&signal));
        executor.spawn(WORLD, async move {
            waiter.after(seen).await;
            waited.set(true);
        });
        executor.run_until(1);
        assert!(done.get());
    }

    #[test]
    fn the_first_of_two() {
        let executor = Executor::default();
        let (early, late) = (executor.sleep(1), executor.sleep(2));
        let won: Rc<Cell<Option<i64>>> = Rc::default();
        let winner = Rc::clone(&won);
        executor.spawn(WORLD, async move {
            winner.set(Some(match race(late, early).await {
                First::Left(_) => 2,
                First::Right(_) => 1,
            }));
        });
        executor.run_until(5);
        assert_eq!(won.get(), Some(1));
    }
}
