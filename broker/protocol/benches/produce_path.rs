//! What a produce request costs before it is appended, against the least it could cost: the checksum of its batch.
//!
//! Criterion times each step. The ratios are taken apart from it, in rounds that time both sides one after the other, so
//! that what else the machine does weighs on both; their median is printed last, and is what the project holds itself to.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use sluice_protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use sluice_protocol::records::{Batch, BatchBuilder, Chunks, Compression};
use sluice_protocol::{Message, Reader, decode_request_header, encode_request};

/// The batch every figure is for, about as large as a busy producer's.
const BATCH_BYTES: usize = 64 * 1024;

/// A record's value in it.
const VALUE_BYTES: usize = 100;

/// The last Produce that names its topics, which most clients speak.
const VERSION: i16 = 9;

/// What a TLS record carries, and so the pieces a frame comes in.
const PIECE_BYTES: usize = 16 * 1024;

/// Bytes of a frame's length, which its reader never sees.
const LENGTH_BYTES: usize = 4;

/// The most that parsing and validation may cost, in checksums of the same bytes.
const TARGET: f64 = 1.5;

/// Rounds for a ratio, each of `REPEATS` runs of both sides: long enough to time, short enough to share their weather.
const ROUNDS: usize = 401;
const REPEATS: u32 = 50;

fn main() {
    let batch = batch();
    let frame = frame(&batch);
    let pieces: Chunks = frame.chunks(PIECE_BYTES).map(Bytes::copy_from_slice).collect();
    let frame = Chunks::from(frame);
    let records = Chunks::from(batch.clone());

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("produce path, 64 KiB batch");
    group.throughput(Throughput::Bytes(batch.len() as u64));
    group.bench_function("checksum alone", |b| b.iter(|| checksum(&batch)));
    group.bench_function("batch: split, header, validate", |b| b.iter(|| take_batch(&records)));
    group.bench_function("frame: decode, split, header, validate", |b| b.iter(|| take_frame(&frame)));
    group.bench_function("the same frame in pieces of 16 KiB", |b| b.iter(|| take_frame(&pieces)));
    group.finish();
    criterion.final_summary();

    for (name, ratio) in [
        ("batch", ratio(|| take_batch(&records), || checksum(&batch))),
        ("frame", ratio(|| take_frame(&frame), || checksum(&batch))),
        ("frame in pieces of 16 KiB", ratio(|| take_frame(&pieces), || checksum(&batch))),
    ] {
        eprintln!("produce parse and validation, {name}: {ratio:.2}x the checksum alone (target {TARGET}x)");
    }
}

fn checksum(batch: &Bytes) -> u32 {
    crc_fast::crc32_iscsi(black_box(&batch[21..]))
}

fn take_batch(records: &Chunks) -> Batch {
    Batch::from_producer(Some(black_box(records))).expect("a sound batch")
}

fn take_frame(frame: &Chunks) -> Vec<Batch> {
    let mut reader = Reader::new(black_box(frame).clone());
    let header = decode_request_header(&mut reader).expect("a sound header");
    let request = ProduceRequest::read(&mut reader, header.api_version).expect("a sound request");
    let partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    partitions.map(|partition| Batch::from_producer(partition.records.as_ref()).expect("a sound batch")).collect()
}

/// The median over rounds of what `ours` takes for each time `theirs` takes one.
fn ratio<A, B>(ours: impl Fn() -> A, theirs: impl Fn() -> B) -> f64 {
    let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| time(&ours).as_secs_f64() / time(&theirs).as_secs_f64()).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ROUNDS / 2]
}

fn time<T>(run: impl Fn() -> T) -> Duration {
    let start = Instant::now();
    for _ in 0..REPEATS {
        black_box(run());
    }
    start.elapsed()
}

fn batch() -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    for n in 0u64.. {
        if builder.size() + VALUE_BYTES > BATCH_BYTES {
            break;
        }
        let value: Vec<u8> = n.to_le_bytes().into_iter().cycle().take(VALUE_BYTES).collect();
        builder.push(1_700_000_000_000 + n as i64, Some(&n.to_be_bytes()), Some(&value), [("trace", Some("42"))]);
    }
    builder.producer(1, 0, 0).build()
}

fn frame(batch: &Bytes) -> Bytes {
    let partition_data = vec![PartitionProduceData { index: 0, records: Some(Chunks::from(batch.clone())) }];
    let topic = TopicProduceData { name: "orders".to_owned(), partition_data, ..TopicProduceData::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..ProduceRequest::default() };
    encode_request(7, Some("bench"), VERSION, &request).expect("a request").slice(LENGTH_BYTES..)
}
