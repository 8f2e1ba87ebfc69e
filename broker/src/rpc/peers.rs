//! The other brokers, as this one reaches them.
//!
//! Coordination says who there is and where ([`Peers::know`]); everybody else asks by number. Connections are made when they
//! are first needed and kept. [`Peers::gone`] is the one that stays connected only to notice the end.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use sluice_protocol::records::Chunks;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::connect::{ConnectError, Connector, Local};
use super::link::{Link, Purpose, Unanswered, jittered};
use super::messages::{Call, Envelope, ReplicaFetch, ReplicaFetched, Reply};
use super::tls::PeerTls;
use super::{CallError, PeerAddress, Probed};
use crate::net::NetworkMemory;

/// Memory for answers that are being read, over all peers: a few fetches' worth. When it is spent, reading pauses; one
/// answer may exceed it.
const ANSWER_MEMORY_BYTES: usize = 64 << 20;

/// The pause between two looks at a broker whose port is closed, or which is silent.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The longest pause between two looks at a broker that cannot be told to be there or gone.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Looks in a row that have to find the port closed, where no connection has been seen to end. One may meet a listener
/// that is being made; that three do, and the broker lives, would take a listener that cannot be opened.
const REFUSALS_ENOUGH: u32 = 3;

/// How long a broker that introduces itself waits for the others: those that are there answer in a round trip or two.
const INTRODUCTION_TIME_MAX: Duration = Duration::from_secs(2);

/// The other brokers are there and do not talk to this one, so that it could neither lead nor follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("broker {broker} does not take this one for a broker of its cluster: {why}")]
pub(crate) struct NotWelcome {
    broker: i32,
    why: String,
}

/// What [`Peers`] are made from.
#[derive(Debug)]
pub(crate) struct PeersConfig {
    /// This broker's number.
    pub(crate) node_id: i32,
    /// A number that no other process has, random.
    pub(crate) life: u64,
    /// None: this broker has no inter-broker listener, and calls nobody.
    pub(crate) tls: Option<PeerTls>,
    /// How long a connection may take, from the first packet to the answer to the first words.
    pub(crate) connect_timeout: Duration,
    /// The longest answer that is read.
    pub(crate) frame_bytes_max: usize,
}

/// The other brokers. A handle: clones share everything.
#[derive(Debug, Clone)]
pub(crate) struct Peers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connector: Arc<Connector>,
    known: watch::Sender<Arc<BTreeMap<i32, PeerAddress>>>,
    links: Mutex<HashMap<(i32, Purpose), (PeerAddress, Link)>>,
}

impl Peers {
    /// Knows nobody yet.
    pub(crate) fn new(config: PeersConfig) -> Self {
        let connector = Connector {
            local: Arc::new(Local::new(config.node_id, config.life)),
            tls: config.tls,
            memory: NetworkMemory::new(ANSWER_MEMORY_BYTES),
            frame_bytes_max: config.frame_bytes_max,
            timeout: config.connect_timeout,
        };
        Self::with(connector)
    }

    pub(super) fn with(connector: Connector) -> Self {
        let known = watch::Sender::new(Arc::default());
        Self(Arc::new(Inner { connector: Arc::new(connector), known, links: Mutex::default() }))
    }

    pub(super) fn connector(&self) -> &Arc<Connector> {
        &self.0.connector
    }

    /// The cluster this broker belongs to. Before it is known, nobody is called and nobody let in.
    ///
    /// # Panics
    /// When it is another than before.
    pub(crate) fn set_cluster_id(&self, id: &str) {
        let known = self.0.connector.local.cluster_id.get_or_init(|| id.to_owned());
        assert_eq!(known, id, "a broker does not change its cluster");
    }

    /// The epoch of this broker's registration. Connections that were made under an earlier one are made again.
    pub(crate) fn set_broker_epoch(&self, epoch: i64) {
        self.0.connector.local.epoch.send_replace(epoch);
    }

    /// The brokers there are, and where. Connections to those that are not among them, or have moved, are not used again.
    pub(crate) fn know(&self, brokers: BTreeMap<i32, PeerAddress>) {
        let moved =
            |id: &i32, at: &PeerAddress| brokers.get(id).is_none_or(|now| (&now.host, now.port) != (&at.host, at.port));
        // Links are made from what is known, under the same lock: none is left to an address that has just been replaced.
        let mut links = self.0.links.lock();
        links.retain(|(id, _), (at, _)| !moved(id, at));
        self.0.known.send_if_modified(|known| {
            let changed = **known != brokers;
            if changed {
                *known = Arc::new(brokers);
            }
            changed
        });
    }

    /// Where a broker is, if it is known.
    fn address(&self, broker: i32) -> Option<PeerAddress> {
        self.0.known.borrow().get(&broker).cloned()
    }

    fn link(&self, broker: i32, purpose: Purpose) -> Result<Link, CallError> {
        let mut links = self.0.links.lock();
        let at = self.address(broker);
        let at = at.ok_or_else(|| CallError::NotSent { broker, why: "there is no such broker now".to_owned() })?;
        let link = |at: PeerAddress| Link::start(Arc::clone(&self.0.connector), broker, at, purpose);
        let (_, link) = links.entry((broker, purpose)).or_insert_with(|| (at.clone(), link(at)));
        Ok(link.clone())
    }

    async fn ask(
        &self,
        broker: i32,
        purpose: Purpose,
        call: Call,
        patience: Duration,
    ) -> Result<(Reply, Chunks), CallError> {
        let lost = |why: String| CallError::Lost { broker, why };
        let envelope: Envelope =
            self.link(broker, purpose)?.ask(call, patience).await.map_err(|unanswered| match unanswered {
                Unanswered::NotSent(why) => CallError::NotSent { broker, why },
                Unanswered::Lost(why) => lost(why),
            })?;
        match envelope.message().map_err(|error| lost(error.to_string()))? {
            Reply::Error(why) => Err(CallError::Refused { broker, why: why.to_string() }),
            reply => Ok((reply, envelope.tail)),
        }
    }

    /// Asks `broker`, and waits for `patience` at most.
    pub(crate) async fn call(&self, broker: i32, call: Call, patience: Duration) -> Result<Reply, CallError> {
        self.ask(broker, Purpose::Calls, call, patience).await.map(|(reply, _)| reply)
    }

    /// Fetches from a leader: what is said of each partition, and their records in the same order. Two may be under way.
    /// `patience` includes the time that the fetch lets the leader wait; when it has passed, the connection is given up.
    pub(crate) async fn fetch(
        &self,
        broker: i32,
        fetch: ReplicaFetch,
        patience: Duration,
    ) -> Result<(ReplicaFetched, Chunks), CallError> {
        let lost = |why: String| CallError::Lost { broker, why };
        match self.ask(broker, Purpose::Fetches, Call::Fetch(fetch), patience).await? {
            (Reply::Fetched(fetched), tail) => {
                fetched.check(&tail).map_err(|error| lost(error.to_string()))?;
                Ok((fetched, tail))
            }
            (_, _) => Err(lost("another call's answer came".to_owned())),
        }
    }

    /// Says hello to every broker that is known. It is enough that one is ready to talk, or that nobody is there; where
    /// those that are there refuse, the reason of one is given.
    pub(crate) async fn introduce(&self) -> Result<(), NotWelcome> {
        let known = Arc::clone(&self.0.known.borrow());
        let own = self.0.connector.local.node_id;
        let hellos = known.iter().filter(|(id, _)| **id != own).map(|(id, at)| async move {
            let opened = timeout(INTRODUCTION_TIME_MAX, self.0.connector.open(*id, at)).await;
            (*id, opened.map(|opened| opened.map(drop)))
        });
        let mut refused = None;
        for (broker, answer) in join_all(hellos).await {
            match answer {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error @ (ConnectError::Rejected { .. } | ConnectError::NotTrusted { .. }))) => {
                    refused = Some(NotWelcome { broker, why: error.to_string() });
                }
                // Not there, or silent, or somebody else by now: nothing is learnt of this broker.
                Ok(Err(_)) | Err(_) => {}
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Knocks at a broker's door: whether anybody opens, within half a second.
    pub(crate) async fn probe(&self, broker: i32) -> Probed {
        match self.address(broker) {
            Some(at) => self.0.connector.knock(&at).await,
            None => Probed::Silent,
        }
    }

    /// Until when it may be about to change who serves and leads, as far as `of` says that a broker matters: a connection with
    /// one has just ended, and none was made since.
    pub(crate) fn unsettled_until(&self, of: impl Fn(i32) -> bool) -> Option<Instant> {
        self.0.connector.local.losses.pass_at(Instant::now(), of)
    }

    /// Resolves when there is evidence that the process behind registration `epoch` of `broker` is gone, however long that
    /// takes. Evidence is: its connection ended and its port is closed, or another process answers there; or, where there
    /// was no connection to lose, its port is found closed several times in a row. Silence is none.
    pub(crate) async fn gone(&self, broker: i32, epoch: i64) {
        let mut known = self.0.known.subscribe();
        let mut life = None;
        let mut refusals = 0;
        let mut pause = LOOK_EVERY;
        let mut unclear: Option<String> = None;
        loop {
            let at = known.borrow_and_update().get(&broker).cloned();
            let Some(at) = at.filter(|at| at.epoch <= epoch) else {
                match self.address(broker) {
                    Some(at) if at.epoch > epoch => return debug!(broker, epoch, "registered anew since"),
                    // The sender lives as long as `self`.
                    _ => drop(known.changed().await),
                }
                continue;
            };
            match self.0.connector.open(broker, &at).await {
                Ok(opened) => {
                    let other_life = life.is_some_and(|life| life != opened.peer_life);
                    if other_life || opened.peer_epoch > epoch {
                        return info!(broker, epoch, "the broker's process is gone: another one answers");
                    }
                    self.0.connector.local.losses.connected(broker);
                    life = Some(opened.peer_life);
                    refusals = 0;
                    let since = Instant::now();
                    let mut ended = pin!(opened.ended());
                    let moved = loop {
                        tokio::select! {
                            () = &mut ended => break false,
                            _ = known.changed() => {
                                if known.borrow_and_update().get(&broker) != Some(&at) {
                                    break true;
                                }
                            }
                        }
                    };
                    if moved {
                        continue;
                    }
                    self.0.connector.local.losses.lost(broker, Instant::now());
                    if since.elapsed() >= LOOK_PAUSE_MAX {
                        pause = LOOK_EVERY;
                        continue;
                    }
                }
                Err(ConnectError::Refused { .. }) => {
                    refusals += 1;
                    if life.is_some() || refusals >= REFUSALS_ENOUGH {
                        return info!(broker, epoch, "the broker's process is gone: nobody listens there");
                    }
                    pause = LOOK_EVERY;
                }
                Err(error) => {
                    // Once for each reason: who may not be a broker, say, is looked at again and again.
                    let why = error.to_string();
                    if unclear.as_ref() != Some(&why) {
                        info!(broker, %why, "cannot tell whether the broker's process is there");
                        unclear = Some(why);
                    }
                    refusals = 0;
                }
            }
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
    }
}
