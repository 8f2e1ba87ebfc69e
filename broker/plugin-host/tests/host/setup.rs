//! A host of its own for each test, in a folder of its own, and batches to give it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use sluice_plugin_host::{
    BatchContext, BindError, BindingName, Bound, Host, HostConfig, Kind, Level, Limits, LoadError, NO_OFFSET, Observer,
    Plugin, PluginError, Verdicts,
};
use sluice_protocol::records::{BatchBuilder, Compression, DecodedBatch};
use tempfile::TempDir;

/// More than any batch here.
const DECODE_BYTES: usize = 64 * 1024 * 1024;

/// What the host's observer was told.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) lines: Mutex<Vec<(Level, String)>>,
    pub(crate) dropped: Mutex<u64>,
    pub(crate) counters: Mutex<BTreeMap<String, u64>>,
    pub(crate) gauges: Mutex<BTreeMap<String, f64>>,
}

impl Observer for Heard {
    fn log(&self, _: &BindingName, level: Level, line: &str) {
        self.lines.lock().push((level, line.to_owned()));
    }

    fn lines_dropped(&self, _: &BindingName, lines: u64) {
        *self.dropped.lock() += lines;
    }

    fn add(&self, _: &BindingName, name: &str, delta: u64) {
        *self.counters.lock().entry(name.to_owned()).or_default() += delta;
    }

    fn set(&self, _: &BindingName, name: &str, value: f64) {
        self.gauges.lock().insert(name.to_owned(), value);
    }
}

/// A host and what it was told; its folder goes with it.
pub(crate) struct Setup {
    pub(crate) host: Host,
    pub(crate) heard: Arc<Heard>,
    dir: TempDir,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut HostConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let heard = Arc::new(Heard::default());
        let host = host(dir.path(), &heard, change);
        Self { host, heard, dir }
    }

    /// The host ended and started again over its folder.
    pub(crate) fn restarted(self, change: impl FnOnce(&mut HostConfig)) -> Self {
        let Self { host: ended, heard, dir } = self;
        drop(ended);
        let host = host(dir.path(), &heard, change);
        Self { host, heard, dir }
    }

    /// Files in the folder for compiled code.
    pub(crate) fn cached(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.dir.path().join("code")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }

    pub(crate) fn load(&self, wasm: &[u8]) -> Result<Arc<Plugin>, LoadError> {
        self.host.load(Sha256::digest(wasm).into(), wasm)
    }

    pub(crate) fn try_bind(&self, kind: Kind, wasm: &[u8], limits: Limits) -> Result<Bound, BindError> {
        let plugin = self.load(wasm).unwrap_or_else(|error| panic!("{error}"));
        self.host.bind(&plugin, kind, "{}", limits, name("a binding"))
    }

    pub(crate) fn gate(&self, wasm: &[u8]) -> Bound {
        self.gate_under(wasm, patient())
    }

    pub(crate) fn gate_under(&self, wasm: &[u8], limits: Limits) -> Bound {
        self.try_bind(Kind::Gate, wasm, limits).unwrap_or_else(|error| panic!("{error}"))
    }
}

fn host(dir: &Path, heard: &Arc<Heard>, change: impl FnOnce(&mut HostConfig)) -> Host {
    let mut config = HostConfig::new(dir.join("code"), compiler());
    change(&mut config);
    Host::new(config, Arc::clone(heard) as Arc<dyn Observer>).unwrap()
}

/// The example that is the compiling child; cargo builds it with the tests.
pub(crate) fn compiler() -> Vec<OsString> {
    let tests = std::env::current_exe().unwrap();
    let example = tests.ancestors().nth(2).unwrap().join("examples/compile_child");
    assert!(example.is_file(), "{} is not there: cargo build -p sluice-plugin-host --examples", example.display());
    vec![example.into_os_string()]
}

/// The usual limits, but for a wall clock that on a busy machine never comes before the CPU's.
pub(crate) fn patient() -> Limits {
    Limits { wall: Duration::from_secs(60), ..Limits::default() }
}

pub(crate) fn name(name: &str) -> BindingName {
    BindingName::new(name)
}

/// A batch with these values, without keys.
pub(crate) fn batch<V: AsRef<[u8]>>(values: impl IntoIterator<Item = V>) -> DecodedBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    for value in values {
        builder.push(1000, None, Some(value.as_ref()), [] as [(&str, Option<&str>); 0]);
    }
    builder.build_batch().decode(DECODE_BYTES).unwrap()
}

/// Gives it a batch with these values.
pub(crate) fn process<V: AsRef<[u8]>>(
    bound: &Bound,
    values: impl IntoIterator<Item = V>,
) -> Result<Verdicts, PluginError> {
    let cx = BatchContext { topic: "orders", partition: 0, base_offset: NO_OFFSET };
    bound.process(&cx, &batch(values))
}
