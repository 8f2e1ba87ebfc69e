//! Batches made here: of new records, of records a plugin left, and of none.
//!
//! A rebuilt batch takes the place of the one it came from. It keeps that one's span of offsets and sequences, which is what
//! makes an idempotent producer's duplicates known and a follower's log the same, and only its count is smaller. Records
//! that are gone leave gaps, as compaction leaves them.

use bytes::{Bytes, BytesMut};

use super::header::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP};
use super::{Batch, BatchHeader, Chunks, Compression, HEADER_LEN, LOG_OVERHEAD, MAGIC, TimestampType};

/// The leader epoch of a batch no leader has appended yet.
const NO_LEADER_EPOCH: i32 = -1;

/// For a record without headers: an empty list whose type is known.
pub const NO_HEADERS: [(&str, Option<&[u8]>); 0] = [];

/// Makes a batch as a producer does: offsets from 0, one after the other.
#[derive(Debug)]
pub struct BatchBuilder {
    codec: Compression,
    header: BatchHeader,
    records: RecordWriter,
}

impl BatchBuilder {
    /// A batch without records, to be compressed with `codec`.
    pub fn new(codec: Compression) -> Self {
        Self { codec, header: blank_header(), records: RecordWriter::default() }
    }

    /// Adds a record. `timestamp` is in milliseconds since 1970. Headers are a list: order and repeated keys are kept.
    ///
    /// # Panics
    /// After 2^31 - 1 records.
    pub fn push<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (K, Option<V>)>,
    ) -> &mut Self {
        if self.header.count == 0 {
            self.header.base_timestamp = timestamp;
        }
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp);
        let timestamp_delta = timestamp.wrapping_sub(self.header.base_timestamp);
        self.records.push(self.header.count, timestamp_delta, key, value, headers);
        self.header.last_offset_delta = self.header.count;
        self.header.count = self.header.count.checked_add(1).expect("fewer than 2^31 records");
        self
    }

    /// Makes it an idempotent producer's: `base_sequence` is that of the first record.
    pub fn producer(&mut self, id: i64, epoch: i16, base_sequence: i32) -> &mut Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Makes it part of a transaction.
    pub fn transactional(&mut self) -> &mut Self {
        self.header.set_transactional();
        self
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        usize::try_from(self.header.count).unwrap_or(0)
    }

    /// Whether there are none: no broker takes such a batch from a producer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the batch before compression.
    pub fn size(&self) -> usize {
        HEADER_LEN + self.records.bytes.len()
    }

    /// The batch, checksum set.
    pub fn build_batch(&self) -> Batch {
        let mut header = self.header;
        header.set_compression(self.codec);
        seal(header, self.codec.compress(self.records.bytes.clone()))
    }

    /// The batch as bytes, checksum set.
    pub fn build(&self) -> Bytes {
        let batch = self.build_batch();
        let mut bytes = BytesMut::with_capacity(batch.header.size());
        for part in batch.to_parts() {
            bytes.extend_from_slice(&part);
        }
        bytes.freeze()
    }
}

/// Makes the batch that takes another's place, of the records that stay.
#[derive(Debug)]
pub struct Rebuild {
    original: BatchHeader,
    records: RecordWriter,
    count: i32,
    last_delta: i32,
    max_timestamp: i64,
}

impl Rebuild {
    /// A batch in the place of `original`, without records yet.
    pub fn new(original: &BatchHeader) -> Self {
        Self {
            original: *original,
            records: RecordWriter::default(),
            count: 0,
            last_delta: -1,
            max_timestamp: NO_TIMESTAMP,
        }
    }

    /// Adds a record that stays, with the deltas it had.
    ///
    /// # Panics
    /// When the offset delta does not rise or lies beyond the batch: the caller hands on what it read from that batch.
    pub fn push<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        offset_delta: i32,
        timestamp_delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (K, Option<V>)>,
    ) -> &mut Self {
        let last = self.original.last_offset_delta;
        assert!(
            offset_delta > self.last_delta && offset_delta <= last,
            "{offset_delta} after {} of {last}",
            self.last_delta
        );
        self.records.push(offset_delta, timestamp_delta, key, value, headers);
        self.last_delta = offset_delta;
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(self.original.base_timestamp.saturating_add(timestamp_delta));
        self
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// Whether none stays.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch before compression.
    pub fn size(&self) -> usize {
        HEADER_LEN + self.records.bytes.len()
    }

    /// The batch, checksum set. Of no records it is [`empty_batch`]. The greatest timestamp is that of the records that
    /// stay, unless the broker had stamped the batch: then it is every record's and stays too.
    pub fn finish(self, codec: Compression) -> Batch {
        if self.count == 0 {
            return empty_batch(&self.original);
        }
        let mut header = BatchHeader { count: self.count, ..self.original };
        if header.timestamp_type() == TimestampType::CreateTime {
            header.max_timestamp = self.max_timestamp;
        }
        header.set_compression(codec);
        seal(header, codec.compress(self.records.bytes))
    }
}

/// The batch that takes another's place when none of its records stays: same span, sequences and timestamps, count 0, codec
/// none, as Kafka's log cleaner leaves it (`DefaultRecordBatch.writeEmptyHeader`).
pub fn empty_batch(original: &BatchHeader) -> Batch {
    let mut header = BatchHeader { count: 0, ..*original };
    header.set_compression(Compression::None);
    seal(header, Bytes::new())
}

/// A batch of no records that moves a consumer past `last_offset`: what a view answers when nothing survived.
///
/// It carries the control bit, by which clients skip it as they skip the end of a transaction. Without it librdkafka takes
/// the empty answer for one that did not fit and asks for more and more. A span beyond a delta's 31 bits is cut to them: the
/// consumer comes back from there.
///
/// # Panics
/// When `last_offset` is before `base_offset`.
pub fn empty_control_batch(base_offset: i64, last_offset: i64, leader_epoch: i32) -> Batch {
    assert!(last_offset >= base_offset, "a span from {base_offset} to {last_offset}");
    let span = last_offset.saturating_sub(base_offset);
    let mut header = BatchHeader {
        base_offset,
        partition_leader_epoch: leader_epoch,
        last_offset_delta: i32::try_from(span).unwrap_or(i32::MAX),
        ..blank_header()
    };
    header.set_control();
    seal(header, Bytes::new())
}

/// Joins header and body: sets length and checksum to what they are.
///
/// # Panics
/// When the body is longer than a length field can say. Bodies are bounded far below that, by what a batch may decompress
/// to and what a plugin may put out.
fn seal(header: BatchHeader, body: Bytes) -> Batch {
    let length = HEADER_LEN - LOG_OVERHEAD + body.len();
    let batch_length = i32::try_from(length).expect("a body is bounded far below 2 GiB");
    let mut batch = Batch { header: BatchHeader { batch_length, ..header }, body: Chunks::from(body) };
    batch.header.crc = batch.crc();
    batch
}

/// A header of no records, no producer and no leader.
const fn blank_header() -> BatchHeader {
    BatchHeader {
        base_offset: 0,
        batch_length: 0,
        partition_leader_epoch: NO_LEADER_EPOCH,
        magic: MAGIC,
        crc: 0,
        attributes: 0,
        last_offset_delta: -1,
        base_timestamp: NO_TIMESTAMP,
        max_timestamp: NO_TIMESTAMP,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        base_sequence: NO_SEQUENCE,
        count: 0,
    }
}

/// Records as they stand in an uncompressed body.
#[derive(Debug, Default)]
struct RecordWriter {
    bytes: Vec<u8>,
    /// The record being written: its length stands before it and is known after it.
    record: Vec<u8>,
    /// Its headers, whose count stands before them.
    headers: Vec<u8>,
}

impl RecordWriter {
    fn push<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        offset_delta: i32,
        timestamp_delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl IntoIterator<Item = (K, Option<V>)>,
    ) {
        self.record.clear();
        self.record.push(0); // attributes, unused
        put_varlong(&mut self.record, timestamp_delta);
        put_varlong(&mut self.record, i64::from(offset_delta));
        put_nullable(&mut self.record, key);
        put_nullable(&mut self.record, value);

        self.headers.clear();
        let mut count = 0;
        for (key, value) in headers {
            put_nullable(&mut self.headers, Some(key.as_ref()));
            put_nullable(&mut self.headers, value.as_ref().map(AsRef::as_ref));
            count += 1;
        }
        put_varlong(&mut self.record, count);

        put_varlong(&mut self.bytes, (self.record.len() + self.headers.len()) as i64);
        self.bytes.extend_from_slice(&self.record);
        self.bytes.extend_from_slice(&self.headers);
    }
}

fn put_nullable(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(to, -1),
        Some(bytes) => {
            put_varlong(to, bytes.len() as i64);
            to.extend_from_slice(bytes);
        }
    }
}

/// Zigzag, seven bits a byte. A varint is a varlong of small value.
fn put_varlong(to: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        to.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    to.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five records of an idempotent producer, appended at offset 100 under epoch 4.
    fn original() -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        for (n, timestamp) in (0..5).zip([50, 40, 90, 70, 60]) {
            let value = format!("value {n}");
            builder.push(timestamp, Some(b"key"), Some(value.as_bytes()), [("a", Some("1")), ("a", None)]);
        }
        let mut batch = builder.producer(7, 2, i32::MAX - 1).build_batch();
        batch.header.base_offset = 100;
        batch.header.partition_leader_epoch = 4;
        batch
    }

    fn keep(original: &Batch, kept: &[i32], codec: Compression) -> Batch {
        let mut rebuild = Rebuild::new(&original.header);
        let decoded = original.decode(1 << 16).expect("our own");
        for record in decoded.iter().map(|record| record.expect("our own")) {
            if kept.contains(&record.offset_delta) {
                rebuild.push(record.offset_delta, record.timestamp_delta, record.key, record.value, record.headers);
            }
        }
        rebuild.finish(codec)
    }

    /// What of the header a rebuilt batch has in common with the one it replaces.
    fn span(header: &BatchHeader) -> impl PartialEq + std::fmt::Debug {
        let BatchHeader { base_offset, partition_leader_epoch, last_offset_delta, base_timestamp, .. } = *header;
        let BatchHeader { producer_id, producer_epoch, base_sequence, .. } = *header;
        (
            base_offset,
            partition_leader_epoch,
            last_offset_delta,
            base_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
        )
    }

    #[test]
    fn a_rebuilt_batch_keeps_its_span() {
        let original = original();
        for codec in Compression::ALL {
            for (kept, max_timestamp) in [(&[0, 1, 2, 3, 4][..], 90), (&[0, 3], 70), (&[1], 40), (&[4], 60)] {
                let rebuilt = keep(&original, kept, codec);
                rebuilt.verify_crc().expect("sealed");
                assert_eq!(span(&rebuilt.header), span(&original.header));
                assert_eq!(rebuilt.header.size(), rebuilt.to_parts().concat().len());
                assert_eq!(rebuilt.header.compression(), Ok(codec));
                assert_eq!(rebuilt.header.max_timestamp, max_timestamp);
                assert_eq!(rebuilt.header.last_sequence(), original.header.last_sequence());

                let decoded = rebuilt.decode(1 << 16).expect("our own");
                assert_eq!(decoded.len(), kept.len());
                let old = original.decode(1 << 16).expect("our own");
                let expected: Vec<_> =
                    old.iter().filter(|r| r.as_ref().is_ok_and(|r| kept.contains(&r.offset_delta))).collect();
                let read: Vec<_> = decoded.iter().collect();
                assert_eq!(read, expected);
            }
        }
    }

    #[test]
    fn nothing_changed_is_byte_for_byte_the_original() {
        let original = original();
        assert_eq!(
            keep(&original, &[0, 1, 2, 3, 4], Compression::None).to_parts().concat(),
            original.to_parts().concat()
        );
    }

    #[test]
    fn the_brokers_stamp_survives() {
        let mut original = original();
        original.set_log_append_time(5_000);
        let rebuilt = keep(&original, &[1], Compression::Lz4);
        assert_eq!(rebuilt.header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(rebuilt.header.max_timestamp, 5_000);
    }

    #[test]
    fn a_batch_of_nothing_keeps_its_span_too() {
        let original = keep(&original(), &[0, 1, 2], Compression::Zstd);
        for empty in [empty_batch(&original.header), keep(&original, &[], Compression::Zstd)] {
            empty.verify_crc().expect("sealed");
            assert_eq!(span(&empty.header), span(&original.header));
            assert_eq!((empty.header.count, empty.header.size()), (0, HEADER_LEN));
            assert_eq!(empty.header.compression(), Ok(Compression::None));
            assert!(!empty.header.is_control());
            assert_eq!(empty.decode(0).expect("no records").iter().count(), 0);
        }
    }

    #[test]
    fn an_advance_is_a_control_batch() {
        let advance = empty_control_batch(100, 149, 4);
        advance.verify_crc().expect("sealed");
        let header = advance.header;
        assert!(header.is_control() && !header.is_transactional() && !header.has_producer_id());
        assert_eq!((header.base_offset, header.last_offset(), header.next_offset()), (100, 149, 150));
        assert_eq!((header.count, header.size(), header.partition_leader_epoch), (0, HEADER_LEN, 4));
        assert_eq!(Batch::split(Chunks::from(advance.to_parts())), Ok(vec![advance]));

        let far = empty_control_batch(0, i64::MAX, 4).header;
        assert_eq!(far.last_offset(), i64::from(i32::MAX), "as far as a delta goes");
    }

    #[test]
    #[should_panic(expected = "1 after 1 of 4")]
    fn records_are_pushed_in_order() {
        let mut rebuild = Rebuild::new(&original().header);
        rebuild.push(1, 0, None, None, NO_HEADERS).push(1, 0, None, None, NO_HEADERS);
    }

    #[test]
    fn a_builder_counts_what_it_has() {
        let mut builder = BatchBuilder::new(Compression::None);
        assert!(builder.is_empty());
        builder.push(10, None, None, NO_HEADERS).transactional().producer(1, 0, 0);
        assert_eq!((builder.len(), builder.size()), (1, builder.build().len()));
        assert!(builder.build_batch().header.is_transactional());
    }
}
