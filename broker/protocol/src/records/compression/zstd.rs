//! Zstandard, in whole frames.
//!
//! A frame is decompressed in one go, so that its window is the output itself: a stream decoder would allocate the window
//! a frame asks for, up to 128 MiB, before the first byte. Java's producer does not write the size into its frames, so the
//! room grows until everything fits.

use zstd::zstd_safe::{
    CompressionLevel, DCtx, compress as compress_frame, compress_bound, get_error_name, get_frame_content_size,
};

use super::{Fault, next_size};

/// Kafka's default for `compression.zstd.level`.
const LEVEL: CompressionLevel = 3;

/// The least buffer tried for a frame that does not tell its size.
const LEAST_BUFFER: usize = 4 * 1024;

/// `ZSTD_error_dstSize_tooSmall` of `zstd_errors.h`, whose values below 100 are stable, as the functions return it.
const TOO_SMALL: usize = 70usize.wrapping_neg();

pub(super) fn decompress(body: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let mut room = match get_frame_content_size(body) {
        Ok(Some(size)) => match usize::try_from(size) {
            Ok(size) if size <= limit => size,
            _ => return Err(Fault::TooLarge),
        },
        Ok(None) => next_size(body.len().max(LEAST_BUFFER / 4), limit).min(limit),
        Err(_) => return Err(Fault::malformed("not a zstd frame")),
    };
    let mut context = DCtx::try_create().ok_or_else(|| Fault::malformed("no memory for a zstd context"))?;
    loop {
        let mut records = Vec::with_capacity(room);
        match context.decompress(&mut records, body) {
            Ok(_) if records.len() > limit => return Err(Fault::TooLarge),
            Ok(_) => return Ok(records),
            Err(TOO_SMALL) if room < limit => room = next_size(room, limit),
            Err(TOO_SMALL) => return Err(Fault::TooLarge),
            Err(code) => return Err(Fault::malformed(get_error_name(code))),
        }
    }
}

pub(super) fn compress(records: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(compress_bound(records.len()));
    compress_frame(&mut body, records, LEVEL).expect("the bound leaves room for any input");
    body
}
