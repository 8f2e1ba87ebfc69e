//! The engine's settings, in one place: the compiler in its child process and the host that runs the code must agree on
//! every one.

use sha2::{Digest, Sha256};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, Result, Strategy};

use crate::limits::Limits;

/// What Wasm may use of a thread's stack. Plugins recurse little; beyond it the call traps.
const WASM_STACK_BYTES: usize = 512 * 1024;

/// Instances there can be at once on a broker, in all bindings. Each reserves address space only, 4 GiB and a guard, 4
/// TiB of the 128 there are.
const INSTANCES_MAX: u32 = 1024;

/// Core instances in a component: the plugin's module, and the shims that `wit-component` puts beside it.
pub(crate) const CORE_INSTANCES_MAX: u32 = 16;

/// Tables in a component: the module's own, and one of a shim's.
pub(crate) const TABLES_MAX: u32 = 8;

/// Entries of a table: one for each function whose address is taken. A JavaScript engine has some ten thousand.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 32 * 1024;

/// Memories in a component. One, so that its limit is the binding's limit.
pub(crate) const MEMORIES_MAX: u32 = 1;

/// Address space reserved for a memory: all that 32-bit addresses reach, so that no access needs a check of its bounds
/// (1.2 to 1.8 times the time with checks).
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;

/// Unmapped space behind it, which constant offsets of accesses fall into.
const MEMORY_GUARD_BYTES: u64 = 32 << 20;

/// What code is compiled for, and under.
fn config() -> Config {
    let mut config = Config::new();
    config
        // A loop is stopped by the epoch: it costs less than fuel where it matters, and measures the thread's real
        // time.
        .epoch_interruption(true)
        .consume_fuel(false)
        .strategy(Strategy::Cranelift)
        .cranelift_opt_level(OptLevel::Speed)
        // The same batch gives the same answer on every broker, bit by bit.
        .cranelift_nan_canonicalization(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        .memory_may_move(false)
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        // Producers read the cause of a trap, not its frames.
        .wasm_backtrace_max_frames(None)
        .generate_address_map(false);
    config
}

/// The engine of the compiling child, which runs nothing and reserves nothing.
pub(crate) fn compiling() -> Result<Engine> {
    Engine::new(&config())
}

/// The engine of the host.
pub(crate) fn running() -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(INSTANCES_MAX * 4)
        .total_memories(INSTANCES_MAX * MEMORIES_MAX)
        .total_tables(INSTANCES_MAX * 2)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_memory_size(Limits::MEMORY_BYTES_MAX);
    let mut config = config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// What compiled code depends on besides its plugin: the version of wasmtime, the settings above, the processor and its
/// features. Compiled code is good for an engine with the same fingerprint only.
pub(crate) fn fingerprint(engine: &Engine) -> [u8; 32] {
    let mut hasher = Fingerprint(Sha256::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
    hasher.0.finalize().into()
}

/// The standard hasher is 64 bits wide and not promised to stay the same; a digest is neither.
struct Fingerprint(Sha256);

impl std::hash::Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}
