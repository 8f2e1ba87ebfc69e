//! A binding: which plugins run where, with what configuration, under which limits, and what happens when they fail.
//! Part of the records `Gate` and `View`, so every change here is a change of the format: fields are never added, removed or
//! reordered; a new shape is a new record.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// A chain of plugins bound to a topic's produce path (a gate) or to a view's fetch path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The plugins in the order they see a record. Exactly [`Binding::CHAIN_LENGTH`] for now.
    pub chain: Vec<PluginUse>,
    /// What each plugin of the chain may use.
    pub limits: PluginLimits,
    /// What becomes of a batch whose plugin failed.
    pub on_error: OnError,
    /// Told apart from every other binding there ever was in the cluster: it counts up over all of them and never repeats,
    /// so whoever holds an instance for revision n knows from the number alone that it is out of date.
    pub revision: u64,
}

impl Binding {
    /// Plugins in a chain. Chains longer than one wait for the rules of handing a batch from plugin to plugin.
    pub const CHAIN_LENGTH: RangeInclusive<usize> = 1..=1;
}

/// One plugin of a chain, pinned: a binding never changes because somebody pushed a newer version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginUse {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: u32,
    /// SHA-256 of the component: what is run is what was pushed.
    pub digest: [u8; 32],
    /// Configuration as JSON text, handed to the plugin's `init` as it is.
    pub config: String,
}

impl PluginUse {
    /// Bytes of configuration a binding may carry: generous for rules written by hand, and eight of them still fit into one
    /// append to the metadata log.
    pub const CONFIG_BYTES_MAX: usize = 48 << 10;
}

/// What a plugin may use while it works on one batch, and how loud it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginLimits {
    /// Linear memory of an instance, in bytes.
    pub memory_bytes: u64,
    /// CPU time for one batch, of the plugin thread's own clock, in milliseconds.
    pub cpu_ms: u32,
    /// Time by the wall for one batch, in milliseconds: catches what waits without burning CPU.
    pub wall_ms: u32,
    /// Bytes of verdicts and replacements for one batch.
    pub output_bytes: u64,
    /// Log bytes a second; what is over is counted and dropped.
    pub log_bytes_per_second: u32,
    /// Counters and gauges a plugin may name.
    pub metric_names: u32,
}

impl PluginLimits {
    /// Least and most memory: a Wasm page is 64 KiB and a small guest needs some tens of them; more than 1 GiB an instance
    /// would let one binding starve the broker.
    pub const MEMORY_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 30;
    /// Least and most CPU time: below the tick of the deadline nothing can be measured; a minute is far beyond any request.
    pub const CPU_MS: RangeInclusive<u32> = 1..=60_000;
    /// Least and most time by the wall.
    pub const WALL_MS: RangeInclusive<u32> = 1..=120_000;
    /// Least and most output: a verdict for each record of a small batch; the largest frame a client may send by default.
    pub const OUTPUT_BYTES: RangeInclusive<u64> = 4 << 10..=100 << 20;
    /// Most log volume: beyond a megabyte a second a plugin is a log shipper.
    pub const LOG_BYTES_PER_SECOND: RangeInclusive<u32> = 0..=1 << 20;
    /// Most metric names: each is a series in every scrape.
    pub const METRIC_NAMES: RangeInclusive<u32> = 0..=1_000;
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 16 << 20,
            cpu_ms: 100,
            wall_ms: 2_000,
            output_bytes: 8 << 20,
            log_bytes_per_second: 16 << 10,
            metric_names: 64,
        }
    }
}

/// What becomes of a batch whose plugin trapped, ran out of a limit, or lied. Append only: its place is its number on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnError {
    /// The batch is refused, or for a view the partition's fetch fails.
    #[default]
    Fail,
    /// The records go on as if the plugin weren't there.
    Pass,
}

/// What a plugin's exports let it be bound as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginKinds {
    /// It exports the world of a gate.
    pub gate: bool,
    /// It exports the world of a view.
    pub view: bool,
}
