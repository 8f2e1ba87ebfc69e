//! A connection to another broker, up to the point where calls may be made: TCP, TLS, and the first words.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::net::sockopt;
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::losses::Losses;
use super::messages::{Envelope, Greeting, Hello, HelloRefused, VERSION_OF_HELLO, VERSIONS, seal};
use super::tls::PeerTls;
use super::{PeerAddress, Probed};
use crate::net::{FrameError, FrameReader, NetworkMemory, subject};

/// After so much silence the kernel asks whether the peer's machine is still there, and so often until it gives up. A
/// machine that vanishes is noticed sooner than a standing connection would otherwise tell; a paused process is not, its
/// kernel answers for it.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(3);
const KEEPALIVE_TIMES: u32 = 3;

/// How long bytes that were sent may stay unacknowledged by the peer's kernel.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(15);

/// How long knocking may take ([`Connector::knock`]).
const KNOCK_TIME_MAX: Duration = Duration::from_millis(500);

/// Who this broker is to others.
#[derive(Debug)]
pub(super) struct Local {
    pub(super) node_id: i32,
    /// The number of this process.
    pub(super) life: u64,
    /// The versions it speaks.
    pub(super) versions: (u8, u8),
    /// The cluster, once it is known.
    pub(super) cluster_id: OnceLock<String>,
    /// The epoch of its registration; -1 before it has one.
    pub(super) epoch: watch::Sender<i64>,
    /// Whose connections have just ended.
    pub(super) losses: Losses,
}

impl Local {
    pub(super) fn new(node_id: i32, life: u64) -> Self {
        Self {
            node_id,
            life,
            versions: (*VERSIONS.start(), *VERSIONS.end()),
            cluster_id: OnceLock::new(),
            epoch: watch::Sender::new(-1),
            losses: Losses::default(),
        }
    }
}

/// Makes connections.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) local: Arc<Local>,
    /// None: this broker has no inter-broker listener, and is alone.
    pub(super) tls: Option<PeerTls>,
    pub(super) memory: Arc<NetworkMemory>,
    /// The longest answer.
    pub(super) frame_bytes_max: usize,
    /// From the first packet to the answer to the first words.
    pub(super) timeout: Duration,
}

/// A connection on which calls may be made.
pub(super) struct Opened {
    pub(super) io: TlsStream<TcpStream>,
    pub(super) reader: FrameReader,
    /// The agreed version.
    pub(super) version: u8,
    /// The epoch that was said to be ours.
    pub(super) our_epoch: i64,
    /// The epoch of the peer's registration.
    pub(super) peer_epoch: i64,
    /// The number of the peer's process.
    pub(super) peer_life: u64,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// The machine says that nobody listens there.
    #[error("connecting to {address} is refused: nobody listens there")]
    Refused { address: String },
    /// Nothing came back, or the network says that there is no way.
    #[error("{address} does not answer: {why}")]
    Silent { address: String, why: String },
    /// Somebody is there, and it came to nothing.
    #[error("{address}: {why}")]
    Failed { address: String, why: String },
    /// One end does not take the other's certificate.
    #[error("{address}: {why}")]
    NotTrusted { address: String, why: String },
    /// A broker is there and does not talk to this one.
    #[error("{address} refuses this broker: {why}")]
    Rejected { address: String, why: HelloRefused },
    /// This broker is not ready to call, or never will be.
    #[error("{0}")]
    NotReady(&'static str),
}

impl Connector {
    /// Connects to `broker` and says hello.
    pub(super) async fn open(&self, broker: i32, at: &PeerAddress) -> Result<Opened, ConnectError> {
        let address = format!("{}:{}", at.host, at.port);
        let Some(tls) = &self.tls else {
            return Err(ConnectError::NotReady("this broker has no inter-broker listener"));
        };
        let Some(cluster_id) = self.local.cluster_id.get() else {
            return Err(ConnectError::NotReady("this broker has not joined its cluster yet"));
        };
        match timeout(self.timeout, self.greet(tls, cluster_id, broker, at, &address)).await {
            Ok(opened) => opened,
            Err(_) => {
                let why = format!("nothing within {} ms", self.timeout.as_millis());
                Err(ConnectError::Silent { address, why })
            }
        }
    }

    /// Looks whether somebody opens: TCP and TLS, no words.
    pub(super) async fn knock(&self, at: &PeerAddress) -> Probed {
        let Some(tls) = &self.tls else { return Probed::Silent };
        let address = format!("{}:{}", at.host, at.port);
        match timeout(KNOCK_TIME_MAX, secure(tls, at, &address)).await {
            Ok(
                Ok(_)
                | Err(ConnectError::Failed { .. } | ConnectError::NotTrusted { .. } | ConnectError::Rejected { .. }),
            ) => Probed::Alive,
            Ok(Err(ConnectError::Refused { .. })) => Probed::Refused,
            Ok(Err(ConnectError::Silent { .. } | ConnectError::NotReady(_))) | Err(_) => Probed::Silent,
        }
    }

    async fn greet(
        &self,
        tls: &PeerTls,
        cluster_id: &str,
        broker: i32,
        at: &PeerAddress,
        address: &str,
    ) -> Result<Opened, ConnectError> {
        let failed = |why: String| ConnectError::Failed { address: address.to_owned(), why };
        let broken = |error: io::Error| ended_by(&error, address);
        let mut io = secure(tls, at, address).await?;
        let our_epoch = *self.local.epoch.borrow();
        let hello = Hello {
            versions: self.local.versions,
            cluster_id: cluster_id.to_owned(),
            broker_id: self.local.node_id,
            broker_epoch: our_epoch,
            life: self.local.life,
        };
        let hello = seal(VERSION_OF_HELLO, 0, &hello, 0).map_err(|error| failed(error.to_string()))?;
        // With TLS 1.3 a peer that wants no part of our certificate says so only now.
        let sent = async {
            io.write_all(&hello).await?;
            io.flush().await
        };
        sent.await.map_err(broken)?;
        let mut reader = FrameReader::new(Arc::clone(&self.memory), self.frame_bytes_max);
        let frame = poll_fn(|cx| reader.poll_frame(cx, &mut io)).await.map_err(|error| match error {
            FrameError::Io(error) => broken(error),
            other => failed(other.to_string()),
        })?;
        let frame = frame.ok_or_else(|| failed("it closed the connection without a word".to_owned()))?;
        let greeting: Greeting =
            Envelope::open(frame).and_then(|envelope| envelope.message()).map_err(|error| failed(error.to_string()))?;
        match greeting {
            Greeting::Refused(why) => Err(ConnectError::Rejected { address: address.to_owned(), why }),
            Greeting::Welcome { broker_id, .. } if broker_id != broker => {
                Err(failed(format!("broker {broker_id} is there, and not broker {broker}")))
            }
            Greeting::Welcome { version, .. } if version < self.local.versions.0 || version > self.local.versions.1 => {
                Err(failed(format!("it takes version {version} for agreed, which was not offered")))
            }
            Greeting::Welcome { version, broker_epoch, life, .. } => {
                Ok(Opened { io, reader, version, our_epoch, peer_epoch: broker_epoch, peer_life: life })
            }
        }
    }
}

/// TCP and TLS, and a certificate at the other end that is a broker's.
async fn secure(tls: &PeerTls, at: &PeerAddress, address: &str) -> Result<TlsStream<TcpStream>, ConnectError> {
    let failed = |why: String| ConnectError::Failed { address: address.to_owned(), why };
    let stream = match TcpStream::connect((at.host.as_str(), at.port)).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(ConnectError::Refused { address: address.to_owned() });
        }
        Err(error) => return Err(ConnectError::Silent { address: address.to_owned(), why: error.to_string() }),
    };
    tune(&stream).map_err(|error| failed(error.to_string()))?;
    let name = ServerName::try_from(at.host.clone()).map_err(|error| failed(error.to_string()))?;
    let stream = TlsConnector::from(Arc::clone(&tls.client)).connect(name, stream).await;
    let stream = stream.map_err(|error| ended_by(&error, address))?;
    let not_trusted = |why: String| ConnectError::NotTrusted { address: address.to_owned(), why };
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).and_then(subject);
    match shown {
        Some(name) if tls.principals.contain(&name) => Ok(stream),
        Some(name) => Err(not_trusted(format!(
            "its certificate is {name}'s, and sluice.broker.principals has the distinguished names of brokers"
        ))),
        None => Err(not_trusted("its certificate has no subject".to_owned())),
    }
}

/// What the end of a connection says: that a certificate is not trusted, at one end or the other, or nothing of the kind.
fn ended_by(error: &io::Error, address: &str) -> ConnectError {
    let (address, why) = (address.to_owned(), error.to_string());
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(_) | rustls::Error::InvalidCertificate(_)) => {
            ConnectError::NotTrusted { address, why }
        }
        _ => ConnectError::Failed { address, why },
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_TIMES)?;
    // Milliseconds in 32 bits: 15 s fit.
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MAX.as_millis() as u32)?;
    Ok(())
}

impl Opened {
    /// Waits until the connection has ended, whatever ended it.
    pub(super) async fn ended(mut self) {
        loop {
            match poll_fn(|cx| self.reader.poll_frame(cx, &mut self.io)).await {
                // Nothing was asked, so nothing is due; but the connection stands.
                Ok(Some(_)) => {}
                Ok(None) | Err(FrameError::Length { .. } | FrameError::Truncated { .. } | FrameError::Io(_)) => return,
            }
        }
    }
}
