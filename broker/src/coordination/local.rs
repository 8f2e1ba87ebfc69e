//! The coordination service in this process, for `sluice dev` and `sluice demo`: the tree lives in memory and in one file.
//! Several clients in the process share one [`LocalStore`]; each opens sessions of its own.
//!
//! What ZooKeeper promises holds here too: versions, multis that are done whole, ephemeral nodes that go with their session,
//! watches that fire once. A session ends when it is closed or [expired](LocalStore::expire), and with the process: ephemeral
//! nodes are never written to the file. A multi is answered once it is in the file and the file is synced; if that fails, the
//! store has failed for good, since what is in the file and what is in memory may differ. The write is made where it is asked
//! for: changes are rare and short, and nothing on the data path waits here.

mod journal;
mod tree;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::coordinator::{
    Change, ConnectError, Coordinator, Node, ReadError, Session, SessionState, Watch, WriteError, check_size,
};
use journal::Journal;
use tree::Tree;

/// The tree, its file and its sessions. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct LocalStore {
    shared: Arc<Mutex<Shared>>,
    path: PathBuf,
}

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LocalStoreError {
    /// Another process has it.
    #[error("{path} is in use by another process", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read or written.
    #[error("{path}: {cause}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The file is not one of ours, or damaged other than by a torn tail.
    #[error("{path} is damaged at byte {position}: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        position: u64,
        /// What is wrong there.
        reason: String,
    },
}

struct Shared {
    tree: Tree,
    journal: Journal,
    sessions: Vec<Member>,
    watches: Vec<Armed>,
    next_session: i64,
    /// Set once the file could not be written.
    failed: Option<String>,
}

/// A live session.
struct Member {
    id: i64,
    state: watch::Sender<SessionState>,
}

/// A watch that has not fired.
struct Armed {
    on: On,
    session: i64,
    fire: oneshot::Sender<()>,
}

/// What a watch is on.
#[derive(PartialEq, Eq)]
enum On {
    Node(String),
    ChildrenOf(String),
}

impl LocalStore {
    /// Opens the file, or makes it. A torn last write is dropped: it was never answered.
    pub fn open(path: &Path) -> Result<Self, LocalStoreError> {
        let (journal, tree) = Journal::open(path)?;
        // Ids go on from where the tree's count of nodes made stands, so that no session of an earlier process has one of them.
        let next_session = tree.next_created() << 16 | 1;
        let shared = Shared { tree, journal, sessions: Vec::new(), watches: Vec::new(), next_session, failed: None };
        Ok(Self { shared: Arc::new(Mutex::new(shared)), path: path.to_owned() })
    }

    /// Ends a session as a service does that has not heard of it for too long. Nothing happens if it has ended.
    pub fn expire(&self, session: i64) {
        self.shared.lock().end(session);
    }
}

#[async_trait]
impl Coordinator for LocalStore {
    async fn connect(&self) -> Result<Arc<dyn Session>, ConnectError> {
        let mut shared = self.shared.lock();
        if let Some(why) = &shared.failed {
            return Err(ConnectError::Unreachable { why: why.clone() });
        }
        let id = shared.next_session;
        shared.next_session += 1;
        let (sender, state) = watch::channel(SessionState::Connected);
        shared.sessions.push(Member { id, state: sender });
        Ok(Arc::new(LocalSession { store: self.clone(), id, state }))
    }

    fn place(&self) -> String {
        format!("the coordination file {}", self.path.display())
    }
}

struct LocalSession {
    store: LocalStore,
    id: i64,
    state: watch::Receiver<SessionState>,
}

#[async_trait]
impl Session for LocalSession {
    fn id(&self) -> i64 {
        self.id
    }

    fn timeout(&self) -> Duration {
        // A session of this process is never silent: it ends when it is closed.
        Duration::ZERO
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    async fn read(&self, path: &str) -> Result<Option<Node>, ReadError> {
        self.look(|shared| shared.tree.get(path).cloned())
    }

    async fn read_and_watch(&self, path: &str) -> Result<(Option<Node>, Watch), ReadError> {
        self.look(|shared| {
            let watch = shared.arm(self.id, On::Node(path.to_owned()));
            (shared.tree.get(path).cloned(), watch)
        })
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, ReadError> {
        self.look(|shared| shared.tree.children(path))
    }

    async fn children_and_watch(&self, path: &str) -> Result<(Vec<String>, Watch), ReadError> {
        let looked = self.look(|shared| {
            shared.tree.get(path)?;
            let watch = shared.arm(self.id, On::ChildrenOf(path.to_owned()));
            Some((shared.tree.children(path), watch))
        })?;
        looked.ok_or_else(|| ReadError { why: format!("{path} is not there") })
    }

    async fn sync(&self) -> Result<(), ReadError> {
        self.look(|_| ())
    }

    async fn multi(&self, changes: Vec<Change>) -> Result<(), WriteError> {
        check_size(&changes)?;
        let mut shared = self.store.shared.lock();
        if !shared.is_live(self.id) {
            return Err(WriteError::NotConnected);
        }
        shared.multi(self.id, &changes)
    }

    async fn close(&self) {
        self.store.expire(self.id);
    }
}

impl LocalSession {
    fn look<T>(&self, at: impl FnOnce(&mut Shared) -> T) -> Result<T, ReadError> {
        let mut shared = self.store.shared.lock();
        if shared.is_live(self.id) {
            Ok(at(&mut shared))
        } else {
            Err(ReadError { why: "the session has ended".to_owned() })
        }
    }
}

impl Drop for LocalSession {
    fn drop(&mut self) {
        self.store.expire(self.id);
    }
}

impl Shared {
    fn is_live(&self, session: i64) -> bool {
        self.failed.is_none() && self.sessions.iter().any(|member| member.id == session)
    }

    fn multi(&mut self, session: i64, changes: &[Change]) -> Result<(), WriteError> {
        self.tree.multi(session, changes).map_err(|(index, refusal)| WriteError::Refused { index, refusal })?;
        if let Err(error) = self.journal.append(&self.tree, changes) {
            let why = format!("the coordination file failed: {error}");
            self.failed = Some(why.clone());
            let sessions: Vec<i64> = self.sessions.iter().map(|member| member.id).collect();
            sessions.into_iter().for_each(|id| self.end(id));
            return Err(WriteError::OutcomeUnknown { why });
        }
        for change in changes {
            match change {
                Change::Check { .. } => {}
                Change::Set { path, .. } => self.fire(&On::Node(path.clone())),
                Change::Create { path, .. } | Change::Delete { path, .. } => self.fire_came_or_went(path),
            }
        }
        Ok(())
    }

    fn arm(&mut self, session: i64, on: On) -> Watch {
        let (fire, fired) = oneshot::channel();
        // Whoever dropped their watch no longer counts: a watch set again and again must not pile up.
        self.watches.retain(|armed| !armed.fire.is_closed());
        self.watches.push(Armed { on, session, fire });
        // A watch that is dropped with its store fires too: the session is gone with it.
        fired.map(drop).boxed()
    }

    fn end(&mut self, session: i64) {
        let Some(at) = self.sessions.iter().position(|member| member.id == session) else { return };
        let member = self.sessions.remove(at);
        for path in self.tree.remove_session(session) {
            self.fire_came_or_went(&path);
        }
        let (own, others) = std::mem::take(&mut self.watches).into_iter().partition(|armed| armed.session == session);
        self.watches = others;
        member.state.send_replace(SessionState::Ended);
        let own: Vec<Armed> = own;
        own.into_iter().for_each(Armed::fire);
    }

    fn fire_came_or_went(&mut self, path: &str) {
        self.fire(&On::Node(path.to_owned()));
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.fire(&On::ChildrenOf(parent.to_owned()));
        }
    }

    fn fire(&mut self, on: &On) {
        let (fired, rest) = std::mem::take(&mut self.watches).into_iter().partition(|armed| armed.on == *on);
        self.watches = rest;
        let fired: Vec<Armed> = fired;
        fired.into_iter().for_each(Armed::fire);
    }
}

impl Armed {
    fn fire(self) {
        // Nobody waits for it any more: then nobody is told.
        let _ = self.fire.send(());
    }
}

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalStore({})", self.path.display())
    }
}

impl fmt::Debug for LocalSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalSession({:#x})", self.id)
    }
}
