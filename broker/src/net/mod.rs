//! The network: sockets, TLS and frames, and nothing of what the frames mean.
//!
//! ```text
//!   listener ──accept──> transport (TLS or plain) ──> connection ──frame: Chunks──> Service
//!                                                        ^                             |
//!                                                        '────────answer: [Part]───────'
//! ```
//! Owns: the listening sockets, every connection's task, the memory that unread requests take. Knows one thing above
//! it, the [`Service`], and calls it in the order in which a connection's requests arrived; answers leave in that order
//! too, because Kafka's clients match them by position as much as by correlation id.
//!
//! Every bound on what a peer may cost is in [`Limits`], and memory follows the bytes that have arrived, never the
//! bytes that were announced.

mod answers;
mod connection;
mod distinguished_name;
mod frames;
mod listener;
mod memory;
mod service;
#[cfg(test)]
mod tests;
mod tls;
mod transport;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

pub(crate) use distinguished_name::subject;
pub(crate) use frames::{FrameError, FrameReader};
pub use listener::{BindError, Bound, Endpoint, Running, bind};
pub(crate) use memory::NetworkMemory;
pub use service::{Outcome, Peer, Principal, Service, Started};
pub use tls::{TlsError, certificates_from_pem, private_key_from_pem};
pub(crate) use tls::{identity, roots, server_config, versions};

/// Where the broker listens and what connections may cost.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// The listeners, in the order in which they were written.
    pub listeners: Vec<ListenerConfig>,
    /// The bounds on connections, which hold over all listeners together.
    pub limits: Limits,
}

/// One entry of `listeners`, with its share of `advertised.listeners` and its TLS settings.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The listener's name, upper case as Kafka has it: `SSL`, `PLAINTEXT`, or a name of the operator's own.
    pub name: ListenerName,
    /// The host to bind; empty means every interface.
    pub host: String,
    /// The port to bind; 0 lets the system choose.
    pub port: u16,
    /// What clients are told to connect to; none: the bound address.
    pub advertised: Option<(String, u16)>,
    /// How connections are secured.
    pub security: Security,
}

/// What a listener's security protocol comes to.
#[derive(Debug, Clone)]
pub enum Security {
    /// `PLAINTEXT`: no TLS. Only a listener that says so in the configuration has it.
    Plaintext,
    /// `SSL`: TLS 1.2 or 1.3.
    Ssl(Box<TlsConfig>),
}

impl Security {
    /// Kafka's name of the security protocol.
    pub const fn protocol(&self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl(_) => "SSL",
        }
    }
}

/// A listener's name, shared by all that mention it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerName(Arc<str>);

impl ListenerName {
    /// A listener's name; Kafka compares them in upper case.
    pub fn new(name: &str) -> Self {
        Self(name.to_ascii_uppercase().into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Kafka's `ssl.*` settings of one listener.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The broker's private key and certificate chain.
    pub identity: Identity,
    /// The authorities whose client certificates are believed; none: clients are not asked.
    pub truststore: Option<PemSource>,
    /// `ssl.client.auth`.
    pub client_auth: ClientAuth,
    /// `ssl.enabled.protocols`.
    pub protocols: Vec<TlsProtocol>,
}

/// Where the broker's own key and certificate chain come from.
#[derive(Debug, Clone)]
pub enum Identity {
    /// `ssl.keystore.location`: one PEM file that holds both.
    File(PathBuf),
    /// `ssl.keystore.key` and `ssl.keystore.certificate.chain`: PEM text in the configuration itself.
    Inline {
        /// The private key, PKCS#8, SEC1 or PKCS#1.
        key: Secret,
        /// The certificate chain, the broker's own certificate first.
        certificate_chain: String,
    },
}

/// PEM text, or the file that holds it.
#[derive(Debug, Clone)]
pub enum PemSource {
    /// A file.
    File(PathBuf),
    /// The text itself.
    Inline(String),
}

/// Text that is never printed: a key, a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of every log line.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// `ssl.client.auth`: whether a client has to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Not asked for.
    None,
    /// Asked for; who has none is anonymous. One that is shown has to be good.
    Requested,
    /// Who has none is refused in the handshake.
    Required,
}

/// A version of TLS that `ssl.enabled.protocols` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsProtocol {
    /// `TLSv1.2`.
    Tls12,
    /// `TLSv1.3`.
    Tls13,
}

/// What connections may cost, one by one and all together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `socket.request.max.bytes`: the longest frame that is read.
    pub frame_bytes_max: usize,
    /// `sluice.network.memory.bytes.max`: the memory of requests that have not been handled yet, over all connections.
    pub memory_bytes_max: usize,
    /// `sluice.inflight.bytes.max`: bytes of one connection's requests that await their answer.
    pub inflight_bytes_max: usize,
    /// `max.connections`: at this number nobody new is accepted until somebody leaves.
    pub connections_max: usize,
    /// `max.connections.per.ip`: one more from the same address is closed at once.
    pub connections_per_ip_max: usize,
    /// `connections.max.idle.ms`: how long a connection may neither send nor take a byte.
    pub idle_max: Duration,
    /// `sluice.frame.timeout.ms`: how long a frame may take to arrive while other connections wait for memory.
    pub frame_age_while_short_max: Duration,
    /// `sluice.handshake.timeout.ms`: from accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
}
