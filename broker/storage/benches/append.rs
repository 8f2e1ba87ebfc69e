//! What an append costs beyond the write it cannot do without: 64 KiB batches in `os` mode, a leader's and a follower's, against
//! a bare `pwrite` of the same bytes into a file whose blocks are taken beforehand. A follower compares the checksum; a leader
//! has had it compared before.
//!
//! Criterion times both. The ratio is taken apart from it, of the CPU time of this process, in rounds that do both sides one
//! after the other on fresh files, so that what else the machine does weighs on both; the median is printed last.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use rustix::fs::FallocateFlags;
use rustix::time::{ClockId, clock_gettime};
use sluice_protocol::Uuid;
use sluice_protocol::records::{Batch, BatchBuilder, BatchHeader, Chunks, Compression};
use sluice_storage::{FlushMode, Identity, Log, LogConfig, LogDir, LogDirOptions, PartitionDir};

/// The batch every figure is for, about as large as a busy producer's.
const BATCH_BYTES: usize = 64 << 10;

/// A record's value in it.
const VALUE_BYTES: usize = 1 << 10;

/// The most an append may cost, in bare writes of the same bytes.
const TARGET: f64 = 1.4;

/// Rounds for the ratio, and batches of a round: 64 MiB, which crosses every step of allocation ahead.
const ROUNDS: usize = 31;
const BATCHES: usize = 1024;

/// Bytes of a file before it is begun again, so that a long run does not fill the disk.
const FILE_BYTES: u64 = 256 << 20;

fn main() {
    let folder = tempfile::tempdir().expect("a folder");
    let batch = batch();
    let bytes = batch.to_parts().concat();

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("append, 64 KiB batch, os mode");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let bare = Bare::new(&folder.path().join("bare"), FILE_BYTES);
    let mut position = 0;
    group.bench_function("bare pwrite", |b| {
        b.iter(|| {
            position = if position + bytes.len() as u64 > FILE_BYTES { 0 } else { position };
            bare.write(&bytes, position);
            position += bytes.len() as u64;
        });
    });
    for (side, append) in [("append", append as fn(&mut Log, &Batch)), ("append_replicated", replicate)] {
        let dir = log_dir(&folder.path().join(side));
        let mut log = log(&dir, Some(FILE_BYTES));
        let mut appends = 0u64;
        group.bench_function(side, |b| {
            b.iter(|| {
                append(&mut log, &batch);
                appends += 1;
                if appends.is_multiple_of(BATCHES as u64) {
                    log.retain(0, i64::MAX).expect("kept");
                    dir.sweep().expect("swept");
                }
            });
        });
    }
    group.finish();
    criterion.final_summary();

    let per_byte = |cpu: Duration| cpu.as_nanos() as f64 / (bytes.len() * BATCHES) as f64;
    let checksums = cpu(|| (0..BATCHES).for_each(|_| batch.verify_crc().expect("as built")));
    for (side, ours) in [("append", appends as Side), ("append_replicated", replicates)] {
        let (ratio, append, bare) = ratio(folder.path(), &batch, &bytes, ours);
        eprintln!(
            "{side} of 64 KiB batches in os mode: {ratio:.2}x the CPU of a bare preallocated pwrite (target {TARGET}x, and \
             for a follower the checksum on top); {:.3} against {:.3} ns a byte",
            per_byte(append),
            per_byte(bare),
        );
    }
    eprintln!("comparing the checksum of a batch: {:.3} ns a byte", per_byte(checksums));
}

/// Does all appends of a round in a place of its own, and says what they cost.
type Side = fn(&Path, &Batch) -> Duration;

/// The median ratio of CPU times over the rounds, and the median of each side.
fn ratio(folder: &Path, batch: &Batch, bytes: &[u8], ours: Side) -> (f64, Duration, Duration) {
    let mut rounds: Vec<(Duration, Duration)> = (0..ROUNDS)
        .map(|round| {
            let place = folder.join(format!("round-{round}"));
            // Whoever goes first pays for what the round before left to write back, so they take turns.
            let (ours, theirs) = if round % 2 == 0 {
                let ours = ours(&place.join("log"), batch);
                (ours, writes(&place, bytes))
            } else {
                let theirs = writes(&place, bytes);
                (ours(&place.join("log"), batch), theirs)
            };
            std::fs::remove_dir_all(&place).expect("removed");
            (ours, theirs)
        })
        .collect();
    let median = |rounds: &[Duration]| rounds[rounds.len() / 2];
    rounds.sort_by_key(|(ours, theirs)| ours.as_nanos() * 1_000_000 / theirs.as_nanos());
    let (ours, theirs) = rounds[ROUNDS / 2];
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
    ours.sort_unstable();
    theirs.sort_unstable();
    (ratio, median(&ours), median(&theirs))
}

fn appends(place: &Path, batch: &Batch) -> Duration {
    let dir = log_dir(place);
    let mut log = log(&dir, None);
    cpu(|| (0..BATCHES).for_each(|_| append(&mut log, batch)))
}

fn replicates(place: &Path, batch: &Batch) -> Duration {
    let dir = log_dir(place);
    let mut log = log(&dir, None);
    cpu(|| (0..BATCHES).for_each(|_| replicate(&mut log, batch)))
}

fn writes(place: &Path, bytes: &[u8]) -> Duration {
    std::fs::create_dir_all(place).expect("a folder");
    let bare = Bare::new(&place.join("bare"), (bytes.len() * BATCHES) as u64);
    cpu(|| (0..BATCHES).for_each(|i| bare.write(bytes, (i * bytes.len()) as u64)))
}

/// CPU time of this process, all its threads, user and system.
fn cpu(work: impl FnOnce()) -> Duration {
    let now = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("time since the process began");
    let before = now();
    work();
    now() - before
}

/// The write an append cannot do without.
struct Bare(File);

impl Bare {
    fn new(path: &Path, len: u64) -> Self {
        let file = File::create(path).expect("a file");
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, len).expect("room");
        Self(file)
    }

    fn write(&self, bytes: &[u8], position: u64) {
        self.0.write_all_at(bytes, position).expect("written");
    }
}

fn append(log: &mut Log, batch: &Batch) {
    log.append(batch.header, batch.body.parts(), 0, 0).expect("appended");
}

/// As a follower does it: header and body in the pieces they came in, the offset where the log ends.
fn replicate(log: &mut Log, batch: &Batch) {
    let header = BatchHeader { base_offset: log.reader().log_end_offset(), partition_leader_epoch: 0, ..batch.header };
    let mut answer = Chunks::from(Bytes::copy_from_slice(&header.to_bytes()));
    batch.body.parts().iter().for_each(|piece| answer.push(piece.clone()));
    log.append_replicated(&answer, i32::MAX, 0).expect("appended");
}

fn log_dir(path: &Path) -> LogDir {
    let identity = Identity { cluster_id: "bench".to_owned(), broker_id: 1, new_directory_id: Uuid([1; 16]) };
    let options = LogDirOptions { checkpoint_interval: None, ..LogDirOptions::default() };
    LogDir::open_with(path, &identity, options).expect("it opens").0
}

fn log(dir: &LogDir, retention_bytes: Option<u64>) -> Log {
    let name = PartitionDir::new("bench", 0, Uuid([2; 16])).expect("a name");
    let config = LogConfig {
        flush_mode: FlushMode::Os,
        segment_bytes: if retention_bytes.is_some() { 64 << 20 } else { 1 << 30 },
        retention_bytes,
        retention_ms: None,
        ..LogConfig::default()
    };
    Log::open(dir, &name, config, 0).expect("it opens").0
}

fn batch() -> Batch {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = [b'x'; VALUE_BYTES];
    while builder.size() + VALUE_BYTES < BATCH_BYTES {
        builder.push::<&str, &str>(0, None, Some(&value), []);
    }
    builder.build_batch()
}
