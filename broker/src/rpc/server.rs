//! The inter-broker listener's service: who may join, and calls to their [`Handler`].

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sluice_protocol::records::{Chunks, Part};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::connect::Local;
use super::messages::{
    Call, CallRefused, ChangeAnswer, Envelope, Greeting, Hello, HelloRefused, PluginBinary, Reply, Unsendable,
    VERSION_OF_HELLO, seal,
};
use super::{Caller, Handler, Peers};
use crate::net::{
    self, Bound, Limits, ListenerConfig, ListenerName, NetConfig, Outcome, Peer, Principal, Service, Started,
};

/// Memory for calls that are being read. A follower's fetch of ten thousand partitions has half a mebibyte.
const CALL_MEMORY_BYTES: usize = 64 << 20;

/// Connections to the inter-broker listener. Each other broker has three, and more while they are made anew: enough for some
/// hundred brokers.
const CONNECTIONS_MAX: usize = 2000;

/// Bytes of one connection's calls that await their answers.
const INFLIGHT_BYTES_MAX: usize = 32 << 20;

/// Brokers keep their connections, used or not: one that ends says something ([`Peers::gone`]). The kernel looks after those
/// whose other end vanished.
const IDLE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Who is turned away is named once in this time: who may not join, tries again every second.
const NAMED_EVERY: Duration = Duration::from_secs(60);

/// Addresses that are remembered for it.
const NAMED_MAX: usize = 1000;

/// Opens the inter-broker listener; [`serve`] begins to accept.
pub(crate) async fn bind(listener: &ListenerConfig, limits: &Limits) -> Result<Bound, net::BindError> {
    let limits = Limits {
        memory_bytes_max: CALL_MEMORY_BYTES,
        inflight_bytes_max: INFLIGHT_BYTES_MAX,
        connections_max: CONNECTIONS_MAX,
        connections_per_ip_max: CONNECTIONS_MAX,
        idle_max: IDLE_MAX,
        ..limits.clone()
    };
    net::bind(&NetConfig { listeners: vec![listener.clone()], limits }).await
}

/// Lets other brokers in.
pub(crate) fn serve(bound: Bound, peers: Peers, handler: Arc<dyn Handler>) -> net::Running {
    let service = Server { peers, handler, named: Mutex::default() };
    bound.serve(Arc::new(service))
}

struct Server {
    peers: Peers,
    handler: Arc<dyn Handler>,
    /// When who was turned away was last named.
    named: Mutex<HashMap<IpAddr, Instant>>,
}

/// How far a connection is.
enum Connection {
    /// Nothing has been said.
    New(Peer),
    /// A broker's.
    Joined { caller: Arc<Caller>, version: u8, _end: End },
    /// About to end.
    Refused,
}

/// Notes that a broker's connection has ended, however it did.
struct End {
    peers: Peers,
    broker: i32,
}

impl Drop for End {
    fn drop(&mut self) {
        self.peers.connector().local.losses.lost(self.broker, Instant::now());
    }
}

impl Service for Server {
    type Connection = Connection;

    fn connected(&self, peer: Peer) -> Connection {
        Connection::New(peer)
    }

    async fn start(&self, connection: &mut Connection, frame: Chunks) -> Started {
        match connection {
            Connection::New(peer) => {
                let (state, started) = self.greet(peer, frame);
                *connection = state;
                started
            }
            Connection::Joined { caller, version, .. } => self.answer(caller, *version, frame),
            Connection::Refused => Started::Close("said more after it was refused".into()),
        }
    }

    fn turned_away(&self, address: SocketAddr, listener: &ListenerName, why: &dyn fmt::Display) {
        if self.is_named_now(address.ip()) {
            warn!(%address, %listener, %why, "somebody could not join: no TLS handshake");
        } else {
            debug!(%address, %listener, %why, "somebody could not join: no TLS handshake");
        }
    }
}

impl Server {
    fn local(&self) -> &Local {
        &self.peers.connector().local
    }

    /// The first frame: lets a broker in, or says why not.
    fn greet(&self, peer: &Peer, frame: Chunks) -> (Connection, Started) {
        let hello = Envelope::open(frame).and_then(|envelope| Ok((envelope.version, envelope.message::<Hello>()?)));
        let admitted = match hello {
            Ok((VERSION_OF_HELLO, hello)) => self.admit(peer, &hello),
            Ok(_) | Err(_) => Err(HelloRefused::NotAHello),
        };
        let (state, greeting, why) = match admitted {
            Ok((caller, version)) => {
                debug!(broker = caller.id, epoch = caller.epoch, address = %caller.address, version, "a broker connected");
                let local = self.local();
                local.losses.connected(caller.id);
                let end = End { peers: self.peers.clone(), broker: caller.id };
                let welcome = Greeting::Welcome {
                    version,
                    broker_id: local.node_id,
                    broker_epoch: *local.epoch.borrow(),
                    life: local.life,
                };
                (Connection::Joined { caller: Arc::new(caller), version, _end: end }, welcome, None)
            }
            Err(refused) => {
                let why = refused.to_string();
                if self.is_named_now(peer.address.ip()) {
                    warn!(address = %peer.address, principal = %peer.principal, %why, "somebody may not join");
                }
                (Connection::Refused, Greeting::Refused(refused), Some(why))
            }
        };
        let started = match (seal(VERSION_OF_HELLO, 0, &greeting, 0), why) {
            (Ok(frame), None) => Started::Answer(vec![Part::Bytes(frame)]),
            (Ok(frame), Some(why)) => Started::Farewell(vec![Part::Bytes(frame)], why.into()),
            (Err(error), _) => Started::Close(error.to_string().into()),
        };
        (state, started)
    }

    fn admit(&self, peer: &Peer, hello: &Hello) -> Result<(Caller, u8), HelloRefused> {
        let local = self.local();
        let may_join = |name: &str| self.peers.connector().tls.as_ref().is_some_and(|tls| tls.principals.contain(name));
        let principal = match &peer.principal {
            Principal::User(name) if may_join(name) => Arc::clone(name),
            Principal::User(_) | Principal::Anonymous => {
                return Err(HelloRefused::NotABroker { principal: peer.principal.to_string() });
            }
        };
        let ours = local.cluster_id.get().map_or("", String::as_str);
        if ours != hello.cluster_id {
            return Err(HelloRefused::OtherCluster { ours: ours.to_owned(), theirs: hello.cluster_id.clone() });
        }
        if hello.broker_id == local.node_id {
            return Err(HelloRefused::SameId { id: local.node_id });
        }
        let version = local.versions.1.min(hello.versions.1);
        if version < local.versions.0.max(hello.versions.0) {
            return Err(HelloRefused::NoCommonVersion { ours: local.versions, theirs: hello.versions });
        }
        let caller = Caller { id: hello.broker_id, epoch: hello.broker_epoch, principal, address: peer.address };
        Ok((caller, version))
    }

    /// A call of a broker that was let in.
    fn answer(&self, caller: &Arc<Caller>, version: u8, frame: Chunks) -> Started {
        let envelope = match Envelope::open(frame) {
            Ok(envelope) if envelope.version == version => envelope,
            Ok(envelope) => {
                return Started::Close(format!("a call of version {} and not {version}", envelope.version).into());
            }
            Err(error) => return Started::Close(error.to_string().into()),
        };
        let correlation = envelope.correlation;
        let call = match envelope.message::<Call>() {
            Ok(call) => call,
            Err(error) => {
                warn!(broker = caller.id, %error, "a call cannot be read");
                let refused = Reply::Error(CallRefused::Malformed(error.to_string()));
                return match seal(version, correlation, &refused, 0) {
                    Ok(frame) => Started::Answer(vec![Part::Bytes(frame)]),
                    Err(error) => Started::Close(error.to_string().into()),
                };
            }
        };
        let (caller, handler, peers) = (Arc::clone(caller), Arc::clone(&self.handler), self.peers.clone());
        let answered: BoxFuture<'static, Outcome> = async move {
            let (reply, records) = handle(&*handler, &peers, &caller, call).await;
            match whole(version, correlation, &reply, records) {
                Ok(parts) => Outcome::Answer(parts),
                Err(error) => {
                    error!(broker = caller.id, %error, "an answer to a broker cannot be sent");
                    Outcome::Close(error.to_string().into())
                }
            }
        }
        .boxed();
        Started::Later(answered)
    }

    /// Whether it is time to name an address in the log again.
    fn is_named_now(&self, ip: IpAddr) -> bool {
        let now = Instant::now();
        let mut named = self.named.lock();
        if named.get(&ip).is_some_and(|last| now - *last < NAMED_EVERY) {
            return false;
        }
        if named.len() >= NAMED_MAX {
            named.retain(|_, last| now - *last < NAMED_EVERY);
        }
        if named.len() < NAMED_MAX {
            named.insert(ip, now);
        }
        true
    }
}

async fn handle(handler: &dyn Handler, peers: &Peers, caller: &Caller, call: Call) -> (Reply, Vec<Part>) {
    let reply = match call {
        Call::Change { kind, body } => Reply::Change(handler.change(caller, kind, body).await.map(ChangeAnswer)),
        Call::Fetch(fetch) => {
            let (fetched, records) = handler.fetch(caller, fetch).await;
            return (Reply::Fetched(fetched), records);
        }
        Call::ReplicaStates { partitions } => Reply::ReplicaStates(handler.replica_states(caller, partitions).await),
        Call::Probe { broker } => Reply::Probed(peers.probe(broker).await),
        Call::StorePlugin { digest, wasm } => Reply::PluginStored(handler.store_plugin(caller, digest, wasm).await),
        Call::InForce => Reply::InForce(handler.in_force()),
        Call::ReadPlugin { digest } => Reply::PluginRead(handler.read_plugin(caller, digest).await.map(PluginBinary)),
    };
    (reply, Vec::new())
}

/// The answer, with its records behind it.
fn whole(version: u8, correlation: u32, reply: &Reply, records: Vec<Part>) -> Result<Vec<Part>, Unsendable> {
    let tail = records.iter().map(Part::len).sum();
    let mut parts = Vec::with_capacity(1 + records.len());
    parts.push(Part::Bytes(seal(version, correlation, reply, tail)?));
    parts.extend(records);
    Ok(parts)
}
