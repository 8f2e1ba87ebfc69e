//! Lives and deaths of a log, by seed: whatever was flushed is there after any crash, and what is there is a prefix of what was
//! written, once and in order.

mod support;

use sluice_storage::LogConfig;
use sluice_storage::testing::{Crash, Random};
use support::machine::{Machine, Sent};
use support::{NOW_MS, batch};

const RECORDS: i32 = 3;

/// Seeds tried; each is a machine of five lives.
const SEEDS: u64 = 500;

fn config(random: &mut Random) -> LogConfig {
    LogConfig {
        segment_bytes: 400 + random.below(3000) as u32,
        index_interval_bytes: 1 + random.below(600) as u32,
        retention_bytes: random.one_in(2).then_some(2000),
        ..LogConfig::default()
    }
}

#[test]
fn a_log_that_lost_its_beginning_with_the_power_was_never_durable_and_starts_anew() {
    let mut beheaded = 0;
    for seed in 0..300 {
        let machine = Machine::new();
        let config = LogConfig { segment_bytes: 400, ..LogConfig::default() };
        let (mut log, _) = machine.open(config.clone());
        let mut sent = Sent::default();
        for i in 0..8 {
            sent.append(&mut log, &batch(i, RECORDS), 0);
        }
        machine.dir.checkpoint().expect("written down: nothing is durable");
        let machine = machine.after(Crash::Torn(seed));
        let segments = machine.segments();
        let (log, recovery) = machine.open(config.clone());
        let what = format!("seed {seed}");
        assert_eq!(recovery.log_start, 0, "{what}");
        sent.assert_log_is(&log, sent.below(recovery.log_end), &what);
        if segments.first().is_some_and(|first| !first.ends_with("00000000000000000000.log")) {
            beheaded += 1;
            assert!(recovery.log_end == 0 && !recovery.clean, "{what}");
        }
        drop(log);
        let (_, again) = machine.after(Crash::PowerCut).open(config);
        assert_eq!((again.log_start, again.log_end), (0, recovery.log_end), "{what}, again");
    }
    assert!(beheaded > 20, "{beheaded} of the seeds are what the test is about");
}

#[test]
fn nothing_flushed_is_lost_in_any_crash() {
    for seed in 0..SEEDS {
        lives(seed);
    }
}

fn lives(seed: u64) {
    let mut random = Random::new(seed);
    let mut machine = Machine::new();
    let mut sent = Sent::default();
    let mut leader_epoch = 0;
    let mut flushed = 0;
    let mut clean = true;
    for life in 0..5 {
        let config = config(&mut random);
        let what = format!("seed {seed}, life {life}");
        let (mut log, recovery) = machine.try_open(config).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(recovery.clean || !clean, "{what}");
        let batches = sent.below(recovery.log_end);
        assert!(batches >= flushed, "{what}: {flushed} batches were flushed, {batches} are there");
        sent.assert_log_is(&log, batches, &what);
        sent.truncate(batches);
        leader_epoch += random.below(2) as i32;
        for _ in 0..random.below(40) {
            match random.below(10) {
                0..6 => sent.append(&mut log, &batch(sent.len() as i32, RECORDS), leader_epoch),
                6 | 7 => {
                    assert_eq!(machine.flush(&log), Ok(log.reader().log_end_offset()), "{what}");
                    flushed = sent.len();
                }
                8 => machine.dir.checkpoint().expect("written down"),
                _ => {
                    log.retain(NOW_MS, i64::MAX).expect("kept");
                    machine.dir.sweep().expect("swept");
                }
            }
        }
        sent.assert_log_is(&log, sent.len(), &what);
        clean = random.one_in(5);
        if clean {
            log.close_clean().expect("closed");
            machine.dir.mark_clean().expect("marked");
            flushed = sent.len();
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
