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
            return Err(BatchError::Truncated {
                needed: HEADER_LEN,
                left,
            });
        }
        let mut bytes = [0; HEADER_LEN];
        records.copy_to(&mut bytes, 0);
        let header = BatchHeader::parse(&bytes)?;
        if left < header.size() {
            return Err(BatchError::Truncated {
                needed: header.size(),
                left,
            });
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
        if stored == computed {
            Ok(())
        } else {
            Err(BatchError::Crc { stored, computed })
        }
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
