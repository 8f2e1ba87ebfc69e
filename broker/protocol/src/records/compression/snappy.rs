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
    // Every block declares what it becomes, so the whole is known before any of it is made.
    let mut len = 0usize;
    for block in blocks(body)? {
        len = len.saturating_add(declared_len(block?)?);
        if len > limit {
            return Err(Fault::TooLarge);
        }
    }
    let mut records = vec![0; len];
    let mut filled = 0;
    for block in blocks(body)? {
        filled += Decoder::new().decompress(block?, &mut records[filled..]).map_err(Fault::malformed)?;
    }
    Ok(records)
}

fn declared_len(block: &[u8]) -> Result<usize, Fault> {
    let len = decompress_len(block).map_err(Fault::malformed)?;
    if len > block.len().saturating_mul(MOST_EXPANSION) {
        return Err(Fault::malformed(format_args!("a block of {} bytes cannot hold {len}", block.len())));
    }
    Ok(len)
}

/// The blocks of a body; a bare one is its only block.
fn blocks(body: &[u8]) -> Result<Blocks<'_>, Fault> {
    if body.first_chunk() != Some(MAGIC) {
        return Ok(Blocks { bare: Some(body), framed: &[] });
    }
    let (header, framed) =
        body.split_at_checked(HEADER_LEN).ok_or_else(|| Fault::malformed("the header is cut off"))?;
    if header[MAGIC.len()..] != [VERSION.to_be_bytes(), VERSION.to_be_bytes()].concat() {
        return Err(Fault::malformed("an unknown version of the framing"));
    }
    Ok(Blocks { bare: None, framed })
}

struct Blocks<'a> {
    bare: Option<&'a [u8]>,
    framed: &'a [u8],
}

impl<'a> Blocks<'a> {
    fn next_framed(&mut self) -> Result<&'a [u8], Fault> {
        let (len, rest) = self.framed.split_first_chunk().ok_or_else(|| Fault::malformed("a length is cut off"))?;
        let len = i32::from_be_bytes(*len);
        let len = usize::try_from(len).map_err(|_| Fault::malformed(format_args!("a block of {len} bytes")))?;
        let (block, rest) = rest.split_at_checked(len).ok_or_else(|| Fault::malformed("a block is cut off"))?;
        self.framed = rest;
        Ok(block)
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<&'a [u8], Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.bare.take() {
            Some(block) => Some(Ok(block)),
            None if self.framed.is_empty() => None,
            None => Some(self.next_framed()),
        }
    }
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
