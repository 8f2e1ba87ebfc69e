//! What the broker counts, and how it is shown to Prometheus.
//!
//! Few labels, none that a client chooses: an API's name, a binding's name, a plugin's metric name (bounded by the binding). What
//! is an event is counted here, as it happens. What is a state of something, or counted elsewhere, is read from its owner when the
//! metrics are asked for: a [`Snapshot`]. METRICS.md is the page for who watches a cluster, and a test holds it true.

mod census;
mod durations;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use sluice_protocol::ApiKey;
use sluice_protocol::messages::SUPPORTED;

pub(crate) use census::Census;
pub(crate) use durations::Durations;
pub(crate) use snapshot::{BindingSnapshot, ReplicaLag, Snapshot};

/// The broker's counters.
pub(crate) struct Metrics {
    registry: Registry,
    /// One for each API that is served: no lock is taken to find it.
    requests: BTreeMap<ApiKey, Requests>,
    produced_records: Counter,
    produced_bytes: Counter,
    fetched_bytes: Counter,
    view_scanned_bytes: Counter,
    log_append: Durations,
    log_flush: Durations,
    isr_shrinks: Counter,
    isr_expands: Counter,
    plugin_counters: Family<PluginLabel, Counter>,
    plugin_gauges: Family<PluginLabel, Gauge<f64, AtomicU64>>,
    plugin_lines_dropped: Family<BindingLabel, Counter>,
}

/// Requests of one API.
struct Requests {
    begun: Counter,
    took: Durations,
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

/// What names of metrics begin with.
const PREFIX: &str = "sluice";

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let requests = register_requests(&mut registry);
        let mut metrics = Self {
            registry: Registry::default(),
            requests,
            produced_records: Counter::default(),
            produced_bytes: Counter::default(),
            fetched_bytes: Counter::default(),
            view_scanned_bytes: Counter::default(),
            log_append: Durations::default(),
            log_flush: Durations::default(),
            isr_shrinks: Counter::default(),
            isr_expands: Counter::default(),
            plugin_counters: Family::default(),
            plugin_gauges: Family::default(),
            plugin_lines_dropped: Family::default(),
        };
        metrics.register(&mut registry);
        metrics.registry = registry;
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("produced_records", "Records appended to logs", self.produced_records.clone());
        let help = "Bytes of batches appended to logs";
        registry.register_with_unit("produced", help, Unit::Bytes, self.produced_bytes.clone());
        let help = "Bytes of records in fetch answers";
        registry.register_with_unit("fetched", help, Unit::Bytes, self.fetched_bytes.clone());
        let help = "Bytes of base topics that views looked through";
        registry.register_with_unit("view_scanned", help, Unit::Bytes, self.view_scanned_bytes.clone());
        let help = "Time it took to append a producer's batch, or a leader's answer, to a log";
        registry.register_with_unit("log_append", help, Unit::Seconds, self.log_append.clone());
        let help = "Time the disk took to make batches durable, each for all who waited";
        registry.register_with_unit("log_flush", help, Unit::Seconds, self.log_flush.clone());
        let help = "ISRs of partitions led here that lost a member by this leader's proposal";
        registry.register("isr_shrinks", help, self.isr_shrinks.clone());
        let help = "ISRs of partitions led here that gained a member";
        registry.register("isr_expands", help, self.isr_expands.clone());
        registry.register("plugin_custom", "Counters that plugins keep", self.plugin_counters.clone());
        registry.register("plugin_custom_gauge", "Gauges that plugins set", self.plugin_gauges.clone());
        let help = "Log lines of plugins over their volume";
        registry.register("plugin_log_lines_dropped", help, self.plugin_lines_dropped.clone());
    }

    /// A request came in. What is given is told how long it took, if it is of an API that is served.
    pub(crate) fn request(&self, api: ApiKey) -> Option<&Durations> {
        let requests = self.requests.get(&api)?;
        requests.begun.inc();
        Some(&requests.took)
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

    /// Where it is noted how long appends to logs take.
    pub(crate) fn log_append(&self) -> Durations {
        self.log_append.clone()
    }

    /// Where it is noted how long flushes of logs take.
    pub(crate) fn log_flush(&self) -> Durations {
        self.log_flush.clone()
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

    /// The text that Prometheus reads: what was counted, and the states of now.
    pub(crate) fn render(&self, now: &Snapshot) -> String {
        let mut states = Registry::with_prefix(PREFIX);
        now.register(&mut states);
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &states))
            .and_then(|()| encode_eof(&mut text));
        written.expect("a string takes everything");
        text
    }
}

/// All are there from the start, at zero: a rate can be told from the first request on.
fn register_requests(registry: &mut Registry) -> BTreeMap<ApiKey, Requests> {
    let (begun, took) = (Family::<ApiLabel, Counter>::default(), Family::<ApiLabel, Durations>::default());
    registry.register("requests", "Requests by API", begun.clone());
    let help = "Time from a request's arrival to its answer, by API; of a fetch, also what it waited for records";
    registry.register_with_unit("request", help, Unit::Seconds, took.clone());
    let of = |api: ApiKey| {
        let label = ApiLabel { api: api.name() };
        Requests { begun: begun.get_or_create(&label).clone(), took: took.get_or_create(&label).clone() }
    };
    SUPPORTED.iter().map(|(api, ..)| (*api, of(*api))).collect()
}

#[cfg(test)]
mod tests;
