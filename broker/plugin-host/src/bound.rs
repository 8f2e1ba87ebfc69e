//! A plugin bound to a topic or a view: its configuration, its limits, its instances, and the way a batch takes through
//! it.
//!
//! ```text
//!   batch -> pieces -> packed -> instance (from the pool, or new) -> answer -> validated -> verdicts, joined
//! ```
//! Instances keep nothing between batches that the host relies on, so any of them serves any batch. There are as many
//! as batches ran at once; one that failed, served long or filled its memory is dropped, and the next batch makes
//! another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use sluice_protocol::records::DecodedBatch;

use crate::{
    error::PluginError,
    imports::Voice,
    inspect::Kind,
    instance::{Deadline, Instance, thread_cpu_time},
    layout::{BatchContext, Columns, Packer, Pieces},
    limits::{LimitOutOfRange, Limits},
    observer::{BindingName, Observer},
    plugin::Plugin,
    ticker::Ticker,
    verdicts::{LieKind, Verdict, Verdicts, decode},
};

/// Packing buffers are kept from batch to batch up to this size; one batch of many MiB does not stay in memory for good.
const PACKER_KEPT_BYTES: usize = 1024 * 1024;

/// A plugin bound, with the instances it has now. Shared by all that bring it batches.
pub struct Bound {
    plugin: Arc<Plugin>,
    kind: Kind,
    config: String,
    limits: Arc<RwLock<Limits>>,
    voice: Arc<Voice>,
    ticker: Arc<Ticker>,
    columns: Columns,
    /// Instances that run nothing now, last used last, and so first used: what is idle longest stays at the bottom.
    idle: Mutex<Vec<Idle>>,
    idle_max: usize,
    counters: Counters,
}

/// An instance between two batches, with its packing buffers.
struct Idle {
    instance: Instance,
    packer: Packer,
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    batches: AtomicU64,
    records: AtomicU64,
    failures: AtomicU64,
    instances: AtomicU64,
    cpu_nanos: AtomicU64,
}

/// What a bound plugin has done so far; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BoundStats {
    /// Batches it was given.
    pub batches: u64,
    /// Calls they crossed in.
    pub calls: u64,
    /// Records of those batches.
    pub records: u64,
    /// Batches it failed on.
    pub failures: u64,
    /// Instances made.
    pub instances: u64,
    /// CPU time of it all, packing and validating included: what counts towards a client's quota.
    pub cpu: Duration,
    /// Log lines over its volume.
    pub lines_dropped: u64,
    /// Updates of metrics over its number of names, or with a name that is none.
    pub updates_dropped: u64,
}

/// Why a plugin could not be bound.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BindError {
    /// It does not export this kind.
    #[error("the plugin is no {0}")]
    Kind(Kind),
    /// A limit is outside its range.
    #[error(transparent)]
    Limits(#[from] LimitOutOfRange),
    /// It refused the configuration, in its own words.
    #[error("the plugin refuses its configuration: {0}")]
    Config(String),
    /// It failed while it was initialised.
    #[error("the plugin failed when it was initialised: {0}")]
    Failed(PluginError),
}

impl Bound {
    #[expect(clippy::too_many_arguments, reason = "called once, by the host, which has them all")]
    pub(crate) fn new(
        plugin: Arc<Plugin>,
        kind: Kind,
        config: &str,
        limits: Limits,
        name: BindingName,
        observer: Arc<dyn Observer>,
        ticker: Arc<Ticker>,
        idle_max: usize,
    ) -> Result<Self, BindError> {
        limits.check()?;
        if !plugin.kinds().has(kind) {
            return Err(BindError::Kind(kind));
        }
        let shared = Arc::new(RwLock::new(limits));
        let voice = Arc::new(Voice::new(name, observer, Arc::clone(&shared)));
        let instance = Instance::new(&plugin, kind, config, &limits, &voice, &ticker)
            .map_err(BindError::Failed)?
            .map_err(BindError::Config)?;
        Ok(Self {
            plugin,
            kind,
            config: config.to_owned(),
            limits: shared,
            voice,
            ticker,
            columns: instance.columns(),
            idle: Mutex::new(vec![Idle { instance, packer: Packer::default() }]),
            idle_max,
            counters: Counters { instances: AtomicU64::new(1), ..Counters::default() },
        })
    }

    /// The plugin that is bound.
    pub fn plugin(&self) -> &Arc<Plugin> {
        &self.plugin
    }

    /// The binding's name.
    pub fn name(&self) -> &BindingName {
        self.voice.binding()
    }

    /// How it is bound.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        *self.limits.read()
    }

    /// Changes the limits. Batches that run go on under the old ones, which ends within their time; every later one
    /// runs under these.
    pub fn set_limits(&self, limits: Limits) -> Result<(), LimitOutOfRange> {
        limits.check()?;
        *self.limits.write() = limits;
        Ok(())
    }

    /// What it has done so far.
    pub fn stats(&self) -> BoundStats {
        let of = &self.counters;
        BoundStats {
            batches: of.batches.load(Relaxed),
            calls: of.calls.load(Relaxed),
            records: of.records.load(Relaxed),
            failures: of.failures.load(Relaxed),
            instances: of.instances.load(Relaxed),
            cpu: Duration::from_nanos(of.cpu_nanos.load(Relaxed)),
            lines_dropped: self.voice.lines_dropped(),
            updates_dropped: self.voice.updates_dropped(),
        }
    }

    /// Gives the plugin a batch and returns its verdicts. Synchronous, for as long as the limits allow: to be called on
    /// a plugin thread, from a job given to [`Host::submit`](crate::Host::submit). A batch without records is kept
    /// without a call.
    pub fn process(&self, cx: &BatchContext<'_>, batch: &DecodedBatch) -> Result<Verdicts, PluginError> {
        let limits = self.limits();
        let began = thread_cpu_time();
        let verdicts = self.run(cx, batch, &limits, began);
        let spent = thread_cpu_time().saturating_sub(began);
        let of = &self.counters;
        of.cpu_nanos.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        of.batches.fetch_add(1, Relaxed);
        of.records.fetch_add(batch.len() as u64, Relaxed);
        of.failures.fetch_add(u64::from(verdicts.is_err()), Relaxed);
        verdicts
    }

    fn run(
        &self,
        cx: &BatchContext<'_>,
        batch: &DecodedBatch,
        limits: &Limits,
        began: Duration,
    ) -> Result<Verdicts, PluginError> {
        if batch.is_empty() {
            return Ok(Verdicts::KeepAll);
        }
        let mut pieces = Pieces::of(cx, self.columns, batch, limits.memory_bytes)?;
        let (mut idle, began) = self.take(limits, began)?;
        let verdicts = self.cross(&mut idle, &mut pieces, limits, Deadline::after(began, limits));
        match &verdicts {
            // Not a fault of the instance: the plugin said so itself, or the batch is not one it can be asked about.
            Ok(_) | Err(PluginError::Failed(_) | PluginError::Batch(_)) => self.put_back(idle, limits),
            Err(_) => {}
        }
        verdicts
    }

    /// Piece by piece through one instance, all by one deadline.
    fn cross(
        &self,
        idle: &mut Idle,
        pieces: &mut Pieces<'_>,
        limits: &Limits,
        deadline: Deadline,
    ) -> Result<Verdicts, PluginError> {
        let mut joined = Joined::default();
        while let Some(count) = pieces.pack_next(&mut idle.packer)? {
            self.counters.calls.fetch_add(1, Relaxed);
            let answer = idle.instance.process(&mut idle.packer.packed, limits, deadline, &self.ticker)?;
            joined.push(decode(answer, self.kind, joined.records, count, limits.output_bytes)?, count);
        }
        Ok(joined.verdicts())
    }

    /// An instance that may serve, and the CPU time from which the batch's own counts: `began`, unless an instance had
    /// to be made, which has a time of its own.
    fn take(&self, limits: &Limits, began: Duration) -> Result<(Idle, Duration), PluginError> {
        loop {
            let Some(idle) = self.idle.lock().pop() else { break };
            if idle.instance.is_fresh(limits) {
                return Ok((idle, began));
            }
        }
        let instance = Instance::new(&self.plugin, self.kind, &self.config, limits, &self.voice, &self.ticker)?
            .map_err(PluginError::Init)?;
        self.counters.instances.fetch_add(1, Relaxed);
        if instance.columns() != self.columns {
            return Err(LieKind::Descriptor.into());
        }
        Ok((Idle { instance, packer: Packer::default() }, thread_cpu_time()))
    }

    fn put_back(&self, mut idle: Idle, limits: &Limits) {
        if !idle.instance.is_fresh(limits) {
            return;
        }
        if !idle.packer.is_at_most(PACKER_KEPT_BYTES) {
            idle.packer = Packer::default();
        }
        let mut all = self.idle.lock();
        if all.len() < self.idle_max {
            all.push(idle);
        }
    }
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound").field("plugin", &self.plugin).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The verdicts of a batch's pieces in their order. Nothing is written while every record is kept.
#[derive(Default)]
struct Joined {
    records: usize,
    each: Vec<Verdict>,
}

impl Joined {
    fn push(&mut self, verdicts: Verdicts, count: usize) {
        match verdicts {
            Verdicts::KeepAll if self.each.is_empty() => {}
            Verdicts::KeepAll => self.each.resize(self.records + count, Verdict::Keep),
            Verdicts::Each(each) if self.records == 0 => self.each = each,
            Verdicts::Each(each) => {
                self.each.resize(self.records, Verdict::Keep);
                self.each.extend(each);
            }
        }
        self.records += count;
    }

    fn verdicts(self) -> Verdicts {
        if self.each.is_empty() { Verdicts::KeepAll } else { Verdicts::Each(self.each) }
    }
}
