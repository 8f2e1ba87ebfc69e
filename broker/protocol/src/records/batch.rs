//! A record batch as it travels: its header read, its body still as it came.
//!
//! Produce and fetch work on this and never on records: a batch is cut out of a frame without copying, its checksum checked
//! over the pieces, and header and body written as they are.

use bytes::Bytes;

use super::{BatchCrc, BatchError, BatchHeader, Chunks, HEADER_LEN, MAGIC};

/// Where `magic` stands in every format of Kafka's records, so that an old message set is told from a short batch.
const MAGIC_AT: usize = 16;

/// A record batch v2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The 61 bytes, as fields.
    pub header: BatchHeader,
    /// Everything after them, still compressed.
    pub body: Chunks,
}

impl Batch {
    /// Cuts a records field into its batches. The bodies share the field's memory. Checks bounds and magic, no checksum.
    ///
    /// # Errors
    /// [`BatchError::Truncated`], [`BatchError::Magic`] and [`BatchError::Length`]: one bad batch and none is returned.
    pub fn split(records: Chunks) -> Result<Vec<Self>, BatchError> {
        let mut batches = Vec::new();
        let mut rest = records;
        while !rest.is_empty() {
            let (batch, after) = Self::first_of(&rest)?;
            rest = rest.slice(rest.len() - after..rest.len());
            batches.push(batch);
        }
        Ok(batches)
    }

    /// The first batch of `records`, and how many bytes follow it.
    pub(super) fn first_of(records: &Chunks) -> Result<(Self, usize), BatchError> {
        let left = records.len();
        if left > MAGIC_AT {
            let mut magic = [0];
            records.copy_to(&mut magic, MAGIC_AT);
            let magic = i8::from_be_bytes(magic);
            if magic != MAGIC {
                return Err(BatchError::Magic { magic });
            }
        }
        if left < HEADER_LEN {
            return Err(BatchError::Truncated { needed: HEADER_LEN, left });
        }
        let mut bytes = [0; HEADER_LEN];
        records.copy_to(&mut bytes, 0);
        let header = BatchHeader::parse(&bytes)?;
        if left < header.size() {
            return Err(BatchError::Truncated { needed: header.size(), left });
        }
        let body = records.slice(HEADER_LEN..header.size());
        Ok((Self { header, body }, left - header.size()))
    }

    /// The checksum of the batch as it stands.
    pub fn crc(&self) -> u32 {
        let mut crc = BatchCrc::new(&self.header.to_bytes());
        for piece in self.body.parts() {
            crc.update(piece);
        }
        crc.finish()
    }

    /// Compares the header's checksum with that of the bytes.
    ///
    /// # Errors
    /// [`BatchError::Crc`] when they differ.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let (stored, computed) = (self.header.crc, self.crc());
        if stored == computed { Ok(()) } else { Err(BatchError::Crc { stored, computed }) }
    }

    /// Makes `now` the timestamp of all its records, as a topic with `message.timestamp.type=LogAppendTime` wants, and
    /// writes the checksum anew. `now` is in milliseconds since 1970.
    pub fn set_log_append_time(&mut self, now: i64) {
        self.header.set_log_append_time(now);
        self.header.crc = self.crc();
    }

    /// Header and body as pieces to write: 61 bytes of their own, and the body shared.
    pub fn to_parts(&self) -> Vec<Bytes> {
        let mut parts = Vec::with_capacity(1 + self.body.parts().len());
        parts.push(Bytes::copy_from_slice(&self.header.to_bytes()));
        parts.extend_from_slice(self.body.parts());
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, Compression, NO_HEADERS, TimestampType};
    use super::*;

    fn batch(value: &str) -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(1_000, None, Some(value.as_bytes()), NO_HEADERS);
        builder.build()
    }

    fn field(batches: &[Bytes]) -> Chunks {
        batches.iter().cloned().collect()
    }

    #[test]
    fn a_field_is_split_where_its_batches_end() {
        let batches = ["one", "two", "three"].map(batch);
        let bytes = Chunks::from(Bytes::from(batches.concat()));
        let single: Chunks = batches.concat().chunks(1).map(Bytes::copy_from_slice).collect();
        for field in [field(&batches), bytes, single] {
            let split = Batch::split(field).expect("three batches");
            assert_eq!(split.len(), 3);
            for (batch, bytes) in split.iter().zip(&batches) {
                batch.verify_crc().expect("as built");
                assert_eq!(batch.to_parts().concat(), bytes[..]);
            }
        }
        assert_eq!(Batch::split(Chunks::new()), Ok(vec![]));
    }

    #[test]
    fn bodies_share_the_frame() {
        let bytes = batch("a value");
        let split = Batch::split(Chunks::from(bytes.clone())).expect("one batch");
        assert_eq!(split[0].body.parts()[0].as_ptr(), bytes[HEADER_LEN..].as_ptr());
    }

    #[test]
    fn every_truncation_is_an_error() {
        let batches = [batch("first"), batch("second")];
        let bytes = Bytes::from(batches.concat());
        for len in 1..bytes.len() {
            let outcome = Batch::split(Chunks::from(bytes.slice(..len)));
            if len == batches[0].len() {
                assert_eq!(outcome.map(|batches| batches.len()), Ok(1));
            } else {
                assert!(matches!(outcome, Err(BatchError::Truncated { .. })), "cut at {len}: {outcome:?}");
            }
        }
    }

    #[test]
    fn old_message_sets_are_told_from_short_batches() {
        // A message set of magic 1 with one small message: shorter than a header of today.
        let mut old = [0; 40];
        old[8..12].copy_from_slice(&28i32.to_be_bytes());
        old[MAGIC_AT] = 1;
        let old = Chunks::from(Bytes::copy_from_slice(&old));
        assert_eq!(Batch::split(old), Err(BatchError::Magic { magic: 1 }));
    }

    #[test]
    fn every_flipped_bit_under_the_checksum_is_found() {
        let bytes = batch("a value");
        for bit in 17 * 8..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let split = Batch::split(Chunks::from(Bytes::from(flipped))).expect("the length is as it was");
            assert!(matches!(split[0].verify_crc(), Err(BatchError::Crc { .. })), "bit {bit}");
        }
    }

    #[test]
    fn the_brokers_stamp_is_every_records() {
        let mut stamped = Batch::split(Chunks::from(batch("a value"))).expect("one batch").remove(0);
        stamped.set_log_append_time(5_000);
        stamped.verify_crc().expect("written anew");
        assert_eq!(stamped.header.timestamp_type(), TimestampType::LogAppendTime);
        let decoded = stamped.decode(1 << 10).expect("one record");
        let record = decoded.iter().next().expect("one").expect("well formed");
        assert_eq!(decoded.timestamp(&record), 5_000);
        assert_eq!((stamped.header.base_timestamp, stamped.header.max_timestamp), (1_000, 5_000));
    }
}
