//! The packed batch against `wit/batch-layout.md`: golden bytes written out by hand, every truncation, and round trips.

use proptest::prelude::*;
use sluice_sdk::testing::{BatchInfo, TestRecord, pack};
use sluice_sdk::{Batch, Columns, LayoutError};

fn info() -> BatchInfo {
    BatchInfo {
        topic: "orders".to_owned(),
        partition: 3,
        base_offset: 1000,
        base_timestamp: 0x0102_0304_0506,
        log_append_time: true,
    }
}

fn records() -> Vec<TestRecord> {
    let mut records = vec![
        TestRecord::new("value").with_key("k").with_header("a", "1").with_header("a", "").at(7),
        TestRecord::tombstone("").at(-1),
        TestRecord::new("").at(9),
    ];
    records[2].offset_delta = 5;
    records[1].offset_delta = 2;
    records[2].headers.push(("née".to_owned(), None));
    records
}

/// The records above, all columns.
const GOLDEN: &[&[u8]] = &[
    b"SLB1",
    b"\x01\0",                                                               // layout
    b"\x0f\0",                                                               // all four columns
    b"\x03\0\0\0",                                                           // records
    b"\x03\0\0\0",                                                           // partition
    b"\xe8\x03\0\0\0\0\0\0",                                                 // base offset
    b"\x06\x05\x04\x03\x02\x01\0\0",                                         // base timestamp
    b"\x01\0\0\0",                                                           // log append time
    b"\x06\0\0\0orders",                                                     // 46
    b"\0\0",                                                                 // 48: offset deltas
    b"\0\0\0\0\x02\0\0\0\x05\0\0\0",                                         // 60
    b"\0\0\0\0",                                                             // 64: timestamps
    b"\x07\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x09\0\0\0\0\0\0\0", // 88: keys
    b"\x01\0\0\0\x01\0\0\0\x01\0\0\x80k",                                    // 101: `k`, empty, null
    b"\0\0\0",                                                               // 104: values
    b"\x05\0\0\0\x05\0\0\x80\x05\0\0\0value",                                // 121: `value`, null, empty
    b"\0\0\0\0\0\0\0",                                                       // 128: headers
    b"\x02\0\0\0\x02\0\0\0\x03\0\0\0",                                       // two, none, one
    b"\x01\0\0\0\x02\0\0\0\x06\0\0\0",                                       // names' ends
    b"\x01\0\0\0\x01\0\0\0\x01\0\0\x80",                                     // values' ends: `1`, empty, null
    b"aan\xc3\xa9e",                                                         // 170
    b"\0\0\0\0\0\0",                                                         // 176: headers' values
    b"1",
];

#[test]
fn a_batch_is_packed_as_the_layout_says() {
    assert_eq!(pack(&info(), &records(), Columns::ALL), GOLDEN.concat());
}

#[test]
fn a_batch_is_read_as_the_layout_says() {
    let golden = GOLDEN.concat();
    let batch = Batch::parse(&golden).unwrap();
    assert_eq!((batch.topic(), batch.partition(), batch.len()), ("orders", 3, 3));
    assert_eq!((batch.base_timestamp(), batch.is_log_append_time()), (0x0102_0304_0506, true));
    assert_eq!(unpacked(&batch), records());
    assert_eq!(batch.record(2).offset(), Some(1005));
    assert_eq!(batch.record(0).header("a").unwrap().value, Some(&b""[..]), "the last of that name");
    assert_eq!((batch.values_blob(), batch.value_range(0), batch.value_range(1)), (&b"value"[..], Some(0..5), None));
}

#[test]
fn a_gate_sees_no_offsets() {
    let packed = pack(&BatchInfo { base_offset: -1, ..info() }, &records(), Columns::NONE);
    assert_eq!(Batch::parse(&packed).unwrap().record(1).offset(), None);
}

#[test]
fn every_truncation_is_an_error() {
    let golden = GOLDEN.concat();
    for len in 0..golden.len() {
        assert!(Batch::parse(&golden[..len]).is_err(), "the first {len} bytes");
    }
}

#[test]
fn what_is_not_layout_v1_is_an_error() {
    let check = |at: usize, byte: u8, expected: LayoutError| {
        let mut golden = GOLDEN.concat();
        golden[at] = byte;
        assert_eq!(Batch::parse(&golden).unwrap_err(), expected);
    };
    check(3, b'2', LayoutError::Magic(*b"SLB2"));
    check(4, 2, LayoutError::Version(2));
    check(6, 0x1f, LayoutError::Columns(0x1f));
    check(40, 0xff, LayoutError::NotUtf8);
    check(164, 0xff, LayoutError::NotUtf8);
}

#[test]
#[should_panic(expected = "the plugin did not ask for keys: add them to columns(...)")]
fn a_column_that_was_not_asked_for_is_not_null() {
    let packed = pack(&info(), &records(), Columns::VALUES);
    let _ = Batch::parse(&packed).unwrap().record(0).key();
}

fn unpacked(batch: &Batch<'_>) -> Vec<TestRecord> {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let has = |column| batch.columns().has(column);
    let base_offset = 1000;
    let read = |record: sluice_sdk::Record<'_>| TestRecord {
        offset_delta: i32::try_from(record.offset().unwrap() - base_offset).unwrap(),
        timestamp: if has(Columns::TIMESTAMPS) { record.timestamp() } else { 0 },
        key: if has(Columns::KEYS) { owned(record.key()) } else { None },
        value: if has(Columns::VALUES) { owned(record.value()) } else { None },
        headers: match has(Columns::HEADERS) {
            true => record.headers().map(|header| (header.name.to_owned(), owned(header.value))).collect(),
            false => Vec::new(),
        },
    };
    batch.records().map(read).collect()
}

fn some_bytes() -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20))
}

fn some_record() -> impl Strategy<Value = TestRecord> {
    let headers = proptest::collection::vec(("[a-zé]{0,4}", some_bytes()), 0..4);
    let fields = (0..1000, any::<i64>(), some_bytes(), some_bytes(), headers);
    fields.prop_map(|(offset_delta, timestamp, key, value, headers)| TestRecord {
        offset_delta,
        timestamp,
        key,
        value,
        headers,
    })
}

proptest! {
    #[test]
    fn what_is_packed_is_read(records in proptest::collection::vec(some_record(), 0..20), topic in "[a-z]{1,9}", columns in 0..16_u32) {
        let sets = [Columns::KEYS, Columns::VALUES, Columns::HEADERS, Columns::TIMESTAMPS];
        let columns = (0..4).filter(|bit| columns >> bit & 1 == 1).fold(Columns::NONE, |all, bit| all.and(sets[bit]));
        let packed = pack(&BatchInfo { topic, ..info() }, &records, columns);
        let batch = Batch::parse(&packed).unwrap();
        let crossed = records.into_iter().map(|record| TestRecord {
            timestamp: if columns.has(Columns::TIMESTAMPS) { record.timestamp } else { 0 },
            key: record.key.filter(|_| columns.has(Columns::KEYS)),
            value: record.value.filter(|_| columns.has(Columns::VALUES)),
            headers: if columns.has(Columns::HEADERS) { record.headers } else { Vec::new() },
            ..record
        });
        prop_assert_eq!(unpacked(&batch), crossed.collect::<Vec<_>>());
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        bytes.splice(0..bytes.len().min(6), *b"SLB1\x01\0");
        let _ = Batch::parse(&bytes);
    }
}
