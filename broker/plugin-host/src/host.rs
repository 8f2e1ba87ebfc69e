//! The host: the engine, the threads, the compiler and its cache. One on a broker; it ends when it is dropped.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wasmtime::{
    Engine,
    component::{Component, Linker},
};

use crate::{
    bound::{BindError, Bound},
    cache::{Cache, CacheFolderError},
    compile::{CompileError, Compiler},
    engine, imports,
    inspect::{Kind, Refusal, inspect},
    instance::State,
    limits::Limits,
    observer::{BindingName, Observer},
    plugin::Plugin,
    threads::{QueueFull, Threads},
    ticker::Ticker,
};

/// How the host runs plugins.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Plugin threads. At least 2 if one binding is not to hold up the others.
    pub threads: usize,
    /// Jobs that may wait for a thread.
    pub queue: usize,
    /// The folder for compiled code; made if it is not there, for this user alone.
    pub cache_dir: PathBuf,
    /// Program and arguments of a process whose body is [`compile_child`](crate::compile_child).
    pub compiler: Vec<OsString>,
    /// How long compiling one plugin may take, by the clock.
    pub compile_timeout: Duration,
    /// The address space of the compiling process, in bytes.
    pub compile_memory_bytes: u64,
}

impl HostConfig {
    /// The defaults, for this machine.
    pub fn new(cache_dir: impl Into<PathBuf>, compiler: Vec<OsString>) -> Self {
        Self {
            // As many as can run at once; two at least, see `threads`.
            threads: std::thread::available_parallelism().map_or(2, |n| n.get().max(2)),
            // At 5 µs a batch these wait a few milliseconds; beyond, the client is better told to wait.
            queue: 1024,
            cache_dir: cache_dir.into(),
            compiler,
            // Ten MiB of ordinary code take some ten seconds on a slow core.
            compile_timeout: Duration::from_secs(60),
            // Ten MiB of ordinary code take about one GiB.
            compile_memory_bytes: 4 << 30,
        }
    }
}

/// Why there is no host.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A number of threads or a queue of zero, or no compiler.
    #[error("the plugin host needs at least one thread, a queue of one, and a compiler")]
    Config,
    /// The folder for compiled code.
    #[error(transparent)]
    Cache(#[from] CacheFolderError),
    /// The engine: mostly address space that cannot be reserved.
    #[error("the plugin engine could not start: {0}")]
    Engine(String),
    /// A thread could not be started.
    #[error("a plugin thread could not be started")]
    Thread(#[from] io::Error),
}

/// Why a plugin is not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is refused as it stands.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// These are not the bytes the digest is of.
    #[error("the plugin's bytes do not match its digest")]
    Digest,
    /// It could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its functions are not those of our worlds, or it needs more memories, tables or instances than a plugin may
    /// have.
    #[error("the plugin does not fit: {0}")]
    Unfit(String),
}

/// Loads, binds and runs plugins.
pub struct Host {
    engine: Engine,
    linker: Linker<State>,
    observer: Arc<dyn Observer>,
    cache: Cache,
    /// Held while one plugin compiles: a second waits, and then finds the first one's code. So compiling never takes
    /// more than one process's memory.
    compiler: Mutex<Compiler>,
    loaded: Mutex<HashMap<[u8; 32], Weak<Plugin>>>,
    ticker: Arc<Ticker>,
    threads: Threads,
}

impl Host {
    /// Starts the host's threads.
    pub fn new(config: HostConfig, observer: Arc<dyn Observer>) -> Result<Self, HostError> {
        if config.threads == 0 || config.queue == 0 || config.compiler.is_empty() {
            return Err(HostError::Config);
        }
        let failed = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = engine::running().map_err(failed)?;
        let fingerprint = engine::fingerprint(&engine);
        Ok(Self {
            linker: imports::linker(&engine).map_err(failed)?,
            observer,
            cache: Cache::open(&config.cache_dir, fingerprint)?,
            compiler: Mutex::new(Compiler {
                argv: config.compiler,
                timeout: config.compile_timeout,
                memory_bytes: config.compile_memory_bytes,
                fingerprint,
            }),
            loaded: Mutex::default(),
            ticker: Arc::new(Ticker::start(engine.clone())?),
            threads: Threads::start(config.threads, config.queue)?,
            engine,
        })
    }

    /// Loads a plugin's code: what is loaded already is shared, what was compiled before is read, the rest is compiled.
    /// Blocks for as long as that takes.
    pub fn load(&self, digest: [u8; 32], wasm: &[u8]) -> Result<Arc<Plugin>, LoadError> {
        if let Some(plugin) = self.loaded(&digest) {
            return Ok(plugin);
        }
        let manifest = inspect(wasm)?;
        if Sha256::digest(wasm)[..] != digest {
            return Err(LoadError::Digest);
        }
        let component = self.component(&digest, wasm)?;
        let plugin = Plugin::new(digest, manifest, &component, &self.linker).map_err(LoadError::Unfit)?;
        let plugin = Arc::new(plugin);
        let mut loaded = self.loaded.lock();
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    /// Binds a plugin: makes its first instance and initialises it with `config`, under `limits`. Blocks for as long as
    /// they allow.
    pub fn bind(
        &self,
        plugin: &Arc<Plugin>,
        kind: Kind,
        config: &str,
        limits: Limits,
        name: BindingName,
    ) -> Result<Bound, BindError> {
        let observer = Arc::clone(&self.observer);
        let ticker = Arc::clone(&self.ticker);
        Bound::new(Arc::clone(plugin), kind, config, limits, name, observer, ticker, self.threads.len())
    }

    /// Gives `job` to a plugin thread. The queue before them is shared fairly between bindings, so the job says whose
    /// it is. A job that the host does not come to before it ends is dropped unrun.
    pub fn submit(&self, binding: &BindingName, job: impl FnOnce() + Send + 'static) -> Result<(), QueueFull> {
        self.threads.submit(binding, Box::new(job))
    }

    /// Jobs that wait for a thread now; for metrics.
    pub fn waiting(&self) -> usize {
        self.threads.waiting()
    }

    fn loaded(&self, digest: &[u8; 32]) -> Option<Arc<Plugin>> {
        self.loaded.lock().get(digest)?.upgrade()
    }

    fn component(&self, digest: &[u8; 32], wasm: &[u8]) -> Result<Component, LoadError> {
        if let Some(component) = self.cached(digest) {
            return Ok(component);
        }
        let compiler = self.compiler.lock();
        if let Some(component) = self.cached(digest) {
            return Ok(component);
        }
        let code = compiler.compile(wasm)?;
        // What the engine will not have, for needing more than a plugin may, is not worth keeping.
        let component = self.deserialize(&code).map_err(LoadError::Unfit)?;
        self.cache.put(digest, &code);
        Ok(component)
    }

    fn cached(&self, digest: &[u8; 32]) -> Option<Component> {
        let code = self.cache.get(digest)?;
        self.deserialize(&code)
            .inspect_err(|error| tracing::warn!(%error, "compiled code does not load, compiling again"))
            .ok()
    }

    /// The one unsafe call of the host.
    #[allow(unsafe_code, reason = "loading our own compiler's output; see SAFETY")]
    fn deserialize(&self, code: &[u8]) -> Result<Component, String> {
        // SAFETY: `code` was made by `Engine::precompile_component`: it comes either straight from our compiling
        // process, the same binary with the same engine settings (the fingerprint is compared on both sides), or from
        // the cache, which returns only what the host put there, in a folder that only this user writes, under a key of
        // plugin and fingerprint, and whole by its SHA-256. A user's bytes never come here: what they push is a
        // component in Wasm, and goes through the compiler.
        unsafe { Component::deserialize(&self.engine, code) }.map_err(|error| format!("{error:#}"))
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("cache", &self.cache).field("threads", &self.threads).finish_non_exhaustive()
    }
}
