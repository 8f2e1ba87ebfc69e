//! States of the broker and of the cluster as it sees it, read from their owners when someone asks, and what others count.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::{BindingLabel, Census, ReasonLabel};

/// A moment's states.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) census: Census,
    pub(crate) is_controller: bool,
    pub(crate) session_connected: bool,
    /// Of the metadata log, as far as this broker has replayed it.
    pub(crate) metadata_entries: u64,
    /// Entries that it has been told of and has not replayed.
    pub(crate) metadata_lag_entries: u64,
    /// For how long it has not known itself at the end.
    pub(crate) metadata_lag: Duration,
    /// Replicas of this broker that it can't serve.
    pub(crate) offline_replicas: usize,
    /// Log directories that failed, or were not there at the start.
    pub(crate) offline_log_dirs: usize,
    /// Of all followers of partitions led here.
    pub(crate) replica_lag: ReplicaLag,
    /// Reasons, and how often leaders were elected for them.
    pub(crate) elections: Vec<(&'static str, u64)>,
    pub(crate) bindings: Vec<BindingSnapshot>,
}

/// How far followers are behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ReplicaLag {
    /// Records that the furthest behind lacks.
    pub(crate) records: i64,
    /// Milliseconds since the one that has been behind for longest last had all.
    pub(crate) ms: i64,
}

impl ReplicaLag {
    /// The worse of both, in each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self { records: self.records.max(other.records), ms: self.ms.max(other.ms) }
    }
}

/// What a binding has done.
#[derive(Debug, Clone, Default)]
pub(crate) struct BindingSnapshot {
    pub(crate) binding: String,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) failures: u64,
    pub(crate) cpu_seconds: f64,
}

impl Snapshot {
    pub(super) fn register(&self, registry: &mut Registry) {
        self.register_cluster(registry);
        self.register_broker(registry);
        self.register_elections(registry);
        self.register_bindings(registry);
    }

    fn register_cluster(&self, registry: &mut Registry) {
        let census = &self.census;
        gauge(registry, "topics", "Topics of the cluster", size(census.topics));
        gauge(registry, "brokers", "Brokers that the cluster counts on", size(census.brokers));
        let help = "Brokers that are known and not counted on";
        gauge(registry, "fenced_brokers", help, size(census.fenced_brokers));
        let help = "Partitions of the cluster that nobody leads";
        gauge(registry, "offline_partitions", help, size(census.offline));
        let help = "1 while this broker is the controller; 1 over all brokers of a cluster";
        gauge(registry, "active_controller", help, i64::from(self.is_controller));
        let help = "1 while the session with the coordinator is alive and the cluster counts on this broker";
        gauge(registry, "coordination_session_connected", help, i64::from(self.session_connected));
        gauge(
            registry,
            "metadata_entries",
            "Entries of the metadata log that this broker has replayed",
            count(self.metadata_entries),
        );
        gauge(
            registry,
            "metadata_lag_entries",
            "Entries of the metadata log that this broker has been told of and has not replayed",
            count(self.metadata_lag_entries),
        );
        let help = "For how long this broker has not known itself at the end of the metadata log";
        seconds(registry, "metadata_lag", help, self.metadata_lag.as_secs_f64());
    }

    fn register_broker(&self, registry: &mut Registry) {
        let census = &self.census;
        gauge(registry, "replicas", "Replicas that this broker has", size(census.replicas));
        gauge(registry, "leaders", "Partitions that this broker leads", size(census.leaders));
        let help = "Replicas of this broker that it can't serve: their disk failed, or their logs don't open";
        gauge(registry, "offline_replicas", help, size(self.offline_replicas));
        let help = "Log directories of this broker that failed or were not there at its start";
        gauge(registry, "offline_log_dirs", help, size(self.offline_log_dirs));
        let help = "Partitions led here with a replica out of sync";
        gauge(registry, "under_replicated_partitions", help, size(census.under_replicated));
        let help = "Partitions led here with fewer replicas in sync than min.insync.replicas";
        gauge(registry, "under_min_isr_partitions", help, size(census.under_min_isr));
        let help = "Records that the furthest behind of the followers of partitions led here lacks";
        gauge(registry, "replica_lag_max_records", help, self.replica_lag.records);
        let help =
            "Since when the follower that is behind for longest, of partitions led here, has not had all there was";
        let lag = Duration::from_millis(u64::try_from(self.replica_lag.ms).unwrap_or(0));
        seconds(registry, "replica_lag_max", help, lag.as_secs_f64());
    }

    fn register_elections(&self, registry: &mut Registry) {
        let elections = Family::<ReasonLabel, Counter>::default();
        for (reason, elected) in &self.elections {
            elections.get_or_create(&ReasonLabel { reason }).inc_by(*elected);
        }
        let help = "Leaders elected while this broker was the controller, by what made it necessary";
        registry.register("leader_elections", help, elections);
    }

    fn register_bindings(&self, registry: &mut Registry) {
        let [batches, records, failures] = [(); 3].map(|()| Family::<BindingLabel, Counter>::default());
        let cpu = Family::<BindingLabel, Counter<f64, AtomicU64>>::default();
        for done in &self.bindings {
            let label = BindingLabel { binding: done.binding.clone() };
            batches.get_or_create(&label).inc_by(done.batches);
            records.get_or_create(&label).inc_by(done.records);
            failures.get_or_create(&label).inc_by(done.failures);
            cpu.get_or_create(&label).inc_by(done.cpu_seconds);
        }
        registry.register("plugin_batches", "Batches a binding looked at since it is in force", batches);
        registry.register("plugin_records", "Records a binding looked at since it is in force", records);
        registry.register("plugin_failures", "Batches a binding failed on since it is in force", failures);
        let help = "CPU time a binding has used since it is in force";
        registry.register_with_unit("plugin_cpu", help, Unit::Seconds, cpu);
    }
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    registry.register(name, help, ConstGauge::new(value));
}

fn seconds(registry: &mut Registry, name: &str, help: &str, value: f64) {
    registry.register_with_unit(name, help, Unit::Seconds, ConstGauge::new(value));
}

fn size(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
