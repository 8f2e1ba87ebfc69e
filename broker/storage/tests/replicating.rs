//! A follower's log: its leader's bytes, and with them all its leader knows of epochs and producers; cut back to where the two
//! part, whatever crashes in between.

mod support;

use std::io;

use bytes::Bytes;
use sluice_protocol::records::Chunks;
use sluice_storage::testing::{Call, Crash, Random};
use sluice_storage::{Log, LogConfig, ReplicateError};
use support::history::{History, fetch};
use support::machine::Machine;
use support::{NOW_MS, read_all};

/// Seeds tried by the tests that draw.
const SEEDS: u64 = 300;

fn config(random: &mut Random) -> LogConfig {
    LogConfig {
        segment_bytes: 300 + random.below(2000) as u32,
        index_interval_bytes: 1 + random.below(600) as u32,
        retention_ms: None,
        ..LogConfig::default()
    }
}

fn written(random: &mut Random, batches: usize) -> History {
    let mut history = History::default();
    let mut epoch = 0;
    for _ in 0..batches {
        epoch += i32::from(random.one_in(6));
        history.write(random, epoch);
    }
    history
}

fn replicate(log: &mut Log, history: &History, random: &mut Random) {
    let answer = history.answer(log.reader().log_end_offset(), 1 + random.below(6), random);
    let bytes = answer.len();
    let appended = log.append_replicated(&answer, i32::MAX, NOW_MS).expect("what the leader has");
    assert_eq!((appended.log_end, appended.bytes), (log.reader().log_end_offset(), bytes));
}

#[test]
fn a_follower_is_its_leader_byte_for_byte() {
    for seed in 0..SEEDS / 10 {
        let mut random = Random::new(seed);
        let history = written(&mut random, 40);
        let (leader, follower) = (Machine::new(), Machine::new());
        let (mut led, _) = leader.open(config(&mut random));
        led.append_replicated(&history.answer(0, usize::MAX / 2, &mut random), i32::MAX, NOW_MS)
            .expect("what leaders wrote");
        let (mut log, _) = follower.open(config(&mut random));
        while log.reader().log_end_offset() < history.end() {
            let max_bytes = random.below(1500);
            let answer = fetch(&led.reader(), log.reader().log_end_offset(), max_bytes, &mut random);
            log.append_replicated(&answer, i32::MAX, NOW_MS).expect("what the leader has");
        }
        assert_eq!(read_all(&log.reader()), read_all(&led.reader()), "seed {seed}");
        history.assert_same(&log, &led, &format!("seed {seed}"));
    }
}

#[test]
fn an_answer_is_one_write_for_each_segment() {
    let machine = Machine::new();
    let mut random = Random::new(1);
    let history = written(&mut random, 60);
    let (mut log, _) = machine.open(LogConfig::default());
    let before = machine.disk.writes_done();
    log.append_replicated(&history.answer(0, 30, &mut random), i32::MAX, NOW_MS).expect("appended");
    assert_eq!(machine.disk.writes_done() - before, 1);
    log.append_replicated(&history.answer(history.end_of(30), 30, &mut random), i32::MAX, NOW_MS).expect("appended");
    assert_eq!(machine.disk.writes_done() - before, 2);
    assert_eq!(log.append_replicated(&Chunks::new(), i32::MAX, NOW_MS).expect("nothing").bytes, 0);
    assert_eq!(machine.disk.writes_done() - before, 2);
    history.assert_log_is(&log, 60, "two answers");
}

#[test]
fn nothing_of_a_damaged_answer_is_stored() {
    let mut random = Random::new(2);
    let history = written(&mut random, 7);
    let machine = Machine::new();
    let (mut log, _) = machine.open(LogConfig::default());
    log.append_replicated(&history.answer(0, 4, &mut random), i32::MAX, NOW_MS).expect("appended");
    let end = log.reader().log_end_offset();
    let good = history.answer(end, 3, &mut random).to_bytes();
    let mut refused = |what: &str, bytes: Vec<u8>| {
        let error =
            log.append_replicated(&support::history::pieces(bytes, &mut random), i32::MAX, NOW_MS).expect_err(what);
        assert_eq!(log.reader().log_end_offset(), end, "{what}");
        error
    };
    for cut in (1..good.len()).filter(|cut| !starts(&good).contains(cut)) {
        let error = refused(&format!("cut at {cut}"), good[..cut].to_vec());
        assert!(matches!(error, ReplicateError::Corrupt { .. }), "cut at {cut}: {error}");
    }
    for at in 0..good.len() {
        let start = batch_start(&good, at);
        let mut bytes = good.to_vec();
        bytes[at] ^= 1 << (at % 8);
        match at - start {
            // A higher epoch may be right, for all its own bytes say; the batch after it then is not, unless it is the last.
            12..16 => continue,
            0..8 => {
                let error = refused(&format!("byte {at}"), bytes);
                assert!(matches!(error, ReplicateError::NotContiguous { .. }), "byte {at}: {error}");
            }
            _ => {
                let error = refused(&format!("byte {at}"), bytes);
                assert!(matches!(error, ReplicateError::Corrupt { .. }), "byte {at}: {error}");
            }
        }
    }
    history.assert_log_is(&log, 4, "as before");
}

/// Where the batches of an answer start, by their lengths, and where the last ends.
fn starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    while let Some(start) = starts.last().copied().filter(|start| *start < bytes.len()) {
        let length = bytes[start + 8..start + 12].try_into().expect("four bytes");
        starts.push(start + 12 + i32::from_be_bytes(length) as usize);
    }
    starts
}

fn batch_start(bytes: &[u8], at: usize) -> usize {
    starts(bytes).into_iter().rfind(|start| *start <= at).expect("0 is one")
}

#[test]
fn offsets_and_epochs_of_an_answer_follow_the_log() {
    let mut random = Random::new(3);
    let mut history = History::default();
    for epoch in [1, 1, 3, 3, 5] {
        history.write(&mut random, epoch);
    }
    let machine = Machine::new();
    let (mut log, _) = machine.open(LogConfig::default());
    log.append_replicated(&history.answer(0, 3, &mut random), i32::MAX, NOW_MS).expect("appended");
    let again = log.append_replicated(&history.answer(0, 1, &mut random), i32::MAX, NOW_MS).expect_err("there already");
    assert!(matches!(again, ReplicateError::NotContiguous { found: 0, .. }), "{again}");
    let gap = history.answer(history.end_of(4), 1, &mut random);
    let gap = log.append_replicated(&gap, i32::MAX, NOW_MS).expect_err("one is missing");
    assert!(matches!(gap, ReplicateError::NotContiguous { .. }), "{gap}");
    let mut older = history.clone();
    older.truncate(3);
    older.write(&mut random, 2);
    let older = older.answer(history.end_of(3), 1, &mut random);
    let older = log.append_replicated(&older, i32::MAX, NOW_MS).expect_err("an epoch that is over");
    assert!(matches!(older, ReplicateError::EpochWentBack { current: 3, found: 2, .. }), "{older}");
    let next = history.answer(history.end_of(3), 2, &mut random);
    let later = log.append_replicated(&next, 4, NOW_MS).expect_err("the leader of epoch 4 can't have it");
    assert!(matches!(later, ReplicateError::LaterEpoch { leader_epoch: 4, found: 5, .. }), "{later}");
    log.append_replicated(&next, 5, NOW_MS).expect("appended");
    history.assert_log_is(&log, 5, "after all of these");
}

#[test]
fn windows_and_epochs_follow_the_log_through_truncations_and_crashes() {
    for seed in 0..SEEDS {
        lives(seed);
    }
}

/// Five lives of a follower whose leaders change, so that what it has beyond some place is written anew.
fn lives(seed: u64) {
    let mut random = Random::new(seed);
    let mut machine = Machine::new();
    let mut history = History::default();
    let (mut epoch, mut flushed, mut clean) = (0, 0, true);
    for life in 0..5 {
        let config = config(&mut random);
        let what = format!("seed {seed}, life {life}");
        let (mut log, recovery) = machine.try_open(config).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(recovery.clean || !clean, "{what}");
        let batches = history.below(recovery.log_end);
        assert!(batches >= flushed, "{what}: {flushed} batches were flushed, {batches} are there");
        history.assert_log_is(&log, batches, &what);
        flushed = batches;
        for _ in 0..random.below(30) {
            match random.below(12) {
                0..7 => {
                    for _ in 0..random.below(5) {
                        history.write(&mut random, epoch);
                    }
                    replicate(&mut log, &history, &mut random);
                }
                7 | 8 => {
                    assert_eq!(machine.flush(&log), Ok(log.reader().log_end_offset()), "{what}");
                    flushed = history.below(log.reader().log_end_offset());
                }
                9 => machine.dir.checkpoint().expect("written down"),
                10 => {
                    let end = log.reader().log_end_offset();
                    let offset = random.below(2 + end as usize) as i64;
                    let kept = history.below(offset.min(end));
                    assert_eq!(log.truncate_to(offset, NOW_MS).expect("cut"), history.end_of(kept), "{what}");
                    history.truncate(kept);
                    if offset < end {
                        assert_eq!(log.reader().durable_offset(), history.end(), "{what}: what is left is durable");
                        flushed = kept;
                    }
                    epoch += 1 + random.below(2) as i32;
                    history.assert_log_is(&log, kept, &format!("{what}, cut at {offset}"));
                }
                _ => {
                    // It leads for a while and writes nothing.
                    log.begin_epoch(epoch + 1);
                    log.truncate_to(i64::MAX, NOW_MS).expect("nothing to cut");
                }
            }
        }
        history.assert_log_is(&log, history.below(log.reader().log_end_offset()), &what);
        clean = random.one_in(5);
        if clean {
            flushed = history.below(log.reader().log_end_offset());
            log.close_clean().expect("closed");
            machine.dir.mark_clean().expect("marked");
        }
        let crash = match random.below(4) {
            0 => Crash::Killed,
            1 => Crash::PowerCut,
            _ => Crash::Torn(random.next_u64()),
        };
        machine = machine.after(crash);
        assert_eq!(machine.opened.clean, clean, "{what}, {crash:?}");
    }
}

/// KAFKA-10778: a disk that fails in the middle of an append fails its directory, and what comes back after it is a front of
/// what was sent, with its windows.
#[test]
fn a_disk_that_fails_within_an_answer_leaves_a_front_of_it() {
    let calls = [Call::Create, Call::Write, Call::Allocate, Call::Truncate, Call::Sync, Call::SyncDir, Call::Rename];
    for call in calls {
        for passing in 0.. {
            let mut random = Random::new(14);
            let history = written(&mut random, 30);
            let machine = Machine::new();
            let config = LogConfig { segment_bytes: 900, ..LogConfig::default() };
            let (mut log, _) = machine.open(config.clone());
            machine.disk.fail(call, passing, io::ErrorKind::Other);
            let mut flushed = 0;
            while machine.dir.failed().is_none() && log.reader().log_end_offset() < history.end() {
                let answer = history.answer(log.reader().log_end_offset(), 10, &mut random);
                if log.append_replicated(&answer, i32::MAX, NOW_MS).is_ok() && machine.flush(&log).is_ok() {
                    flushed = history.below(log.reader().durable_offset());
                }
            }
            let what = format!("{call:?} after {passing} others");
            if machine.dir.failed().is_none() {
                assert!(passing > 0, "{call:?} is never called");
                break;
            }
            let refused =
                log.append_replicated(&history.answer(log.reader().log_end_offset(), 1, &mut random), i32::MAX, NOW_MS);
            assert!(matches!(refused, Err(ReplicateError::Storage(_))), "{what}: {refused:?}");
            for crash in [Crash::Killed, Crash::PowerCut, Crash::Torn(u64::from(passing))] {
                let (log, recovery) = machine.after(crash).open(config.clone());
                let there = history.below(recovery.log_end);
                assert!(there >= flushed, "{what}, {crash:?}: {flushed} flushed, {there} there");
                history.assert_log_is(&log, there, &format!("{what}, {crash:?}"));
            }
        }
    }
}

#[test]
fn a_log_cut_at_every_byte_knows_the_producers_of_what_is_left() {
    let mut random = Random::new(4);
    let history = written(&mut random, 14);
    let machine = Machine::new();
    let config = LogConfig { segment_bytes: 900, ..LogConfig::default() };
    let (mut log, _) = machine.open(config.clone());
    while log.reader().log_end_offset() < history.end() {
        replicate(&mut log, &history, &mut random);
    }
    drop(log);
    let machine = machine.after(Crash::Killed);
    for segment in machine.segments() {
        let content = machine.disk.content(&segment);
        let written = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for cut in 0..=written {
            let disk = machine.disk.crash(Crash::Killed);
            disk.cut(&segment, cut);
            let machine = Machine::on(disk);
            let (log, recovery) = machine.open(config.clone());
            let what = format!("{} cut at {cut}", segment.display());
            history.assert_log_is(&log, history.below(recovery.log_end), &what);
        }
    }
}

#[test]
fn a_reign_without_a_batch_shows_followers_of_a_later_epoch_where_they_part() {
    let mut random = Random::new(5);
    let mut history = History::default();
    for epoch in [1, 1, 3] {
        history.write(&mut random, epoch);
    }
    let machine = Machine::new();
    let (mut log, _) = machine.open(LogConfig::default());
    log.append_replicated(&history.answer(0, 3, &mut random), i32::MAX, NOW_MS).expect("appended");
    let reader = log.reader();
    assert_eq!(reader.end_offset_for_epoch(4), None, "a follower knows of no other leader");
    log.begin_epoch(6);
    assert_eq!(reader.latest_epoch(), Some(3), "no batch is of it");
    assert_eq!(reader.end_offset_for_epoch(4), Some((3, history.end())));
    assert_eq!(reader.end_offset_for_epoch(6), Some((6, history.end())));
    assert_eq!(reader.end_offset_for_epoch(7), None);
    let stale = support::append(&mut log, &support::batch(0, 1), 5).expect_err("a deposed leader");
    assert!(matches!(stale, sluice_storage::AppendError::StaleLeader { current: 6, got: 5 }), "{stale}");
    history.write(&mut random, 5);
    log.append_replicated(&history.answer(history.end_of(3), 1, &mut random), i32::MAX, NOW_MS)
        .expect("another leads after all");
    history.assert_log_is(&log, 4, "the reign left no trace");
}

#[test]
fn bytes_of_an_answer_are_stored_in_the_pieces_they_came_in() {
    let mut random = Random::new(6);
    let history = written(&mut random, 20);
    let whole = history.answer(0, 20, &mut random).to_bytes();
    for size in [1, 7, 61, 1000] {
        let machine = Machine::new();
        let (mut log, _) = machine.open(LogConfig { segment_bytes: 1500, ..LogConfig::default() });
        let answer: Chunks = whole.chunks(size).map(Bytes::copy_from_slice).collect();
        log.append_replicated(&answer, i32::MAX, NOW_MS).expect("appended");
        history.assert_log_is(&log, 20, &format!("pieces of {size}"));
        assert!(machine.segments().len() > 1, "the answer falls into several segments");
    }
}
