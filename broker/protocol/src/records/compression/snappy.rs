//! Snappy, in the framing Kafka made its own: that of the Java library (xerial snappy-java, `SnappyOutputStream`).
//!
//! ```text
//!   82 'S' 'N' 'A' 'P' 'P' 'Y' 00 | version i32 | least compatible version i32 | (length i32 | snappy block)*
//! ```
//! Big-endian. It is what we write, since the Java consumer reads nothing else. librdkafka and some others send one bare
//! block, which we read.

use snap::raw::{Decoder, Encoder, decompress_len};

use super::Fault;

const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";

/// The one version there is, for both fields.
const VERSION: i32 = 1;

/// The magic and two versions.
const HEADER_LEN: usize = 16;

/// The Java library's block: what its readers have buffers for.
const BLOCK_LEN: usize = 32 * 1024;

/// A copy of three bytes makes at most 64: a block that claims more of each byte lies, and gets no buffer.
const MOST_EXPANSION: usize = 22;

pub(super) fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let mut records = Vec::new();
    if body.first_chunk() != Some(MAGIC) {
        append_block(&mut records, body, limit)?;
        return Ok(records);
    }
    let mut rest = body.get(HEADER_LEN..).ok_or_else(|| Fault::malformed("the header is cut off"))?;
    if body[8..HEADER_LEN] != [VERSION.to_be_bytes(), VERSION.to_be_bytes()].concat() {
        return Err(Fault::malformed("an unknown version of the framing"));
    }
    while !rest.is_empty() {
        let (length, after) =
            rest.split_first_chunk().ok_or_else(|| Fault::malformed("a block's length is cut off"))?;
        let length = i32::from_be_bytes(*length);
        let length =
            usize::try_from(length).map_err(|_| Fault::malformed(format_args!("a block of {length} bytes")))?;
        let (block, after) = after.split_at_checked(length).ok_or_else(|| Fault::malformed("a block is cut off"))?;
        append_block(&mut records, block, limit)?;
        rest = after;
    }
    Ok(records)
}

fn append_block(records: &mut Vec<u8>, block: &[u8], limit: usize) -> Result<(), Fault> {
    let size = decompress_len(block).map_err(Fault::malformed)?;
    if size > block.len().saturating_mul(MOST_EXPANSION) {
        return Err(Fault::malformed(format_args!("a block of {} bytes cannot hold {size}", block.len())));
    }
    let filled = records.len();
    if size > limit - filled {
        return Err(Fault::TooLarge);
    }
    records.resize(filled + size, 0);
    Decoder::new().decompress(block, &mut records[filled..]).map_err(Fault::malformed)?;
    Ok(())
}

pub(super) fn compress(records: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(HEADER_LEN + records.len() / 2);
    body.extend_from_slice(MAGIC);
    body.extend_from_slice(&VERSION.to_be_bytes());
    body.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = Encoder::new();
    for block in records.chunks(BLOCK_LEN) {
        let block = encoder.compress_vec(block).expect("32 KiB are within snappy's 4 GiB");
        body.extend_from_slice(&(block.len() as i32).to_be_bytes());
        body.extend_from_slice(&block);
    }
    body
}
