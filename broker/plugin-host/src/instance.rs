//! One instance of a plugin in a store of its own, and one call into it: under limits, and with a cause when it fails.
//!
//! An instance that failed in any way but by its own `process` error is not to be called again: its memory may be half
//! written, and the engine does not enter a component that trapped. Whoever holds it drops it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{
    Error, PoolConcurrencyLimitError, ResourceLimiter, Store, StoreContextMut, Trap, UpdateDeadline,
    component::{ComponentType, Lift, TypedFunc, flags},
};

use crate::{
    engine::{CORE_INSTANCES_MAX, MEMORIES_MAX, TABLE_ELEMENTS_MAX, TABLES_MAX},
    error::{PLUGIN_ERROR_BYTES_MAX, PluginError, cut},
    imports::Voice,
    inspect::Kind,
    layout::Columns,
    limits::Limits,
    plugin::Plugin,
    ticker::Ticker,
    verdicts::LieKind,
};

/// `init: func(config: string) -> result<descriptor, string>`
pub(crate) type Init = TypedFunc<InitParams, InitResults>;
pub(crate) type InitParams = (String,);
pub(crate) type InitResults = (Result<Descriptor, String>,);
/// `process: func(batch: list<u8>) -> result<list<u8>, string>`. The answer is lifted into a vector, one copy: by the
/// time the call returns, the plugin has had its own buffer back.
pub(crate) type Process = TypedFunc<ProcessParams, ProcessResults>;
pub(crate) type ProcessParams = (Arc<Vec<u8>>,);
pub(crate) type ProcessResults = (Result<Vec<u8>, String>,);

flags! {
    WitColumns {
        #[component(name = "keys")]
        const KEYS;
        #[component(name = "values")]
        const VALUES;
        #[component(name = "headers")]
        const HEADERS;
        #[component(name = "timestamps")]
        const TIMESTAMPS;
    }
}

/// `types.descriptor`, as it crosses.
#[derive(Clone, Copy, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Descriptor {
    columns: WitColumns,
}

impl Descriptor {
    fn columns(self) -> Columns {
        Columns {
            keys: self.columns.contains(WitColumns::KEYS),
            values: self.columns.contains(WitColumns::VALUES),
            headers: self.columns.contains(WitColumns::HEADERS),
            timestamps: self.columns.contains(WitColumns::TIMESTAMPS),
        }
    }
}

/// What the store of an instance carries.
pub(crate) struct State {
    pub(crate) voice: Arc<Voice>,
    memory: Memory,
    deadline: Deadline,
    /// What the epoch's callback found, for the cause.
    overdue: Option<Overdue>,
}

/// When a call must end: at a time of the thread's CPU clock, and at a time of the wall's.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    cpu: Duration,
    wall: Instant,
}

#[derive(Clone, Copy)]
enum Overdue {
    Cpu,
    Wall,
}

impl Deadline {
    /// The binding's limits from now on, when the thread's CPU clock stands at `cpu`.
    pub(crate) fn after(cpu: Duration, limits: &Limits) -> Self {
        Self { cpu: cpu + limits.cpu, wall: Instant::now() + limits.wall }
    }

    fn overdue(&self) -> Option<Overdue> {
        if thread_cpu_time() >= self.cpu {
            Some(Overdue::Cpu)
        } else if Instant::now() >= self.wall {
            Some(Overdue::Wall)
        } else {
            None
        }
    }
}

/// The CPU time of the calling thread since it began.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // Both are never negative on this clock.
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Says no to memory beyond the limit, and remembers that it did.
struct Memory {
    limit: usize,
    used: usize,
    refused: bool,
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired <= self.limit;
        if granted {
            self.used = desired;
        }
        self.refused |= !granted;
        Ok(granted)
    }

    fn memory_grow_failed(&mut self, _error: Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }
}

/// An instance, initialised, ready for batches.
pub(crate) struct Instance {
    store: Store<State>,
    process: Process,
    columns: Columns,
    calls: u32,
    /// Memory it had once it was initialised.
    initial_bytes: usize,
}

/// Calls after which an instance is renewed: it bounds what a plugin can gather in its memory over time, at a cost that
/// no one feels.
const CALLS_MAX: u32 = 1_000_000;

impl Instance {
    /// Makes an instance and initialises it, both under `limits`. The outer error is the host's or the plugin's, the
    /// inner one what `init` said.
    pub(crate) fn new(
        plugin: &Plugin,
        kind: Kind,
        config: &str,
        limits: &Limits,
        voice: &Arc<Voice>,
        ticker: &Ticker,
    ) -> Result<Result<Self, String>, PluginError> {
        let state = State {
            voice: Arc::clone(voice),
            memory: Memory { limit: limits.memory_bytes, used: 0, refused: false },
            deadline: Deadline::after(thread_cpu_time(), limits),
            overdue: None,
        };
        let mut store = Store::new(plugin.engine(), state);
        store.limiter(|state| &mut state.memory);
        store.epoch_deadline_callback(on_tick);
        store.set_epoch_deadline(1);
        store.set_hostcall_fuel(limits.output_bytes);

        let _running = ticker.running();
        let made = plugin.instantiate(&mut store, kind).and_then(|(init, process)| {
            let (described,) = init.call(&mut store, (config.to_owned(),))?;
            Ok((process, described))
        });
        match made {
            Ok((process, Ok(descriptor))) => {
                let initial_bytes = store.data().memory.used;
                Ok(Ok(Self { store, process, columns: descriptor.columns(), calls: 0, initial_bytes }))
            }
            Ok((_, Err(message))) => Ok(Err(cut(message, PLUGIN_ERROR_BYTES_MAX))),
            Err(error) => Err(cause(&error, store.data(), limits)),
        }
    }

    /// The columns it asked for.
    pub(crate) fn columns(&self) -> Columns {
        self.columns
    }

    /// Calls `process` with a packed batch, and hands its buffer back for the next.
    pub(crate) fn process(
        &mut self,
        packed: &mut Vec<u8>,
        limits: &Limits,
        deadline: Deadline,
        ticker: &Ticker,
    ) -> Result<Bytes, PluginError> {
        let state = self.store.data_mut();
        state.deadline = deadline;
        state.overdue = None;
        state.memory.limit = limits.memory_bytes;
        state.memory.refused = false;
        self.store.set_epoch_deadline(1);
        self.store.set_hostcall_fuel(limits.output_bytes);
        self.calls += 1;

        let batch = Arc::new(std::mem::take(packed));
        let answer = {
            let _running = ticker.running();
            self.process.call(&mut self.store, (Arc::clone(&batch),))
        };
        // The call is over and with it the only other handle.
        if let Ok(buffer) = Arc::try_unwrap(batch) {
            *packed = buffer;
        }
        match answer {
            Ok((Ok(output),)) => Ok(Bytes::from(output)),
            Ok((Err(message),)) => Err(PluginError::Failed(cut(message, PLUGIN_ERROR_BYTES_MAX))),
            Err(error) => Err(cause(&error, self.store.data(), limits)),
        }
    }

    /// Whether it may serve another batch under these limits. It is renewed after many calls, and when little of its
    /// memory is left, so that a plugin that leaks fails no batch; but not for the memory that every instance of it begins
    /// with.
    pub(crate) fn is_fresh(&self, limits: &Limits) -> bool {
        let used = self.store.data().memory.used;
        let high_water = limits.memory_bytes - limits.memory_bytes / 4;
        self.calls < CALLS_MAX && used <= limits.memory_bytes && used <= high_water.max(self.initial_bytes)
    }
}

fn on_tick(mut cx: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    let state = cx.data_mut();
    state.overdue = state.deadline.overdue();
    match state.overdue {
        None => Ok(UpdateDeadline::Continue(1)),
        Some(_) => Err(Trap::Interrupt.into()),
    }
}

/// What made a call fail. The store knows why it was stopped; only then do the engine's words count.
fn cause(error: &Error, state: &State, limits: &Limits) -> PluginError {
    match state.overdue {
        Some(Overdue::Cpu) => return PluginError::CpuTime { limit: limits.cpu },
        Some(Overdue::Wall) => return PluginError::WallTime { limit: limits.wall },
        None => {}
    }
    if state.memory.refused {
        return PluginError::Memory { limit: limits.memory_bytes };
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return PluginError::Trap { cause: trap.to_string() };
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return PluginError::NoInstance;
    }
    let words = error.root_cause().to_string();
    // The engine's error for this has no public type; a test holds its words.
    if words.contains("fuel allocated for hostcalls") {
        return PluginError::OutputTooLarge { limit: limits.output_bytes };
    }
    LieKind::Abi(cut(words, PLUGIN_ERROR_BYTES_MAX)).into()
}
