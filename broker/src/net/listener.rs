//! The listening sockets: bound first, so that the broker can tell others its ports, served once it is ready.
//!
//! Each listener has one task that accepts, and owns the tasks of its connections. A handshake happens in the
//! connection's own task: whoever opens a socket and says nothing, or garbage, costs only himself, and for no longer than
//! `sluice.handshake.timeout.ms`.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, error, info, warn};

use super::{
    Limits, ListenerConfig, ListenerName, NetConfig, Peer, Principal, Security, Service, TlsError,
    connection::{self, Closed, told_to_stop},
    distinguished_name,
    frames::FrameError,
    memory::NetworkMemory,
    tls::server_config,
    transport::Transport,
};

/// Connections the kernel completes before they are accepted; more wait for their SYN to be repeated. What Kafka uses
/// (`socket.listen.backlog.size`) is 50; brokers that restart meet all their clients at once, so that ours is larger.
const BACKLOG: u32 = 1024;

/// After this much silence the kernel asks whether the peer is still there, so that one whose machine vanished does not
/// keep a connection until `connections.max.idle.ms`.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(120);

/// How long accepting pauses after an error such as having no file descriptors left, which only time can mend.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The host does not resolve, or the address cannot be bound.
    #[error("listener {listener}: cannot listen on {address}: {cause}")]
    Listen {
        /// Which listener.
        listener: ListenerName,
        /// What was written in `listeners`.
        address: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Its TLS settings are unusable.
    #[error("listener {listener}: {cause}")]
    Tls {
        /// Which listener.
        listener: ListenerName,
        /// What is wrong with them.
        #[source]
        cause: TlsError,
    },
}

/// How a listener is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: ListenerName,
    /// Kafka's name of its security protocol.
    pub protocol: &'static str,
    /// The address that is bound; its port is the real one even where port 0 was asked for.
    pub bound: SocketAddr,
    /// The host clients are told.
    pub host: String,
    /// The port clients are told.
    pub port: u16,
}

/// Listening sockets that are open and not yet served: who connects now waits.
#[derive(Debug)]
pub struct Bound {
    sockets: Vec<Socket>,
    limits: Limits,
}

#[derive(Debug)]
struct Socket {
    endpoint: Endpoint,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
}

/// Reads the TLS files and binds every listener.
pub async fn bind(config: &NetConfig) -> Result<Bound, BindError> {
    let mut sockets = Vec::new();
    for listener in &config.listeners {
        sockets.push(bind_one(listener).await?);
    }
    Ok(Bound { sockets, limits: config.limits.clone() })
}

async fn bind_one(config: &ListenerConfig) -> Result<Socket, BindError> {
    let tls = match &config.security {
        Security::Plaintext => {
            warn!(listener = %config.name, "this listener has no TLS: whoever reaches it reads and writes everything");
            None
        }
        Security::Ssl(tls) => {
            Some(server_config(tls).map_err(|cause| BindError::Tls { listener: config.name.clone(), cause })?)
        }
    };
    let failed = |cause| BindError::Listen {
        listener: config.name.clone(),
        address: format!("{}:{}", config.host, config.port),
        cause,
    };
    let listener = listen(&config.host, config.port).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let (host, port) = match &config.advertised {
        Some((host, 0)) => (host.clone(), bound.port()),
        Some((host, port)) => (host.clone(), *port),
        None if config.host.is_empty() => (host_name(), bound.port()),
        None => (config.host.clone(), bound.port()),
    };
    let endpoint = Endpoint { listener: config.name.clone(), protocol: config.security.protocol(), bound, host, port };
    Ok(Socket { endpoint, listener, tls })
}

/// Binds the first address `host` resolves to that can be bound; an empty host is every interface, IPv6 and IPv4.
async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let addresses: Vec<SocketAddr> = if host.is_empty() {
        vec![SocketAddr::new(IpAddr::from([0_u16; 8]), port), SocketAddr::new(IpAddr::from([0_u8; 4]), port)]
    } else {
        tokio::net::lookup_host((host, port)).await?.collect()
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        let bound = || -> io::Result<TcpListener> {
            let socket =
                if address.is_ipv6() { tokio::net::TcpSocket::new_v6()? } else { tokio::net::TcpSocket::new_v4()? };
            socket.set_reuseaddr(true)?;
            if address.is_ipv6() && address.ip().is_unspecified() {
                SockRef::from(&socket).set_only_v6(false)?;
            }
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        match bound() {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// This machine's name, for a listener on every interface that advertises nothing else, as Kafka does.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl Bound {
    /// How the listeners are reached, in the order of the configuration.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.sockets.iter().map(|socket| socket.endpoint.clone()).collect()
    }

    /// Starts to accept.
    pub fn serve<S: Service>(self, service: Arc<S>) -> Running {
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            service,
            memory: NetworkMemory::new(self.limits.memory_bytes_max),
            connections: Arc::new(Semaphore::new(self.limits.connections_max.min(Semaphore::MAX_PERMITS))),
            by_address: Mutex::default(),
            limits: self.limits,
        });
        let mut endpoints = Vec::new();
        let mut tasks = Vec::new();
        for socket in self.sockets {
            info!(listener = %socket.endpoint.listener, address = %socket.endpoint.bound, "accepting connections");
            endpoints.push(socket.endpoint.clone());
            tasks.push(tokio::spawn(accept(socket, Arc::clone(&shared), stopped.clone())));
        }
        Running { endpoints, stop, tasks }
    }
}

/// Listeners at work.
#[derive(Debug)]
pub struct Running {
    endpoints: Vec<Endpoint>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Connections>>,
}

/// The tasks of one listener's connections.
type Connections = JoinSet<()>;

impl Running {
    /// How the listeners are reached, in the order of the configuration.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Ends everything at once, in the middle of whatever is being said, as when the process dies.
    pub async fn kill(self) {
        for task in &self.tasks {
            // The task owns its listener's connections: they go with it.
            task.abort();
        }
        for task in self.tasks {
            // How it ended is known.
            let _ = task.await;
        }
    }

    /// Stops accepting at once, lets requests that were started be answered for at most `grace`, then closes what is left.
    pub async fn shut_down(self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.stop.send_replace(true);
        for task in self.tasks {
            let mut connections = match task.await {
                Ok(connections) => connections,
                Err(panicked) => {
                    error!(%panicked, "a listener's task failed");
                    continue;
                }
            };
            let drained = timeout_at(deadline, async { while connections.join_next().await.is_some() {} }).await;
            if drained.is_err() {
                warn!(connections = connections.len(), "closing connections whose requests did not end in time");
                connections.shutdown().await;
            }
        }
    }
}

/// What all listeners share.
struct Shared<S> {
    service: Arc<S>,
    limits: Limits,
    memory: Arc<NetworkMemory>,
    connections: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// Accepts until told to stop, then closes the socket and hands back what is still connected.
async fn accept<S: Service>(socket: Socket, shared: Arc<Shared<S>>, stop: watch::Receiver<bool>) -> Connections {
    let Socket { endpoint, listener, tls } = socket;
    let acceptor = tls.map(TlsAcceptor::from);
    let mut connections = Connections::new();
    let mut stopped = stop.clone();
    let mut told_full = false;
    loop {
        // First the permit, then accept: at the limit newcomers wait in the backlog, as with Kafka.
        if shared.connections.available_permits() == 0 && !told_full {
            told_full = true;
            warn!(limit = shared.limits.connections_max, "max.connections is reached: newcomers wait");
        }
        let accepted = async {
            // The semaphore is never closed, so that acquiring cannot fail.
            let permit = Arc::clone(&shared.connections).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, address) = listener.accept().await?;
            Ok::<_, io::Error>((permit, stream, address))
        };
        tokio::select! {
            () = told_to_stop(&mut stopped) => return connections,
            Some(ended) = connections.join_next() => note_panic(ended),
            accepted = accepted => match accepted {
                Ok((permit, stream, address)) => {
                    told_full = false;
                    let Some(place) = Place::take(&shared, permit, address.ip()) else {
                        debug!(%address, listener = %endpoint.listener, "closed: max.connections.per.ip is reached");
                        continue;
                    };
                    let (acceptor, listener) = (acceptor.clone(), endpoint.listener.clone());
                    connections.spawn(run(place, stream, address, listener, acceptor, stop.clone()));
                }
                Err(error) => {
                    warn!(%error, listener = %endpoint.listener, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
                }
            },
        }
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a connection's task failed");
    }
}

/// One connection's place within the limits, given back when it ends.
struct Place<S> {
    shared: Arc<Shared<S>>,
    ip: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl<S> Place<S> {
    fn take(shared: &Arc<Shared<S>>, permit: OwnedSemaphorePermit, ip: IpAddr) -> Option<Self> {
        let mut by_address = shared.by_address.lock();
        let count = by_address.entry(ip).or_default();
        if *count >= shared.limits.connections_per_ip_max {
            return None;
        }
        *count += 1;
        Some(Self { shared: Arc::clone(shared), ip, _permit: permit })
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        let mut by_address = self.shared.by_address.lock();
        if let Some(count) = by_address.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.ip);
            }
        }
    }
}

/// One connection from its first byte to its last.
async fn run<S: Service>(
    place: Place<S>,
    stream: TcpStream,
    address: SocketAddr,
    listener: ListenerName,
    acceptor: Option<TlsAcceptor>,
    stop: watch::Receiver<bool>,
) {
    let shared = &place.shared;
    if let Err(error) = tune(&stream) {
        debug!(%address, %listener, %error, "the peer left before it was served");
        return;
    }
    let encrypted = acceptor.is_some();
    let (transport, principal) = match acceptor {
        None => (Transport::Plain(stream), Principal::Anonymous),
        Some(acceptor) => {
            let mut stopped = stop.clone();
            let handshake = tokio::select! {
                handshake = timeout(shared.limits.handshake_timeout, acceptor.accept(stream)) => handshake,
                () = told_to_stop(&mut stopped) => return,
            };
            match handshake {
                Ok(Ok(stream)) => {
                    let principal = principal(stream.get_ref().1);
                    (Transport::Tls(Box::new(stream)), principal)
                }
                Ok(Err(error)) => return shared.service.turned_away(address, &listener, &error),
                Err(_) => {
                    return shared.service.turned_away(
                        address,
                        &listener,
                        &"it took longer than sluice.handshake.timeout.ms",
                    );
                }
            }
        }
    };
    debug!(%address, %listener, %principal, "connected");
    let peer = Peer { address, listener: listener.clone(), encrypted, principal };
    let closed =
        connection::serve(transport, peer, &*shared.service, &shared.limits, Arc::clone(&shared.memory), stop).await;
    match &closed {
        Closed::Frame(FrameError::Length { .. }) | Closed::SlowFrame(_) => {
            warn!(%address, %listener, reason = %closed, "connection closed");
        }
        Closed::ByService(_) => info!(%address, %listener, reason = %closed, "connection closed"),
        Closed::ByPeer | Closed::Frame(_) | Closed::Write(_) | Closed::Idle(_) | Closed::ShuttingDown => {
            debug!(%address, %listener, reason = %closed, "connection closed");
        }
    }
}

/// Answers are written whole, so that waiting for more to send with them only costs time.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER))
}

fn principal(connection: &rustls::ServerConnection) -> Principal {
    let subject = connection.peer_certificates().and_then(|chain| chain.first()).and_then(distinguished_name::subject);
    subject.map_or(Principal::Anonymous, |name| Principal::User(name.into()))
}
