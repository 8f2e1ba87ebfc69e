//! Reading a frame that lies in pieces, without believing what it says of itself.
//!
//! A length or a count is compared with the bytes that are left before anything is allocated for it, and all that decoding
//! allocates is charged to a budget of [`BYTES_ALLOCATED_PER_BYTE`] times the frame: a peer pays for the memory it takes
//! here with bytes it sent. Records are never copied: they come out as the pieces they arrived in.

use bytes::Bytes;

use crate::records::Chunks;

/// A position in a frame (without its four bytes of length), and what reading from there may still cost.
#[derive(Debug)]
pub struct Reader {
    frame: Chunks,
    /// The piece the position is in, and where in it: always before the piece's end, or past the last piece.
    piece: usize,
    offset: usize,
    position: usize,
    /// Where reading ends: the frame's end, or that of the tagged field being read.
    end: usize,
    budget: usize,
    /// Bytes that may be left over when the message has been read.
    forgiven: usize,
}

/// Why a frame cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More was declared, or is needed, than the frame has left.
    #[error("{needed} bytes or elements are announced where {left} bytes are left")]
    Truncated {
        /// Bytes, or elements of at least a byte each.
        needed: usize,
        /// Bytes left.
        left: usize,
    },
    /// The message ended before the frame, or before the tagged field around it.
    #[error("{left} bytes are left over")]
    Trailing {
        /// Bytes left.
        left: usize,
    },
    /// A length below -1.
    #[error("the length {0} is negative")]
    NegativeLength(i64),
    /// Null where this version has no null.
    #[error("null where this version has no null")]
    Null,
    /// A variable-length integer of more bits than its type.
    #[error("a variable-length integer is too long")]
    Varint,
    /// A string that is not UTF-8.
    #[error("a string is not UTF-8")]
    Utf8,
    /// Decoding would take more than [`BYTES_ALLOCATED_PER_BYTE`] times the frame.
    #[error("decoding takes {needed} bytes of memory where {left} are left to this frame")]
    Memory {
        /// Bytes to allocate.
        needed: usize,
        /// What was left of the budget.
        left: usize,
    },
    /// A version this codec does not have.
    #[error("{api_key} has no version {version} here")]
    Version {
        /// Whose version.
        api_key: crate::ApiKey,
        /// Which one.
        version: i16,
    },
}

impl Reader {
    /// Reads from the first byte of a frame.
    #[must_use]
    pub fn new(frame: Chunks) -> Self {
        let end = frame.len();
        let budget = end.saturating_mul(BYTES_ALLOCATED_PER_BYTE);
        let mut reader = Self { frame, piece: 0, offset: 0, position: 0, end, budget, forgiven: 0 };
        reader.leave_spent_pieces();
        reader
    }

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// Lets up to so many bytes stand behind the message, for a client that is known to leave them there.
    pub fn forgive_trailing(&mut self, bytes: usize) {
        self.forgiven = bytes;
    }

    /// That everything was read.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            left if left <= self.forgiven => Ok(()),
            left => Err(DecodeError::Trailing { left }),
        }
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.require(N)?;
        if let Some(bytes) = self.contiguous().first_chunk::<N>() {
            let bytes = *bytes;
            self.advance(N);
            return Ok(bytes);
        }
        let mut bytes = [0; N];
        self.copy_to(&mut bytes);
        Ok(bytes)
    }

    /// An unsigned varint of at most 32 bits.
    pub(crate) fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError::Varint)
    }

    /// A length of bytes as declared, or none for null; never more than the bytes left.
    pub(crate) fn length(&mut self, encoding: Length) -> Result<Option<usize>, DecodeError> {
        let declared = match encoding {
            Length::Compact => i64::from(self.unsigned_varint()?) - 1,
            Length::Int16 => i64::from(i16::from_be_bytes(self.array()?)),
            Length::Int32 => i64::from(i32::from_be_bytes(self.array()?)),
        };
        match usize::try_from(declared) {
            Ok(length) => self.require(length).map(|()| Some(length)),
            Err(_) if declared == -1 => Ok(None),
            Err(_) => Err(DecodeError::NegativeLength(declared)),
        }
    }

    /// An empty list with room for `count` elements, which has been paid for. A count comes from [`Reader::length`]: every
    /// element of Kafka's takes at least one byte, so it is no more than the bytes left.
    pub(crate) fn list<T>(&mut self, count: usize) -> Result<Vec<T>, DecodeError> {
        self.charge(count.saturating_mul(size_of::<T>()))?;
        Ok(Vec::with_capacity(count))
    }

    /// The next `length` bytes as text.
    pub(crate) fn string(&mut self, length: usize) -> Result<String, DecodeError> {
        self.require(length)?;
        self.charge(length)?;
        if let Some(bytes) = self.contiguous().get(..length) {
            let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8)?.to_owned();
            self.advance(length);
            return Ok(text);
        }
        let mut bytes = vec![0; length];
        self.copy_to(&mut bytes);
        String::from_utf8(bytes).map_err(|_| DecodeError::Utf8)
    }

    /// The next `length` bytes, in the pieces they arrived in.
    ///
    /// Their list is not charged: all such lists together have at most two entries for each piece of the frame, so they
    /// follow from how the frame was received and not from what it says.
    pub(crate) fn chunks(&mut self, length: usize) -> Result<Chunks, DecodeError> {
        self.require(length)?;
        if self.contiguous().len() >= length {
            let chunks = self.piece_of(length);
            return Ok(chunks.into());
        }
        let mut pieces = Vec::with_capacity(self.pieces_within(length));
        let end = self.position + length;
        while self.position < end {
            let part = self.contiguous().len().min(end - self.position);
            pieces.push(self.piece_of(part));
        }
        Ok(pieces.into())
    }

    /// Reads a struct's tagged fields. `field` reads the one of that tag, or says that it does not know it: what a newer
    /// peer adds is passed over (KIP-482).
    pub(crate) fn tagged_fields(
        &mut self,
        mut field: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            self.require(size)?;
            let outer = self.end;
            self.end = self.position + size;
            if field(self, tag)? {
                self.finish()?;
            } else {
                self.advance(size);
            }
            self.end = outer;
        }
        Ok(())
    }

    fn require(&self, needed: usize) -> Result<(), DecodeError> {
        let left = self.remaining();
        if needed <= left { Ok(()) } else { Err(DecodeError::Truncated { needed, left }) }
    }

    fn charge(&mut self, needed: usize) -> Result<(), DecodeError> {
        let left = self.budget;
        self.budget = left.checked_sub(needed).ok_or(DecodeError::Memory { needed, left })?;
        Ok(())
    }

    /// What lies in one piece from here on. May reach past the end of the tagged field being read.
    fn contiguous(&self) -> &[u8] {
        self.frame.parts().get(self.piece).map_or(&[], |piece| &piece[self.offset..])
    }

    /// Copies as many bytes as `to` has room for, which were found to be there.
    fn copy_to(&mut self, mut to: &mut [u8]) {
        while !to.is_empty() {
            let from = self.contiguous();
            let length = from.len().min(to.len());
            let (filled, rest) = to.split_at_mut(length);
            filled.copy_from_slice(&from[..length]);
            to = rest;
            self.advance(length);
        }
    }

    /// The next `length` bytes, which lie in one piece.
    fn piece_of(&mut self, length: usize) -> Bytes {
        let bytes = match self.frame.parts().get(self.piece) {
            Some(piece) => piece.slice(self.offset..self.offset + length),
            None => Bytes::new(),
        };
        self.advance(length);
        bytes
    }

    /// Over how many pieces the next `length` bytes are spread.
    fn pieces_within(&self, length: usize) -> usize {
        let mut left = length + self.offset;
        let pieces = self.frame.parts()[self.piece..].iter();
        pieces
            .take_while(|piece| {
                let reached = left > 0;
                left = left.saturating_sub(piece.len());
                reached
            })
            .count()
    }

    fn advance(&mut self, length: usize) {
        self.position += length;
        self.offset += length;
        self.leave_spent_pieces();
    }

    fn leave_spent_pieces(&mut self) {
        while let Some(piece) = self.frame.parts().get(self.piece).filter(|piece| piece.len() <= self.offset) {
            self.offset -= piece.len();
            self.piece += 1;
        }
    }
}

/// How a length is written: in 16 bits before strings, 32 before arrays and records, and in flexible versions as an
/// unsigned varint of one more, before all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Length {
    Compact,
    Int16,
    Int32,
}

/// What decoding may allocate for each byte of the frame. The densest honest message is a list of topics with names of one
/// letter: three bytes each on the wire, 41 in memory.
pub const BYTES_ALLOCATED_PER_BYTE: usize = 16;
