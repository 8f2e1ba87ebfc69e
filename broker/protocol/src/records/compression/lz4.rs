//! The LZ4 frame format (lz4 repository, `doc/lz4_Frame_format.md`, version 1.6), read straight into the records' buffer.
//!
//! ```text
//!   magic u32 | flags u8 | block size u8 | content size u64? | checksum u8 | (size u32 | block | xxh32?)* | 0u32 | xxh32?
//! ```
//! Little-endian. Read by hand rather than through a stream decoder: that keeps buffers of up to 12 MiB beside the output,
//! and takes a frame without its end mark for a whole one, which the Java consumer does not.

use std::io::Write;

use lz4_flex::block::{DecompressError, decompress_into, decompress_into_with_dict};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use super::{Fault, next_size};

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

/// The least buffer tried for a block whose size nothing tells.
const LEAST_BUFFER: usize = 4 * 1024;

pub(super) fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let mut frame = Frame { rest: body };
    let descriptor = frame.descriptor()?;
    let mut records = Vec::new();
    loop {
        let size = frame.u32()?;
        if size == 0 {
            break;
        }
        let block = frame.take((size & !STORED) as usize)?;
        if block.len() > descriptor.block_most {
            return Err(Fault::malformed(format_args!("a block of {} bytes", block.len())));
        }
        if descriptor.flags & BLOCK_CHECKSUMS != 0 {
            frame.checksum(block)?;
        }
        if size & STORED == 0 {
            append_block(&mut records, block, &descriptor, limit)?;
        } else if block.len() > limit - records.len() {
            return Err(Fault::TooLarge);
        } else {
            records.extend_from_slice(block);
        }
    }
    if descriptor.flags & CONTENT_CHECKSUM != 0 {
        frame.checksum(&records)?;
    }
    match (frame.rest.len(), descriptor.content_size) {
        (0, None) => Ok(records),
        (0, Some(size)) if size == records.len() as u64 => Ok(records),
        (0, Some(size)) => Err(Fault::malformed(format_args!("{size} bytes declared, {} found", records.len()))),
        (more, _) => Err(Fault::malformed(format_args!("{more} bytes after the frame"))),
    }
}

/// Decompresses a block to the end of `records`. Its size is not written anywhere, so the room for it grows until it fits,
/// up to the frame's block size or the limit.
fn append_block(records: &mut Vec<u8>, block: &[u8], descriptor: &Descriptor, limit: usize) -> Result<(), Fault> {
    let filled = records.len();
    let most = descriptor.block_most.min(limit - filled);
    let mut room = next_size(block.len().max(LEAST_BUFFER / 4), most).min(most);
    loop {
        records.resize(filled + room, 0);
        let (before, output) = records.split_at_mut(filled);
        let outcome = if descriptor.flags & INDEPENDENT != 0 || before.is_empty() {
            decompress_into(block, output)
        } else {
            decompress_into_with_dict(block, output, &before[before.len().saturating_sub(WINDOW)..])
        };
        match outcome {
            Ok(size) => {
                records.truncate(filled + size);
                return Ok(());
            }
            Err(DecompressError::OutputTooSmall { .. }) if room < most => {
                room = next_size(room, most);
            }
            Err(DecompressError::OutputTooSmall { .. }) if most < descriptor.block_most => {
                return Err(Fault::TooLarge);
            }
            Err(cause) => return Err(Fault::malformed(cause)),
        }
    }
}

struct Descriptor {
    flags: u8,
    block_most: usize,
    content_size: Option<u64>,
}

/// What is left of a frame.
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

    fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_le_bytes)
    }

    fn checksum(&mut self, of: &[u8]) -> Result<(), Fault> {
        if self.u32()? == XxHash32::oneshot(0, of) {
            Ok(())
        } else {
            Err(Fault::malformed("a checksum does not match"))
        }
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
        let content_size = if flags & CONTENT_SIZE == 0 { None } else { Some(u64::from_le_bytes(self.array()?)) };
        let summed = &from[..from.len() - self.rest.len()];
        let [checksum] = self.array()?;
        if checksum != (XxHash32::oneshot(0, summed) >> 8) as u8 {
            return Err(Fault::malformed("the frame descriptor's checksum does not match"));
        }
        Ok(Descriptor { flags, block_most, content_size })
    }
}

/// Independent blocks of 64 KiB without checksums, as Kafka's Java client writes them: it refuses linked ones.
pub(super) fn compress(records: &[u8]) -> Vec<u8> {
    let frame = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(frame, Vec::with_capacity(records.len() / 2));
    encoder.write_all(records).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write")
}
