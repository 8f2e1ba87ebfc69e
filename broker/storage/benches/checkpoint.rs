//! What a checkpoint of a log directory costs, by the number of its logs: the CPU and the time of writing down the recovery
//! points and offsets of all of them when each has been written to since. Housekeeping rests in proportion.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sluice_protocol::Uuid;
use sluice_protocol::records::{BatchBuilder, Compression};
use sluice_storage::{Identity, Log, LogConfig, LogDir, LogDirOptions, PartitionDir};

/// Logs of a directory.
const LOGS: [usize; 3] = [100, 1_000, 10_000];

/// Checkpoints for the median.
const ROUNDS: usize = 15;

fn main() {
    let batch = {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push::<&str, &str>(0, None, Some(b"value"), []);
        builder.build_batch()
    };
    // A segment of 64 KiB keeps allocation ahead from filling the disk with zeroes.
    let config = LogConfig { segment_bytes: 64 << 10, ..LogConfig::default() };
    for count in LOGS {
        let folder = tempfile::tempdir().expect("a folder");
        let identity = Identity { cluster_id: "bench".to_owned(), broker_id: 1, new_directory_id: Uuid([1; 16]) };
        let options = LogDirOptions { checkpoint_interval: None, ..LogDirOptions::default() };
        let (dir, _) = LogDir::open_with(folder.path(), &identity, options).expect("it opens");
        let mut logs: Vec<Log> = (0..count)
            .map(|index| {
                let name = PartitionDir::new("bench", index as i32, Uuid([2; 16])).expect("a name");
                Log::open(&dir, &name, config.clone(), 0).expect("it opens").0
            })
            .collect();
        let mut rounds: Vec<(Duration, Duration)> = (0..ROUNDS)
            .map(|_| {
                for log in &mut logs {
                    log.append(batch.header, batch.body.parts(), 0, 0).expect("appended");
                    log.reader().note_high_watermark(log.reader().log_end_offset());
                }
                let (began, before) = (Instant::now(), cpu());
                dir.checkpoint().expect("written down");
                (cpu() - before, began.elapsed())
            })
            .collect();
        rounds.sort_unstable();
        let (cpu, time) = rounds[ROUNDS / 2];
        eprintln!("a checkpoint of {count} logs: {cpu:.2?} of CPU in {time:.2?}");
    }
}

/// CPU time of this thread, user and system.
fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("time since the thread began")
}
