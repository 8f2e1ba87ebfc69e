//! Gzip (RFC 1952): one member or several, one after the other.

use std::io::{Read, Write};

use flate2::Compression as Level;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::Fault;

/// Kafka's default for `compression.gzip.level`.
const LEVEL: u32 = 6;

/// Deflate makes at most this many bytes of one (258 of two bits): a trailer that claims more lies.
const MOST_EXPANSION: usize = 1032;

/// The first buffer when the trailer tells nothing.
const LEAST_BUFFER: usize = 1024;

pub(super) fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let mut decoder = MultiGzDecoder::new(body);
    let mut records = vec![0; declared_size(body).clamp(LEAST_BUFFER, limit.max(LEAST_BUFFER)).min(limit)];
    let mut filled = 0;
    loop {
        if filled == records.len() {
            if filled == limit {
                // The limit is reached: one byte more is one too many, none is the end.
                let more = decoder.read(&mut [0]).map_err(Fault::malformed)?;
                return if more == 0 { Ok(records) } else { Err(Fault::TooLarge) };
            }
            // Exactly full at the end is the rule, since the trailer told the size. Whoever has more is given double.
            let mut probe = [0];
            if decoder.read(&mut probe).map_err(Fault::malformed)? == 0 {
                return Ok(records);
            }
            records.resize(filled.saturating_mul(2).clamp(filled + 1, limit), 0);
            records[filled] = probe[0];
            filled += 1;
            continue;
        }
        match decoder.read(&mut records[filled..]).map_err(Fault::malformed)? {
            0 => {
                records.truncate(filled);
                return Ok(records);
            }
            read => filled += read,
        }
    }
}

/// The last four bytes of a member: its size uncompressed, modulo 2^32. Cut to what deflate could make of these bytes.
fn declared_size(body: &[u8]) -> usize {
    let size = body.last_chunk::<4>().map_or(0, |trailer| u32::from_le_bytes(*trailer) as usize);
    size.min(body.len().saturating_mul(MOST_EXPANSION))
}

pub(super) fn compress(records: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(records.len() / 2), Level::new(LEVEL));
    encoder.write_all(records).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write")
}
