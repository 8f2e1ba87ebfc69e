//! Batches written by Kafka's Java client, one for each codec, and what must come out of them.
//!
//! Made with `MemoryRecords.builder` of kafka-clients 4.3.0 at its default levels: producer 4711, epoch 3, sequence 17,
//! leader epoch 5, and the five records below.

use bytes::Bytes;

use super::{Batch, BatchError, Chunks, Compression, Rebuild};

const BASE_TIMESTAMP: i64 = 1_700_000_000_000;

/// Enough for every golden batch.
const AMPLE: usize = 1 << 20;

fn golden() -> [(Compression, &'static [u8]); 5] {
    [
        (Compression::None, include_bytes!("testdata/java/none.batch")),
        (Compression::Gzip, include_bytes!("testdata/java/gzip.batch")),
        (Compression::Snappy, include_bytes!("testdata/java/snappy.batch")),
        (Compression::Lz4, include_bytes!("testdata/java/lz4.batch")),
        (Compression::Zstd, include_bytes!("testdata/java/zstd.batch")),
    ]
}

type Row = (i32, i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

/// The records that were given to the Java builder. The last is long, so that every codec needs several blocks.
fn rows(codec: Compression) -> Vec<Row> {
    let events = if codec == Compression::None { 20 } else { 5000 };
    let long: String = (0..events).map(|n| format!("event {};", n % 97)).collect();
    let bytes = |text: &str| Some(text.as_bytes().to_vec());
    let headers = [("a", bytes("1")), ("a", bytes("2")), ("b", None), ("", bytes(""))];
    vec![
        (0, 0, bytes("key"), bytes("value"), headers.map(|(key, value)| (key.to_owned(), value)).into()),
        (1, 5, None, bytes("no key"), vec![]),
        (2, -3, bytes("tombstone"), None, vec![]),
        (3, 1, bytes(""), bytes(""), vec![]),
        (4, 86_400_000, bytes("long"), bytes(&long), vec![]),
    ]
}

fn read(batch: &Batch) -> Result<Vec<Row>, BatchError> {
    let decoded = batch.decode(AMPLE)?;
    let row = |record: super::Record<'_>| {
        let headers = record.headers.map(|(key, value)| (key.to_owned(), value.map(<[u8]>::to_vec)));
        let (key, value) = (record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec));
        (record.offset_delta, record.timestamp_delta, key, value, headers.collect())
    };
    decoded.iter().map(|record| record.map(row)).collect()
}

fn split(bytes: Chunks) -> Batch {
    let mut batches = Batch::split(bytes).expect("a whole batch");
    assert_eq!(batches.len(), 1);
    batches.remove(0)
}

#[test]
fn javas_batches_are_read_in_pieces_of_any_size() {
    for (codec, bytes) in golden() {
        for size in [1, 7, 64, bytes.len()] {
            let batch = split(bytes.chunks(size).map(Bytes::copy_from_slice).collect());
            batch.verify_crc().expect("as Java wrote it");
            assert_eq!(batch.header.compression(), Ok(codec));
            assert_eq!(read(&batch), Ok(rows(codec)), "{codec} in pieces of {size}");
            assert_eq!(batch.to_parts().concat(), bytes);
        }
    }
}

#[test]
fn their_headers_say_what_java_was_told() {
    for (_, bytes) in golden() {
        let header = split(Chunks::from(Bytes::from_static(bytes))).header;
        assert_eq!((header.base_offset, header.last_offset_delta, header.count), (0, 4, 5));
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (4711, 3, 17));
        assert_eq!((header.base_timestamp, header.max_timestamp), (BASE_TIMESTAMP, BASE_TIMESTAMP + 86_400_000));
        assert_eq!(header.partition_leader_epoch, 5);
        assert_eq!(header.last_sequence(), 21);
        assert_eq!(header.size(), bytes.len());
    }
}

#[test]
fn uncompressed_we_write_the_bytes_java_writes() {
    let (_, bytes) = golden()[0];
    let java = split(Chunks::from(Bytes::from_static(bytes)));
    let mut rebuild = Rebuild::new(&java.header);
    for (offset_delta, timestamp_delta, key, value, headers) in rows(Compression::None) {
        rebuild.push(offset_delta, timestamp_delta, key.as_deref(), value.as_deref(), headers);
    }
    assert_eq!(rebuild.finish(Compression::None).to_parts().concat(), bytes);
}

#[test]
fn every_truncation_is_an_error() {
    for (codec, bytes) in golden() {
        for len in 1..bytes.len() {
            let outcome = Batch::split(Chunks::from(Bytes::from_static(&bytes[..len])));
            assert!(outcome.is_err(), "{codec} cut at {len}");
        }
        // The same for bodies alone, under a header that says they are whole.
        let whole = split(Chunks::from(Bytes::from_static(bytes)));
        for len in 0..whole.body.len() {
            let cut = Batch { header: whole.header, body: whole.body.slice(0..len) };
            assert!(cut.verify_crc().is_err() && read(&cut).is_err(), "{codec} body cut at {len}");
        }
    }
}

#[test]
fn no_flipped_bit_panics_or_passes_the_checksum() {
    for (codec, bytes) in golden() {
        let whole = split(Chunks::from(Bytes::from_static(bytes)));
        for at in 0..whole.body.len() {
            let mut body = whole.body.to_bytes().to_vec();
            body[at] ^= 1 << (at % 8);
            let flipped = Batch { header: whole.header, body: Chunks::from(Bytes::from(body)) };
            assert!(flipped.verify_crc().is_err(), "{codec} at {at}");
            if let Ok(decoded) = flipped.decode(AMPLE) {
                assert!(decoded.size() <= AMPLE && decoded.iter().count() <= decoded.len() + 1);
            }
        }
    }
}
