//! What a log remembers of its idempotent producers: of each, the last five batches (KIP-98).
//!
//! That is enough to answer a batch sent twice with where it went the first time, and to refuse one that would leave a gap.
//! The table is a function of the log: recovery replays batches into a snapshot. Snapshots are written when a segment is
//! rolled and at the end of a clean run.

use std::collections::HashMap;

use bytes::{Buf, BufMut};
use sluice_protocol::records::{BatchHeader, TimestampType};

/// Batches a producer may have in flight, and so the sequences remembered for each: what every client since 2.0 keeps to
/// (`max.in.flight.requests.per.connection` with idempotence).
pub(crate) const BATCHES_REMEMBERED: usize = 5;

/// How a batch stands to those its producer sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sequence {
    /// It follows them, or its producer is unknown or not idempotent.
    New,
    /// It is in the log already.
    Duplicate {
        /// Where it went the first time.
        base_offset: i64,
        /// The timestamp it got, or -1 where the producer's own were kept.
        log_append_time: i64,
    },
}

/// Why a batch may not follow those its producer sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// Batches before it are missing.
    #[error("sequence {got} of producer {producer_id}, expected {expected}")]
    OutOfOrder {
        /// The producer.
        producer_id: i64,
        /// The sequence that would follow.
        expected: i32,
        /// The batch's base sequence.
        got: i32,
    },
    /// A later life of the same producer has written.
    #[error("epoch {got} of producer {producer_id} is behind {current}")]
    Fenced {
        /// The producer.
        producer_id: i64,
        /// Its newest epoch.
        current: i16,
        /// The batch's.
        got: i16,
    },
}

/// The producers of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Producers(HashMap<i64, Producer>);

/// One producer's last batches.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    last_seen_ms: i64,
    /// The newest `remembered` batches of this epoch, oldest first.
    window: [Sent; BATCHES_REMEMBERED],
    remembered: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sent {
    base_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    log_append_time: i64,
}

impl Producers {
    /// How a batch stands to those before it. Kafka's `ProducerAppendInfo` and `ProducerStateEntry`.
    pub(crate) fn check(&self, batch: &BatchHeader) -> Result<Sequence, SequenceError> {
        if !batch.has_producer_id() {
            return Ok(Sequence::New);
        }
        let out_of_order =
            |expected| SequenceError::OutOfOrder { producer_id: batch.producer_id, expected, got: batch.base_sequence };
        let known = self.0.get(&batch.producer_id);
        if let Some(known) = known
            && batch.producer_epoch < known.epoch
        {
            return Err(SequenceError::Fenced {
                producer_id: batch.producer_id,
                current: known.epoch,
                got: batch.producer_epoch,
            });
        }
        if batch.is_control() {
            // A transaction's end has an epoch and no sequence.
            return Ok(Sequence::New);
        }
        if batch.base_sequence < 0 {
            return Err(out_of_order(0));
        }
        let Some(known) = known else {
            // Forgotten, or new here: it may start anywhere (KIP-360).
            return Ok(Sequence::New);
        };
        let expected = if batch.producer_epoch > known.epoch {
            0
        } else if let Some(sent) = known.find(batch) {
            return Ok(Sequence::Duplicate { base_offset: sent.base_offset, log_append_time: sent.log_append_time });
        } else if let Some(newest) = known.window().last() {
            // Sequences wrap to 0 after the greatest.
            newest.last_sequence.wrapping_add(1) & i32::MAX
        } else {
            // Only its transactions' ends are known in this epoch.
            return Ok(Sequence::New);
        };
        if batch.base_sequence == expected { Ok(Sequence::New) } else { Err(out_of_order(expected)) }
    }

    /// Remembers a batch that is in the log now, with the offsets it has there.
    pub(crate) fn replay(&mut self, batch: &BatchHeader, now_ms: i64) {
        if !batch.has_producer_id() {
            return;
        }
        let producer = self.0.entry(batch.producer_id).or_insert_with(|| Producer::new(batch.producer_epoch));
        if producer.epoch != batch.producer_epoch {
            *producer = Producer::new(batch.producer_epoch);
        }
        producer.last_seen_ms = now_ms;
        if !batch.is_control() {
            producer.push(Sent {
                base_sequence: batch.base_sequence,
                last_sequence: batch.last_sequence(),
                base_offset: batch.base_offset,
                log_append_time: match batch.timestamp_type() {
                    TimestampType::LogAppendTime => batch.max_timestamp,
                    TimestampType::CreateTime => -1,
                },
            });
        }
    }

    /// Forgets producers that have not written for `expiration_ms` (`producer.id.expiration.ms`).
    pub(crate) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.0.retain(|_, producer| now_ms.saturating_sub(producer.last_seen_ms) < expiration_ms);
    }

    /// Producers remembered.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A snapshot's content.
    ///
    /// ```text
    ///   version u8 | count u32 | producer*  | crc u32
    ///   producer: id i64 | epoch i16 | last_seen_ms i64 | remembered u8 | sent*
    ///   sent: base_sequence i32 | last_sequence i32 | base_offset i64 | log_append_time i64
    /// ```
    pub(crate) fn to_snapshot(&self) -> Vec<u8> {
        let mut bytes = vec![SNAPSHOT_VERSION];
        let count = u32::try_from(self.0.len()).expect("producers fit in memory, so in 32 bits");
        bytes.put_u32(count);
        for (id, producer) in &self.0 {
            bytes.put_i64(*id);
            bytes.put_i16(producer.epoch);
            bytes.put_i64(producer.last_seen_ms);
            bytes.put_u8(producer.remembered);
            for sent in producer.window() {
                bytes.put_i32(sent.base_sequence);
                bytes.put_i32(sent.last_sequence);
                bytes.put_i64(sent.base_offset);
                bytes.put_i64(sent.log_append_time);
            }
        }
        let crc = crc_fast::crc32_iscsi(&bytes);
        bytes.put_u32(crc);
        bytes
    }

    /// Reads a snapshot back; `None` for anything else.
    pub(crate) fn from_snapshot(content: &[u8]) -> Option<Self> {
        let (mut from, crc) = content.split_last_chunk::<4>()?;
        if crc_fast::crc32_iscsi(from) != u32::from_be_bytes(*crc) {
            return None;
        }
        if from.try_get_u8().ok()? != SNAPSHOT_VERSION {
            return None;
        }
        let count = from.try_get_u32().ok()?;
        let mut producers = HashMap::new();
        for _ in 0..count {
            let id = from.try_get_i64().ok()?;
            let mut producer = Producer::new(from.try_get_i16().ok()?);
            producer.last_seen_ms = from.try_get_i64().ok()?;
            for _ in 0..from.try_get_u8().ok()? {
                producer.push(Sent {
                    base_sequence: from.try_get_i32().ok()?,
                    last_sequence: from.try_get_i32().ok()?,
                    base_offset: from.try_get_i64().ok()?,
                    log_append_time: from.try_get_i64().ok()?,
                });
            }
            producers.insert(id, producer);
        }
        from.is_empty().then_some(Self(producers))
    }
}

/// The format of snapshots.
const SNAPSHOT_VERSION: u8 = 1;

impl Producer {
    fn new(epoch: i16) -> Self {
        Self { epoch, last_seen_ms: 0, window: [Sent::default(); BATCHES_REMEMBERED], remembered: 0 }
    }

    fn window(&self) -> &[Sent] {
        &self.window[..usize::from(self.remembered)]
    }

    fn find(&self, batch: &BatchHeader) -> Option<&Sent> {
        self.window()
            .iter()
            .find(|sent| sent.base_sequence == batch.base_sequence && sent.last_sequence == batch.last_sequence())
    }

    fn push(&mut self, sent: Sent) {
        if usize::from(self.remembered) == BATCHES_REMEMBERED {
            self.window.rotate_left(1);
        } else {
            self.remembered += 1;
        }
        self.window[usize::from(self.remembered) - 1] = sent;
    }
}

#[cfg(test)]
mod tests;
