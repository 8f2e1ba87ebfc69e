//! Who waits for the disk, and for how much of it: group commit, and the mode that does not wait.

mod support;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sluice_protocol::Uuid;
use sluice_storage::testing::{Call, Crash, MemDisk};
use sluice_storage::{FlushMode, Log, LogConfig, LogDir, LogDirOptions, PartitionDir, SyncObserver};
use support::machine::{Machine, Sent, waker};
use support::{NOW_MS, append, batch, config, identity};

#[test]
fn requests_made_during_a_sync_share_the_next() {
    let machine = Machine::new();
    let (mut log, _) = machine.open(config());
    append(&mut log, &batch(0, 1), 0).expect("appended");
    machine.flush(&log).expect("settled: folder, names and epochs are durable");
    let before = machine.disk.syncs_done();

    append(&mut log, &batch(1, 1), 0).expect("appended");
    machine.disk.hold_syncs(true);
    let (wake, first) = waker(&log);
    machine.dir.flusher().request(&log.flush_handle(), wake);
    machine.disk.await_held_syncs(1);
    let waiting: Vec<_> = (2..6)
        .map(|i| {
            append(&mut log, &batch(i, 1), 0).expect("appends do not wait for the sync");
            let (wake, woken) = waker(&log);
            machine.dir.flusher().request(&log.flush_handle(), wake);
            woken
        })
        .collect();
    assert_eq!(log.reader().durable_offset(), 1, "nothing is durable before its sync is done");
    machine.disk.hold_syncs(false);
    assert_eq!(first.recv().expect("woken"), Ok(2), "only what was written before the sync began");
    for woken in waiting {
        assert_eq!(woken.recv().expect("woken"), Ok(6));
    }
    assert_eq!(machine.disk.syncs_done() - before, 2, "four requests, one sync");
}

#[test]
fn one_wake_asked_for_often_is_woken_once_a_sync() {
    let machine = Machine::new();
    let (mut log, _) = machine.open(config());
    append(&mut log, &batch(0, 1), 0).expect("appended");
    machine.disk.hold_syncs(true);
    let (busy, begun) = waker(&log);
    machine.dir.flusher().request(&log.flush_handle(), busy);
    machine.disk.await_held_syncs(1);
    let (wake, woken) = waker(&log);
    for i in 1..10 {
        append(&mut log, &batch(i, 1), 0).expect("appended");
        machine.dir.flusher().request(&log.flush_handle(), Arc::clone(&wake));
    }
    machine.disk.hold_syncs(false);
    begun.recv().expect("woken").expect("durable");
    assert_eq!(woken.recv().expect("woken"), Ok(10));
    machine.flush(&log).expect("durable");
    assert!(woken.try_recv().is_err(), "not woken again");
}

#[test]
fn logs_of_a_directory_sync_side_by_side() {
    let machine = Machine::new();
    let mut logs: Vec<Log> = (0..4)
        .map(|partition| {
            let name = PartitionDir::new("payments", partition, Uuid([4; 16])).expect("a name");
            Log::open(&machine.dir, &name, config(), NOW_MS).expect("it opens").0
        })
        .collect();
    machine.disk.hold_syncs(true);
    let waiting: Vec<_> = logs
        .iter_mut()
        .map(|log| {
            append(log, &batch(0, 1), 0).expect("appended");
            let (wake, woken) = waker(log);
            machine.dir.flusher().request(&log.flush_handle(), wake);
            woken
        })
        .collect();
    machine.disk.await_held_syncs(4);
    machine.disk.hold_syncs(false);
    for woken in waiting {
        assert_eq!(woken.recv().expect("woken"), Ok(1));
    }
}

/// What a directory told of its syncs.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<Duration>>);

impl SyncObserver for Told {
    fn synced(&self, took: Duration) {
        self.0.lock().expect("nobody panics").push(took);
    }
}

#[test]
fn how_long_the_disk_took_is_told_for_each_sync_of_batches() {
    let told = Arc::new(Told::default());
    let machine = Machine::observed(MemDisk::new(), Some(Arc::clone(&told) as _));
    let (mut log, _) = machine.open(config());
    append(&mut log, &batch(0, 1), 0).expect("appended");
    machine.flush(&log).expect("durable");
    machine.flush(&log).expect("and still is");
    assert_eq!(told.0.lock().expect("whole").len(), 1, "the log's own small files, and syncs of nothing, are none");

    append(&mut log, &batch(1, 1), 0).expect("appended");
    machine.disk.hold_syncs(true);
    let (wake, woken) = waker(&log);
    machine.dir.flusher().request(&log.flush_handle(), wake);
    machine.disk.await_held_syncs(1);
    let held = Instant::now();
    append(&mut log, &batch(2, 1), 0).expect("appended meanwhile");
    let least = held.elapsed();
    machine.disk.hold_syncs(false);
    woken.recv().expect("woken").expect("durable");
    let took = *told.0.lock().expect("whole").last().expect("it was told");
    assert!(took >= least, "{took:?}, and it was held for {least:?}");

    append(&mut log, &batch(3, 1), 0).expect("appended");
    machine.disk.fail(Call::Sync, 0, std::io::ErrorKind::Other);
    machine.flush(&log).expect_err("the disk fails");
    assert_eq!(told.0.lock().expect("whole").len(), 2, "what failed took no time that says anything");
}

#[test]
fn a_failed_sync_is_never_tried_again() {
    let machine = Machine::new();
    let (mut log, _) = machine.open(config());
    append(&mut log, &batch(0, 1), 0).expect("appended");
    machine.flush(&log).expect("durable");
    append(&mut log, &batch(1, 1), 0).expect("appended");
    machine.disk.fail(Call::Sync, 0, std::io::ErrorKind::Other);
    let failed = machine.flush(&log).expect_err("the disk fails");
    assert!(failed.contains("failed at sync"), "{failed}");
    let before = machine.disk.syncs_done();
    machine.flush(&log).expect_err("and has failed");
    assert_eq!(machine.disk.syncs_done(), before);
    assert_eq!(log.reader().durable_offset(), 1);
    assert!(log.reader().read(0, 1 << 20, i64::MAX, true).is_ok(), "what is there still reads");
}

#[test]
fn without_waiting_a_kill_loses_nothing_and_the_disk_gets_it_in_the_background() {
    let disk = MemDisk::new();
    let options = LogDirOptions {
        disk: Arc::new(disk.clone()),
        checkpoint_interval: Some(Duration::from_millis(1)),
        on_sync: None,
    };
    let (dir, _) = LogDir::open_with(&PathBuf::from("/data"), &identity(), options).expect("it opens");
    let os = LogConfig { flush_mode: FlushMode::Os, ..config() };
    let (mut log, _) = Log::open(&dir, &support::orders(), os.clone(), NOW_MS).expect("it opens");
    let mut sent = Sent::default();
    for i in 0..5 {
        sent.append(&mut log, &batch(i, 1), 0);
    }
    let killed = Machine::on(disk.crash(Crash::Killed));
    sent.assert_log_is(&killed.open(os.clone()).0, 5, "killed at once");

    let deadline = Instant::now() + Duration::from_secs(30);
    while log.reader().durable_offset() < 5 {
        assert!(Instant::now() < deadline, "nobody asked, and still it is written out");
        std::thread::yield_now();
    }
    let cut = Machine::on(disk.crash(Crash::PowerCut));
    sent.assert_log_is(&cut.open(os).0, 5, "power cut later");
}
