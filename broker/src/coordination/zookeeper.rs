//! The coordination service that is Apache ZooKeeper. The only file that names its client crate.
//!
//! What the client leaves to us, or gets wrong, is dealt with here:
//! - Every call has a deadline of ours: a request made while the connection is away waits in the client for ever, and is still
//!   sent when it comes back. So a write whose deadline passed has an unknown outcome.
//! - Only an answer of the server that names the change it refused is definite. All else is unknown: the client reports lost
//!   requests in more than one way.
//! - What is too long is refused before it is sent: the server answers it by closing the connection.
//! - One-shot watches only. The client loses persistent ones when it reconnects, without a word.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;
use zookeeper_client::{
    Acls, Client, Connector, CreateMode, CreateOptions, Error, MultiWriteError, SessionState as ClientState, Stat,
    TlsOptions,
};

use super::coordinator::{
    Change, ConnectError, Coordinator, Lifetime, Node, ReadError, Refusal, Session, SessionState, Watch, WriteError,
    check_size,
};

/// How to reach an ensemble, and how.
#[derive(Clone)]
pub struct ZooKeeper {
    /// `zookeeper.connect`.
    pub connect: ConnectString,
    /// `zookeeper.session.timeout.ms`: after so long without word the ensemble ends the session. It may grant more or less.
    pub session_timeout: Duration,
    /// With TLS, if this is set.
    pub tls: Option<ZooKeeperTls>,
    /// `zookeeper.set.acl`: only who is authenticated as we are may touch what we make.
    pub set_acl: bool,
}

/// `host:port,host:port/chroot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectString {
    servers: Vec<(String, u16)>,
    chroot: Option<String>,
}

/// Certificates as PEM text.
#[derive(Clone)]
pub struct ZooKeeperTls {
    /// Authorities that the servers' certificates come from.
    pub authorities: String,
    /// Our own certificate chain and its key, if the servers ask for it.
    pub identity: Option<ZooKeeperIdentity>,
}

/// A certificate chain and its key as PEM text.
#[derive(Clone)]
pub struct ZooKeeperIdentity {
    /// The chain, ours first.
    pub certificates: String,
    /// The key.
    pub key: String,
}

/// `zookeeper.connect` can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("zookeeper.connect is {text:?}: {reason}; it is written host:port,host:port/chroot")]
pub struct ConnectStringError {
    /// As configured.
    pub text: String,
    /// What is wrong.
    pub reason: &'static str,
}

/// What the log shows unless told otherwise: of the client its warnings, since each step of a session is said here.
pub(crate) const LOG_FILTER: &str = "info,zookeeper_client=warn";

/// ZooKeeper's own port, when none is named.
const DEFAULT_PORT: u16 = 2181;

/// The least a call waits. A session timeout shorter than this is for tests; calls still need time to be answered.
const CALL_DEADLINE_MIN: Duration = Duration::from_secs(1);

impl FromStr for ConnectString {
    type Err = ConnectStringError;

    fn from_str(text: &str) -> Result<Self, ConnectStringError> {
        let wrong = |reason| ConnectStringError { text: text.to_owned(), reason };
        let (servers, chroot) = match text.trim().split_once('/') {
            Some((servers, chroot)) => (servers, chroot.trim_end_matches('/')),
            None => (text.trim(), ""),
        };
        if chroot.split('/').any(|name| matches!(name, "." | "..")) || chroot.contains("//") {
            return Err(wrong("the chroot is not a path"));
        }
        let server = |server: &str| {
            let server = server.trim();
            let (host, port) = match server.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().map_err(|_| wrong("a port is a number below 65536"))?),
                None => (server, DEFAULT_PORT),
            };
            if host.is_empty() { Err(wrong("a server has no name")) } else { Ok((host.to_owned(), port)) }
        };
        let servers = servers.split(',').map(server).collect::<Result<_, _>>()?;
        Ok(Self { servers, chroot: (!chroot.is_empty()).then(|| format!("/{chroot}")) })
    }
}

impl fmt::Display for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (host, port)) in self.servers.iter().enumerate() {
            write!(f, "{}{host}:{port}", if index == 0 { "" } else { "," })?;
        }
        f.write_str(self.chroot.as_deref().unwrap_or_default())
    }
}

impl ZooKeeperTls {
    /// Reads PEM files as Kafka names them: `zookeeper.ssl.truststore.location`, and `zookeeper.ssl.keystore.location` with
    /// certificate chain and key in one file.
    pub fn from_files(truststore: &Path, keystore: Option<&Path>) -> std::io::Result<Self> {
        let identity = |path: &Path| {
            let pem = std::fs::read_to_string(path)?;
            Ok::<_, std::io::Error>(ZooKeeperIdentity { certificates: pem.clone(), key: pem })
        };
        Ok(Self { authorities: std::fs::read_to_string(truststore)?, identity: keystore.map(identity).transpose()? })
    }
}

impl ZooKeeper {
    fn connector(&self) -> Result<Connector, ConnectError> {
        // Eagerly: each server is tried once, and whoever asked for a session decides about the next try.
        let connector = Client::connector().with_session_timeout(self.session_timeout).with_fail_eagerly();
        let Some(tls) = &self.tls else { return Ok(connector) };
        let config = |error: Error| ConnectError::Config { why: format!("zookeeper.ssl: {error}") };
        let mut options = TlsOptions::new().with_pem_ca(&tls.authorities).map_err(config)?;
        if let Some(identity) = &tls.identity {
            options = options.with_pem_identity(&identity.certificates, &identity.key).map_err(config)?;
        }
        Ok(connector.with_tls(options))
    }

    fn servers(&self) -> String {
        let scheme = if self.tls.is_some() { "tcp+tls" } else { "tcp" };
        let servers = self.connect.servers.iter().map(|(host, port)| format!("{scheme}://{host}:{port}"));
        servers.collect::<Vec<_>>().join(",")
    }

    fn call_deadline(&self) -> Duration {
        self.session_timeout.max(CALL_DEADLINE_MIN)
    }

    fn acls(&self) -> Acls<'static> {
        if self.set_acl { Acls::creator_all() } else { Acls::anyone_all() }
    }
}

#[async_trait]
impl Coordinator for ZooKeeper {
    async fn connect(&self) -> Result<Arc<dyn Session>, ConnectError> {
        let unreachable = |error: Error| ConnectError::Unreachable { why: error.to_string() };
        let late = |_| ConnectError::Unreachable { why: format!("no answer within {:?}", self.call_deadline()) };
        let servers = self.servers();
        let connect = self.connector()?.connect(&servers);
        let mut client = timeout(self.call_deadline(), connect).await.map_err(late)?.map_err(unreachable)?;
        if let Some(chroot) = &self.connect.chroot {
            let options = CreateMode::Persistent.with_acls(self.acls());
            let made = timeout(self.call_deadline(), client.mkdir(chroot, &options)).await.map_err(late)?;
            match made {
                Ok(()) | Err(Error::NodeExists) => {}
                Err(Error::NoAuth | Error::InvalidAcl) => {
                    return Err(ConnectError::Config { why: format!("ZooKeeper does not let us make {chroot}") });
                }
                Err(error) => return Err(unreachable(error)),
            }
            client =
                client.chroot(chroot.as_str()).map_err(|_| ConnectError::Config { why: format!("chroot {chroot}") })?;
        }
        Ok(Arc::new(ZooKeeperSession::new(client, self.call_deadline(), self.acls())))
    }

    fn place(&self) -> String {
        format!("ZooKeeper at {}", self.connect)
    }
}

struct ZooKeeperSession {
    /// Taken when the session is closed: the client ends it when the last handle is gone.
    client: Mutex<Option<Client>>,
    id: i64,
    timeout: Duration,
    call_deadline: Duration,
    acls: Acls<'static>,
    state: watch::Receiver<SessionState>,
}

impl ZooKeeperSession {
    fn new(client: Client, call_deadline: Duration, acls: Acls<'static>) -> Self {
        let mut watcher = client.state_watcher();
        let (sender, state) = watch::channel(known(client.state()));
        // Ends with the client: its last state is a terminal one.
        tokio::spawn(async move {
            while *sender.borrow() != SessionState::Ended {
                let state = known(watcher.changed().await);
                sender.send_replace(state);
            }
        });
        let (id, timeout) = (client.session_id().0, client.session_timeout());
        Self { client: Mutex::new(Some(client)), id, timeout, call_deadline, acls, state }
    }

    fn client(&self) -> Option<Client> {
        self.client.lock().clone()
    }

    /// One call under our deadline.
    async fn call<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, ReadFailure>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let client = self.client().ok_or_else(|| ReadFailure::Other("the session is closed".to_owned()))?;
        match timeout(self.call_deadline, call(client)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Error::NoNode)) => Err(ReadFailure::NoNode),
            Ok(Err(error)) => Err(ReadFailure::Other(error.to_string())),
            Err(_) => Err(ReadFailure::Other(format!("no answer within {:?}", self.call_deadline))),
        }
    }
}

enum ReadFailure {
    NoNode,
    Other(String),
}

impl ReadFailure {
    /// What a node's absence means to a reader: nothing is there.
    fn absent<T>(self, nothing: T) -> Result<T, ReadError> {
        match self {
            Self::NoNode => Ok(nothing),
            Self::Other(why) => Err(ReadError { why }),
        }
    }
}

#[async_trait]
impl Session for ZooKeeperSession {
    fn id(&self) -> i64 {
        self.id
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    async fn read(&self, path: &str) -> Result<Option<Node>, ReadError> {
        let read = self.call(async |client| client.get_data(path).await).await;
        read.map(|(data, stat)| Some(node(data, &stat))).or_else(|failure| failure.absent(None))
    }

    async fn read_and_watch(&self, path: &str) -> Result<(Option<Node>, Watch), ReadError> {
        // A watch on what is not there is another request. In between it may be made: then the first is asked again, and a
        // node that comes and goes that often will be asked for again by whoever reads.
        for _ in 0..READ_AND_WATCH_TRIES {
            match self.call(async |client| client.get_and_watch_data(path).await).await {
                Ok((data, stat, watcher)) => return Ok((Some(node(data, &stat)), watcher.changed().map(drop).boxed())),
                Err(ReadFailure::NoNode) => {}
                Err(ReadFailure::Other(why)) => return Err(ReadError { why }),
            }
            match self.call(async |client| client.check_and_watch_stat(path).await).await {
                Ok((None, watcher)) => return Ok((None, watcher.changed().map(drop).boxed())),
                Ok((Some(_), _)) | Err(ReadFailure::NoNode) => {}
                Err(ReadFailure::Other(why)) => return Err(ReadError { why }),
            }
        }
        Err(ReadError { why: format!("{path} comes and goes") })
    }

    async fn children(&self, path: &str) -> Result<Vec<String>, ReadError> {
        let listed = self.call(async |client| client.list_children(path).await).await;
        listed.or_else(|failure| failure.absent(Vec::new()))
    }

    async fn children_and_watch(&self, path: &str) -> Result<(Vec<String>, Watch), ReadError> {
        match self.call(async |client| client.list_and_watch_children(path).await).await {
            Ok((names, watcher)) => Ok((names, watcher.changed().map(drop).boxed())),
            Err(ReadFailure::NoNode) => Err(ReadError { why: format!("{path} is not there") }),
            Err(ReadFailure::Other(why)) => Err(ReadError { why }),
        }
    }

    async fn sync(&self) -> Result<(), ReadError> {
        self.call(async |client| client.sync("/").await).await.or_else(|failure| failure.absent(()))
    }

    async fn multi(&self, changes: Vec<Change>) -> Result<(), WriteError> {
        check_size(&changes)?;
        if *self.state.borrow() != SessionState::Connected {
            return Err(WriteError::NotConnected);
        }
        let client = self.client().ok_or(WriteError::NotConnected)?;
        let mut writer = client.new_multi_writer();
        for (index, change) in changes.iter().enumerate() {
            add(&mut writer, change, &self.acls)
                .map_err(|error| WriteError::Refused { index, refusal: Refusal::Denied { why: error.to_string() } })?;
        }
        match timeout(self.call_deadline, writer.commit()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(MultiWriteError::OperationFailed { index, source })) => match refusal(&source) {
                Some(refusal) => Err(WriteError::Refused { index, refusal }),
                None => Err(WriteError::OutcomeUnknown { why: source.to_string() }),
            },
            Ok(Err(MultiWriteError::RequestFailed { source })) => {
                Err(WriteError::OutcomeUnknown { why: source.to_string() })
            }
            Err(_) => Err(WriteError::OutcomeUnknown { why: format!("no answer within {:?}", self.call_deadline) }),
        }
    }

    async fn close(&self) {
        let mut state = self.state();
        let can_confirm = *state.borrow() == SessionState::Connected;
        drop(self.client.lock().take());
        if !can_confirm {
            // The server hears nothing of it, and will end the session by itself.
            return;
        }
        let closed = state.wait_for(|state| *state == SessionState::Ended).map(drop);
        // Not within the deadline: as if the server were away.
        let _ = timeout(self.call_deadline, closed).await;
    }
}

/// Reading a node and reading that it is not there race with whoever makes and removes it; more than a few times in a row they
/// don't.
const READ_AND_WATCH_TRIES: usize = 5;

fn add(writer: &mut zookeeper_client::MultiWriter<'_>, change: &Change, acls: &Acls<'static>) -> Result<(), Error> {
    match change {
        Change::Check { path, version } => writer.add_check_version(path, *version),
        Change::Create { path, data, lifetime } => writer.add_create(path, data, &options(*lifetime, acls)),
        Change::Set { path, data, version } => writer.add_set_data(path, data, Some(*version)),
        Change::Delete { path, version } => writer.add_delete(path, Some(*version)),
    }
}

fn options<'a>(lifetime: Lifetime, acls: &Acls<'a>) -> CreateOptions<'a> {
    let mode = match lifetime {
        Lifetime::Persistent => CreateMode::Persistent,
        Lifetime::Session => CreateMode::Ephemeral,
    };
    mode.with_acls(*acls)
}

fn node(data: Vec<u8>, stat: &Stat) -> Node {
    let owner = (stat.ephemeral_owner != 0).then_some(stat.ephemeral_owner);
    Node { data, version: stat.version, created: stat.czxid, owner }
}

/// What the server said of one change, if that is definite.
fn refusal(error: &Error) -> Option<Refusal> {
    match error {
        Error::NoNode => Some(Refusal::NoNode),
        Error::NodeExists => Some(Refusal::Exists),
        Error::BadVersion => Some(Refusal::BadVersion),
        Error::NotEmpty => Some(Refusal::NotEmpty),
        Error::NoAuth | Error::InvalidAcl | Error::NoChildrenForEphemerals | Error::QuotaExceeded => {
            Some(Refusal::Denied { why: error.to_string() })
        }
        _ => None,
    }
}

fn known(state: ClientState) -> SessionState {
    match state {
        ClientState::SyncConnected => SessionState::Connected,
        // A server that can't reach its quorum can't confirm anything.
        ClientState::Disconnected | ClientState::ConnectedReadOnly => SessionState::Doubtful,
        ClientState::AuthFailed | ClientState::Expired | ClientState::Closed => SessionState::Ended,
    }
}

impl fmt::Debug for ZooKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZooKeeper({}{})", self.connect, if self.tls.is_some() { ", TLS" } else { "" })
    }
}

impl fmt::Debug for ZooKeeperSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZooKeeperSession({:#x})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_strings() {
        check("zk1:2181,zk2:2182/sluice/eu", Ok("zk1:2181,zk2:2182/sluice/eu"));
        check("zk1", Ok("zk1:2181"));
        check(" zk1:1 , zk2 ", Ok("zk1:1,zk2:2181"));
        check("zk1:1/", Ok("zk1:1"));
        check("zk1:1/a/", Ok("zk1:1/a"));
        check("[::1]:2181", Ok("[::1]:2181"));
        check("", Err("a server has no name"));
        check("zk1,,zk2", Err("a server has no name"));
        check(":2181", Err("a server has no name"));
        check("zk1:99999", Err("a port is a number below 65536"));
        check("zk1:1/a//b", Err("the chroot is not a path"));
        check("zk1:1/../b", Err("the chroot is not a path"));
    }

    fn check(text: &str, expected: Result<&str, &'static str>) {
        let seen = text.parse::<ConnectString>().map(|parsed| parsed.to_string()).map_err(|error| error.reason);
        assert_eq!(seen, expected.map(str::to_owned), "{text:?}");
    }
}
