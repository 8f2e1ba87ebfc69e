//! What a partition's leaders wrote, one batch after the other: every replica's log is a front of it.

use std::sync::Arc;

use bytes::Bytes;
use sluice_protocol::records::{BatchBuilder, BatchHeader, Chunks, Compression};
use sluice_storage::testing::{MemDisk, Random};
use sluice_storage::{Log, LogConfig, LogReader};

use super::machine::Machine;
use super::{NOW_MS, read_all, stored};

/// Idempotent producers that write; one without an id writes too.
const PRODUCERS: i64 = 3;

/// Batches, and everything that was ever sent.
#[derive(Clone, Default)]
pub(crate) struct History {
    batches: Vec<Stored>,
    /// Headers of all batches, of those too that were truncated.
    sent: Vec<BatchHeader>,
}

#[derive(Clone)]
struct Stored {
    header: BatchHeader,
    bytes: Bytes,
}

impl History {
    pub(crate) fn len(&self) -> usize {
        self.batches.len()
    }

    /// The offset after the first so many batches.
    pub(crate) fn end_of(&self, batches: usize) -> i64 {
        batches.checked_sub(1).map_or(0, |last| self.batches[last].header.next_offset())
    }

    pub(crate) fn end(&self) -> i64 {
        self.end_of(self.len())
    }

    /// How many batches lie below an offset.
    pub(crate) fn below(&self, offset: i64) -> usize {
        self.batches.iter().take_while(|batch| batch.header.next_offset() <= offset).count()
    }

    /// The newest leader epoch.
    pub(crate) fn epoch(&self) -> i32 {
        self.batches.last().map_or(0, |batch| batch.header.partition_leader_epoch)
    }

    /// Writes the next batch of some producer.
    pub(crate) fn write(&mut self, random: &mut Random, leader_epoch: i32) {
        let records = 1 + random.below(4) as i32;
        let mut builder = BatchBuilder::new(Compression::None);
        for i in 0..records {
            let value = format!("{} record {i} of {leader_epoch}", "-".repeat(random.below(60)));
            builder.push::<&str, &str>(NOW_MS, Some(b"key"), Some(value.as_bytes()), []);
        }
        let producer = random.below(1 + PRODUCERS as usize) as i64;
        if producer < PRODUCERS {
            let last = self.batches.iter().rev().find(|batch| batch.header.producer_id == producer);
            let (epoch, next) =
                last.map_or((0, 0), |last| (last.header.producer_epoch, last.header.last_sequence() + 1));
            let again = random.one_in(12);
            builder.producer(producer, epoch + i16::from(again), if again { 0 } else { next });
        }
        let batch = builder.build_batch();
        let base_offset = self.end();
        let header = BatchHeader { base_offset, partition_leader_epoch: leader_epoch, ..batch.header };
        self.sent.push(header);
        self.batches.push(Stored { header, bytes: stored(&batch, base_offset, leader_epoch).into() });
    }

    /// Headers of all that was ever sent.
    pub(crate) fn headers(&self) -> &[BatchHeader] {
        &self.sent
    }

    /// Forgets all but the first batches, as if they had never been written.
    pub(crate) fn truncate(&mut self, batches: usize) {
        self.batches.truncate(batches);
    }

    /// Batches from an offset on, as a leader would send them, cut into pieces anywhere.
    pub(crate) fn answer(&self, from: i64, batches: usize, random: &mut Random) -> Chunks {
        let first = self.below(from);
        let after = self.len().min(first + batches);
        pieces(self.batches[first..after].iter().flat_map(|batch| batch.bytes.iter().copied()).collect(), random)
    }

    /// The log holds the first batches, and everything known of it is as in a log that never held others.
    pub(crate) fn assert_log_is(&self, log: &Log, batches: usize, what: &str) {
        let want: Vec<u8> = self.batches[..batches].iter().flat_map(|batch| batch.bytes.iter().copied()).collect();
        let reader = log.reader();
        assert_eq!(reader.log_end_offset(), self.end_of(batches), "{what}");
        assert!(read_all(&reader) == want, "{what}: the log is not the first {batches} batches");
        let machine = Machine::on(MemDisk::new());
        let (mut fresh, _) = machine.open(LogConfig { segment_bytes: 1 << 16, ..LogConfig::default() });
        fresh.append_replicated(&Bytes::from(want).into(), i32::MAX, NOW_MS).expect("what leaders wrote");
        self.assert_same(log, &fresh, what);
    }

    /// Both logs know the same of epochs and of what producers may send.
    pub(crate) fn assert_same(&self, log: &Log, fresh: &Log, what: &str) {
        let epochs = |reader: Arc<LogReader>| -> Vec<Option<(i32, i64)>> {
            (-1..self.sent.len() as i32).map(|epoch| reader.end_offset_for_epoch(epoch)).collect()
        };
        assert_eq!(log.reader().latest_epoch(), fresh.reader().latest_epoch(), "{what}");
        assert_eq!(epochs(log.reader()), epochs(fresh.reader()), "{what}");
        for sent in &self.sent {
            assert_eq!(log.check(sent), fresh.check(sent), "{what}: {sent:?}");
            let next = BatchHeader { base_sequence: sent.last_sequence() + 1, ..*sent };
            assert_eq!(log.check(&next), fresh.check(&next), "{what}: what follows {sent:?}");
        }
    }
}

/// The bytes in pieces, cut anywhere.
pub(crate) fn pieces(bytes: Vec<u8>, random: &mut Random) -> Chunks {
    let mut rest = Bytes::from(bytes);
    let mut chunks = Chunks::new();
    while !rest.is_empty() {
        let piece = (1 + random.below(300)).min(rest.len());
        chunks.push(rest.split_to(piece));
    }
    chunks
}

/// All a reader has from an offset on, at most so many bytes, as they go to a follower.
pub(crate) fn fetch(reader: &LogReader, offset: i64, max_bytes: usize, random: &mut Random) -> Chunks {
    let slice = reader.read(offset, max_bytes, i64::MAX, true).expect("the log reads");
    let mut bytes = Vec::new();
    for part in &slice.parts {
        bytes.extend_from_slice(&part.read().expect("the part reads"));
    }
    pieces(bytes, random)
}
