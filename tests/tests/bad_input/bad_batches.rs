//! In a produce request: records fields that are not one good batch.

use std::io::Write;

use bytes::Bytes;
use sluice_protocol::ErrorCode;
use sluice_protocol::records::{Chunks, Compression};
use sluice_tests::clients::calls::{altered, batch, compressed};
use sluice_tests::{Plugin, Sluice};

use crate::{broker_and_connection, the_next_client_is_served};

#[test]
fn a_batch_with_a_wrong_crc() {
    let mut bytes = batch(["right"]).build().to_vec();
    *bytes.last_mut().expect("a batch has bytes") ^= 1;
    check_refused(Bytes::from(bytes), ErrorCode::CorruptMessage);
}

#[test]
fn a_batch_with_a_wrong_count() {
    let records = altered(batch(["one", "two"]).build_batch(), |header| header.count = 3);
    check_refused(records, ErrorCode::InvalidRecord);
}

#[test]
fn a_batch_with_a_wrong_last_offset_delta() {
    let records = altered(batch(["one", "two"]).build_batch(), |header| header.last_offset_delta = 7);
    check_refused(records, ErrorCode::InvalidRecord);
}

#[test]
fn a_batch_with_a_wrong_magic() {
    let mut bytes = batch(["one"]).build().to_vec();
    bytes[16] = 1;
    check_refused(Bytes::from(bytes), ErrorCode::InvalidRecord);
}

#[test]
fn a_batch_that_says_it_is_longer_than_it_is() {
    let mut bytes = batch(["one"]).build().to_vec();
    bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    check_refused(Bytes::from(bytes), ErrorCode::CorruptMessage);
}

#[test]
fn no_batch_in_a_partition() {
    check_refused(Chunks::new(), ErrorCode::InvalidRecord);
}

#[test]
fn two_batches_in_a_partition() {
    let two = [batch(["one"]).build(), batch(["two"]).build()].concat();
    check_refused(Bytes::from(two), ErrorCode::InvalidRecord);
}

#[test]
fn a_batch_of_zero_records() {
    let records = altered(batch(["one"]).build_batch(), |header| (header.count, header.last_offset_delta) = (0, -1));
    check_refused(records, ErrorCode::InvalidRecord);
}

#[test]
fn a_control_batch_from_a_client() {
    let records = altered(batch(["one"]).build_batch(), |header| header.attributes |= 1 << 5);
    check_refused(records, ErrorCode::InvalidRecord);
}

#[test]
fn a_transactional_batch_outside_of_any_transaction() {
    let records = batch(["one"]).producer(4_000, 0, 0).transactional().build();
    check_refused(records, ErrorCode::InvalidTxnState);
}

#[test]
fn a_batch_over_max_message_bytes() {
    let large = "x".repeat(2 << 20);
    check_refused(batch([large]).build(), ErrorCode::MessageTooLarge);
}

#[test]
fn a_batch_that_expands_to_1_gib() {
    let sluice = Sluice::start();
    let mut connection = sluice.connection();
    connection.create_topic("bombs", &[]);
    sluice.push("redact");
    sluice.gate("bombs", &Plugin::redact(&["$.secret"], &[]));
    // The header of a batch of one small record, before a body that is not one.
    let mut bomb = compressed(Compression::Zstd, ["small"]).build_batch();
    bomb.body = Chunks::from(zeroes_compressed(1 << 30));
    let body = i32::try_from(bomb.body.len()).expect("zeroes compress well");
    let records = altered(bomb, |header| header.batch_length = BATCH_OVERHEAD + body);
    let refused = connection.produce("bombs", records);
    assert!(
        matches!(refused.error_code, ErrorCode::MessageTooLarge | ErrorCode::InvalidRecord),
        "{:?}: {:?}",
        refused.error_code,
        refused.error_message
    );
    assert_eq!(connection.list_offset("bombs", -1).offset, 0, "nothing is stored");
    the_next_client_is_served(&sluice);
}

/// What the length of a batch counts before its records.
const BATCH_OVERHEAD: i32 = 49;

fn zeroes_compressed(len: usize) -> Bytes {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("level 1 exists");
    let zeroes = vec![0; 1 << 20];
    for _ in 0..len >> 20 {
        encoder.write_all(&zeroes).expect("memory can be written");
    }
    encoder.finish().expect("memory can be written").into()
}

#[track_caller]
fn check_refused(records: impl Into<Chunks>, expected: ErrorCode) {
    let (sluice, mut connection) = broker_and_connection();
    assert_eq!(connection.create_topic("refusing", &[]).error_code, ErrorCode::None);
    let refused = connection.produce("refusing", records);
    assert_eq!(refused.error_code, expected, "{:?}", refused.error_message);
    assert_eq!(connection.list_offset("refusing", -1).offset, 0, "nothing is stored");
    // The connection itself did nothing wrong, and is served on.
    assert_eq!(connection.produce("refusing", batch(["good"]).build()).error_code, ErrorCode::None);
    the_next_client_is_served(&sluice);
}
