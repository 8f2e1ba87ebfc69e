//! The rules of producers' sequences, a row each.

use proptest::prelude::*;
use sluice_protocol::records::{BatchHeader, MAGIC, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE};

use super::*;

const ID: i64 = 4000;

/// A batch of `span` offsets.
fn batch(epoch: i16, base_sequence: i32, span: i32) -> BatchHeader {
    BatchHeader {
        base_offset: 0,
        batch_length: 49,
        partition_leader_epoch: 0,
        magic: MAGIC,
        crc: 0,
        attributes: 0,
        last_offset_delta: span - 1,
        base_timestamp: 0,
        max_timestamp: 77,
        producer_id: ID,
        producer_epoch: epoch,
        base_sequence,
        count: span,
    }
}

/// Producers that sent these batches, (epoch, base sequence, span), from offset 100 on.
fn after(sent: &[(i16, i32, i32)]) -> Producers {
    let mut producers = Producers::default();
    let mut base_offset = 100;
    for &(epoch, base_sequence, span) in sent {
        let header = BatchHeader { base_offset, ..batch(epoch, base_sequence, span) };
        assert_eq!(producers.check(&header), Ok(Sequence::New), "{sent:?}");
        producers.replay(&header, 0);
        base_offset = header.next_offset();
    }
    producers
}

const fn duplicate(base_offset: i64) -> Result<Sequence, SequenceError> {
    Ok(Sequence::Duplicate { base_offset, log_append_time: -1 })
}

const fn gap(expected: i32, got: i32) -> Result<Sequence, SequenceError> {
    Err(SequenceError::OutOfOrder { producer_id: ID, expected, got })
}

const fn fenced(current: i16, got: i16) -> Result<Sequence, SequenceError> {
    Err(SequenceError::Fenced { producer_id: ID, current, got })
}

fn check(sentence: &str, sent: &[(i16, i32, i32)], next: (i16, i32, i32), want: Result<Sequence, SequenceError>) {
    let (epoch, base_sequence, span) = next;
    assert_eq!(after(sent).check(&batch(epoch, base_sequence, span)), want, "{sentence}");
}

#[test]
fn sequences() {
    const NEW: Result<Sequence, SequenceError> = Ok(Sequence::New);
    let six = [(0, 0, 1), (0, 1, 2), (0, 3, 1), (0, 4, 1), (0, 5, 1), (0, 6, 1)];
    check("an unknown producer starts at 0", &[], (0, 0, 3), NEW);
    check("or anywhere", &[], (7, 12_345, 3), NEW);
    check("but not below 0", &[], (0, NO_SEQUENCE, 3), gap(0, NO_SEQUENCE));
    check("the next follows", &[(0, 0, 3)], (0, 3, 1), NEW);
    check("a gap", &[(0, 0, 3)], (0, 4, 1), gap(3, 4));
    check("the same again", &[(0, 0, 3)], (0, 0, 3), duplicate(100));
    check("the same start, another length", &[(0, 0, 3)], (0, 0, 2), gap(3, 0));
    check("the oldest of five", &six, (0, 1, 2), duplicate(101));
    check("the newest of five", &six, (0, 6, 1), duplicate(106));
    check("older than five", &six, (0, 0, 1), gap(7, 0));
    check("an older epoch", &[(3, 0, 1)], (2, 1, 1), fenced(3, 2));
    check("an older epoch's duplicate", &[(2, 0, 1), (3, 0, 1)], (2, 0, 1), fenced(3, 2));
    check("a newer epoch starts at 0", &[(3, 0, 1)], (4, 0, 1), NEW);
    check("and nowhere else", &[(3, 0, 1)], (4, 1, 1), gap(0, 1));
    check("the greatest sequence is followed by 0", &[(0, i32::MAX, 1)], (0, 0, 1), NEW);
    check("and by nothing else", &[(0, i32::MAX, 1)], (0, 1, 1), gap(0, 1));
    check("a batch may span the wrap", &[(0, i32::MAX - 1, 4)], (0, 2, 1), NEW);
    check("and be sent twice", &[(0, i32::MAX - 1, 4)], (0, i32::MAX - 1, 4), duplicate(100));
}

#[test]
fn batches_without_a_producer_are_not_remembered() {
    let header = BatchHeader { producer_id: NO_PRODUCER_ID, ..batch(NO_PRODUCER_EPOCH, NO_SEQUENCE, 3) };
    let mut producers = Producers::default();
    producers.replay(&header, 0);
    assert_eq!(producers.check(&header), Ok(Sequence::New));
    assert_eq!(producers.len(), 0);
}

#[test]
fn a_batch_that_lost_records_to_a_gate_keeps_its_sequences() {
    let mut producers = Producers::default();
    producers.replay(&BatchHeader { count: 1, ..batch(0, 0, 5) }, 0);
    producers.replay(&BatchHeader { base_offset: 5, count: 0, ..batch(0, 5, 2) }, 0);
    assert_eq!(producers.check(&batch(0, 7, 1)), Ok(Sequence::New));
    assert_eq!(producers.check(&batch(0, 5, 2)), duplicate(5));
    assert_eq!(producers.check(&batch(0, 0, 5)), duplicate(0));
}

#[test]
fn a_duplicate_tells_the_time_it_was_stamped_with() {
    let stamped = BatchHeader { attributes: 1 << 3, ..batch(0, 0, 1) };
    let mut producers = Producers::default();
    producers.replay(&stamped, 0);
    assert_eq!(producers.check(&batch(0, 0, 1)), Ok(Sequence::Duplicate { base_offset: 0, log_append_time: 77 }));
}

#[test]
fn a_transactions_end_raises_the_epoch_and_has_no_sequence() {
    let end = BatchHeader { attributes: 1 << 5, ..batch(4, NO_SEQUENCE, 1) };
    let mut producers = after(&[(3, 0, 1)]);
    assert_eq!(producers.check(&end), Ok(Sequence::New));
    producers.replay(&end, 0);
    assert_eq!(producers.check(&batch(3, 1, 1)), fenced(4, 3));
    assert_eq!(producers.check(&batch(4, 0, 1)), Ok(Sequence::New));
}

#[test]
fn idle_producers_are_forgotten() {
    let mut producers = Producers::default();
    producers.replay(&batch(0, 0, 1), 1000);
    producers.expire(1999, 1000);
    assert_eq!(producers.check(&batch(0, 5, 1)), gap(1, 5));
    producers.expire(2000, 1000);
    assert_eq!(producers.check(&batch(0, 5, 1)), Ok(Sequence::New));
}

#[test]
fn damaged_snapshots_are_refused() {
    let good = after(&[(0, 0, 3), (0, 3, 1)]).to_snapshot();
    for cut in 0..good.len() {
        assert_eq!(Producers::from_snapshot(&good[..cut]), None, "cut at {cut}");
    }
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 0x10;
        assert_eq!(Producers::from_snapshot(&flipped), None, "byte {at}");
    }
}

proptest! {
    #[test]
    fn snapshots_read_back(
        sent in prop::collection::vec((0i64..6, 1i32..9), 0..60),
        now in 0i64..1_000_000,
    ) {
        let mut producers = Producers::default();
        let mut next = [0i32; 6];
        for (offset, (id, span)) in sent.into_iter().enumerate() {
            let header = BatchHeader {
                producer_id: id,
                base_offset: offset as i64 * 10,
                ..batch(2, next[id as usize], span)
            };
            prop_assert_eq!(producers.check(&header), Ok(Sequence::New));
            producers.replay(&header, now);
            let again = matches!(producers.check(&header), Ok(Sequence::Duplicate { .. }));
            prop_assert!(again, "the batch just sent is known");
            next[id as usize] += span;
        }
        prop_assert_eq!(Producers::from_snapshot(&producers.to_snapshot()), Some(producers));
    }

    #[test]
    fn any_bytes_are_no_snapshot(content in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(Producers::from_snapshot(&content), None);
    }
}
