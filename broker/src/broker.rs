//! The broker put together: from a configuration to running parts, in the order in which they start, and back.
//!
//! ```text
//!   listeners bound (nobody is accepted yet: only now are the ports known)
//!     ─> data folder locked ─> cluster joined (metadata replayed; nobody counts on us yet)
//!     ─> logs opened and recovered ─> plugins' chains made ─> other brokers served ─> registered
//!     ─> admin API ─> connections accepted
//! ```
//! The end runs the other way, after others have taken over what this broker leads: no new connections, what is in flight is
//! answered, logs are flushed and closed, the clean marker is written, the session with the coordinator ends, and last the
//! listener for other brokers closes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_cluster::decide::ConfigRules;
use sluice_cluster::partition::LeaderRules;
use sluice_cluster::{Endpoint as Registered, FeatureLevels, Image, Topic};
use sluice_plugin_host::{Host, HostConfig, HostError};
use sluice_protocol::Uuid;
use sluice_protocol::records::TimestampType;
use sluice_storage::{FlushMode, LockedLogDirs, LogConfig, LogDirOptions, OpenError};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::admin;
use crate::api::{Api, VIEW_ANSWERS_MAX};
use crate::config::{
    BrokerConfig, BrokerSettings, Kind, TopicDefaults, check_changed, check_topic_config, millis, topic_key,
};
use crate::coordination::{
    self, BrokerIdentity, CoordinationConfig, Coordinator, Halt, Metadata, Registering, ReturnLeaders, RpcCalls,
    SnapshotEvery, StartError,
};
use crate::inter_broker::InterBroker;
use crate::metrics::Metrics;
use crate::net::{self, BindError, Endpoint, ListenerName, TlsError};
use crate::partition::{
    Controller, Failures, FetcherConfig, Fetchers, IsrChanges, Manager, ManagerConfig, OpenAllError, PartitionConfig,
    Proposals, Rates, Throttled, Throttles,
};
use crate::plugins::{GateMarks, Registry, Report, Store};
use crate::producer_ids::ProducerIds;
use crate::reassignments::Reassignments;
use crate::replica_states::ReplicaStates;
use crate::rpc::{self, Handler, PeerTls, Peers, PeersConfig};
use crate::slow;

/// What every handler can reach.
pub(crate) struct Shared {
    pub(crate) node_id: i32,
    pub(crate) config: Arc<BrokerConfig>,
    pub(crate) metadata: Metadata,
    pub(crate) partitions: Arc<Manager>,
    pub(crate) plugins: Arc<Registry>,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) replicas: Arc<ReplicaStates>,
    pub(crate) peers: Peers,
    /// Places for answers of views; see [`crate::api::VIEW_ANSWERS_MAX`].
    pub(crate) view_answers: Arc<Semaphore>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Shared {
    /// The wall clock, in Kafka's unit.
    pub(crate) fn now_ms(&self) -> i64 {
        now_ms()
    }
}

/// How plugins' compiling is started: the program and the arguments whose body is [`sluice_plugin_host::compile_child`].
#[derive(Debug, Clone)]
pub struct CompilerCommand(pub Vec<OsString>);

impl CompilerCommand {
    /// This very program, with the hidden command that compiles.
    pub fn this_program() -> std::io::Result<Self> {
        Ok(Self(vec![std::env::current_exe()?.into_os_string(), COMPILE_COMMAND.into()]))
    }
}

/// The hidden command whose body is [`sluice_plugin_host::compile_child`].
pub const COMPILE_COMMAND: &str = "__compile-plugin";

/// A broker that serves.
pub struct Broker {
    shared: Arc<Shared>,
    running: net::Running,
    inter_broker: Option<net::Running>,
    admin: Option<admin::Running>,
    cluster_id: String,
    failures: Arc<Failures>,
    tasks: Vec<JoinHandle<()>>,
}

/// Why a broker that served ends by itself.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CannotGoOn {
    /// It can't be part of the cluster any longer.
    #[error(transparent)]
    Cluster(#[from] Halt),
    /// It has nothing left to write to.
    #[error("no log directory works any more: see the log for what failed them")]
    LogDirs,
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The admin API's listener.
    #[error("the admin API: {0}")]
    Admin(#[from] admin::AdminError),
    /// The data folder.
    #[error("the data folder: {0}")]
    LogDir(#[from] OpenError),
    /// The cluster.
    #[error(transparent)]
    Coordination(#[from] StartError),
    /// The logs.
    #[error(transparent)]
    Logs(#[from] OpenAllError),
    /// The plugin host.
    #[error("the plugin host: {0}")]
    Plugins(#[from] HostError),
    /// What other brokers are to be shown.
    #[error("the listener for other brokers: {0}")]
    InterBroker(#[from] TlsError),
    /// Other brokers do not talk to this one.
    #[error("{why}")]
    NotWelcome {
        /// Which, and why not.
        why: String,
    },
    /// Other brokers are there, and it could not talk to them.
    #[error(
        "broker {serving} serves this cluster too, and this one has no listener for it: add one named {listener}, with TLS, to listeners"
    )]
    Unreachable {
        /// One of them.
        serving: i32,
        /// `inter.broker.listener.name`.
        listener: String,
    },
    /// The source of randomness.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl Broker {
    /// Starts a broker and returns when it serves.
    pub async fn start(
        config: BrokerConfig,
        coordinator: Arc<dyn Coordinator>,
        compiler: CompilerCommand,
    ) -> Result<Self, BrokerError> {
        let config = Arc::new(config);
        let settings = &config.settings;
        let bound = net::bind(&config.net).await?;
        let admin = admin::bind(&config).await?;
        let (inter_broker, tls) = match &config.inter_broker {
            Some(inter) => {
                let tls = PeerTls::new(&inter.tls, &inter.principals, inter.verify_host_names)?;
                (Some(rpc::bind(&inter.listener, &config.net.limits).await?), Some(tls))
            }
            None => (None, None),
        };
        let peers = Peers::new(PeersConfig {
            node_id: settings.broker_id,
            life: random_life()?,
            tls,
            connect_timeout: millis(settings.socket_connection_setup_timeout_ms),
            frame_bytes_max: settings.socket_request_max_bytes,
        });
        // One for each directory, and one in case of loss.
        let mut new_ids = (0..=config.log_dirs.len()).map(|_| random_uuid()).collect::<Result<Vec<_>, _>>()?;
        let new_id = || new_ids.pop().expect("as many as are asked for");
        let metrics = Arc::new(Metrics::new());
        let options = LogDirOptions { on_sync: Some(Arc::new(metrics.log_flush())), ..LogDirOptions::default() };
        let locked = slow::in_place(|| LockedLogDirs::lock(&config.log_dirs, &options, new_id))?;
        let home = locked.home().to_owned();
        let (metadata, joined) = coordination::join(
            CoordinationConfig {
                coordinator,
                connection_timeout: millis(settings.zookeeper_connection_timeout_ms.into()),
                seen_path: home.join(SEEN_FILE),
                linger: CoordinationConfig::LINGER,
                snapshot_every: SnapshotEvery::default(),
                return_leaders: return_leaders(settings),
                peers: Arc::new(RpcCalls::new(peers.clone(), ListenerName::new(&settings.inter_broker_listener_name))),
            },
            BrokerIdentity {
                id: settings.broker_id,
                uuid: locked.uuid(),
                cluster_id: locked.owner().map(|owner| owner.cluster_id.clone()),
            },
            Arc::new(TopicRules(config.topics.clone())),
        )
        .await?;
        let others = inter_broker.as_ref().map(net::Bound::endpoints).unwrap_or_default();
        let registering = Registering {
            endpoints: bound.endpoints().iter().chain(&others).map(registered).collect(),
            rack: settings.broker_rack.clone(),
            clean: locked.was_clean(),
            features: feature_levels(settings),
        };
        let failures = Arc::new(Failures::default());
        let open = || locked.open(&joined.cluster_id, settings.broker_id, failures.listener());
        let (log_dirs, opened) = slow::in_place(open)?;
        if opened.iter().any(|opened| !opened.clean && !opened.partitions.is_empty()) {
            tracing::warn!(
                "unclean start: the last run did not end in order, so logs are checked from their recovery points"
            );
        }
        let marks = Arc::new(GateMarks::default());
        let proposals = Arc::new(Proposals::default());
        let partitions = Manager::new(
            manager_config(&config, metadata.clone(), &metrics),
            log_dirs,
            Arc::clone(&marks),
            Fetchers::new(
                fetcher_config(&config),
                Arc::new(peers.clone()),
                Arc::new(Throttles::new(rates(&config, &metadata.image()))),
            ),
            Arc::clone(&proposals),
        );
        slow::in_place(|| partitions.open_all(&metadata.image()))?;
        let host = Arc::new(Host::new(host_config(&config, &home, compiler), Arc::new(Report(Arc::clone(&metrics))))?);
        let store = Arc::new(Store {
            node_id: settings.broker_id,
            metadata: metadata.clone(),
            partitions: Arc::clone(&partitions),
            peers: peers.clone(),
            now_ms,
        });
        let plugins = Registry::new(host, Arc::clone(&store), metadata.clone(), Arc::clone(&partitions), marks);
        plugins.apply(&metadata.image()).await;
        let mut tasks = vec![
            tokio::spawn(Arc::clone(&partitions).follow(metadata.changed())),
            tokio::spawn(Arc::clone(&plugins).follow()),
        ];
        let replicas = Arc::new(ReplicaStates {
            node_id: settings.broker_id,
            metadata: metadata.clone(),
            partitions: Arc::clone(&partitions),
            peers: peers.clone(),
        });
        let answers: Arc<dyn Handler> = {
            let (partitions, bindings) = (Arc::clone(&partitions), Arc::clone(&plugins));
            Arc::new(InterBroker::new(metadata.clone(), partitions, store, bindings))
        };
        // Before it registers: whoever is counted on must be able to lead and to follow.
        match &inter_broker {
            Some(_) => peers.introduce().await.map_err(|error| BrokerError::NotWelcome { why: error.to_string() })?,
            None => {
                let image = metadata.image();
                let other = image.serving().map(|broker| broker.id).find(|id| *id != settings.broker_id);
                if let Some(serving) = other {
                    let listener = settings.inter_broker_listener_name.clone();
                    return Err(BrokerError::Unreachable { serving, listener });
                }
            }
        }
        let inter_broker = inter_broker.map(|bound| rpc::serve(bound, peers.clone(), answers));
        metadata.register(registering).await?;
        // What the metadata gives this broker is meant for this life of it only now.
        slow::in_place(|| partitions.begin());
        let shared = Arc::new(Shared {
            node_id: settings.broker_id,
            metadata,
            partitions: Arc::clone(&partitions),
            plugins: Arc::clone(&plugins),
            producer_ids: ProducerIds::default(),
            replicas: Arc::clone(&replicas),
            peers,
            view_answers: Arc::new(Semaphore::new(VIEW_ANSWERS_MAX)),
            metrics,
            config: Arc::clone(&config),
        });
        let every = millis(settings.log_retention_check_interval_ms);
        tasks.push(tokio::spawn(Arc::clone(&partitions).keep_house(every)));
        let reassignments = Reassignments::new(shared.metadata.clone(), replicas, settings.balancer_enable);
        tasks.push(tokio::spawn(reassignments.run()));
        let controller = Controller { node_id: settings.broker_id, metadata: shared.metadata.clone() };
        let every = millis(settings.replica_lag_time_max_ms) / 2;
        let controller: Arc<dyn IsrChanges> = Arc::new(controller);
        let (all, changed) = (Arc::clone(&partitions), shared.metadata.changed());
        tasks.push(tokio::spawn(Arc::clone(&failures).run(all, Arc::clone(&controller), changed)));
        tasks.push(tokio::spawn(proposals.run(partitions, controller, Arc::clone(&shared.metrics), every)));
        let admin = admin.map(|bound| bound.serve(Arc::clone(&shared)));
        let running = bound.serve(Arc::new(Api::new(Arc::clone(&shared))));
        Ok(Self { shared, running, inter_broker, admin, cluster_id: joined.cluster_id, failures, tasks })
    }

    /// How the listeners are reached.
    pub fn endpoints(&self) -> &[Endpoint] {
        self.running.endpoints()
    }

    /// Where the admin API is, if it is served.
    pub fn admin_address(&self) -> Option<std::net::SocketAddr> {
        self.admin.as_ref().map(admin::Running::address)
    }

    /// The cluster this broker is part of.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Resolves when the broker can't go on, with the reason.
    pub async fn halted(&self) -> CannotGoOn {
        self.halts().await
    }

    /// As [`Broker::halted`], to be awaited elsewhere.
    pub(crate) fn halts(&self) -> impl Future<Output = CannotGoOn> + Send + use<> {
        let (metadata, failures) = (self.shared.metadata.clone(), Arc::clone(&self.failures));
        async move {
            tokio::select! {
                halt = metadata.halted() => CannotGoOn::Cluster(halt),
                () = failures.none_left() => CannotGoOn::LogDirs,
            }
        }
    }

    /// Ends in order: see the module's story. Says whether the clean marker could be written.
    pub async fn stop(self) -> bool {
        let grace = millis(self.shared.config.settings.shutdown_grace_ms);
        if self.shared.metadata.hand_over(grace).await {
            tokio::time::sleep(FAREWELL).await;
        }
        self.running.shut_down(grace).await;
        if let Some(admin) = self.admin {
            admin.shut_down(grace).await;
        }
        for task in self.tasks {
            task.abort();
        }
        let closed = slow::in_place(|| self.shared.partitions.close());
        if let Err(error) = &closed {
            tracing::error!(%error, "the data folder is not marked clean: the next start checks its logs");
        }
        if tokio::time::timeout(LEAVE_TIME_MAX, self.shared.metadata.shutdown()).await.is_err() {
            tracing::warn!("the coordinator did not answer: this broker's session ends by itself");
        }
        if let Some(inter_broker) = self.inter_broker {
            inter_broker.shut_down(grace).await;
        }
        closed.is_ok()
    }
}

impl fmt::Display for Broker {
    /// The line that says a broker serves; scripts wait for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serving, broker {} of cluster {}, listeners ", self.shared.node_id, self.cluster_id)?;
        for (at, endpoint) in self.endpoints().iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{}://{}:{}", endpoint.listener, endpoint.host, endpoint.port)?;
        }
        match self.admin_address() {
            Some(address) => write!(f, ", admin https://{address}"),
            None => f.write_str(", no admin API"),
        }
    }
}

/// How long a broker that others have just taken over from still answers. Clients learn from it who leads now, while the other
/// brokers learn it too; those whose connection ended first would ask a broker that does not know yet, be sent back here, and
/// then wait as long as they wait before they ask again.
const FAREWELL: Duration = Duration::from_millis(300);

/// How long leaving the cluster may take: the session ends by itself if the coordinator is away.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(5);

/// Where the data folder remembers how far the metadata log was seen.
const SEEN_FILE: &str = "metadata-seen";

/// Where the data folder keeps plugins' compiled code: a cache, it can be deleted at any time.
const COMPILED_FOLDER: &str = "compiled-plugins";

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn random_uuid() -> Result<Uuid, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(Uuid(bytes))
}

/// Told apart from every other process of this broker.
fn random_life() -> Result<u64, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn registered(endpoint: &Endpoint) -> Registered {
    Registered {
        listener: endpoint.listener.as_str().to_owned(),
        host: endpoint.host.clone(),
        port: endpoint.port,
        security_protocol: endpoint.protocol.to_owned(),
    }
}

/// What this version can work at, or as much of it as it is told to.
fn feature_levels(settings: &BrokerSettings) -> FeatureLevels {
    let highest = u16::try_from(settings.feature_level_max).unwrap_or(FeatureLevels::OURS.highest);
    FeatureLevels { highest, ..FeatureLevels::OURS }
}

fn return_leaders(settings: &BrokerSettings) -> Option<ReturnLeaders> {
    settings.auto_leader_rebalance_enable.then(|| ReturnLeaders {
        every: Duration::from_secs(settings.leader_imbalance_check_interval_seconds.unsigned_abs()),
        percentage: settings.leader_imbalance_per_broker_percentage.unsigned_abs(),
    })
}

fn host_config(config: &BrokerConfig, home: &Path, compiler: CompilerCommand) -> HostConfig {
    let settings = &config.settings;
    let defaults = HostConfig::new(home.join(COMPILED_FOLDER), compiler.0);
    HostConfig {
        threads: if settings.plugin_threads == 0 { defaults.threads } else { settings.plugin_threads },
        queue: settings.plugin_queue_max,
        compile_timeout: millis(settings.plugin_compile_timeout_ms),
        compile_memory_bytes: settings.plugin_compile_memory_bytes_max.unsigned_abs(),
        ..defaults
    }
}

fn manager_config(config: &Arc<BrokerConfig>, metadata: Metadata, metrics: &Metrics) -> ManagerConfig {
    let (resolved, configured) = (Arc::clone(config), Arc::clone(config));
    ManagerConfig {
        node_id: config.settings.broker_id,
        image: Box::new(move || metadata.image()),
        resolve: Box::new(move |topic| partition_config(&resolved, topic)),
        rates: Box::new(move |image| rates(&configured, image)),
        append_times: metrics.log_append(),
        now_ms,
    }
}

fn fetcher_config(config: &BrokerConfig) -> FetcherConfig {
    let settings = &config.settings;
    FetcherConfig {
        wait_max: millis(settings.replica_fetch_wait_max_ms.into()),
        partition_bytes_max: settings.replica_fetch_max_bytes.unsigned_abs(),
        response_bytes_max: settings.replica_fetch_response_max_bytes.unsigned_abs(),
        answer_timeout: millis(settings.replica_socket_timeout_ms.into()),
        now_ms,
    }
}

/// How fast replicas may be copied: as set for this broker or for all, over what its own configuration says.
fn rates(broker: &BrokerConfig, image: &Image) -> Rates {
    let settings = &broker.settings;
    let rate = |name, configured| {
        let set = image.broker_config(settings.broker_id, name);
        set.and_then(|rate| rate.parse().ok()).unwrap_or(configured)
    };
    Rates {
        leader: rate("leader.replication.throttled.rate", settings.leader_throttled_rate),
        follower: rate("follower.replication.throttled.rate", settings.follower_throttled_rate),
    }
}

/// A topic's settings, over the broker's defaults, as its partitions take them.
fn partition_config(broker: &BrokerConfig, topic: &Topic) -> PartitionConfig {
    let config = broker.topics.resolve(&topic.configs);
    PartitionConfig {
        log: LogConfig {
            segment_bytes: config.segment_bytes.unsigned_abs(),
            segment_ms: config.segment_ms,
            retention_bytes: config.retention_size_bytes(),
            retention_ms: config.retention_time_ms().and_then(|ms| i64::try_from(ms).ok()),
            index_interval_bytes: config.index_interval_bytes.unsigned_abs(),
            flush_mode: if config.flushes_in_groups() { FlushMode::Group } else { FlushMode::Os },
            producer_id_expiration_ms: i64::from(broker.settings.producer_id_expiration_ms),
        },
        max_message_bytes: usize::try_from(config.max_message_bytes).unwrap_or(0),
        message_timestamp_type: if config.is_log_append_time() {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        },
        leader: LeaderRules {
            min_insync_replicas: usize::try_from(config.min_insync_replicas).unwrap_or(1),
            replica_lag_time_max_ms: broker.settings.replica_lag_time_max_ms,
        },
        throttled: Throttled { leader: config.leader_throttled_replicas, follower: config.follower_throttled_replicas },
    }
}

/// The topic settings' table, as the controller asks it.
#[derive(Debug)]
struct TopicRules(TopicDefaults);

impl ConfigRules for TopicRules {
    fn check(&self, name: &str, value: &str) -> Result<(), String> {
        check_topic_config(name, value).map_err(|error| error.to_string())
    }

    fn list_default(&self, name: &str) -> Option<String> {
        let is_list =
            topic_key(name).is_some_and(|key| matches!(key.kind, Kind::List | Kind::SomeOf(_) | Kind::Replicas));
        self.0.get(name).filter(|_| is_list).map(str::to_owned)
    }

    fn value(&self, configs: &BTreeMap<String, String>, name: &str) -> Option<String> {
        configs.get(name).map(String::as_str).or_else(|| self.0.get(name)).map(str::to_owned)
    }

    fn check_broker(&self, name: &str, value: &str) -> Result<(), String> {
        check_changed(name, value)
    }
}
