//! The LZ4 frame format (lz4 repository, `doc/lz4_Frame_format.md`, version 1.6), read straight into the records' buffer.
//!
//! ```text
//!   magic u32 | flags u8 | block size u8 | content size u64? | checksum u8 | (size u32 | block | xxh32?)* | 0u32 | xxh32?
//! ```
//! Little-endian. Read by hand rather than through a stream decoder: that keeps buffers of up to 12 MiB beside the output,
//! and takes a frame without its end mark for a whole one, which the Java consumer does not. What the blocks become is
//! counted first, by walking their sequences without copying, so that the output is allocated once and never too large.

use std::io::Write;

use lz4_flex::block::{decompress_into, decompress_into_with_dict};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::Fault;

const MAGIC: [u8; 4] = 0x184D_2204u32.to_le_bytes();

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUMS: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const RESERVED: u8 = 1 << 1;
const DICTIONARY: u8 = 1;

/// The bit of a block's size that says it is stored as it is.
const STORED: u32 = 1 << 31;

/// How far back a block may refer into those before it.
const WINDOW: usize = 64 * 1024;

/// The least a match copies: what its length counts from.
const LEAST_MATCH: usize = 4;

/// The value of a length's four bits that says more bytes follow.
const LONG: u8 = 15;

pub(super) fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let mut frame = Frame { rest: body };
    let descriptor = frame.descriptor()?;
    let mut records = vec![0; frame.clone().expanded_len(&descriptor, limit)?];
    let mut filled = 0;
    while let Some(block) = frame.block(&descriptor)? {
        let (before, output) = records.split_at_mut(filled);
        let window = &before[before.len().saturating_sub(WINDOW)..];
        filled += match block {
            Block::Stored(bytes) => {
                let output = output.get_mut(..bytes.len()).ok_or_else(|| Fault::malformed("a block grew"))?;
                output.copy_from_slice(bytes);
                bytes.len()
            }
            Block::Compressed(bytes) if descriptor.flags & INDEPENDENT != 0 || window.is_empty() => {
                decompress_into(bytes, output).map_err(Fault::malformed)?
            }
            Block::Compressed(bytes) => decompress_into_with_dict(bytes, output, window).map_err(Fault::malformed)?,
        };
    }
    // Counted and made are two readings of the same bytes; should they ever differ, no half-filled buffer goes on.
    if filled != records.len() {
        return Err(Fault::malformed(format_args!("{filled} bytes where {} were counted", records.len())));
    }
    if descriptor.flags & CONTENT_CHECKSUM != 0 {
        frame.checksum(&records)?;
    }
    match (frame.rest.len(), descriptor.content_len) {
        (0, None) => Ok(records),
        (0, Some(len)) if len == records.len() as u64 => Ok(records),
        (0, Some(len)) => Err(Fault::malformed(format_args!("{len} bytes declared, {} found", records.len()))),
        (more, _) => Err(Fault::malformed(format_args!("{more} bytes after the frame"))),
    }
}

struct Descriptor {
    flags: u8,
    /// The most that a block becomes.
    block_most: usize,
    content_len: Option<u64>,
}

enum Block<'a> {
    Stored(&'a [u8]),
    Compressed(&'a [u8]),
}

/// What is left of a frame, or of a block.
#[derive(Clone)]
struct Frame<'a> {
    rest: &'a [u8],
}

impl<'a> Frame<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or_else(|| Fault::malformed("the frame is cut off"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| Fault::malformed("the frame is cut off"))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn checksum(&mut self, of: &[u8]) -> Result<(), Fault> {
        if u32::from_le_bytes(self.array()?) == XxHash32::oneshot(0, of) {
            Ok(())
        } else {
            Err(Fault::malformed("a checksum does not match"))
        }
    }

    /// The next block, or none at the end mark.
    fn block(&mut self, descriptor: &Descriptor) -> Result<Option<Block<'a>>, Fault> {
        let size = u32::from_le_bytes(self.array()?);
        if size == 0 {
            return Ok(None);
        }
        let bytes = self.take((size & !STORED) as usize)?;
        if descriptor.flags & BLOCK_CHECKSUMS != 0 {
            self.checksum(bytes)?;
        }
        Ok(Some(if size & STORED == 0 { Block::Compressed(bytes) } else { Block::Stored(bytes) }))
    }

    /// What the blocks from here on become.
    fn expanded_len(mut self, descriptor: &Descriptor, limit: usize) -> Result<usize, Fault> {
        let mut total = 0;
        while let Some(block) = self.block(descriptor)? {
            let len = match block {
                Block::Stored(bytes) => bytes.len(),
                Block::Compressed(bytes) => Frame { rest: bytes }.expanded_block_len()?,
            };
            if len > descriptor.block_most {
                return Err(Fault::malformed(format_args!("a block of {len} bytes")));
            }
            total += len;
            if total > limit {
                return Err(Fault::TooLarge);
            }
        }
        Ok(total)
    }

    /// What one block becomes: its literals, and what its matches copy (`doc/lz4_Block_format.md`).
    fn expanded_block_len(mut self) -> Result<usize, Fault> {
        let mut total = 0;
        loop {
            let [token] = self.array()?;
            let literals = self.run(token >> 4)?;
            self.take(literals)?;
            total += literals;
            if self.rest.is_empty() {
                return Ok(total);
            }
            let _offset: [u8; 2] = self.array()?;
            total += self.run(token & 0x0f)? + LEAST_MATCH;
        }
    }

    /// A length that starts with these four bits.
    fn run(&mut self, bits: u8) -> Result<usize, Fault> {
        let mut len = usize::from(bits);
        let mut more = bits == LONG;
        while more {
            let [byte] = self.array()?;
            len += usize::from(byte);
            more = byte == u8::MAX;
        }
        Ok(len)
    }

    fn descriptor(&mut self) -> Result<Descriptor, Fault> {
        if self.array()? != MAGIC {
            return Err(Fault::malformed("not an LZ4 frame"));
        }
        let from = self.rest;
        let [flags, block_size] = self.array()?;
        if flags & VERSION_MASK != VERSION || flags & (RESERVED | DICTIONARY) != 0 {
            return Err(Fault::malformed(format_args!("frame flags {flags:#010b}")));
        }
        let block_most = match block_size {
            0x40 => 64 << 10,
            0x50 => 256 << 10,
            0x60 => 1 << 20,
            0x70 => 4 << 20,
            other => return Err(Fault::malformed(format_args!("block size {other:#04x}"))),
        };
        let content_len = if flags & CONTENT_SIZE == 0 { None } else { Some(u64::from_le_bytes(self.array()?)) };
        let summed = &from[..from.len() - self.rest.len()];
        let [checksum] = self.array()?;
        if checksum != (XxHash32::oneshot(0, summed) >> 8) as u8 {
            return Err(Fault::malformed("the frame descriptor's checksum does not match"));
        }
        Ok(Descriptor { flags, block_most, content_len })
    }
}

/// Independent blocks of 64 KiB without checksums, as Kafka's Java client writes them: it refuses linked ones.
pub(super) fn compress(records: &[u8]) -> Vec<u8> {
    let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::with_capacity(records.len() / 2));
    encoder.write_all(records).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write")
}
