//! What a log keeps, what it lets go, and what it holds while nobody uses it.

mod support;

use sluice_storage::testing::Crash;
use sluice_storage::{AppendError, LogConfig, ReadError};
use support::machine::{Machine, Sent};
use support::{NOW_MS, append, batch, config};

const RECORDS: i32 = 2;

/// Five batches a segment.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 620, retention_ms: None, ..config() }
}

fn filled(machine: &Machine, config: LogConfig, batches: i32) -> (sluice_storage::Log, Sent) {
    let (mut log, _) = machine.open(config);
    let mut sent = Sent::default();
    for i in 0..batches {
        sent.append(&mut log, &batch(i, RECORDS), 1);
    }
    (log, sent)
}

#[test]
fn old_segments_go_by_weight_and_their_files_with_the_sweep() {
    let machine = Machine::new();
    let (mut log, sent) = filled(&machine, LogConfig { retention_bytes: Some(1000), ..small() }, 17);
    assert_eq!(machine.segments().len(), 4);
    let retained = log.retain(NOW_MS, i64::MAX).expect("kept");
    assert_eq!(retained.segments, 1);
    let reader = log.reader();
    assert_eq!(reader.log_start_offset(), 10);
    let gone = reader.read(9, 1000, i64::MAX, true).expect_err("gone");
    assert!(matches!(gone, ReadError::OutOfRange { log_start: 10, log_end: 34, .. }), "{gone}");
    sent.assert_log_is(&log, 17, "after retention");
    assert_eq!(machine.segments().len(), 4, "the files go off this path");
    machine.dir.sweep().expect("swept");
    assert_eq!(machine.segments().len(), 3);
    sent.assert_log_is(&log, 17, "after the sweep");
    drop(log);
    let (log, _) = machine.after(Crash::Killed).open(small());
    sent.assert_log_is(&log, 17, "after a kill");
}

#[test]
fn what_is_not_committed_stays_however_old() {
    let machine = Machine::new();
    let (mut log, sent) = filled(&machine, LogConfig { retention_ms: Some(1000), ..small() }, 7);
    let late = NOW_MS + 5000;
    assert_eq!(log.retain(late, 9).expect("kept").segments, 0, "a segment goes whole or not at all");
    assert_eq!(log.retain(late, 13).expect("kept").segments, 1, "the last record is not committed");
    assert_eq!((log.reader().log_start_offset(), log.reader().log_end_offset()), (10, 14));
    sent.assert_log_is(&log, 7, "what is left");
    assert_eq!(log.retain(late, 14).expect("kept").segments, 1, "all of it is");
    assert_eq!((log.reader().log_start_offset(), log.reader().log_end_offset()), (14, 14));
}

#[test]
fn a_log_grown_old_is_emptied_and_keeps_its_end() {
    let machine = Machine::new();
    let (mut log, _) = filled(&machine, LogConfig { retention_ms: Some(1000), ..small() }, 7);
    machine.flush(&log).expect("durable");
    assert_eq!(log.retain(NOW_MS + 900, i64::MAX).expect("kept").segments, 0);
    assert_eq!(log.retain(NOW_MS + 5000, i64::MAX).expect("kept").segments, 2, "the active one too");
    machine.dir.sweep().expect("swept");
    for crash in [Crash::Killed, Crash::PowerCut] {
        let (mut log, recovery) = machine.after(crash).open(small());
        assert_eq!((recovery.log_start, recovery.log_end), (14, 14), "{crash:?}");
        append(&mut log, &batch(7, RECORDS), 1).expect("it goes on where it ended");
        assert_eq!(log.reader().log_end_offset(), 16);
    }
}

#[test]
fn a_reader_with_a_removed_segment_reads_on() {
    let machine = Machine::new();
    let (mut log, sent) = filled(&machine, LogConfig { retention_bytes: Some(0), ..small() }, 17);
    let slice = log.reader().read(0, usize::MAX >> 1, i64::MAX, true).expect("read");
    log.retain(NOW_MS, i64::MAX).expect("kept");
    machine.dir.sweep().expect("swept");
    let mut bytes = Vec::new();
    for part in &slice.parts {
        let mut piece = vec![0; part.len];
        part.read_at(&mut piece, 0).expect("the file is there as long as someone reads it");
        bytes.extend(piece);
    }
    assert_eq!(bytes, sent.bytes(17));
}

#[test]
fn segments_roll_by_age() {
    let machine = Machine::new();
    let config = LogConfig { segment_ms: 1000, retention_ms: None, ..config() };
    let (mut log, _) = filled(&machine, config.clone(), 1);
    log.roll_if_due(NOW_MS + 999).expect("not due");
    assert_eq!(machine.segments().len(), 1);
    log.roll_if_due(NOW_MS + 1000).expect("due");
    log.roll_if_due(NOW_MS + 9000).expect("an empty segment never is");
    assert_eq!(machine.segments().len(), 2);
    let next = batch(1, RECORDS);
    log.append(next.header, next.body.parts(), 1, NOW_MS + 2000).expect("appended");
    let next = batch(2, RECORDS);
    log.append(next.header, next.body.parts(), 1, NOW_MS + 3000).expect("appended");
    assert_eq!(machine.segments().len(), 3, "an append finds out too");
    drop(log);
    let machine = machine.after(Crash::Killed);
    let (mut log, _) = machine.open(config);
    log.roll_if_due(NOW_MS + 4000).expect("due");
    assert_eq!(machine.segments().len(), 4, "a restart does not make a segment young");
}

#[test]
fn producers_are_forgotten_when_idle() {
    let machine = Machine::new();
    let config = LogConfig { producer_id_expiration_ms: 1000, ..small() };
    let (mut log, _) = filled(&machine, config, 3);
    let late = batch(9, RECORDS);
    append(&mut log, &late, 1).expect_err("a gap");
    log.retain(NOW_MS + 1000, i64::MAX).expect("kept");
    append(&mut log, &late, 1).expect("unknown, so it may start anywhere");
}

#[test]
fn an_idle_log_holds_no_file_and_wakes_up_when_used() {
    let machine = Machine::new();
    let (mut log, mut sent) = filled(&machine, small(), 17);
    machine.flush(&log).expect("durable");
    sent.assert_log_is(&log, 17, "busy");
    let reader = log.reader();
    assert!(reader.open_files() > 0);
    for _ in 0..2 {
        log.retain(NOW_MS, i64::MAX).expect("kept");
    }
    assert_eq!(reader.open_files(), 0);
    sent.assert_log_is(&log, 17, "read again");
    for _ in 0..2 {
        log.retain(NOW_MS, i64::MAX).expect("kept");
    }
    sent.append(&mut log, &batch(17, RECORDS), 1);
    assert_eq!(reader.open_files(), 1);
    sent.assert_log_is(&log, 18, "written again");
}

#[test]
fn a_deleted_log_leaves_nothing_and_its_name_is_free() {
    let machine = Machine::new();
    let (mut log, _) = filled(&machine, LogConfig { retention_bytes: Some(0), ..small() }, 17);
    log.retain(NOW_MS, i64::MAX).expect("segments wait to be swept");
    machine.dir.delete(vec![log]).expect("deleted");
    assert!(machine.segments().is_empty());
    let (log, _) = machine.open(small());
    machine.dir.sweep().expect("swept");
    assert_eq!(machine.segments().len(), 1, "the sweep spares the namesake's");
    assert_eq!(log.reader().log_end_offset(), 0);
    drop(log);
    for crash in [Crash::Killed, Crash::PowerCut, Crash::Torn(1), Crash::Torn(2), Crash::Torn(3)] {
        let (log, _) = machine.after(crash).open(small());
        assert_eq!(log.reader().log_end_offset(), 0, "{crash:?}");
    }
}

/// A replica that was moved away and comes back is another log, whatever the disk knew of the first.
#[test]
fn a_deleted_log_is_not_missed_and_measures_none_that_comes_after() {
    const CRASHES: [Crash; 5] = [Crash::Killed, Crash::PowerCut, Crash::Torn(1), Crash::Torn(2), Crash::Torn(3)];
    let machine = Machine::new();
    let (log, _) = filled(&machine, small(), 17);
    machine.flush(&log).expect("durable");
    machine.dir.checkpoint().expect("its recovery point is written");
    machine.dir.delete(vec![log]).expect("deleted");
    for crash in CRASHES {
        let (log, recovery) = machine.after(crash).open(small());
        assert_eq!((log.reader().log_end_offset(), recovery.truncated_bytes), (0, 0), "{crash:?}, no log there");
    }
    let (mut log, _) = machine.open(small());
    append(&mut log, &batch(0, RECORDS), 0).expect("appended");
    machine.flush(&log).expect("durable");
    for crash in CRASHES {
        let (log, _) = machine.after(crash).open(small());
        assert_eq!(log.reader().log_end_offset(), i64::from(RECORDS), "{crash:?}, a short one there");
    }
}

/// A replica that is moved away is deleted in the middle of whatever its flusher is about to do: that its folder is not there says
/// nothing of the disk.
#[test]
fn a_flush_that_finds_its_log_deleted_fails_no_disk() {
    let machine = Machine::new();
    let (mut log, mut sent) = filled(&machine, small(), 3);
    let durable = machine.flush(&log).expect("durable");
    sent.append(&mut log, &batch(3, RECORDS), 1);
    log.begin_epoch(2);
    let (late, (wake, woken)) = (log.flush_handle(), support::machine::waker(&log));
    machine.dir.delete(vec![log]).expect("deleted");
    machine.dir.flusher().request(&late, wake);
    assert_eq!(woken.recv().expect("answered"), Ok(durable), "nothing more became durable");
    let (mut log, _) = machine.open(small());
    append(&mut log, &batch(0, RECORDS), 0).expect("appended");
    assert_eq!(machine.flush(&log), Ok(i64::from(RECORDS)), "the directory goes on");
}

#[test]
fn a_batch_larger_than_a_segment_and_an_older_leader_are_refused() {
    let machine = Machine::new();
    let (mut log, sent) = filled(&machine, LogConfig { segment_bytes: 130, ..small() }, 1);
    let large = append(&mut log, &batch(1, 9), 1).expect_err("too large");
    assert!(matches!(large, AppendError::Sequence(_)), "a gap is a gap first: {large}");
    let mut large = batch(0, 9);
    large.header.base_sequence = RECORDS;
    let large = append(&mut log, &large, 1).expect_err("too large");
    assert!(matches!(large, AppendError::TooLarge { segment_bytes: 130, .. }), "{large}");
    let stale = append(&mut log, &batch(1, RECORDS), 0).expect_err("an older leader");
    assert!(matches!(stale, AppendError::StaleLeader { current: 1, got: 0 }), "{stale}");
    sent.assert_log_is(&log, 1, "refused");
}

#[test]
fn a_log_is_cut_back_to_any_offset() {
    for offset in 0..=35 {
        let machine = Machine::new();
        let (mut log, mut sent) = filled(&machine, small(), 17);
        machine.flush(&log).expect("durable");
        machine.dir.checkpoint().expect("written down");
        let batches = sent.below(offset.min(34)).min(17);
        let what = format!("cut at {offset}");
        assert_eq!(log.truncate_to(offset, NOW_MS).expect("cut"), batches as i64 * 2, "{what}");
        sent.truncate(batches);
        sent.assert_log_is(&log, batches, &what);
        assert!(log.reader().durable_offset() <= log.reader().log_end_offset(), "{what}");
        for crash in [Crash::Killed, Crash::PowerCut, Crash::Torn(offset as u64)] {
            let (_, recovery) = machine.after(crash).open(small());
            assert!(recovery.log_end >= batches as i64 * 2, "{what}, {crash:?}");
        }
        for i in batches..17 {
            sent.append(&mut log, &batch(i as i32, RECORDS), 2);
        }
        machine.flush(&log).expect("durable");
        sent.assert_log_is(&log, 17, &what);
        let machine = machine.after(Crash::PowerCut);
        sent.assert_log_is(&machine.open(small()).0, 17, &what);
    }
}
