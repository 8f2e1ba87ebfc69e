//! Moving a client on where there is nothing to show.
//!
//! A gate that drops every record of a batch leaves an empty batch in the log, for its offsets and its sequences. librdkafka
//! takes an answer of nothing but empty batches for one that did not fit, doubles its fetch size, and from the eleventh on
//! raises MSG_SIZE_TOO_LARGE. An empty batch with the control bit set it takes for what it is, and so do the Java client and
//! sarama: such a batch, over the whole span, is sent in the others' stead.

use sluice_protocol::ErrorCode;
use sluice_protocol::records::{BatchHeader, HEADER_LEN, Part, empty_control_batch};
use sluice_storage::Slice;

/// The answer for a client at `first_offset` when everything below `next_offset` was passed over.
pub(super) fn batch(first_offset: i64, next_offset: i64, leader_epoch: i32) -> Vec<Part> {
    empty_control_batch(first_offset, next_offset - 1, leader_epoch).to_parts().into_iter().map(Part::Bytes).collect()
}

/// Headers looked at for one answer: a client is moved on over so many empty batches at a time.
const HEADERS_MAX: usize = 1_024;

/// What was read, or, if it is nothing but empty batches, the advance over them.
///
/// Costs a division for an ordinary answer: only one whose size is a multiple of an empty batch's is looked into.
pub(super) fn over_emptied_batches(slice: Slice, leader_epoch: i32) -> Result<Vec<Part>, ErrorCode> {
    if slice.bytes == 0 || !slice.bytes.is_multiple_of(HEADER_LEN) {
        return Ok(ranges(slice));
    }
    let mut span: Option<(i64, i64)> = None;
    let mut looked_at = 0;
    for range in &slice.parts {
        let mut header = [0; HEADER_LEN];
        for at in (0..range.len).step_by(HEADER_LEN) {
            if at + HEADER_LEN > range.len {
                return Ok(ranges(slice));
            }
            if looked_at == HEADERS_MAX {
                break;
            }
            looked_at += 1;
            range.read_at(&mut header, at).map_err(|_| ErrorCode::KafkaStorageError)?;
            match BatchHeader::parse(&header) {
                Ok(header) if header.size() == HEADER_LEN && !header.is_control() => {
                    let first = span.map_or(header.base_offset, |(first, _)| first);
                    span = Some((first, header.next_offset()));
                }
                // Records, or something for the client to judge.
                Ok(_) | Err(_) => return Ok(ranges(slice)),
            }
        }
    }
    Ok(span.map_or_else(Vec::new, |(first, next)| batch(first, next, leader_epoch)))
}

fn ranges(slice: Slice) -> Vec<Part> {
    slice.parts.into_iter().map(Part::File).collect()
}
