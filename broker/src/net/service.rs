//! What the network calls: the one seam between sockets and the broker's APIs.

use std::{borrow::Cow, fmt, future::Future, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use sluice_protocol::records::{Chunks, Part};

use tracing::debug;

use super::ListenerName;

/// Answers frames. One per broker, shared by all connections.
pub trait Service: Send + Sync + 'static {
    /// What the service remembers of one connection: the client's software name, its session.
    type Connection: Send + 'static;

    /// A peer has connected, its TLS handshake done.
    fn connected(&self, peer: Peer) -> Self::Connection;

    /// Handles one frame, without its length. Called once at a time per connection, in the order of arrival.
    ///
    /// The future ends when the request's ordered part is done (gated and appended, say); what only waits, for the high
    /// watermark or for more records, goes into [`Started::Later`], so that the next request can start. It is dropped
    /// half way when the peer is gone.
    fn start(&self, connection: &mut Self::Connection, frame: Chunks) -> impl Future<Output = Started> + Send;

    /// A peer did not get as far as being served: its TLS handshake failed. On a port that is open to the world this is
    /// everyday; a service whose peers are few and known says it louder.
    fn turned_away(&self, address: SocketAddr, listener: &ListenerName, why: &dyn fmt::Display) {
        debug!(%address, %listener, %why, "closed: no TLS handshake");
    }
}

/// How far a request has come once the next may start.
pub enum Started {
    /// Answered.
    Answer(Vec<Part>),
    /// The answer comes later. Polled beside the connection's other waiting requests and dropped when the peer leaves.
    Later(BoxFuture<'static, Outcome>),
    /// There is no answer: a produce with `acks=0`.
    None,
    /// The connection ends once the answers before this one are written.
    Close(Cow<'static, str>),
    /// Answered, and the connection ends once that is written.
    Farewell(Vec<Part>, Cow<'static, str>),
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(parts) => write!(f, "Answer({} parts)", parts.len()),
            Self::Later(_) => f.write_str("Later"),
            Self::None => f.write_str("None"),
            Self::Close(why) => write!(f, "Close({why})"),
            Self::Farewell(parts, why) => write!(f, "Farewell({} parts, {why})", parts.len()),
        }
    }
}

/// What a request comes to.
#[derive(Debug)]
pub enum Outcome {
    /// The whole answer, its length included.
    Answer(Vec<Part>),
    /// No answer.
    None,
    /// The connection ends, with the reason for the log.
    Close(Cow<'static, str>),
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address the peer connected from.
    pub address: SocketAddr,
    /// The listener it came in by: answers advertise the same one's endpoints.
    pub listener: ListenerName,
    /// Whether the connection is TLS.
    pub encrypted: bool,
    /// Who the peer proved to be.
    pub principal: Principal,
}

/// Whom a connection acts for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody in particular; Kafka's `User:ANONYMOUS`.
    Anonymous,
    /// A user: the subject of the client's certificate, written as RFC 2253 has it.
    User(Arc<str>),
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("User:ANONYMOUS"),
            Self::User(name) => write!(f, "User:{name}"),
        }
    }
}
