//! Truncations, and what crashes and flushes in the middle of them leave: the log as it was, or as it was to become.

mod support;

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use sluice_storage::testing::{Call, Crash, Random};
use sluice_storage::{Log, LogConfig, ReadError};
use support::history::{History, fetch};
use support::machine::{Machine, waker};
use support::{NOW_MS, read_all};

const CALLS: [Call; 7] =
    [Call::Create, Call::Write, Call::Truncate, Call::Sync, Call::SyncDir, Call::Rename, Call::Remove];

fn config() -> LogConfig {
    LogConfig { segment_bytes: 700, index_interval_bytes: 300, retention_ms: None, ..LogConfig::default() }
}

/// A log of several segments, all of it durable and known to be.
fn settled(random: &mut Random, batches: usize) -> (Machine, Log, History) {
    let machine = Machine::new();
    let mut history = History::default();
    for i in 0..batches {
        history.write(random, i as i32 / 5);
    }
    let (mut log, _) = machine.open(config());
    log.append_replicated(&history.answer(0, batches, random), i32::MAX, NOW_MS).expect("appended");
    machine.flush(&log).expect("durable");
    machine.dir.checkpoint().expect("written down");
    (machine, log, history)
}

/// Fails every call of a truncation in turn, crashes there, looks at what the next start finds, and goes on from it.
fn interrupted(
    truncate: impl Fn(&mut Log) -> bool,
    check: impl Fn(&History, &Log, bool, &str),
    go_on: impl Fn(&History, &Machine, &str),
) {
    for call in CALLS {
        let mut passing = 0;
        loop {
            let mut random = Random::new(7);
            let (machine, mut log, history) = settled(&mut random, 20);
            machine.disk.fail(call, passing, io::ErrorKind::Other);
            let done = truncate(&mut log);
            let what = format!("{call:?} after {passing} others");
            assert_eq!(machine.dir.failed().is_none(), done, "{what}");
            for crash in [Crash::Killed, Crash::PowerCut].into_iter().chain((0..6).map(Crash::Torn)) {
                let machine = machine.after(crash);
                let what = format!("{what}, {crash:?}");
                let (log, _) = machine.try_open(config()).unwrap_or_else(|error| panic!("{what}: {error}"));
                check(&history, &log, done, &what);
                // And another crash finds the same.
                let again = machine.after(Crash::PowerCut);
                let (log, _) = again.try_open(config()).unwrap_or_else(|error| panic!("{what}, again: {error}"));
                check(&history, &log, done, &format!("{what}, again"));
                go_on(&history, &machine.after(Crash::Killed), &what);
            }
            if done {
                break;
            }
            passing += 1;
            assert!(passing < 100, "{what}: a truncation has fewer calls");
        }
    }
}

#[test]
fn a_truncation_interrupted_anywhere_is_not_begun_or_done() {
    // Within the last segment, within an earlier one, at a segment's start, and all of it.
    for batches in [19, 9, 5, 0] {
        interrupted(
            |log| {
                let mut random = Random::new(7);
                let (_, _, history) = settled(&mut random, 20);
                log.truncate_to(history.end_of(batches), NOW_MS).is_ok()
            },
            |history, log, done, what| {
                let there = history.below(log.reader().log_end_offset());
                assert!(there == batches || (!done && there == 20), "{what}: {there} batches, cut to {batches}");
                history.assert_log_is(log, there, what);
            },
            |history, machine, what| {
                let mut random = Random::new(7);
                let (mut log, recovery) = machine.open(config());
                let mut history = history.clone();
                history.truncate(history.below(recovery.log_end));
                for _ in 0..3 {
                    history.write(&mut random, 9);
                }
                log.append_replicated(&history.answer(recovery.log_end, 3, &mut random), i32::MAX, NOW_MS)
                    .expect("appended");
                drop(log);
                let (log, _) = machine.after(Crash::Killed).open(config());
                history.assert_log_is(&log, history.len(), &format!("{what}, written to and killed"));
            },
        );
    }
}

#[test]
fn a_new_start_interrupted_anywhere_is_not_begun_or_done() {
    for offset in [1000, 3, 0] {
        interrupted(
            |log| log.start_at(offset).is_ok(),
            |history, log, done, what| {
                let reader = log.reader();
                if !done && reader.log_end_offset() == history.end() {
                    history.assert_log_is(log, 20, what);
                    return;
                }
                assert_eq!((reader.log_start_offset(), reader.log_end_offset()), (offset, offset), "{what}");
                assert_eq!((reader.latest_epoch(), reader.known_high_watermark()), (None, offset), "{what}");
            },
            |_, machine, what| {
                let (mut log, recovery) = machine.open(config());
                support::append(&mut log, &support::batch(0, 2), 9).expect("appended");
                drop(log);
                let (log, _) = machine.after(Crash::Killed).open(config());
                assert_eq!(log.reader().log_end_offset(), recovery.log_end + 2, "{what}, written to and killed");
            },
        );
    }
}

#[test]
fn what_was_truncated_does_not_come_back_between_what_is_written_in_its_place() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let (machine, mut log, mut history) = settled(&mut random, 20);
        let kept = random.below(20);
        log.truncate_to(history.end_of(kept), NOW_MS).expect("cut");
        history.truncate(kept);
        for _ in 0..10 {
            history.write(&mut random, 9);
            log.append_replicated(&history.answer(log.reader().log_end_offset(), 1, &mut random), i32::MAX, NOW_MS)
                .expect("appended");
        }
        for crash in (0..6).map(|i| Crash::Torn(seed * 6 + i)) {
            let machine = machine.after(crash);
            let what = format!("seed {seed}, {crash:?}");
            let (log, recovery) = machine.try_open(config()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let there = history.below(recovery.log_end);
            assert!(there >= kept, "{what}");
            history.assert_log_is(&log, there, &what);
        }
    }
}

#[test]
fn what_was_written_down_at_a_clean_end_is_not_taken_for_what_took_its_place() {
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let (machine, log, mut history) = settled(&mut random, 18 + (seed % 5) as usize);
        log.close_clean().expect("closed");
        machine.dir.mark_clean().expect("marked");
        let machine = machine.after(Crash::Killed);
        let (mut log, recovery) = machine.open(config());
        assert!(recovery.clean);
        let kept = history.len() - 1 - random.below(3);
        log.truncate_to(history.end_of(kept), NOW_MS).expect("cut");
        history.truncate(kept);
        // Just as far as before, so that nothing but what is in it tells the one log from the other.
        while history.end() != recovery.log_end {
            history.truncate(kept);
            while history.end() < recovery.log_end {
                history.write(&mut random, 9);
            }
        }
        log.append_replicated(&history.answer(log.reader().log_end_offset(), 20, &mut random), i32::MAX, NOW_MS)
            .expect("appended");
        for crash in (0..8).map(|i| Crash::Torn(seed * 8 + i)) {
            let what = format!("seed {seed}, {crash:?}");
            let (log, recovery) = machine.after(crash).open(config());
            history.assert_log_is(&log, history.below(recovery.log_end), &what);
        }
        log.close_clean().expect("closed");
        machine.dir.mark_clean().expect("marked");
        let (log, recovery) = machine.after(Crash::Killed).open(config());
        assert!(recovery.clean);
        history.assert_log_is(&log, history.len(), &format!("seed {seed}, closed again"));
    }
}

#[test]
fn a_full_disk_refuses_a_truncation_or_does_it_and_the_log_serves_on() {
    let mut random = Random::new(8);
    let (machine, mut log, mut history) = settled(&mut random, 20);
    machine.disk.set_capacity(Some(machine.disk.used()));
    let within_the_last = history.end_of(19);
    match log.truncate_to(within_the_last, NOW_MS) {
        Ok(end) => {
            assert_eq!(end, within_the_last);
            history.truncate(19);
        }
        Err(error) => assert!(matches!(error, sluice_storage::TruncateError::NoSpace { .. }), "{error}"),
    }
    history.assert_log_is(&log, history.len(), "full");
    let error = log.truncate_to(history.end_of(3), NOW_MS).expect_err("no room to say so");
    assert!(matches!(error, sluice_storage::TruncateError::NoSpace { .. }), "{error}");
    history.assert_log_is(&log, history.len(), "refused");
    assert!(machine.dir.failed().is_none());
    machine.disk.set_capacity(None);
    history.write(&mut random, 9);
    log.append_replicated(&history.answer(log.reader().log_end_offset(), 1, &mut random), i32::MAX, NOW_MS)
        .expect("appended");
    assert_eq!(machine.flush(&log), Ok(history.end()));
    log.truncate_to(history.end_of(3), NOW_MS).expect("cut");
    history.truncate(3);
    history.assert_log_is(&log, 3, "cut after all");
    let (log, _) = machine.after(Crash::PowerCut).open(config());
    history.assert_log_is(&log, 3, "and after a power cut");
}

#[test]
fn a_flush_in_flight_says_nothing_of_what_is_written_after_a_truncation() {
    let mut random = Random::new(9);
    let (machine, mut log, mut history) = settled(&mut random, 20);
    for _ in 0..5 {
        history.write(&mut random, 4);
    }
    log.append_replicated(&history.answer(history.end_of(20), 5, &mut random), i32::MAX, NOW_MS).expect("appended");
    machine.disk.hold_syncs(true);
    let (wake, woken) = waker(&log);
    machine.dir.flusher().request(&log.flush_handle(), wake);
    machine.disk.await_held_syncs(1);
    let reader = log.reader();
    let (truncated, done) = mpsc::sync_channel(1);
    let cut = history.end_of(18);
    let thread = std::thread::spawn(move || {
        let end = log.truncate_to(cut, NOW_MS).expect("cut");
        truncated.send(()).expect("awaited");
        (log, end)
    });
    assert!(done.try_recv().is_err(), "the truncation waits for the flush in flight");
    machine.disk.hold_syncs(false);
    let (mut log, end) = thread.join().expect("no panic");
    woken.recv().expect("every request is answered").expect("durable");
    history.truncate(18);
    assert_eq!((end, reader.durable_offset()), (history.end(), history.end()));
    for _ in 0..7 {
        history.write(&mut random, 5);
    }
    log.append_replicated(&history.answer(end, 7, &mut random), i32::MAX, NOW_MS).expect("appended");
    assert_eq!(reader.durable_offset(), history.end_of(18), "what took its place was never flushed");
    history.assert_log_is(&machine.after(Crash::PowerCut).open(config()).0, 18, "nor survives");
    assert_eq!(machine.flush(&log), Ok(history.end()));
}

#[test]
fn nothing_is_synced_between_a_truncation_announced_and_done() {
    let mut random = Random::new(13);
    let (machine, mut log, mut history) = settled(&mut random, 20);
    history.write(&mut random, 9);
    log.append_replicated(&history.answer(history.end_of(20), 1, &mut random), i32::MAX, NOW_MS).expect("appended");
    let reader = log.reader();
    let (handle, (wake, woken)) = (log.flush_handle(), waker(&log));
    machine.disk.hold_syncs(true);
    let cut = history.end_of(18);
    let thread = std::thread::spawn(move || log.truncate_to(cut, NOW_MS).map(|end| (end, log)));
    machine.disk.await_held_syncs(1);
    machine.dir.flusher().request(&handle, wake);
    let told = woken.recv_timeout(Duration::from_secs(20));
    machine.disk.hold_syncs(false);
    assert_eq!(told, Ok(Ok(history.end_of(20))), "told at once of what was durable: there is nothing to wait for");
    let (end, log) = thread.join().expect("no panic").expect("cut");
    assert_eq!((end, reader.durable_offset(), log.reader().log_end_offset()), (cut, cut, cut));
}

#[test]
fn windows_are_right_wherever_a_log_is_cut_though_retention_took_their_batches() {
    for kept in 12..=20 {
        let mut random = Random::new(10);
        let (machine, mut log, mut history) = settled(&mut random, 20);
        let start = history.end_of(9);
        log.raise_log_start(start).expect("raised");
        machine.dir.sweep().expect("swept");
        log.truncate_to(history.end_of(kept), NOW_MS).expect("cut");
        history.truncate(kept);
        let whole = Machine::new();
        let (mut fresh, _) = whole.open(LogConfig::default());
        fresh.append_replicated(&history.answer(0, 20, &mut random), i32::MAX, NOW_MS).expect("appended");
        for sent in history.headers() {
            assert_eq!(log.check(sent), fresh.check(sent), "cut to {kept}: {sent:?}");
        }
    }
}

#[test]
fn a_high_watermark_is_known_after_a_restart_and_never_beyond_the_log() {
    let mut random = Random::new(11);
    let (machine, mut log, history) = settled(&mut random, 20);
    assert_eq!(log.known_high_watermark(), 0, "nothing was said");
    log.reader().note_high_watermark(history.end_of(15));
    machine.dir.checkpoint().expect("written down");
    log.reader().note_high_watermark(history.end());
    let known = |machine: &Machine| machine.open(config()).0.known_high_watermark();
    assert_eq!(known(&machine.after(Crash::Killed)), history.end_of(15), "as it was written down");
    assert_eq!(known(&machine.after(Crash::PowerCut)), history.end_of(15));
    log.truncate_to(history.end_of(12), NOW_MS).expect("cut");
    assert_eq!(log.known_high_watermark(), history.end_of(12), "KAFKA-9491: within what is left");
    // Grown beyond the old note again, it must not take it for its own.
    log.append_replicated(&history.answer(history.end_of(12), 8, &mut random), i32::MAX, NOW_MS).expect("appended");
    machine.flush(&log).expect("durable");
    assert_eq!(known(&machine.after(Crash::PowerCut)), history.end_of(12));
    // The same where no announcement was needed.
    log.reader().note_high_watermark(history.end());
    machine.dir.checkpoint().expect("written down");
    log.truncate_to(history.end_of(19), NOW_MS).expect("cut");
    log.append_replicated(&history.answer(history.end_of(19), 1, &mut random), i32::MAX, NOW_MS).expect("appended");
    machine.flush(&log).expect("durable");
    assert_eq!(known(&machine.after(Crash::PowerCut)), history.end_of(19));
    log.start_at(500).expect("emptied");
    assert_eq!(log.known_high_watermark(), 500, "KAFKA-3978: after a full truncation");
    assert_eq!(known(&machine.after(Crash::Killed)), 500);
    log.close_clean().expect("closed");
    machine.dir.mark_clean().expect("marked");
    assert_eq!(known(&machine.after(Crash::PowerCut)), 500);
}

#[test]
fn a_log_starts_where_its_leaders_does() {
    let mut random = Random::new(12);
    let (machine, mut log, history) = settled(&mut random, 20);
    let segments = machine.segments().len();
    let start = history.end_of(8) + 1;
    let retained = log.raise_log_start(start).expect("raised");
    machine.dir.sweep().expect("swept");
    assert!(retained.segments > 0);
    assert_eq!(machine.segments().len(), segments - retained.segments);
    let reader = log.reader();
    assert_eq!(reader.log_start_offset(), start);
    let below = reader.read(start - 1, 1000, i64::MAX, true).expect_err("given up");
    assert!(matches!(below, ReadError::OutOfRange { log_start, .. } if log_start == start), "{below}");
    assert!(reader.read(start, 1000, i64::MAX, true).expect("there").bytes > 0);
    assert_eq!(log.raise_log_start(start - 1).expect("nothing"), sluice_storage::Retained::default());
    machine.dir.checkpoint().expect("written down");
    for crash in [Crash::Killed, Crash::PowerCut] {
        let (log, recovery) = machine.after(crash).open(config());
        assert_eq!((recovery.log_start, log.reader().log_start_offset()), (start, start), "{crash:?}");
    }
    log.raise_log_start(i64::MAX).expect("raised");
    assert_eq!((reader.log_start_offset(), reader.log_end_offset()), (history.end(), history.end()));
    log.truncate_to(history.end_of(18), NOW_MS).expect("cut");
    assert_eq!((reader.log_start_offset(), reader.log_end_offset()), (history.end_of(18), history.end_of(18)));
}

/// Makes a log what its leader's is, as followers do: asks where the two part, cuts there, fetches.
fn follow(log: &mut Log, leader: &Log, random: &mut Random, what: &str) {
    let (ours, theirs) = (log.reader(), leader.reader());
    for _ in 0..200 {
        let (end, last) = (ours.log_end_offset(), ours.latest_epoch());
        if let Some(last) = last {
            let (epoch, parted) =
                theirs.end_offset_for_epoch(last).unwrap_or_else(|| panic!("{what}: {last} is unknown"));
            if epoch != last || parted < end {
                let own = ours.end_offset_for_epoch(epoch).map_or(0, |(_, end)| end);
                log.truncate_to(parted.min(own), NOW_MS).expect("cut");
                continue;
            }
        }
        if end == theirs.log_end_offset() {
            assert!(read_all(&ours) == read_all(&theirs), "{what}: the logs are not the same");
            return;
        }
        log.append_replicated(&fetch(&theirs, end, random.below(800), random), i32::MAX, NOW_MS)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    panic!("{what}: no end of it");
}

/// KAFKA-1211, KAFKA-6361: double failover; KAFKA-6880: a zombie that missed epochs; KAFKA-7164: truncation after missed
/// epochs. Replicas lead by turns, some of what each writes reaches others, and whoever leads last, all become what it is.
#[test]
fn any_log_becomes_its_leaders_by_truncating_where_epochs_part() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let machines = [Machine::new(), Machine::new(), Machine::new()];
        let mut logs: Vec<Log> = machines.iter().map(|machine| machine.open(config()).0).collect();
        let mut sequences = 0;
        for epoch in 0..8 {
            let leads = random.below(3);
            logs[leads].begin_epoch(epoch);
            for _ in 0..random.below(5) {
                let mut batch = support::batch(0, 1 + random.below(3) as i32);
                batch.header.producer_id = -1;
                sequences += 1;
                batch.header.max_timestamp = sequences;
                batch.header.crc = batch.crc();
                logs[leads].append(batch.header, batch.body.parts(), epoch, NOW_MS).expect("appended");
            }
            let follows = (leads + 1 + random.below(2)) % 3;
            if random.one_in(2) {
                let [log, leader] = logs.get_disjoint_mut([follows, leads]).expect("two of them");
                follow(log, leader, &mut random, &format!("seed {seed}, epoch {epoch}"));
            }
        }
        let leads = random.below(3);
        logs[leads].begin_epoch(8);
        for follows in [(leads + 1) % 3, (leads + 2) % 3] {
            let [log, leader] = logs.get_disjoint_mut([follows, leads]).expect("two of them");
            follow(log, leader, &mut random, &format!("seed {seed}, at last"));
        }
    }
}
