//! What the broker counts, and how it is shown to Prometheus.
//!
//! Few labels, none that a client chooses: an API's name, a binding's name, a plugin's metric name (bounded by the binding). What
//! is a state of something is read when the metrics are asked for, from its owner; what is an event is counted here.

mod census;

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sluice_protocol::ApiKey;

pub(crate) use census::Census;

/// The broker's counters.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<ApiLabel, Counter>,
    produced_records: Counter,
    produced_bytes: Counter,
    fetched_bytes: Counter,
    view_scanned_bytes: Counter,
    isr_shrinks: Counter,
    isr_expands: Counter,
    state: State,
    plugin_counters: Family<PluginLabel, Counter>,
    plugin_gauges: Family<PluginLabel, Gauge<f64, AtomicU64>>,
    plugin_lines_dropped: Family<BindingLabel, Counter>,
    plugin_batches: Family<BindingLabel, Gauge>,
    plugin_records: Family<BindingLabel, Gauge>,
    plugin_failures: Family<BindingLabel, Gauge>,
    plugin_cpu_seconds: Family<BindingLabel, Gauge<f64, AtomicU64>>,
}

/// States, set when the metrics are read.
#[derive(Default)]
struct State {
    topics: Gauge,
    partitions: Gauge,
    offline_partitions: Gauge,
    session_connected: Gauge,
    replica_lag_max: Gauge,
    active_controller: Gauge,
    metadata_entries: Gauge,
    brokers: Gauge,
    fenced_brokers: Gauge,
    leaderless_partitions: Gauge,
    under_replicated_partitions: Gauge,
    under_min_isr_partitions: Gauge,
    leader_elections: Family<ReasonLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    api: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BindingLabel {
    binding: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabel {
    binding: String,
    name: String,
}

/// A moment's states, read from their owners.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Snapshot {
    pub(crate) topics: usize,
    pub(crate) partitions: usize,
    pub(crate) offline_partitions: usize,
    pub(crate) session_connected: bool,
    /// Records that the furthest behind of all followers of this broker lacks.
    pub(crate) replica_lag_max: i64,
    pub(crate) is_controller: bool,
    /// Of the metadata log, as far as this broker has replayed it.
    pub(crate) metadata_entries: u64,
    pub(crate) census: Census,
}

/// What a binding has done.
#[derive(Debug, Clone)]
pub(crate) struct BindingSnapshot {
    pub(crate) binding: String,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) failures: u64,
    pub(crate) cpu_seconds: f64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            produced_records: Counter::default(),
            produced_bytes: Counter::default(),
            fetched_bytes: Counter::default(),
            view_scanned_bytes: Counter::default(),
            isr_shrinks: Counter::default(),
            isr_expands: Counter::default(),
            state: State::default(),
            plugin_counters: Family::default(),
            plugin_gauges: Family::default(),
            plugin_lines_dropped: Family::default(),
            plugin_batches: Family::default(),
            plugin_records: Family::default(),
            plugin_failures: Family::default(),
            plugin_cpu_seconds: Family::default(),
        };
        let mut registry = Registry::with_prefix("sluice");
        registry.register("requests", "Requests by API", metrics.requests.clone());
        registry.register("produced_records", "Records appended to logs", metrics.produced_records.clone());
        registry.register("produced_bytes", "Bytes of batches appended to logs", metrics.produced_bytes.clone());
        registry.register("fetched_bytes", "Bytes of records in fetch answers", metrics.fetched_bytes.clone());
        registry.register(
            "view_scanned_bytes",
            "Bytes of base topics that views looked through",
            metrics.view_scanned_bytes.clone(),
        );
        registry.register(
            "isr_shrinks",
            "ISRs of partitions led here that lost a member by this leader's proposal",
            metrics.isr_shrinks.clone(),
        );
        registry.register(
            "isr_expands",
            "ISRs of partitions led here that gained a member",
            metrics.isr_expands.clone(),
        );
        registry.register("topics", "Topics", metrics.state.topics.clone());
        registry.register("partitions", "Partitions this broker leads", metrics.state.partitions.clone());
        registry.register(
            "offline_partitions",
            "Partitions whose log does not open",
            metrics.state.offline_partitions.clone(),
        );
        registry.register(
            "coordination_session_connected",
            "1 while the session with ZooKeeper is alive",
            metrics.state.session_connected.clone(),
        );
        registry.register(
            "replica_lag_max",
            "Records that the furthest behind of the followers of partitions led here lacks",
            metrics.state.replica_lag_max.clone(),
        );
        let state = &metrics.state;
        registry.register(
            "active_controller_count",
            "1 while this broker is the controller; 1 over all brokers of a cluster",
            state.active_controller.clone(),
        );
        registry.register(
            "metadata_entries",
            "Entries of the metadata log that this broker has replayed; one that has fewer than the others lags",
            state.metadata_entries.clone(),
        );
        registry.register("brokers", "Brokers that the cluster counts on", state.brokers.clone());
        registry.register("fenced_brokers", "Brokers that are known and not counted on", state.fenced_brokers.clone());
        registry.register(
            "leaderless_partitions",
            "Partitions of the cluster that nobody leads",
            state.leaderless_partitions.clone(),
        );
        registry.register(
            "under_replicated_partitions",
            "Partitions led here with a replica out of sync",
            state.under_replicated_partitions.clone(),
        );
        registry.register(
            "under_min_isr_partitions",
            "Partitions led here with fewer replicas in sync than min.insync.replicas",
            state.under_min_isr_partitions.clone(),
        );
        registry.register(
            "leader_elections",
            "Leaders elected while this broker was the controller, by what made it necessary",
            state.leader_elections.clone(),
        );
        registry.register("plugin_custom", "Counters that plugins keep", metrics.plugin_counters.clone());
        registry.register("plugin_custom_gauge", "Gauges that plugins set", metrics.plugin_gauges.clone());
        registry.register(
            "plugin_log_lines_dropped",
            "Log lines of plugins over their volume",
            metrics.plugin_lines_dropped.clone(),
        );
        registry.register(
            "plugin_batches",
            "Batches a binding looked at since it is in force",
            metrics.plugin_batches.clone(),
        );
        registry.register(
            "plugin_records",
            "Records a binding looked at since it is in force",
            metrics.plugin_records.clone(),
        );
        registry.register(
            "plugin_failures",
            "Batches a binding failed on since it is in force",
            metrics.plugin_failures.clone(),
        );
        registry.register(
            "plugin_cpu_seconds",
            "CPU time a binding has used since it is in force",
            metrics.plugin_cpu_seconds.clone(),
        );
        metrics.registry = registry;
        metrics
    }

    pub(crate) fn request(&self, api: ApiKey) {
        self.requests.get_or_create(&ApiLabel { api: api.name() }).inc();
    }

    pub(crate) fn produced(&self, records: i32, bytes: usize) {
        self.produced_records.inc_by(u64::try_from(records).unwrap_or(0));
        self.produced_bytes.inc_by(bytes as u64);
    }

    pub(crate) fn fetched(&self, bytes: usize) {
        self.fetched_bytes.inc_by(bytes as u64);
    }

    pub(crate) fn view_scanned(&self, bytes: usize) {
        self.view_scanned_bytes.inc_by(bytes as u64);
    }

    /// An ISR had `before` members and has `now`.
    pub(crate) fn isr_changed(&self, before: usize, now: usize) {
        if now < before {
            self.isr_shrinks.inc();
        } else if now > before {
            self.isr_expands.inc();
        }
    }

    pub(crate) fn plugin_add(&self, binding: &str, name: &str, delta: u64) {
        self.plugin_counters
            .get_or_create(&PluginLabel { binding: binding.to_owned(), name: name.to_owned() })
            .inc_by(delta);
    }

    pub(crate) fn plugin_set(&self, binding: &str, name: &str, value: f64) {
        self.plugin_gauges
            .get_or_create(&PluginLabel { binding: binding.to_owned(), name: name.to_owned() })
            .set(value);
    }

    pub(crate) fn plugin_lines_dropped(&self, binding: &str, lines: u64) {
        self.plugin_lines_dropped.get_or_create(&BindingLabel { binding: binding.to_owned() }).inc_by(lines);
    }

    /// The text that Prometheus reads.
    pub(crate) fn render(
        &self,
        now: Snapshot,
        elections: impl Iterator<Item = (&'static str, u64)>,
        bindings: &[BindingSnapshot],
    ) -> String {
        let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.state.topics.set(gauge(now.topics));
        self.state.partitions.set(gauge(now.partitions));
        self.state.offline_partitions.set(gauge(now.offline_partitions));
        self.state.session_connected.set(i64::from(now.session_connected));
        self.state.replica_lag_max.set(now.replica_lag_max);
        self.state.active_controller.set(i64::from(now.is_controller));
        self.state.metadata_entries.set(i64::try_from(now.metadata_entries).unwrap_or(i64::MAX));
        self.state.brokers.set(gauge(now.census.brokers));
        self.state.fenced_brokers.set(gauge(now.census.fenced_brokers));
        self.state.leaderless_partitions.set(gauge(now.census.leaderless));
        self.state.under_replicated_partitions.set(gauge(now.census.under_replicated));
        self.state.under_min_isr_partitions.set(gauge(now.census.under_min_isr));
        for (reason, count) in elections {
            let elections = self.state.leader_elections.get_or_create(&ReasonLabel { reason });
            elections.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for of in [&self.plugin_batches, &self.plugin_records, &self.plugin_failures] {
            of.clear();
        }
        self.plugin_cpu_seconds.clear();
        for stats in bindings {
            let label = BindingLabel { binding: stats.binding.clone() };
            let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            self.plugin_batches.get_or_create(&label).set(count(stats.batches));
            self.plugin_records.get_or_create(&label).set(count(stats.records));
            self.plugin_failures.get_or_create(&label).set(count(stats.failures));
            self.plugin_cpu_seconds.get_or_create(&label).set(stats.cpu_seconds);
        }
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
