//! Several brokers in one process, for `sluice dev --brokers` and `sluice demo`.
//!
//! Each has a runtime of its own, and nothing in common with the others but the [`LocalStore`]: they reach each other over
//! TLS, as brokers do. So one can be [killed](Cluster::kill) as a process is: its tasks are dropped where they stand, its
//! sockets close, nothing is flushed and nobody is told. Its session with the coordinator goes on until it times out, as one
//! with ZooKeeper would; what the others make of it is theirs to find out.

use std::future::pending;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use sluice_storage::OpenError;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::broker::{Broker, BrokerError, CannotGoOn, CompilerCommand};
use crate::config::BrokerConfig;
use crate::coordination::coordinator::{ConnectError, Session, SessionState};
use crate::coordination::{Coordinator, LocalStore};
use crate::net::Endpoint;
use crate::slow;

/// Threads of a broker's runtime: one may be busy with files while the other goes on.
const THREADS: usize = 2;

/// How long the tasks of a broker that was killed may take to be dropped. None waits for anything.
const KILL_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the data folder of a broker that was killed may stay locked, and how often it is looked.
const UNLOCK_TIME_MAX: Duration = Duration::from_secs(5);
const UNLOCK_LOOK_EVERY: Duration = Duration::from_millis(50);

/// Brokers of one process.
pub(crate) struct Cluster {
    members: Vec<Member>,
    compiler: CompilerCommand,
    halts: mpsc::Sender<(i32, CannotGoOn)>,
}

/// Tells of brokers that can't go on.
pub(crate) struct Halts(mpsc::Receiver<(i32, CannotGoOn)>);

struct Member {
    id: i32,
    config: BrokerConfig,
    sessions: Arc<Sessions>,
    state: State,
}

enum State {
    /// Not started, or killed: then the thread that buries it.
    Down(Option<thread::JoinHandle<()>>),
    Up(Box<Up>),
}

struct Up {
    broker: Broker,
    runtime: Own,
    watch: AbortHandle,
}

/// Why brokers do not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    /// There are no threads for one.
    #[error("cannot start broker {id}: {cause}")]
    Runtime {
        /// Which.
        id: i32,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// One does not start.
    #[error("broker {id}: {cause}")]
    Broker {
        /// Which.
        id: i32,
        /// Why not.
        #[source]
        cause: Box<BrokerError>,
    },
    /// One failed in a way that it should not.
    #[error("starting broker {id} failed: {cause}")]
    Failed {
        /// Which.
        id: i32,
        /// What happened.
        #[source]
        cause: tokio::task::JoinError,
    },
}

impl Cluster {
    /// Brokers of these configurations, none of them started. They are told apart by their ids.
    pub(crate) fn new(configs: Vec<BrokerConfig>, store: &LocalStore, compiler: CompilerCommand) -> (Self, Halts) {
        let member = |config: BrokerConfig| Member {
            id: config.settings.broker_id,
            config,
            sessions: Arc::new(Sessions { store: store.clone(), open: Mutex::default() }),
            state: State::Down(None),
        };
        let members: Vec<Member> = configs.into_iter().map(member).collect();
        // One end each, and no more: a broker that has halted is not started again here.
        let (halts, told) = mpsc::channel(members.len().max(1));
        (Self { members, compiler, halts }, Halts(told))
    }

    /// Starts all brokers that are down, side by side.
    pub(crate) async fn start(&mut self) -> Result<(), ClusterError> {
        let compiler = &self.compiler;
        let halts = &self.halts;
        let down = self.members.iter_mut().filter(|member| matches!(member.state, State::Down(_)));
        join_all(down.map(|member| member.start(compiler, halts))).await.into_iter().collect()
    }

    /// Ends a broker as a kill does: at once, in the middle of whatever it does.
    pub(crate) fn kill(&mut self, id: i32) {
        if let Some(member) = self.members.iter_mut().find(|member| member.id == id) {
            member.kill();
        }
    }

    /// The brokers that are up.
    pub(crate) fn up(&self) -> impl Iterator<Item = (i32, &Broker)> {
        self.members.iter().filter_map(|member| match &member.state {
            State::Up(up) => Some((member.id, &up.broker)),
            State::Down(_) => None,
        })
    }

    /// Ends all brokers in order. Says whether all could mark their folders clean.
    pub(crate) async fn stop(self) -> bool {
        let stopped = join_all(self.members.into_iter().map(Member::stop)).await;
        stopped.into_iter().all(|clean| clean)
    }
}

impl Halts {
    /// Resolves when a broker can't go on, with the reason.
    pub(crate) async fn next(&mut self) -> (i32, CannotGoOn) {
        match self.0.recv().await {
            Some(halted) => halted,
            // The cluster has ended, and all its brokers with it.
            None => pending().await,
        }
    }
}

impl Member {
    async fn start(
        &mut self,
        compiler: &CompilerCommand,
        halts: &mpsc::Sender<(i32, CannotGoOn)>,
    ) -> Result<(), ClusterError> {
        let id = self.id;
        let buried = match &mut self.state {
            State::Down(grave) => grave.take(),
            State::Up(_) => return Ok(()),
        };
        let after_a_kill = buried.is_some();
        if let Some(buried) = buried {
            // That a thread of a killed broker failed is no news.
            let _ = slow::aside(move || buried.join()).await;
        }
        let give_up = Instant::now() + UNLOCK_TIME_MAX;
        loop {
            let mut runtime = Builder::new_multi_thread();
            runtime.worker_threads(THREADS).thread_name(format!("broker-{id}")).enable_all();
            let runtime = Own(Some(runtime.build().map_err(|cause| ClusterError::Runtime { id, cause })?));
            let coordinator = Arc::clone(&self.sessions) as Arc<dyn Coordinator>;
            let started = runtime.spawn(Broker::start(self.config.clone(), coordinator, compiler.clone())).await;
            match started.map_err(|cause| ClusterError::Failed { id, cause })? {
                Ok(broker) => {
                    self.stay_at(&broker);
                    let (halts, halted) = (halts.clone(), broker.halts());
                    let watch = tokio::spawn(async move {
                        let why = halted.await;
                        // Nobody listens once the cluster has ended.
                        let _ = halts.send((id, why)).await;
                    });
                    self.state = State::Up(Box::new(Up { broker, runtime, watch: watch.abort_handle() }));
                    return Ok(());
                }
                Err(BrokerError::LogDir(error))
                    if after_a_kill && matches!(error, OpenError::Locked { .. }) && Instant::now() < give_up =>
                {
                    tokio::time::sleep(UNLOCK_LOOK_EVERY).await;
                }
                Err(cause) => return Err(ClusterError::Broker { id, cause: Box::new(cause) }),
            }
        }
    }

    /// Ports that were any free ones are the broker's from now on: clients find it again where it was.
    fn stay_at(&mut self, broker: &Broker) {
        for listener in &mut self.config.net.listeners {
            let port = |endpoint: &&Endpoint| endpoint.listener == listener.name;
            if let Some(endpoint) = broker.endpoints().iter().find(port) {
                listener.port = endpoint.bound.port();
            }
        }
        if let Some(address) = broker.admin_address() {
            self.config.admin_address = address.to_string();
        }
    }

    fn kill(&mut self) {
        let State::Up(up) = std::mem::replace(&mut self.state, State::Down(None)) else { return };
        let Up { broker, mut runtime, watch } = *up;
        watch.abort();
        self.sessions.outlive();
        let id = self.id;
        // Dropping joins threads, which an async task must not wait for.
        let burial = thread::Builder::new().name(format!("kill-{id}")).spawn(move || {
            if let Some(runtime) = runtime.0.take() {
                runtime.shutdown_timeout(KILL_TIME_MAX);
            }
            drop(broker);
        });
        match burial {
            Ok(burial) => self.state = State::Down(Some(burial)),
            // What was moved there is dropped here: as good, and slower.
            Err(error) => tracing::warn!(%error, "no thread to end a broker on"),
        }
    }

    async fn stop(self) -> bool {
        let State::Up(up) = self.state else { return true };
        let Up { broker, runtime, watch } = *up;
        watch.abort();
        runtime.spawn(broker.stop()).await.unwrap_or(false)
    }
}

/// A runtime that may be dropped inside another one.
struct Own(Option<Runtime>);

impl Own {
    fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match &self.0 {
            Some(runtime) => runtime.spawn(future),
            None => unreachable!("taken only when it ends"),
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A broker's sessions. In one process a session would end the moment its broker's memory is freed; these go on until they
/// time out, unless the broker itself ends them.
#[derive(Debug)]
struct Sessions {
    store: LocalStore,
    open: Mutex<Vec<Arc<dyn Session>>>,
}

#[async_trait]
impl Coordinator for Sessions {
    async fn connect(&self) -> Result<Arc<dyn Session>, ConnectError> {
        let session = self.store.connect().await?;
        let mut open = self.open.lock();
        open.retain(|session| *session.state().borrow() != SessionState::Ended);
        open.push(Arc::clone(&session));
        Ok(session)
    }

    fn place(&self) -> String {
        self.store.place()
    }
}

impl Sessions {
    /// The broker is gone, and nobody speaks on its sessions any more.
    fn outlive(&self) {
        for session in self.open.lock().drain(..) {
            tokio::spawn(async move {
                tokio::time::sleep(session.timeout()).await;
                drop(session);
            });
        }
    }
}
