//! Finding offsets by time: ListOffsets' question, answered from the time indexes and one batch.

use bytes::Bytes;
use sluice_protocol::records::{Batch, BatchHeader, HEADER_LEN, TimestampType};

use crate::reader::{LogReader, ReadError, find};
use crate::scan::{Found, HEADER_WINDOW, Scan, ScanError};
use crate::segment::{NO_NEWEST, Segment};

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp: i64,
    /// The leader epoch it was written in.
    pub leader_epoch: i32,
}

/// Bytes a batch may take, decompressed, for a record to be looked for in it. A larger one is answered with its first offset: a
/// consumer that starts there reads some records too many and misses none.
const DECODE_LIMIT: usize = 16 << 20;

impl LogReader {
    /// The first record at or after `timestamp`; `None` when all are older.
    ///
    /// # Errors
    /// When the log does not read.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> Result<Option<TimestampOffset>, ReadError> {
        for segment in self.segments().iter() {
            let found = first_at_or_after(segment, timestamp).map_err(|error| self.read_error(segment, error))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The first record with the greatest timestamp; `None` in an empty log (KIP-734).
    ///
    /// # Errors
    /// When the log does not read.
    pub fn max_timestamp(&self) -> Result<Option<TimestampOffset>, ReadError> {
        let mut newest: Option<(i64, &Segment)> = None;
        let segments = self.segments();
        for segment in segments.iter().filter(|segment| segment.size() > 0) {
            let timestamp = segment.newest_record().map_err(|error| self.read_error(segment, error))?;
            if timestamp != NO_NEWEST && newest.is_none_or(|(known, _)| known < timestamp) {
                newest = Some((timestamp, segment));
            }
        }
        match newest {
            Some((timestamp, segment)) => {
                first_at_or_after(segment, timestamp).map_err(|error| self.read_error(segment, error))
            }
            None => Ok(None),
        }
    }
}

fn first_at_or_after(segment: &Segment, timestamp: i64) -> Result<Option<TimestampOffset>, ScanError> {
    let size = segment.size();
    if size == 0 || segment.greatest_timestamp()? < timestamp {
        return Ok(None);
    }
    let indexes = segment.indexes()?;
    let start = indexes.offsets.floor(indexes.times.search_from(timestamp));
    let file = segment.file()?;
    let mut scan = Scan::new(&*file, (start.offset, start.position), size, HEADER_WINDOW);
    let newer = |found: &Found| found.header.max_timestamp >= timestamp && found.header.count > 0;
    let Some(found) = find(&mut scan, newer)? else {
        return Ok(None);
    };
    let header = found.header;
    let (offset, timestamp) = match header.timestamp_type() {
        TimestampType::LogAppendTime => (header.base_offset, header.max_timestamp),
        TimestampType::CreateTime => {
            let mut body = vec![0; header.body_len()];
            file.read_exact_at(&mut body, found.position + HEADER_LEN as u64)?;
            record_at_or_after(header, body.into(), timestamp).unwrap_or((header.base_offset, header.max_timestamp))
        }
    };
    Ok(Some(TimestampOffset { offset, timestamp, leader_epoch: header.partition_leader_epoch }))
}

/// The first record of a batch at or after a time; `None` when the batch does not decode within the limit.
fn record_at_or_after(header: BatchHeader, body: Bytes, timestamp: i64) -> Option<(i64, i64)> {
    let batch = Batch { header, body: body.into() };
    let decoded = batch.decode(DECODE_LIMIT).ok()?;
    decoded.iter().map_while(Result::ok).find_map(|record| {
        let at = decoded.timestamp(&record);
        (at >= timestamp).then(|| (header.base_offset + i64::from(record.offset_delta), at))
    })
}
