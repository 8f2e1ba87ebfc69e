//! Two ends over TLS on loopback. Each test has its own ports, its own authority, and brokers that are no more than what
//! this module makes of them.

mod calls;
mod gone;
mod joining;

use std::io;
use std::sync::Once;

use bytes::Bytes;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use sluice_protocol::Uuid;
use sluice_protocol::records::{FileRange, ReadAt};
use tokio::sync::{Semaphore, mpsc};

use super::connect::{Connector, Local};
use super::*;
use crate::net::{
    ClientAuth, Identity, Limits, ListenerConfig, ListenerName, NetworkMemory, PemSource, Running, Secret, Security,
    TlsConfig, TlsProtocol,
};

/// Nothing here takes long; what takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(20);

const CLUSTER: &str = "cluster";

const LONGEST_FRAME: usize = 1 << 20;

/// An authority and what it signs, in memory.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// TLS settings of `cn`, with a certificate for `host`.
    fn tls(&self, cn: &str, host: &str) -> TlsConfig {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a good name");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, cn);
        let key = KeyPair::generate().expect("a key");
        TlsConfig {
            identity: Identity::Inline {
                certificate_chain: params.signed_by(&key, &self.issuer).expect("a certificate").pem(),
                key: Secret::new(key.serialize_pem()),
            },
            truststore: Some(PemSource::Inline(self.pem.clone())),
            client_auth: ClientAuth::Required,
            protocols: vec![TlsProtocol::Tls12, TlsProtocol::Tls13],
        }
    }

    fn broker(&self, id: i32) -> Plan {
        Plan {
            id,
            life: u64::from(id.unsigned_abs()),
            cluster: CLUSTER,
            versions: None,
            tls: self.tls("broker", "127.0.0.1"),
            principals: Vec::new(),
            verify_host_names: true,
            connect_timeout: PATIENCE,
            port: 0,
        }
    }
}

/// A broker before it starts.
struct Plan {
    id: i32,
    life: u64,
    cluster: &'static str,
    versions: Option<(u8, u8)>,
    tls: TlsConfig,
    principals: Vec<String>,
    verify_host_names: bool,
    connect_timeout: Duration,
    port: u16,
}

impl Plan {
    fn peers(&self) -> Peers {
        let mut local = Local::new(self.id, self.life);
        local.versions = self.versions.unwrap_or(local.versions);
        let tls = PeerTls::new(&self.tls, &self.principals, self.verify_host_names).expect("good TLS settings");
        let peers = Peers::with(Connector {
            local: Arc::new(local),
            tls: Some(tls),
            memory: NetworkMemory::new(LONGEST_FRAME),
            frame_bytes_max: LONGEST_FRAME,
            timeout: self.connect_timeout,
        });
        peers.set_cluster_id(self.cluster);
        peers
    }

    async fn start(self) -> Node {
        log();
        let peers = self.peers();
        let listener = ListenerConfig {
            name: ListenerName::new("INTERNAL"),
            host: "127.0.0.1".to_owned(),
            port: self.port,
            advertised: None,
            security: Security::Ssl(Box::new(self.tls)),
        };
        let limits = Limits {
            frame_bytes_max: LONGEST_FRAME,
            memory_bytes_max: 0,
            inflight_bytes_max: 0,
            connections_max: 0,
            connections_per_ip_max: 0,
            idle_max: PATIENCE,
            frame_age_while_short_max: PATIENCE,
            handshake_timeout: PATIENCE,
        };
        let bound = bind(&listener, &limits).await.expect("a loopback port");
        let toy = Arc::new(Toy::default());
        let running = serve(bound, peers.clone(), Arc::clone(&toy) as Arc<dyn Handler>);
        let at = PeerAddress { host: "127.0.0.1".to_owned(), port: running.endpoints()[0].bound.port(), epoch: 1 };
        Node { id: self.id, at, peers, toy, running }
    }
}

/// A broker that listens.
struct Node {
    id: i32,
    at: PeerAddress,
    peers: Peers,
    toy: Arc<Toy>,
    running: Running,
}

impl Node {
    fn knows(&self, others: &[&Self]) {
        self.peers.know(others.iter().map(|other| (other.id, other.at.clone())).collect());
    }

    async fn change(&self, to: i32, kind: u16, body: &[u8]) -> Result<Reply, CallError> {
        self.peers.call(to, Call::Change { kind, body: body.to_vec() }, PATIENCE).await
    }
}

/// Two brokers that know each other.
async fn two(authority: &Authority) -> (Node, Node) {
    let (one, other) = (authority.broker(1).start().await, authority.broker(2).start().await);
    one.knows(&[&other]);
    other.knows(&[&one]);
    (one, other)
}

fn changed(body: &[u8]) -> Reply {
    Reply::Change(Ok(messages::ChangeAnswer(body.to_vec())))
}

/// Changes of this kind are answered with what they carry.
const ECHO: u16 = 1;
/// As [`ECHO`], once the test gives leave.
const ON_LEAVE: u16 = 2;
/// Answered with who asks.
const WHO: u16 = 3;
/// Refused.
const NOT_HERE: u16 = 4;

/// Changes that a test has started and not looked at: no test starts as many.
const CHANGES_MAX: usize = 1_024;

/// A handler that does what it is told.
struct Toy {
    leave: Semaphore,
    started: Mutex<Option<mpsc::Sender<u16>>>,
    callers: Mutex<Vec<Caller>>,
}

impl Default for Toy {
    fn default() -> Self {
        Self { leave: Semaphore::new(0), started: Mutex::default(), callers: Mutex::default() }
    }
}

impl Toy {
    /// Tells of every change that starts.
    fn watch(&self) -> mpsc::Receiver<u16> {
        let (sender, receiver) = mpsc::channel(CHANGES_MAX);
        *self.started.lock() = Some(sender);
        receiver
    }
}

/// The file behind a fetch: byte `i` is `i % 251`.
#[derive(Debug)]
struct Pattern;

impl ReadAt for Pattern {
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        for (at, byte) in buf.iter_mut().enumerate() {
            *byte = ((position + at as u64) % 251) as u8;
        }
        Ok(())
    }
}

#[async_trait]
impl Handler for Toy {
    async fn change(&self, from: &Caller, kind: u16, body: Vec<u8>) -> Result<Vec<u8>, ChangeFailed> {
        self.callers.lock().push(from.clone());
        if let Some(started) = &*self.started.lock() {
            // A test that stopped watching does not mind.
            let _ = started.try_send(kind);
        }
        match kind {
            ECHO => Ok(body),
            ON_LEAVE => {
                self.leave.acquire().await.expect("never closed").forget();
                Ok(body)
            }
            WHO => Ok(format!("{} {} {}", from.id, from.epoch, from.principal).into_bytes()),
            _ => Err(ChangeFailed::NotController { controller: Some(9) }),
        }
    }

    /// As many bytes of the pattern as each partition asks for, half of them from memory.
    async fn fetch(&self, _from: &Caller, fetch: ReplicaFetch) -> (ReplicaFetched, Vec<Part>) {
        let mut records = Vec::new();
        let mut partitions = Vec::new();
        for FetchPartition { topic, index, max_bytes, .. } in fetch.partitions {
            let half = max_bytes / 2;
            let mut front = vec![0; half as usize];
            Pattern.read_exact_at(&mut front, 0).expect("never fails");
            let back = FileRange { file: Arc::new(Pattern), position: half.into(), len: (max_bytes - half) as usize };
            records.extend([Part::Bytes(Bytes::from(front)), Part::File(back)]);
            partitions.push(FetchedPartition {
                topic,
                index,
                error: None,
                high_watermark: 0,
                log_start: 0,
                diverging: None,
                bytes: max_bytes,
            });
        }
        (ReplicaFetched { session: fetch.session, session_lost: false, partitions }, records)
    }

    async fn replica_states(&self, _from: &Caller, partitions: Vec<PartitionId>) -> Vec<ReplicaState> {
        let state = |PartitionId { topic, index }| ReplicaState {
            topic,
            index,
            leader_epoch: 1,
            latest_epoch: 1,
            log_start: 0,
            log_end: 10,
            high_watermark: 9,
            bytes: 100,
        };
        partitions.into_iter().map(state).collect()
    }

    async fn store_plugin(&self, _from: &Caller, digest: [u8; 32], wasm: Vec<u8>) -> Result<(), PluginFailed> {
        if digest[0] == 0 { Err(PluginFailed::Failed(format!("{} bytes", wasm.len()))) } else { Ok(()) }
    }

    async fn read_plugin(&self, _from: &Caller, digest: [u8; 32]) -> Result<Vec<u8>, PluginFailed> {
        if digest[0] == 0 { Err(PluginFailed::Missing) } else { Ok(digest.to_vec()) }
    }

    fn in_force(&self) -> u64 {
        7
    }
}

fn fetch_of(sizes: &[u32]) -> ReplicaFetch {
    let partition = |(index, max_bytes): (usize, &u32)| FetchPartition {
        topic: Uuid([7; 16]),
        index: i32::try_from(index).expect("few"),
        leader_epoch: 1,
        fetch_offset: 0,
        durable: 0,
        last_fetched_epoch: -1,
        max_bytes: *max_bytes,
    };
    ReplicaFetch { partitions: sizes.iter().enumerate().map(partition).collect(), ..ReplicaFetch::default() }
}

/// Shows the brokers' log of a failing test.
fn log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let logging = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::DEBUG);
        // Other tests of this crate may have been first.
        let _ = logging.try_init();
    });
}
