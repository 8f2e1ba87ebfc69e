//! What a broker does with a log on an ordinary day, on the machine's own disk.

mod support;

use std::sync::mpsc;

use sluice_storage::{
    AppendError, Appended, LogConfig, LogDir, OpenError, OpenLogError, ReadError, Sequence, SequenceError,
};
use support::{Day, append, batch, config, identity, orders, read_all, stored};

#[test]
fn batches_come_back_as_they_were_with_offsets_and_epoch() {
    let day = Day::new();
    let (mut log, recovery) = day.open(config());
    assert!(recovery.clean);
    let sent: Vec<_> = (0..10).map(|i| batch(i, 3)).collect();
    for (i, batch) in sent.iter().enumerate() {
        let base_offset = i as i64 * 3;
        let want = Appended::New { base_offset, last_offset: base_offset + 2, log_end: base_offset + 3 };
        assert_eq!(append(&mut log, batch, 7).expect("appended"), want);
    }
    let reader = log.reader();
    assert_eq!((reader.log_start_offset(), reader.log_end_offset(), reader.latest_epoch()), (0, 30, Some(7)));
    let want: Vec<_> = sent.iter().enumerate().map(|(i, batch)| stored(batch, i as i64 * 3, 7)).collect();
    assert_eq!(read_all(&reader), want.concat());
}

#[test]
fn a_read_gives_whole_batches_within_its_bounds() {
    let day = Day::new();
    let (mut log, _) = day.open(config());
    let one = batch(0, 3);
    for i in 0..10 {
        append(&mut log, &batch(i, 3), 0).expect("appended");
    }
    let size = one.header.size();
    let reader = log.reader();
    let check = |sentence: &str, (offset, max_bytes, up_to, at_least_one), (first, next, batches)| {
        let slice = reader.read(offset, max_bytes, up_to, at_least_one).expect("read");
        assert_eq!((slice.first_offset, slice.next_offset, slice.bytes), (first, next, batches * size), "{sentence}");
        assert_eq!(slice.parts.iter().map(|part| part.len).sum::<usize>(), slice.bytes, "{sentence}");
    };
    check("everything", (0, usize::MAX >> 1, i64::MAX, false), (0, 30, 10));
    check("from within a batch", (4, size, i64::MAX, false), (3, 6, 1));
    check("no part of a batch", (0, size * 2 - 1, i64::MAX, false), (0, 3, 1));
    check("exactly two", (0, size * 2, i64::MAX, false), (0, 6, 2));
    check("too little for one", (3, size - 1, i64::MAX, false), (3, 3, 0));
    check("too little for one, but one at least", (3, 0, i64::MAX, true), (3, 6, 1));
    check("up to an offset", (0, usize::MAX >> 1, 12, false), (0, 12, 4));
    check("a batch across the bound stays out", (0, usize::MAX >> 1, 11, true), (0, 9, 3));
    check("at the bound", (12, size, 12, true), (12, 12, 0));
    check("at the end", (30, size, i64::MAX, true), (30, 30, 0));
    for offset in [-1, 31, i64::MAX] {
        let error = reader.read(offset, size, i64::MAX, true).expect_err("outside");
        assert!(matches!(error, ReadError::OutOfRange { log_start: 0, log_end: 30, .. }), "{error}");
    }
}

#[test]
fn a_clean_end_needs_no_look_at_the_batches() {
    let mut day = Day::new();
    let (mut log, _) = day.open(LogConfig { segment_bytes: 500, ..config() });
    for i in 0..20 {
        append(&mut log, &batch(i, 3), 2).expect("appended");
    }
    let before = read_all(&log.reader());
    log.close_clean().expect("closed");
    day.dir.mark_clean().expect("marked");
    let opened = day.reopen();
    assert!(opened.clean);
    assert_eq!(opened.partitions, [orders()]);
    let (mut log, recovery) = day.open(config());
    assert!(recovery.clean && recovery.scanned_bytes == 0, "{recovery:?}");
    assert_eq!(read_all(&log.reader()), before);
    assert_eq!(log.reader().latest_epoch(), Some(2));
    assert_eq!(log.check(&batch(19, 3).header), Ok(Sequence::Duplicate { base_offset: 57, log_append_time: -1 }));
    append(&mut log, &batch(20, 3), 2).expect("appended");
    assert_eq!(log.reader().log_end_offset(), 63);
    drop(log);
    assert!(!day.reopen().clean, "the mark is gone once it was read");
}

#[test]
fn a_batch_sent_twice_is_stored_once() {
    let day = Day::new();
    let (mut log, _) = day.open(config());
    for i in 0..6 {
        append(&mut log, &batch(i, 3), 0).expect("appended");
    }
    let end = log.reader().log_end_offset();
    assert_eq!(
        append(&mut log, &batch(2, 3), 0).expect("known"),
        Appended::Again { base_offset: 6, log_append_time: -1 }
    );
    let error = append(&mut log, &batch(7, 3), 0).expect_err("a gap");
    assert!(matches!(error, AppendError::Sequence(SequenceError::OutOfOrder { expected: 18, got: 21, .. })), "{error}");
    assert_eq!(log.reader().log_end_offset(), end);
}

#[test]
fn a_flush_wakes_with_what_is_durable() {
    let day = Day::new();
    let (mut log, _) = day.open(config());
    append(&mut log, &batch(0, 3), 0).expect("appended");
    let (woken, wakes) = mpsc::sync_channel(1);
    let wake: sluice_storage::Wake = std::sync::Arc::new(move |flushed| {
        woken.send(flushed.map_err(|failed| failed.to_string())).expect("awaited");
    });
    day.dir.flusher().request(&log.flush_handle(), wake);
    assert_eq!(wakes.recv().expect("woken"), Ok(()));
    assert_eq!(log.reader().durable_offset(), 3);
}

#[test]
fn a_second_broker_on_the_same_data_folder_is_refused() {
    let day = Day::new();
    let error = LogDir::open(day.dir.path(), &identity()).expect_err("locked");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
}

#[test]
fn a_data_folder_of_another_cluster_is_refused() {
    let mut day = Day::new();
    let other = sluice_storage::Identity { cluster_id: "other".to_owned(), ..identity() };
    let error = day.reopen_as(&other).expect_err("another cluster's");
    assert!(matches!(error, OpenError::OtherCluster { .. }), "{error}");
    let other = sluice_storage::Identity { broker_id: 2, ..identity() };
    let error = day.reopen_as(&other).expect_err("another broker's");
    assert!(matches!(error, OpenError::OtherBroker { found: 1, expected: 2, .. }), "{error}");
}

#[test]
fn a_folder_of_an_earlier_topic_of_the_name_is_not_taken_over() {
    let mut day = Day::new();
    drop(day.open(config()));
    day.reopen();
    let namesake = support::namesake();
    let error = day.try_open(&namesake, config()).expect_err("another topic's");
    assert!(matches!(error, OpenLogError::OtherTopic { .. }), "{error}");
    day.dir.remove(&orders()).expect("removed");
    let (log, _) = day.try_open(&namesake, config()).expect("free now");
    assert_eq!(log.reader().log_end_offset(), 0);
}
