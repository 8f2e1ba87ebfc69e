//! Who is gone, faster than the coordinator can tell: the process of a broker whose connection ended and whose listener refuses,
//! seen from here and, where there is another broker, from there too.
//!
//! One broker's view is not enough where a second can be had: what is refused here may be refused only here. A broker that is
//! silent, paused or cut off, is never suspected; it falls with its session.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::future::join_all;
use parking_lot::Mutex;
use sluice_cluster::Image;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::peer_calls::{PeerCalls, Testimony};

/// Evidence that this life of a broker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Gone {
    pub(super) id: i32,
    pub(super) epoch: i64,
}

/// Brokers that are looked after.
#[derive(Debug)]
pub(super) struct Suspicions {
    looking: Looking,
    watched: BTreeMap<Gone, AbortHandle>,
    found: mpsc::Receiver<Gone>,
}

/// What each broker's own task needs.
#[derive(Debug, Clone)]
struct Looking {
    local: i32,
    peers: Arc<dyn PeerCalls>,
    image: Arc<ArcSwap<Image>>,
    /// Gone as seen from here: no witnesses.
    unheard: Arc<Mutex<BTreeSet<Gone>>>,
    found: mpsc::Sender<Gone>,
}

/// A witness is on a connection that is there already: what takes longer than this says nothing.
const TESTIMONY_TIME: Duration = Duration::from_secs(1);

/// How soon witnesses that said nothing are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Evidence not yet acted on; more than a cluster has brokers that fall at once.
const FOUND_MAX: usize = 64;

impl Suspicions {
    pub(super) fn new(local: i32, peers: Arc<dyn PeerCalls>, image: Arc<ArcSwap<Image>>) -> Self {
        let (sender, found) = mpsc::channel(FOUND_MAX);
        let looking = Looking { local, peers, image, unheard: Arc::default(), found: sender };
        Self { looking, watched: BTreeMap::new(), found }
    }

    /// Looks after these and no others.
    pub(super) fn only(&mut self, wanted: &BTreeSet<Gone>) {
        self.watched.retain(|life, task| {
            let keep = wanted.contains(life);
            if !keep {
                task.abort();
            }
            keep
        });
        self.looking.unheard.lock().retain(|life| wanted.contains(life));
        for life in wanted {
            self.watched
                .entry(*life)
                .or_insert_with(|| tokio::spawn(self.looking.clone().look_after(*life)).abort_handle());
        }
    }

    /// The next that is gone. If it is wanted all the same, it is looked after anew.
    pub(super) async fn next(&mut self) -> Gone {
        loop {
            match self.found.recv().await {
                Some(gone) if self.watched.remove(&gone).is_some() => return gone,
                // Found before it was no longer wanted.
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Suspicions {
    fn drop(&mut self) {
        self.watched.values().for_each(AbortHandle::abort);
    }
}

impl Looking {
    async fn look_after(self, life: Gone) {
        loop {
            self.peers.gone(life.id, life.epoch).await;
            self.unheard.lock().insert(life);
            if self.is_confirmed(life).await {
                // Nobody waits for it any more: then it is of no use.
                let _ = self.found.send(life).await;
                return;
            }
            sleep(ASK_AGAIN).await;
        }
    }

    async fn is_confirmed(&self, life: Gone) -> bool {
        let image = self.image.load_full();
        let unheard = self.unheard.lock().clone();
        let is_witness =
            |id: i32, epoch: i64| id != self.local && id != life.id && !unheard.contains(&Gone { id, epoch });
        let witnesses = image.serving().filter(|broker| is_witness(broker.id, broker.epoch)).map(|broker| broker.id);
        let ask = |witness| async move {
            timeout(TESTIMONY_TIME, self.peers.ask(witness, life.id)).await.unwrap_or(Testimony::Silent)
        };
        confirmed(&join_all(witnesses.map(ask)).await)
    }
}

/// Whether what the witnesses say is enough. Without any, what was seen here has to be.
fn confirmed(testimonies: &[Testimony]) -> bool {
    let any = |what| testimonies.contains(&what);
    !any(Testimony::NotGone) && (any(Testimony::Gone) || !any(Testimony::Silent))
}

#[cfg(test)]
mod tests {
    use super::super::peer_calls::FakePeers;
    use super::*;

    #[test]
    fn witnesses() {
        use Testimony::{Gone, NotGone, Silent, WitnessGone};
        check("nobody else is there", &[], true);
        check("the other one has seen it", &[Gone], true);
        check("the other one sees it alive", &[NotGone], false);
        check("the other one says nothing: we may be the ones cut off", &[Silent], false);
        check("the other one is gone as well", &[WitnessGone], true);
        check("one has seen it, one says nothing", &[Gone, Silent], true);
        check("one has seen it, one sees it alive", &[Gone, NotGone], false);
        check("one is gone, one says nothing", &[WitnessGone, Silent], false);
    }

    #[tokio::test]
    async fn who_was_found_gone_and_is_still_wanted_is_found_again() {
        let mut suspicions = Suspicions::new(1, Arc::new(FakePeers::default()), Arc::default());
        let life = Gone { id: 2, epoch: 20 };
        for time in ["first", "second"] {
            suspicions.only(&[life].into());
            assert_eq!(timeout(Duration::from_secs(10), suspicions.next()).await, Ok(life), "the {time} time");
        }
    }

    fn check(what: &str, testimonies: &[Testimony], expected: bool) {
        assert_eq!(confirmed(testimonies), expected, "{what}");
    }
}
