//! Disks that are full, and disks that fail.

mod support;

use std::io;

use sluice_storage::testing::{Call, Crash};
use sluice_storage::{AppendError, LogConfig, MarkCleanError};
use support::machine::{Machine, Sent};
use support::{append, batch};

const RECORDS: i32 = 2;

/// Batches of each run: four segments.
const BATCHES: i32 = 17;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 620, index_interval_bytes: 300, ..LogConfig::default() }
}

#[test]
fn a_full_disk_stores_nothing_half_and_serves_again_with_space() {
    let machine = Machine::new();
    let (log, _) = machine.open(config());
    drop(log);
    let empty = machine.disk.used();
    for room in (0..3000).step_by(23) {
        let machine = machine.after(Crash::Killed);
        let (mut log, _) = machine.open(config());
        machine.disk.set_capacity(Some(empty + room));
        let mut sent = Sent::default();
        let refused = loop {
            let next = batch(sent.len() as i32, RECORDS);
            match log.append(next.header, next.body.parts(), 0, support::NOW_MS) {
                Ok(_) => sent.push(next, 0),
                Err(error) => break error,
            }
            assert!(sent.len() < 30, "{room} bytes are not room for all of these");
        };
        let what = format!("{room} bytes of room, {} batches", sent.len());
        assert!(matches!(refused, AppendError::NoSpace { .. }), "{what}: {refused}");
        assert!(machine.dir.failed().is_none(), "{what}: a full disk has not failed");
        sent.assert_log_is(&log, sent.len(), &what);
        let again = append(&mut log, &batch(sent.len() as i32, RECORDS), 0).expect_err("still full");
        assert!(matches!(again, AppendError::NoSpace { .. }), "{what}: {again}");

        // Killed while full, it comes back as it was.
        sent.assert_log_is(&machine.after(Crash::Killed).open(config()).0, sent.len(), &what);

        machine.disk.set_capacity(None);
        for i in sent.len() as i32..BATCHES + 3 {
            sent.append(&mut log, &batch(i, RECORDS), 0);
        }
        sent.assert_log_is(&log, sent.len(), &what);
        machine.flush(&log).expect("durable");
        for crash in [Crash::PowerCut, Crash::Torn(room), Crash::Torn(!room)] {
            let machine = machine.after(crash);
            sent.assert_log_is(&machine.open(config()).0, sent.len(), &format!("{what}, {crash:?}"));
        }
    }
}

/// What a run does until something fails: how much of it was flushed.
fn run(machine: &Machine, sent: &mut Sent) -> Result<usize, (usize, String)> {
    let mut flushed = 0;
    let (mut log, _) = machine.try_open(config()).map_err(|error| (flushed, error.to_string()))?;
    for i in 0..BATCHES {
        let next = batch(i, RECORDS);
        if let Err(error) = append(&mut log, &next, 0) {
            assert!(matches!(error, AppendError::Storage(_)), "{error}");
            let after = append(&mut log, &next, 0).expect_err("failed for good");
            assert!(matches!(after, AppendError::Storage(_)), "{after}");
            machine.flush(&log).expect_err("failed for good");
            return Err((flushed, error.to_string()));
        }
        sent.push(next, 0);
        if i % 3 == 2 {
            match machine.flush(&log) {
                Ok(durable) => assert_eq!(durable, log.reader().log_end_offset()),
                Err(error) => {
                    machine.flush(&log).expect_err("never tried again");
                    let refused = append(&mut log, &batch(i + 1, RECORDS), 0).expect_err("failed for good");
                    assert!(matches!(refused, AppendError::Storage(_)), "{refused}");
                    return Err((flushed, error));
                }
            }
            flushed = sent.len();
        }
        if i % 5 == 4
            && let Err(error) = machine.dir.checkpoint()
        {
            return Err((flushed, error.to_string()));
        }
    }
    log.close_clean().map_err(|error| (flushed, error.to_string()))?;
    flushed = sent.len();
    machine.dir.mark_clean().map_err(|error| {
        assert!(matches!(error, MarkCleanError::Failed(_)), "{error}");
        (flushed, error.to_string())
    })?;
    Ok(flushed)
}

#[test]
fn whichever_call_fails_the_directory_fails_and_nothing_flushed_is_lost() {
    for call in [Call::Create, Call::Write, Call::Allocate, Call::Truncate, Call::Sync, Call::SyncDir, Call::Rename] {
        let mut passing = 0;
        loop {
            let machine = Machine::new();
            machine.disk.fail(call, passing, io::ErrorKind::Other);
            let mut sent = Sent::default();
            let what = format!("{call:?} after {passing} others");
            let (flushed, failed) = match run(&machine, &mut sent) {
                // A run with fewer such calls: all places were tried.
                Ok(_) => break,
                Err((flushed, failed)) => (flushed, failed),
            };
            assert!(machine.dir.failed().is_some(), "{what}: {failed}");
            assert!(machine.dir.mark_clean().is_err(), "{what}: a failed directory is never marked clean");
            for crash in [Crash::Killed, Crash::PowerCut, Crash::Torn(u64::from(passing))] {
                let machine = machine.after(crash);
                // When all logs were closed and only the mark's own name failed to sync, it may be there, and is right.
                let all = flushed == BATCHES as usize;
                assert!(!machine.opened.clean || machine.opened.partitions.is_empty() || all, "{what}, {crash:?}");
                let (log, recovery) = machine.open(config());
                let batches = recovery.log_end as usize / RECORDS as usize;
                assert!(batches >= flushed, "{what}, {crash:?}: {flushed} flushed, {batches} there");
                // The batch that failed may be there or not: nobody was told that it is.
                let mut sent = sent.clone();
                if batches > sent.len() {
                    sent.push(batch(sent.len() as i32, RECORDS), 0);
                }
                sent.assert_log_is(&log, batches, &format!("{what}, {crash:?}"));
            }
            passing += 1;
        }
        assert!(passing > 0, "{call:?} is never called");
    }
}

#[test]
fn what_a_full_disk_made_us_cut_does_not_come_back_with_the_power() {
    for seed in 0..40 {
        let machine = Machine::new();
        let (mut log, _) = machine.open(LogConfig { segment_ms: 1000, ..LogConfig::default() });
        let mut sent = Sent::default();
        sent.append(&mut log, &batch(0, RECORDS), 0);
        machine.flush(&log).expect("durable");
        machine.disk.fail(Call::Write, 0, io::ErrorKind::StorageFull);
        let mut large = batch(0, 40);
        large.header.base_sequence = RECORDS;
        let refused = append(&mut log, &large, 0).expect_err("half of it was written");
        assert!(matches!(refused, AppendError::NoSpace { .. }), "{refused}");
        log.roll_if_due(support::NOW_MS + 1000).expect("rolled: nothing more is written behind what was cut");
        sent.append(&mut log, &batch(1, RECORDS), 0);
        machine.flush(&log).expect("durable");
        machine.dir.checkpoint().expect("written down");
        let machine = machine.after(Crash::Torn(seed));
        sent.assert_log_is(&machine.open(config()).0, 2, &format!("seed {seed}"));
    }
}

#[test]
fn a_log_emptied_by_retention_keeps_its_end_whenever_the_power_goes() {
    for passing in 0..5 {
        for seed in 0..40 {
            let machine = Machine::new();
            let (mut log, _) = machine.open(LogConfig { retention_ms: Some(1000), ..config() });
            let mut sent = Sent::default();
            for i in 0..3 {
                sent.append(&mut log, &batch(i, RECORDS), 0);
            }
            machine.flush(&log).expect("durable");
            assert_eq!(log.retain(support::NOW_MS + 5000, i64::MAX).expect("kept").segments, 1);
            machine.disk.fail(Call::SyncDir, passing, io::ErrorKind::Other);
            let swept = machine.dir.sweep();
            assert_eq!(swept.is_err(), passing < 4, "the sweep syncs the log's folder three times, the directory once");
            let (_, recovery) = machine.after(Crash::Torn(seed)).open(config());
            assert_eq!(recovery.log_end, i64::from(3 * RECORDS), "{passing} syncs passed, seed {seed}");
        }
    }
}
