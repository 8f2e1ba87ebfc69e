//! What it costs a batch to go through a plugin: 1,000 records of 100 bytes, and a filter that looks at one byte of
//! each.
//!
//! The yardstick is an echo: a component that takes the same number of packed bytes and hands them back, called by hand.
//! It is what the component model itself costs for moving them twice. The boundary is the filter's call: packed bytes
//! in, an answer out. Reading the records, packing them and validating the answer come on top of it, and on top of
//! those, where records change, checking the batch and building another; each is measured with all before it.
//!
//! ```text
//!   cargo bench -p sluice-plugin-host --bench boundary
//! ```

#[path = "../tests/host/guests.rs"]
mod guests;

use std::{hint::black_box, io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput};
use rustix::time::{ClockId, clock_gettime};
use sha2::{Digest as _, Sha256};
use sluice_plugin_host::{
    BatchContext, BindingName, Bound, Host, HostConfig, Kind, Level, Limits, NO_OFFSET, Observer, Verdict, Verdicts,
    compile_child,
};
use sluice_protocol::records::{Batch, BatchBuilder, Compression, Rebuild};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, Store,
    component::{Component, Linker, TypedFunc},
};

const RECORDS: usize = 1000;
const VALUE_BYTES: usize = 100;
/// One record in ten goes.
const DROPPED_ONE_IN: usize = 10;
const DECODE_BYTES: usize = 1 << 20;
/// What the batch comes to when its values are packed: header and topic, then offset delta, end and value of each
/// record.
const PACKED_BYTES: usize = 48 + RECORDS * (4 + 4 + VALUE_BYTES);

const TIMESTAMP: i64 = 1_700_000_000_000;
const CX: BatchContext<'static> = BatchContext { topic: "orders", partition: 0, base_offset: NO_OFFSET };

/// The argument under which this binary is the compiling child.
const COMPILE: &str = "compile-child";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(COMPILE) {
        return compile_child();
    }
    let dir = tempfile::tempdir().expect("a folder");
    let host = host(dir.path());
    let mut criterion = Criterion::default().configure_from_args();
    boundary(&mut criterion, &host);
    criterion.final_summary();
    ratio(&host);
    ExitCode::SUCCESS
}

fn boundary(criterion: &mut Criterion, host: &Host) {
    let batch = batch(RECORDS);
    let decoded = batch.decode(DECODE_BYTES).expect("a batch");
    let filter = bind(host, &guests::drops_x());
    let keeper = bind(host, &guests::keeps_all());
    let mut echo = Called::by_hand(&guests::echoes(guests::VALUES), vec![1; PACKED_BYTES]);
    let mut call = Called::by_hand(&guests::drops_x(), packed());

    let mut group = criterion.benchmark_group("boundary");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("echo of the packed bytes", |b| b.iter(|| echo.call()));
    group.bench_function("filter, called", |b| b.iter(|| call.call()));
    group.bench_function("filter, with reading, packing and validating", |b| {
        b.iter(|| black_box(filter.process(&CX, &decoded)));
    });
    group.bench_function("keep all, with reading, packing and validating", |b| {
        b.iter(|| black_box(keeper.process(&CX, &decoded)));
    });
    group.bench_function("whole gate: check, decode, filter, rebuild", |b| b.iter(|| gate(&filter, &batch)));
    group.finish();

    let one = self::batch(1).decode(DECODE_BYTES).expect("a batch");
    criterion.bench_function("boundary/one record", |b| b.iter(|| black_box(filter.process(&CX, &one))));
}

/// A gate's share of a produce request, but for the append.
fn gate(filter: &Bound, batch: &Batch) -> Batch {
    batch.verify_crc().expect("a checksum");
    let decoded = batch.decode(DECODE_BYTES).expect("a batch");
    let Ok(Verdicts::Each(verdicts)) = filter.process(&CX, &decoded) else { panic!("verdicts") };
    let mut rebuilt = Rebuild::new(&batch.header);
    for (record, verdict) in decoded.iter().zip(&verdicts) {
        let record = record.expect("a record");
        if *verdict == Verdict::Keep {
            rebuilt.push(record.offset_delta, record.timestamp_delta, record.key, record.value, record.headers);
        }
    }
    black_box(rebuilt.finish(Compression::None))
}

/// Rounds of each, taken in turn, so that whatever else the machine does falls on all; the best of each is compared, in
/// the thread's own CPU time.
fn ratio(host: &Host) {
    const ROUNDS: usize = 1000;
    let batch = batch(RECORDS);
    let decoded = batch.decode(DECODE_BYTES).expect("a batch");
    let filter = bind(host, &guests::drops_x());
    let mut echo = Called::by_hand(&guests::echoes(guests::VALUES), vec![1; PACKED_BYTES]);
    let mut call = Called::by_hand(&guests::drops_x(), packed());
    let mut best = [Duration::MAX; 4];
    for _ in 0..ROUNDS {
        let round = [
            time(|| echo.call()),
            time(|| call.call()),
            time(|| drop(black_box(filter.process(&CX, &decoded)))),
            time(|| drop(black_box(gate(&filter, &batch)))),
        ];
        best = std::array::from_fn(|i| best[i].min(round[i]));
    }
    let [echo, call, process, gate] = best.map(|best| best.as_secs_f64() * 1e9 / RECORDS as f64);
    let said = writeln!(
        std::io::stdout(),
        "boundary/ratio: a filter's call {call:.1} ns a record, an echo of the same bytes {echo:.1}: {:.2} times (at most 3)\n\
         boundary/in all: read, packed, called and validated {process:.1} ns a record; checked and rebuilt too {gate:.1}",
        call / echo
    );
    said.expect("standard output");
}

fn time(mut call: impl FnMut()) -> Duration {
    const CALLS: u32 = 4;
    let began = thread_cpu_time();
    for _ in 0..CALLS {
        call();
    }
    (thread_cpu_time() - began) / CALLS
}

fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("nanoseconds"))
}

/// The batch as the layout packs it when values are asked for, written out by hand.
fn packed() -> Vec<u8> {
    let mut packed = b"SLB1\x01\0\x02\0".to_vec();
    packed.extend_from_slice(&word(RECORDS));
    packed.extend_from_slice(&[0; 4]);
    packed.extend_from_slice(&NO_OFFSET.to_le_bytes());
    packed.extend_from_slice(&TIMESTAMP.to_le_bytes());
    packed.extend_from_slice(&[0; 4]);
    packed.extend_from_slice(&word(CX.topic.len()));
    packed.extend_from_slice(CX.topic.as_bytes());
    packed.resize(48, 0);
    packed.extend((0..RECORDS).flat_map(word));
    packed.extend((1..=RECORDS).flat_map(|n| word(n * VALUE_BYTES)));
    packed.extend((0..RECORDS).flat_map(value));
    assert_eq!(packed.len(), PACKED_BYTES);
    packed
}

fn word(n: usize) -> [u8; 4] {
    u32::try_from(n).expect("a small number").to_le_bytes()
}

fn batch(records: usize) -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    for n in 0..records {
        builder.push(TIMESTAMP, None, Some(&value(n)), [] as [(&str, Option<&str>); 0]);
    }
    builder.build_batch()
}

fn value(n: usize) -> [u8; VALUE_BYTES] {
    let mut value = [if n % DROPPED_ONE_IN == 1 { b'x' } else { b'-' }; VALUE_BYTES];
    value[1..9].copy_from_slice(&n.to_le_bytes());
    value
}

struct Silent;

impl Observer for Silent {
    fn log(&self, _: &BindingName, _: Level, _: &str) {}
    fn lines_dropped(&self, _: &BindingName, _: u64) {}
    fn add(&self, _: &BindingName, _: &str, _: u64) {}
    fn set(&self, _: &BindingName, _: &str, _: f64) {}
}

fn host(dir: &std::path::Path) -> Host {
    let this = std::env::current_exe().expect("this program");
    let config = HostConfig::new(dir.join("code"), vec![this.into(), COMPILE.into()]);
    Host::new(config, Arc::new(Silent)).expect("a host")
}

fn bind(host: &Host, wasm: &[u8]) -> Bound {
    let plugin = host.load(Sha256::digest(wasm).into(), wasm).expect("a plugin");
    host.bind(&plugin, Kind::Gate, "{}", Limits::default(), BindingName::new("bench")).expect("bound")
}

/// `result<list<u8>, string>`
type Answer = Result<Vec<u8>, String>;

/// A component called without the host, with the engine as the host sets it up: `list<u8>` in, and out.
struct Called {
    store: Store<()>,
    process: TypedFunc<(Arc<Vec<u8>>,), (Answer,)>,
    bytes: Arc<Vec<u8>>,
}

impl Called {
    fn by_hand(wasm: &[u8], bytes: Vec<u8>) -> Self {
        let mut config = Config::new();
        config.epoch_interruption(true).cranelift_nan_canonicalization(true);
        config.allocation_strategy(InstanceAllocationStrategy::pooling());
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::new(&engine, wasm).expect("a component");
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(u64::MAX / 2);
        let instance = Linker::new(&engine).instantiate(&mut store, &component).expect("an instance");
        let interface = component.get_export_index(None, "sluice:plugin/gate@0.1.0").expect("a gate");
        let process = component.get_export_index(Some(&interface), "process").expect("process");
        let process = instance.get_typed_func(&mut store, process).expect("of its type");
        Self { store, process, bytes: Arc::new(bytes) }
    }

    fn call(&mut self) {
        let (answer,) = self.process.call(&mut self.store, (Arc::clone(&self.bytes),)).expect("an answer");
        assert!(black_box(answer.expect("no error")).len() >= RECORDS);
    }
}
