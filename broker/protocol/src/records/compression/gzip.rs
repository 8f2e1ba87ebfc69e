//! Gzip (RFC 1952): one member or several, one after the other.

use std::io::{Read, Write};

use flate2::Compression as Level;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Fault, next_size};

/// Kafka's default for `compression.gzip.level`.
const LEVEL: u32 = 6;

/// Deflate makes at most this many bytes of one (258 of two bits): a trailer that claims more lies.
const MOST_EXPANSION: usize = 1032;

pub(super) fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let mut room = declared_len(body).min(limit);
    loop {
        match decompress_into(vec![0; room], body)? {
            Some(records) => return Ok(records),
            None if room == limit => return Err(Fault::TooLarge),
            None => room = next_size(room, limit),
        }
    }
}

/// Fills `records`, cut to what there is; nothing when it does not fit.
fn decompress_into(mut records: Vec<u8>, body: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut decoder = MultiGzDecoder::new(body);
    let mut filled = 0;
    while filled < records.len() {
        match decoder.read(&mut records[filled..]).map_err(Fault::malformed)? {
            0 => break,
            read => filled += read,
        }
    }
    // The checksum is compared only when the end is read, also by a buffer that was full before.
    let more = decoder.read(&mut [0]).map_err(Fault::malformed)?;
    records.truncate(filled);
    Ok((more == 0).then_some(records))
}

/// The last four bytes of a member: its length uncompressed, modulo 2^32. Cut to what deflate could make of these bytes.
/// Of several members it is that of the last, and of no gzip at all anything.
fn declared_len(body: &[u8]) -> usize {
    let len = body.last_chunk::<4>().map_or(0, |trailer| u32::from_le_bytes(*trailer) as usize);
    len.min(body.len().saturating_mul(MOST_EXPANSION))
}

pub(super) fn compress(records: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(records.len() / 2), Level::new(LEVEL));
    encoder.write_all(records).expect("a Vec takes every write");
    encoder.finish().expect("a Vec takes every write")
}
