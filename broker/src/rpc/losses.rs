//! Connections with other brokers that have just ended, whichever side had made them: for a moment it may be that another broker
//! leads soon what the lost one led.
//!
//! A process that is gone is gone for all who were connected with it at once. Its clients ask the others who leads now, a
//! millisecond before the controller has decided; with the answer that was true until then they would lose a second or more
//! before they ask again. So who asks in that moment waits for it to pass.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long what is known may be about to change: several times what it takes to be sure that a process is gone, decide, write
/// that down and read it.
const MOMENT: Duration = Duration::from_millis(200);

/// When a connection with each broker was last lost, where none was made since.
#[derive(Debug, Default)]
pub(super) struct Losses(Mutex<BTreeMap<i32, Instant>>);

impl Losses {
    pub(super) fn lost(&self, broker: i32, now: Instant) {
        self.0.lock().insert(broker, now);
    }

    /// It is there after all.
    pub(super) fn connected(&self, broker: i32) {
        self.0.lock().remove(&broker);
    }

    /// When the moment passes that the last of these losses began; none is going on.
    pub(super) fn pass_at(&self, now: Instant, of: impl Fn(i32) -> bool) -> Option<Instant> {
        let mut lost = self.0.lock();
        if lost.is_empty() {
            return None;
        }
        lost.retain(|_, at| *at + MOMENT > now);
        lost.iter().filter(|(broker, _)| of(**broker)).map(|(_, at)| *at + MOMENT).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_news_for_a_moment() {
        let (losses, now) = (Losses::default(), Instant::now());
        assert_eq!(losses.pass_at(now, |_| true), None);
        losses.lost(2, now);
        assert_eq!(losses.pass_at(now, |broker| broker == 2), Some(now + MOMENT), "just lost");
        assert_eq!(losses.pass_at(now, |broker| broker == 3), None, "another one");
        losses.lost(3, now + MOMENT / 2);
        losses.connected(3);
        assert_eq!(losses.pass_at(now + MOMENT / 2, |_| true), Some(now + MOMENT), "3 is there again");
        assert_eq!(losses.pass_at(now + MOMENT, |_| true), None);
    }
}
