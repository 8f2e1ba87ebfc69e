//! Where a case runs: on the service in this process, or on a real ZooKeeper, in a tree of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sluice::coordination::coordinator::{Session, SessionState};
use sluice::coordination::{Coordinator, LocalStore, ZooKeeper};
use tempfile::TempDir;

use crate::proxy::Proxy;
use crate::soon;

/// Long enough that busy cores don't end it, short enough that a test can wait for its end.
pub(crate) const SESSION: Duration = Duration::from_secs(4);

/// A coordination service with nothing in it.
pub(crate) struct Ground {
    folder: TempDir,
    service: Service,
}

enum Service {
    Local(LocalStore),
    ZooKeeper { connect: String, chroot: String },
}

/// One client's way to it.
pub(crate) struct Client {
    pub(crate) coordinator: Arc<dyn Coordinator>,
    line: Line,
}

enum Line {
    Local(LocalStore),
    ZooKeeper(Proxy),
}

impl Ground {
    pub(crate) fn local() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = LocalStore::open(&folder.path().join("coordination")).expect("a new file");
        Self { folder, service: Service::Local(store) }
    }

    pub(crate) fn zookeeper(server: &sluice_tests::ZooKeeper, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, service: Service::ZooKeeper { connect: server.connect(), chroot: format!("/{name}/it") } }
    }

    /// A folder for a broker's data, one for each name.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder in a temporary folder");
        folder
    }

    /// Whether there is a line between a client and the service, that can be cut.
    pub(crate) fn has_line(&self) -> bool {
        matches!(self.service, Service::ZooKeeper { .. })
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_for(SESSION).await
    }

    /// One whose sessions last that long without word.
    pub(crate) async fn client_for(&self, session_timeout: Duration) -> Client {
        match &self.service {
            Service::Local(store) => Client { coordinator: Arc::new(store.clone()), line: Line::Local(store.clone()) },
            Service::ZooKeeper { connect, chroot } => {
                let proxy = Proxy::to(connect.parse().expect("the harness gives an address")).await;
                let zookeeper = ZooKeeper {
                    connect: format!("{}{chroot}", proxy.address()).parse().expect("a connect string"),
                    session_timeout,
                    tls: None,
                    set_acl: false,
                };
                Client { coordinator: Arc::new(zookeeper), line: Line::ZooKeeper(proxy) }
            }
        }
    }

    /// A session that nothing happens to.
    pub(crate) async fn session(&self) -> (Client, Arc<dyn Session>) {
        let client = self.client().await;
        let session = client.session().await;
        (client, session)
    }
}

impl Client {
    pub(crate) async fn session(&self) -> Arc<dyn Session> {
        soon("a session", self.coordinator.connect()).await.expect("the service answers")
    }

    /// Has the service end the session, as one it doesn't hear of.
    pub(crate) async fn expire(&self, session: &dyn Session) {
        let mut state = session.state();
        match &self.line {
            Line::Local(store) => store.expire(session.id()),
            Line::ZooKeeper(proxy) => {
                proxy.cut();
                soon("the client notices", state.wait_for(|state| *state == SessionState::Ended))
                    .await
                    .expect("it says so");
                proxy.mend();
            }
        }
        soon("the session ends", state.wait_for(|state| *state == SessionState::Ended)).await.expect("it says so");
    }

    /// Begins to have the service end the session with that id, which is this client's. On ZooKeeper: the line stays cut.
    pub(crate) fn begin_to_expire(&self, session: i64) {
        match &self.line {
            Line::Local(store) => store.expire(session),
            Line::ZooKeeper(proxy) => proxy.cut(),
        }
    }

    /// Nothing more is heard from this client, nor that it has ended, as when its process is killed behind a router that is slow
    /// to say so. In this process there is nothing to be done for it.
    pub(crate) fn freeze(&self) {
        if let Line::ZooKeeper(proxy) = &self.line {
            proxy.cut();
        }
    }

    /// The way to ZooKeeper, to be cut and mended.
    pub(crate) fn proxy(&self) -> &Proxy {
        match &self.line {
            Line::ZooKeeper(proxy) => proxy,
            Line::Local(_) => panic!("nothing stands between this process and itself"),
        }
    }
}
