//! Finding things: by time, by leader epoch, and while others write.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use sluice_protocol::records::{Batch, BatchBuilder, BatchHeader, Compression, HEADER_LEN, empty_batch};
use sluice_storage::testing::{Crash, MemDisk};
use sluice_storage::{Log, LogConfig, TimestampOffset};
use support::machine::Machine;
use support::{NOW_MS, append};

/// A batch of records with these timestamps.
fn at(timestamps: &[i64], codec: Compression) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for timestamp in timestamps {
        builder.push::<&str, &str>(*timestamp, None, Some(b"some value, and some more"), []);
    }
    builder.build_batch()
}

fn timed(machine: &Machine) -> Log {
    let config = LogConfig { segment_bytes: 420, index_interval_bytes: 1, ..LogConfig::default() };
    let (mut log, _) = machine.open(config);
    for (batch, epoch) in [
        (at(&[100, 110, 120], Compression::None), 1),
        (at(&[90, 300, 95], Compression::Lz4), 1),
        (at(&[130, 140], Compression::Zstd), 2),
        (empty_batch(&at(&[999, 999], Compression::None).header), 2),
        (at(&[500], Compression::None), 2),
        (at(&[200, 500], Compression::Gzip), 3),
    ] {
        append(&mut log, &batch, epoch).expect("appended");
    }
    log
}

fn check_times(log: &Log, what: &str) {
    let reader = log.reader();
    let found = |offset, timestamp, leader_epoch| Some(TimestampOffset { offset, timestamp, leader_epoch });
    for (timestamp, want) in [
        (0, found(0, 100, 1)),
        (100, found(0, 100, 1)),
        (101, found(1, 110, 1)),
        (121, found(4, 300, 1)),
        (300, found(4, 300, 1)),
        (301, found(10, 500, 2)),
        (500, found(10, 500, 2)),
        (501, None),
    ] {
        assert_eq!(reader.offset_for_timestamp(timestamp).expect("read"), want, "{what}: {timestamp}");
    }
    assert_eq!(reader.max_timestamp().expect("read"), found(10, 500, 2), "{what}: the greatest");
}

#[test]
fn records_are_found_by_time() {
    let machine = Machine::new();
    let log = timed(&machine);
    assert!(machine.segments().len() > 1, "the test is about several segments");
    check_times(&log, "in memory");
    check_times(&machine.after(Crash::Killed).open(LogConfig::default()).0, "recovered");
    log.close_clean().expect("closed");
    machine.dir.mark_clean().expect("marked");
    let machine = machine.after(Crash::PowerCut);
    check_times(&machine.open(LogConfig::default()).0, "after a clean stop");
}

#[test]
fn an_empty_log_has_no_times() {
    let machine = Machine::new();
    let reader = machine.open(LogConfig::default()).0.reader();
    assert_eq!(reader.offset_for_timestamp(0).expect("read"), None);
    assert_eq!(reader.max_timestamp().expect("read"), None);
    assert_eq!((reader.latest_epoch(), reader.end_offset_for_epoch(0)), (None, None));
}

#[test]
fn stamped_batches_count_by_their_stamp() {
    let machine = Machine::new();
    let (mut log, _) = machine.open(LogConfig::default());
    let mut stamped = at(&[1, 2, 3], Compression::None);
    stamped.set_log_append_time(700);
    append(&mut log, &stamped, 0).expect("appended");
    let found = log.reader().offset_for_timestamp(3).expect("read");
    assert_eq!(found, Some(TimestampOffset { offset: 0, timestamp: 700, leader_epoch: 0 }));
}

#[test]
fn epochs_end_where_the_next_begins_and_survive() {
    let machine = Machine::new();
    let log = timed(&machine);
    let check = |log: &Log, what: &str| {
        let reader = log.reader();
        let ends = [0, 1, 2, 3, 4].map(|epoch| reader.end_offset_for_epoch(epoch));
        assert_eq!(ends, [Some((0, 0)), Some((1, 6)), Some((2, 11)), Some((3, 13)), None], "{what}");
    };
    check(&log, "in memory");
    machine.flush(&log).expect("durable");
    check(&machine.after(Crash::PowerCut).open(LogConfig::default()).0, "after a power cut");
}

/// Readers see whole batches in order, whatever the appender, retention and idling do meanwhile.
#[test]
fn readers_see_whole_batches_while_others_write() {
    let machine = Machine::on(MemDisk::new());
    let config = LogConfig {
        segment_bytes: 3000,
        index_interval_bytes: 200,
        retention_bytes: Some(9000),
        ..LogConfig::default()
    };
    let (mut log, _) = machine.open(config);
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (reader, done) = (log.reader(), Arc::clone(&done));
            std::thread::spawn(move || {
                let (mut offset, mut batches) = (0, 0);
                while !(done.load(Ordering::Acquire) && offset >= reader.log_end_offset()) {
                    match reader.read(offset, 700, i64::MAX, true) {
                        Ok(slice) => {
                            for part in &slice.parts {
                                let mut bytes = vec![0; part.len];
                                part.read_at(&mut bytes, 0).expect("the part reads");
                                batches += check_batches(&bytes, &mut offset);
                            }
                            assert_eq!(slice.next_offset, offset);
                        }
                        // Retention was faster.
                        Err(sluice_storage::ReadError::OutOfRange { log_start, .. }) => offset = log_start,
                        Err(other) => panic!("{other}"),
                    }
                }
                batches
            })
        })
        .collect();
    for i in 0..4000 {
        append(&mut log, &at(&[NOW_MS; 3][..1 + i % 3], Compression::None), 0).expect("appended");
        if i % 100 == 99 {
            log.retain(NOW_MS, i64::MAX).expect("kept");
            machine.dir.sweep().expect("swept");
        }
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        assert!(reader.join().expect("no reader failed") > 0);
    }
}

/// How many whole batches these are, each following the one before.
fn check_batches(mut bytes: &[u8], offset: &mut i64) -> usize {
    let mut batches = 0;
    while let Some(header) = bytes.first_chunk::<HEADER_LEN>() {
        let header = BatchHeader::parse(header).expect("a batch");
        let follows = header.base_offset == *offset || batches == 0 && header.base_offset <= *offset;
        assert!(follows, "batch {batches} of an answer for offset {offset} starts at {}", header.base_offset);
        let split = Batch::split(bytes::Bytes::copy_from_slice(&bytes[..header.size()]).into()).expect("a batch");
        split[0].verify_crc().expect("as it was written");
        *offset = header.next_offset();
        bytes = &bytes[header.size()..];
        batches += 1;
    }
    assert!(bytes.is_empty(), "{} bytes of a batch", bytes.len());
    batches
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// A read gives the batch with the offset and as many after it as fit, whatever the segments and indexes are like.
    #[test]
    fn any_read_gives_the_batches_that_fit(
        spans in prop::collection::vec(1usize..6, 1..40),
        segment_bytes in 250u32..2000,
        index_interval_bytes in 1u32..1000,
        reads in prop::collection::vec((0usize..200, 0usize..3000, 0i64..210, any::<bool>()), 30),
    ) {
        let machine = Machine::new();
        let (mut log, _) = machine.open(LogConfig { segment_bytes, index_interval_bytes, ..LogConfig::default() });
        // First offset, offset after the last, bytes.
        let mut batches = Vec::new();
        let mut end = 0;
        for span in spans {
            let batch = at(&[NOW_MS; 6][..span], Compression::None);
            append(&mut log, &batch, 0).expect("appended");
            batches.push((end, end + span as i64, batch.header.size()));
            end += span as i64;
        }
        let reader = log.reader();
        for (offset, max_bytes, up_to, at_least_one) in reads {
            let offset = offset as i64 % (end + 1);
            let mut fitting = batches.iter().skip_while(|(_, next, _)| *next <= offset).scan(0, |taken, batch| {
                *taken += batch.2;
                let first = *taken == batch.2;
                let fits = *taken <= max_bytes || (first && at_least_one);
                (fits && batch.1 <= up_to).then_some(*batch)
            });
            let first = fitting.next();
            let (bytes, next) = fitting.fold(
                first.map_or((0, offset), |(_, next, bytes)| (bytes, next)),
                |(bytes, _), (_, next, more)| (bytes + more, next),
            );
            let slice = reader.read(offset, max_bytes, up_to, at_least_one).expect("within the log");
            let got = (slice.first_offset, slice.next_offset, slice.bytes);
            prop_assert_eq!(got, (first.map_or(offset, |(first, ..)| first), next, bytes));
        }
    }
}
