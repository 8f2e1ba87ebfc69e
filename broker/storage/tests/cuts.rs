//! A log whose files were cut or changed at any place: what is durable is there or the log says what is missing, and what
//! follows is a prefix of what was written.

mod support;

use sluice_storage::testing::{Crash, MemDisk, Random};
use sluice_storage::{LogConfig, OpenLogError};
use support::batch;
use support::machine::{Machine, Sent};

/// Records of each batch.
const RECORDS: i32 = 2;

/// Batches written, five a segment; two leaders wrote them.
const BATCHES: i32 = 17;

/// Batches below the recovery point, which lies within the third segment.
const DURABLE: usize = 12;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 620, index_interval_bytes: 300, ..LogConfig::default() }
}

/// A log of four segments whose recovery point lies in the third; the process was killed.
fn written() -> (Machine, Sent) {
    let machine = Machine::new();
    let (mut log, _) = machine.open(config());
    let mut sent = Sent::default();
    for i in 0..BATCHES {
        sent.append(&mut log, &batch(i, RECORDS), if i < 8 { 3 } else { 4 });
        if i + 1 == DURABLE as i32 {
            assert_eq!(machine.flush(&log), Ok(i64::from((i + 1) * RECORDS)));
            machine.dir.checkpoint().expect("written down");
        }
    }
    let killed = machine.after(Crash::Killed);
    assert_eq!(killed.segments().len(), 4, "the test is about four segments");
    (killed, sent)
}

/// Where the batches of each segment end, and how many batches there are up to there.
fn batch_ends(machine: &Machine, sent: &Sent) -> Vec<Vec<(usize, usize)>> {
    let size = sent.bytes(1).len();
    let mut batches = 0;
    let segments = machine.segments();
    segments
        .iter()
        .map(|path| {
            let content = machine.disk.content(path);
            let whole = content.chunks_exact(size).take_while(|chunk| chunk.iter().any(|byte| *byte != 0)).count();
            let ends = (0..=whole).map(|i| (i * size, batches + i)).collect();
            batches += whole;
            ends
        })
        .collect()
}

#[test]
fn a_log_cut_at_every_byte_is_a_prefix_or_says_what_is_missing() {
    let (machine, sent) = written();
    let ends = batch_ends(&machine, &sent);
    assert_eq!(ends.last().and_then(|ends| ends.last()).map(|(_, batches)| *batches), Some(sent.len()));
    for (segment, ends) in machine.segments().iter().zip(&ends) {
        let written = ends.last().expect("an end").0;
        for cut in 0..=machine.disk.content(segment).len().min(written + 70) {
            let disk = machine.disk.crash(Crash::Killed);
            disk.cut(segment, cut);
            let whole = ends.iter().rev().find(|(end, _)| *end <= cut).expect("0 is one").1;
            let durable = ends.iter().any(|(end, batches)| *end > cut && *batches <= DURABLE);
            let what = format!("{} cut at {cut}", segment.display());
            if durable {
                refused_at(disk, segment, &what);
            } else {
                // A cut within the zeroes after the last batch cuts no batch, and the next segment goes on.
                let batches = if cut >= written { sent.len() } else { whole };
                let machine = Machine::on(disk);
                let (log, recovery) = machine.open(config());
                assert!(!recovery.clean);
                sent.assert_log_is(&log, batches, &what);
                assert_eq!(log.reader().durable_offset(), log.reader().log_end_offset(), "{what}");
            }
        }
    }
}

fn refused_at(disk: MemDisk, segment: &std::path::Path, what: &str) {
    let before = disk.crash(Crash::Killed);
    let machine = Machine::on(disk);
    match machine.try_open(config()).map(|(_, recovery)| recovery) {
        Err(OpenLogError::Damaged { file, .. }) => assert_eq!(file, segment, "{what}"),
        other => panic!("{what}: {other:?}"),
    }
    for path in before.files() {
        if path.extension().is_some_and(|extension| extension == "log") {
            assert_eq!(machine.disk.content(&path), before.content(&path), "{what}: a refused log is left alone");
        }
    }
}

#[test]
fn a_missing_segment_is_named() {
    let (machine, sent) = written();
    let ends = batch_ends(&machine, &sent);
    for (segment, ends) in machine.segments().iter().zip(&ends) {
        let disk = machine.disk.crash(Crash::Killed);
        sluice_storage::Disk::remove_file(&disk, segment).expect("removed");
        let first = ends[0].1;
        // Without its first segment a log begins later: that is what retention leaves.
        if first == 0 {
            continue;
        }
        let what = segment.display().to_string();
        if first < DURABLE {
            let error = Machine::on(disk).try_open(config()).expect_err("durable batches are gone");
            assert!(matches!(error, OpenLogError::Damaged { .. }), "{what}: {error}");
        } else {
            let machine = Machine::on(disk);
            sent.assert_log_is(&machine.open(config()).0, first, &what);
        }
    }
}

#[test]
fn a_missing_folder_with_durable_batches_is_not_an_empty_log() {
    let (machine, _) = written();
    let disk = machine.disk.crash(Crash::Killed);
    let folder = machine.segments()[0].parent().expect("a folder").to_owned();
    sluice_storage::Disk::remove_dir_all(&disk, &folder).expect("removed");
    let machine = Machine::on(disk);
    let error = machine.try_open(config()).expect_err("durable batches are gone");
    assert!(matches!(error, OpenLogError::Damaged { .. }), "{error}");
    machine.dir.remove(&support::orders()).expect("given up");
    assert_eq!(machine.open(config()).0.reader().log_end_offset(), 0);
}

#[test]
fn flipped_bits_below_the_recovery_point_cut_nothing() {
    let (machine, sent) = written();
    let ends = batch_ends(&machine, &sent);
    for_flips(&machine, 11, |disk, segment, at, what| {
        let ends = &ends[segment];
        let durable = ends.iter().any(|(end, batches)| *end > at && *batches <= DURABLE);
        if !durable {
            return;
        }
        let machine = Machine::on(disk);
        match machine.try_open(config()) {
            Ok((log, _)) => assert_eq!(log.reader().log_end_offset(), i64::from(BATCHES * RECORDS), "{what}"),
            Err(OpenLogError::Damaged { file, .. }) => assert_eq!(file, machine.segments()[segment], "{what}"),
            Err(other) => panic!("{what}: {other}"),
        }
    });
}

#[test]
fn flipped_bits_above_the_recovery_point_leave_a_prefix() {
    let (machine, sent) = written();
    let ends = batch_ends(&machine, &sent);
    for_flips(&machine, 3, |disk, segment, at, what| {
        let ends = &ends[segment];
        let Some(damaged) = ends.iter().find(|(end, _)| *end > at).map(|(_, batches)| batches - 1) else {
            return;
        };
        if damaged < DURABLE {
            return;
        }
        let machine = Machine::on(disk);
        let (log, _) = machine.open(config());
        let start = ends.iter().find(|(_, batches)| *batches == damaged).map_or(0, |(start, _)| *start);
        if (12..16).contains(&(at - start)) {
            // The leader epoch is under no checksum. What no flush has recorded may pass for a newer leader's; the batch
            // that follows it does not then, and nothing of it was acknowledged.
            let batches = log.reader().log_end_offset() / i64::from(RECORDS);
            assert!((damaged as i64..=sent.len() as i64).contains(&batches), "{what}: {batches} batches");
            return;
        }
        sent.assert_log_is(&log, damaged, what);
    });
}

/// A flipped bit every `step` bytes of each segment, and at every byte of the first header above the recovery point.
fn for_flips(machine: &Machine, step: usize, check: impl Fn(MemDisk, usize, usize, &str)) {
    let seed = 20_261_123;
    let mut random = Random::new(seed);
    for (i, segment) in machine.segments().iter().enumerate() {
        let content = machine.disk.content(segment);
        let written = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let mut at = 0;
        while at < written {
            let bit = random.below(8);
            let disk = machine.disk.crash(Crash::Killed);
            disk.flip(segment, at, 1 << bit);
            check(disk, i, at, &format!("{}, bit {bit} of byte {at}, seed {seed}", segment.display()));
            at += 1 + random.below(step);
        }
    }
}

#[test]
fn lost_or_damaged_indexes_and_snapshots_are_made_anew() {
    let (machine, sent) = written();
    for extension in ["index", "timeindex", "snapshot"] {
        for path in machine.files_ending(extension) {
            let len = machine.disk.content(&path).len();
            for harm in ["removed", "cut", "flipped", "emptied"] {
                let disk = machine.disk.crash(Crash::Killed);
                match harm {
                    "removed" => sluice_storage::Disk::remove_file(&disk, &path).expect("removed"),
                    "cut" => disk.cut(&path, len - 1),
                    "flipped" => disk.flip(&path, len / 2, 4),
                    _ => disk.cut(&path, 0),
                }
                let machine = Machine::on(disk);
                let (log, _) = machine.open(config());
                sent.assert_log_is(&log, sent.len(), &format!("{} {harm}", path.display()));
            }
        }
    }
}

#[test]
fn lost_leader_epochs_are_read_from_the_batches() {
    let (machine, sent) = written();
    let epochs = machine.segments()[0].with_file_name("leader-epoch-checkpoint");
    for harm in ["removed", "flipped"] {
        let disk = machine.disk.crash(Crash::Killed);
        match harm {
            "removed" => sluice_storage::Disk::remove_file(&disk, &epochs).expect("removed"),
            _ => disk.flip(&epochs, 30, 1),
        }
        let machine = Machine::on(disk);
        let (log, _) = machine.open(config());
        sent.assert_log_is(&log, sent.len(), harm);
        let reader = log.reader();
        assert_eq!(reader.end_offset_for_epoch(3), Some((3, 16)), "{harm}");
        assert_eq!(reader.end_offset_for_epoch(4), Some((4, i64::from(BATCHES * RECORDS))), "{harm}");
    }
}

#[test]
fn zeroes_allocated_ahead_are_the_end_of_the_log() {
    let machine = Machine::new();
    let (mut log, _) = machine.open(LogConfig::default());
    let mut sent = Sent::default();
    sent.append(&mut log, &batch(0, RECORDS), 0);
    let segment = &machine.segments()[0];
    assert_eq!(machine.disk.content(segment).len(), 1 << 20, "allocated ahead");
    let machine = machine.after(Crash::Killed);
    let (log, recovery) = machine.open(LogConfig::default());
    assert_eq!(recovery.truncated_bytes, 0, "zeroes are no unfinished write");
    sent.assert_log_is(&log, 1, "after a kill");
    assert_eq!(machine.disk.content(segment).len(), sent.bytes(1).len(), "and they are given back");
}
