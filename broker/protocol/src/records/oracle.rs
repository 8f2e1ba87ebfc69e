//! Property tests: batches come back as they were built, through every codec and however they are cut, and the crate
//! `kafka-protocol` reads and writes the same bytes. (It keeps headers in a map, so only where no key is repeated.)

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as oracle;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{Batch, BatchBuilder, Chunks, Compression, Rebuild};

#[derive(Debug, Clone, PartialEq)]
struct Row {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

const AMPLE: usize = 1 << 20;

fn nullable() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(vec(any::<u8>(), 0..100))
}

fn row() -> impl Strategy<Value = Row> {
    // Few names, so that they repeat.
    let headers = vec(("[ab]{0,2}", nullable()), 0..4);
    let timestamp = prop_oneof![Just(i64::MAX), 0..i64::MAX, 1_600_000_000_000i64..1_800_000_000_000];
    (timestamp, nullable(), nullable(), headers).prop_map(|(timestamp, key, value, headers)| Row {
        timestamp,
        key,
        value,
        headers,
    })
}

fn codec() -> impl Strategy<Value = Compression> {
    prop::sample::select(&Compression::ALL[..])
}

fn build(codec: Compression, rows: &[Row]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(codec);
    for row in rows {
        builder.push(row.timestamp, row.key.as_deref(), row.value.as_deref(), row.headers.clone());
    }
    builder.producer(12, 3, 40);
    builder
}

fn read(batch: &Batch) -> Vec<Row> {
    let decoded = batch.decode(AMPLE).expect("our own");
    let row = |record: super::Record<'_>| Row {
        timestamp: decoded.timestamp(&record),
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record.headers.map(|(key, value)| (key.to_owned(), value.map(<[u8]>::to_vec))).collect(),
    };
    decoded.iter().map(|record| row(record.expect("our own"))).collect()
}

fn without_repeats(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    for row in &mut rows {
        let mut seen = vec![];
        row.headers.retain(|(key, _)| !seen.contains(key) && (seen.push(key.clone()), true).1);
    }
    rows
}

proptest! {
    #[test]
    fn what_is_built_is_read(codec in codec(), rows in vec(row(), 1..30), piece in 1usize..200) {
        let bytes = build(codec, &rows).build();
        let batches = Batch::split(bytes.chunks(piece).map(Bytes::copy_from_slice).collect()).expect("our own");
        prop_assert_eq!(batches.len(), 1);
        prop_assert_eq!(super::validate_from_producer(&batches[0]), Ok(()));
        prop_assert_eq!(read(&batches[0]), rows);
    }

    #[test]
    fn what_stays_is_read_from_the_rebuilt(
        codec in codec(),
        rows in vec(row(), 1..30),
        kept in vec(any::<bool>(), 30),
    ) {
        let original = build(Compression::None, &rows).build_batch();
        let decoded = original.decode(AMPLE).expect("our own");
        let mut rebuild = Rebuild::new(&original.header);
        for record in decoded.iter().map(|record| record.expect("our own")) {
            if kept[record.offset_delta as usize] {
                rebuild.push(record.offset_delta, record.timestamp_delta, record.key, record.value, record.headers);
            }
        }
        let rebuilt = rebuild.finish(codec);
        let expected: Vec<Row> = rows.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(row, _)| row.clone()).collect();
        if let Some(greatest) = expected.iter().map(|row| row.timestamp).max() {
            prop_assert_eq!(rebuilt.header.max_timestamp, greatest);
        }
        prop_assert_eq!(rebuilt.header.last_offset_delta, original.header.last_offset_delta);
        prop_assert_eq!(rebuilt.verify_crc(), Ok(()));
        prop_assert_eq!(read(&rebuilt), expected);
    }

    #[test]
    fn kafka_protocol_reads_what_we_write(rows in vec(row(), 1..20)) {
        let rows = without_repeats(&rows);
        let set = oracle::RecordBatchDecoder::decode(&mut build(Compression::None, &rows).build()).expect("their reading");
        prop_assert_eq!(set.records.len(), rows.len());
        for (at, (theirs, ours)) in set.records.iter().zip(&rows).enumerate() {
            prop_assert_eq!(theirs.offset, at as i64);
            prop_assert_eq!(theirs.sequence, 40 + at as i32);
            prop_assert_eq!((theirs.producer_id, theirs.producer_epoch), (12, 3));
            prop_assert_eq!(theirs.timestamp, ours.timestamp);
            prop_assert_eq!(theirs.key.as_deref(), ours.key.as_deref());
            prop_assert_eq!(theirs.value.as_deref(), ours.value.as_deref());
            let headers: Vec<_> = theirs.headers.iter()
                .map(|(key, value)| (key.to_string(), value.as_ref().map(|value| value.to_vec())))
                .collect();
            prop_assert_eq!(&headers, &ours.headers);
        }
    }

    #[test]
    fn we_read_what_kafka_protocol_writes(rows in vec(row(), 1..20)) {
        let rows = without_repeats(&rows);
        let records: Vec<_> = rows.iter().enumerate().map(|(at, row)| oracle::Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 0,
            producer_id: 12,
            producer_epoch: 3,
            timestamp_type: oracle::TimestampType::Creation,
            offset: at as i64,
            sequence: 40 + at as i32,
            timestamp: row.timestamp,
            key: row.key.clone().map(Bytes::from),
            value: row.value.clone().map(Bytes::from),
            headers: row.headers.iter()
                .map(|(key, value)| (StrBytes::from_string(key.clone()), value.clone().map(Bytes::from)))
                .collect::<IndexMap<_, _>>(),
        }).collect();
        let mut bytes = BytesMut::new();
        let options = oracle::RecordEncodeOptions { version: 2, compression: oracle::Compression::None };
        oracle::RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("their writing");
        let batches = Batch::split(Chunks::from(bytes.freeze())).expect("whole batches");
        prop_assert_eq!(batches.len(), 1);
        prop_assert_eq!(super::validate_from_producer(&batches[0]), Ok(()));
        prop_assert_eq!(read(&batches[0]), rows);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), body in vec(any::<u8>(), 0..200), codec in codec()) {
        const LIMIT: usize = 1000;
        let _ = Batch::split(Chunks::from(Bytes::from(bytes.clone())));
        let mut batch = build(codec, &[]).build_batch();
        for body in [bytes, body] {
            // As many records as the bytes could hold, so that they are read at all.
            batch.header.count = (body.len() / 7) as i32;
            batch.header.last_offset_delta = i32::MAX;
            batch.body = Chunks::from(Bytes::from(body));
            if let Ok(decoded) = batch.decode(LIMIT) {
                prop_assert!(decoded.size() <= LIMIT);
                prop_assert!(decoded.iter().count() <= decoded.len() + 1);
            }
        }
    }
}
