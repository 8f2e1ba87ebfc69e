//! What a metadata log needs of a coordination service, and no more: a small tree of nodes with versions, nodes that live as
//! long as the session that made them, several changes at once or not at all, and to be told that one node changed.
//!
//! Two things a caller must live with, and every implementation keeps to:
//! - A write that was not answered definitely is [`WriteError::OutcomeUnknown`]: it happened, or did not, or will still happen.
//!   Whoever needs to know calls [`Session::sync`] and reads.
//! - A watch is a hint and fires once. Install it, then read; after a reconnect read again.
//!
//! Implemented by `zookeeper` and by `local`; one suite of tests runs on both.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::watch;

/// Bytes a node may hold, and a multi may carry: half of what a ZooKeeper server takes by default (`jute.maxbuffer`), which
/// answers what is too long by closing the connection, so that a client retries for ever.
pub const NODE_BYTES_MAX: usize = 512 << 10;

/// A coordination service that sessions can be opened with.
#[async_trait]
pub trait Coordinator: fmt::Debug + Send + Sync + 'static {
    /// Opens a session. Tries once; whoever calls decides whether and how long to try again.
    async fn connect(&self) -> Result<Arc<dyn Session>, ConnectError>;

    /// Where the service is, for messages.
    fn place(&self) -> String;
}

/// A session: while it lives, so do its ephemeral nodes. Once it ended it stays so; open another.
#[async_trait]
pub trait Session: fmt::Debug + Send + Sync + 'static {
    /// Told apart from every other session there ever was.
    fn id(&self) -> i64;

    /// How long the service waits for a silent session before it ends it.
    fn timeout(&self) -> Duration;

    /// Where the session stands, as far as this side knows.
    fn state(&self) -> watch::Receiver<SessionState>;

    /// The node, if it is there. May be behind what others have written: [`Session::sync`] first where that matters.
    async fn read(&self, path: &str) -> Result<Option<Node>, ReadError>;

    /// As `read`, and a watch that fires when the node is made, changed or removed after this read.
    async fn read_and_watch(&self, path: &str) -> Result<(Option<Node>, Watch), ReadError>;

    /// Names of the node's children, in no order; none if it is not there.
    async fn children(&self, path: &str) -> Result<Vec<String>, ReadError>;

    /// As `children`, of a node that is there, and a watch that fires when one of them is made or removed after this read. What
    /// they hold is not watched.
    async fn children_and_watch(&self, path: &str) -> Result<(Vec<String>, Watch), ReadError>;

    /// Reads after this see everything written before it, by anyone.
    async fn sync(&self) -> Result<(), ReadError>;

    /// All of the changes, in order, or none of them.
    async fn multi(&self, changes: Vec<Change>) -> Result<(), WriteError>;

    /// Ends the session, and with it its ephemeral nodes. Waits until the service has confirmed it, or could not be reached.
    async fn close(&self);
}

/// Resolves once, when the watched node changed or the session ended.
pub type Watch = BoxFuture<'static, ()>;

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// The service answers.
    Connected,
    /// The service is not heard of: the session may have ended without this side knowing.
    Doubtful,
    /// The session has ended, and its ephemeral nodes are gone or will be.
    Ended,
}

/// A node as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it holds.
    pub data: Vec<u8>,
    /// Changes of its data since it was made.
    pub version: i32,
    /// Rises over all nodes that are made: told apart from every node of this path before and after it.
    pub created: i64,
    /// The session it lives with; nothing for one that stays.
    pub owner: Option<i64>,
}

/// One change of a multi.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing changes, but all fails unless the node has this version.
    Check {
        /// The node.
        path: String,
        /// The version it must have.
        version: i32,
    },
    /// Makes a node; its parent is there and it is not.
    Create {
        /// The node.
        path: String,
        /// What it holds.
        data: Vec<u8>,
        /// How long it lives.
        lifetime: Lifetime,
    },
    /// Replaces what a node of this version holds.
    Set {
        /// The node.
        path: String,
        /// What it holds then.
        data: Vec<u8>,
        /// The version it must have.
        version: i32,
    },
    /// Removes a node of this version that has no children.
    Delete {
        /// The node.
        path: String,
        /// The version it must have.
        version: i32,
    },
}

/// How long a node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is removed.
    Persistent,
    /// Until the session ends that made it, or it is removed before.
    Session,
}

/// Why no session was opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there, or not in time: worth another try.
    #[error("not reachable: {why}")]
    Unreachable {
        /// What was tried and what came of it.
        why: String,
    },
    /// The configuration can't work, however often it is tried.
    #[error("configuration: {why}")]
    Config {
        /// What is wrong with it.
        why: String,
    },
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not read: {why}")]
pub struct ReadError {
    /// What the service or its client said.
    pub why: String,
}

/// Why a multi was not done, if it was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Definitely nothing was changed: this change could not be made.
    #[error("change {index} refused: {refusal}")]
    Refused {
        /// Which change.
        index: usize,
        /// Why.
        refusal: Refusal,
    },
    /// Definitely nothing was changed: it was not sent, because it is longer than a node may be.
    #[error("{bytes} bytes are more than a write may have ({NODE_BYTES_MAX})")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Definitely nothing was changed: it was not sent, because the session is not connected.
    #[error("the session is not connected")]
    NotConnected,
    /// It was done, or was not, or will be.
    #[error("outcome unknown: {why}")]
    OutcomeUnknown {
        /// What the service or its client said.
        why: String,
    },
}

/// Why a change can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The node, or the parent of one to be made, is not there.
    #[error("no such node")]
    NoNode,
    /// The node is there already.
    #[error("the node exists")]
    Exists,
    /// The node has another version.
    #[error("the node has another version")]
    BadVersion,
    /// A node with children can't be removed.
    #[error("the node has children")]
    NotEmpty,
    /// The service doesn't allow it, or not to us.
    #[error("not allowed: {why}")]
    Denied {
        /// What the service said.
        why: String,
    },
}

impl Change {
    /// The node it is about.
    pub(super) fn path(&self) -> &str {
        match self {
            Self::Check { path, .. }
            | Self::Create { path, .. }
            | Self::Set { path, .. }
            | Self::Delete { path, .. } => path,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Check { .. } | Self::Delete { .. } => 0,
            Self::Create { data, .. } | Self::Set { data, .. } => data.len(),
        }
    }
}

/// Refuses what is too long before it is sent.
pub(super) fn check_size(changes: &[Change]) -> Result<(), WriteError> {
    let bytes = changes.iter().map(Change::bytes).sum();
    if bytes > NODE_BYTES_MAX { Err(WriteError::TooLarge { bytes }) } else { Ok(()) }
}
