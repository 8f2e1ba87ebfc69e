//! Writing a frame: one buffer for all that is ours, and records placed into it by reference.
//!
//! The buffer is cut where records lie only when the frame is finished, so a frame costs one allocation, one list of
//! parts, and no copy of what it carries.

use bytes::{BufMut, Bytes, BytesMut};

use crate::records::Part;

/// A frame being written.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    /// Records, each with the length the buffer had when they came.
    embedded: Vec<(usize, Part)>,
    embedded_bytes: usize,
}

/// Why a message cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A string, list or frame longer than its length can say.
    #[error("{length} bytes or elements, and the wire has room for {most}")]
    TooLong {
        /// Bytes or elements.
        length: usize,
        /// The most there may be.
        most: usize,
    },
    /// Null where this version has no null.
    #[error("null where this version has no null")]
    Null,
    /// A version this codec does not have.
    #[error("{api_key} has no version {version} here")]
    Version {
        /// Whose version.
        api_key: crate::ApiKey,
        /// Which one.
        version: i16,
    },
}

impl Writer {
    /// An empty frame.
    #[must_use]
    pub fn new() -> Self {
        Self { buffer: BytesMut::with_capacity(FIRST_ALLOCATION), ..Self::default() }
    }

    /// Bytes written, records included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() + self.embedded_bytes
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The frame, in the order it goes out.
    #[must_use]
    pub fn into_parts(self) -> Vec<Part> {
        let own = self.buffer.freeze();
        let mut parts = Vec::with_capacity(2 * self.embedded.len() + 1);
        let mut at = 0;
        for (cut, part) in self.embedded {
            push(&mut parts, own.slice(at..cut));
            parts.push(part);
            at = cut;
        }
        push(&mut parts, own.slice(at..));
        parts
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Places records here without copying them.
    pub(crate) fn embed(&mut self, part: Part) {
        let length = part.len();
        if length > 0 {
            self.embedded_bytes += length;
            self.embedded.push((self.buffer.len(), part));
        }
    }

    pub(crate) fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// A length before what it measures, or none for null.
    pub(crate) fn length(&mut self, encoding: crate::reader::Length, length: Option<usize>) -> Result<(), EncodeError> {
        use crate::reader::Length;
        let most = match encoding {
            // One less than a varint can hold, and no more than readers with signed lengths can take.
            Length::Compact => i32::MAX as usize - 1,
            Length::Int16 => i16::MAX as usize,
            Length::Int32 => i32::MAX as usize,
        };
        if let Some(length) = length.filter(|length| *length > most) {
            return Err(EncodeError::TooLong { length, most });
        }
        match encoding {
            Length::Compact => self.unsigned_varint(length.map_or(0, |length| length as u32 + 1)),
            Length::Int16 => self.bytes(&length.map_or(-1, |length| length as i16).to_be_bytes()),
            Length::Int32 => self.bytes(&length.map_or(-1, |length| length as i32).to_be_bytes()),
        }
        Ok(())
    }

    /// One tagged field: its tag, its size, and what `value` writes. Tagged fields hold no records.
    pub(crate) fn tagged_field(
        &mut self,
        tag: u32,
        value: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        let mut field = Self::default();
        value(&mut field)?;
        self.unsigned_varint(tag);
        self.unsigned_varint(
            u32::try_from(field.buffer.len())
                .map_err(|_| EncodeError::TooLong { length: field.buffer.len(), most: u32::MAX as usize })?,
        );
        self.bytes(&field.buffer);
        Ok(())
    }

    /// Writes the length of all that follows it over the frame's first four bytes.
    pub(crate) fn close_frame(&mut self) -> Result<(), EncodeError> {
        let length = self.len() - FRAME_LENGTH;
        let declared = i32::try_from(length).map_err(|_| EncodeError::TooLong { length, most: i32::MAX as usize })?;
        self.buffer[..FRAME_LENGTH].copy_from_slice(&declared.to_be_bytes());
        Ok(())
    }
}

fn push(parts: &mut Vec<Part>, bytes: Bytes) {
    if !bytes.is_empty() {
        parts.push(Part::Bytes(bytes));
    }
}

/// The four bytes before every frame.
pub(crate) const FRAME_LENGTH: usize = 4;

/// Room for the answer to a produce or fetch of a few partitions.
const FIRST_ALLOCATION: usize = 512;
