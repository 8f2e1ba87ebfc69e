//! ListOffsets (key 2): offsets by time, and the log's two ends. A view's are its base's.
//!
//! A leader that has just been elected does not know yet how far consumers have read from the one before it. Until it does, what
//! it would call the latest might lie behind that, so it says that the offset is not available (KIP-207).

use sluice_protocol::ErrorCode;
use sluice_protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use sluice_storage::{ReadError, TimestampOffset};

use super::Context;
use super::resolve::{NotFound, Source, Wanted};
use crate::partition::Partition;

/// The end of what a consumer can read.
const LATEST: i64 = -1;
/// The log's first offset.
const EARLIEST: i64 = -2;
/// The offset of the record with the greatest timestamp (KIP-734).
const MAX_TIMESTAMP: i64 = -3;
/// The first offset on this broker's own disk, as opposed to tiered storage (KIP-405): there is no other.
const EARLIEST_LOCAL: i64 = -4;
/// The last offset in tiered storage (KIP-1005), and the first one yet to be moved there (KIP-1023): there is none.
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// No offset, no timestamp.
const NONE: i64 = -1;

/// The version from which clients know that an offset may be unavailable; older ones are told that there is no leader yet.
const UNAVAILABLE_FROM: i16 = 5;

pub(super) fn handle(cx: &Context<'_>, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let source = cx.resolve(Wanted::Name(&topic.name));
        let answer = |wanted| {
            let mut answer = answer(cx, &source, wanted);
            if answer.error_code == ErrorCode::OffsetNotAvailable && version < UNAVAILABLE_FROM {
                answer.error_code = ErrorCode::LeaderNotAvailable;
            }
            answer
        };
        let partitions = topic.partitions.iter().map(answer).collect();
        ListOffsetsTopicResponse { name: topic.name, partitions }
    });
    ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() }
}

fn answer(
    cx: &Context<'_>,
    source: &Result<Source, NotFound>,
    wanted: &ListOffsetsPartition,
) -> ListOffsetsPartitionResponse {
    let empty = ListOffsetsPartitionResponse {
        partition_index: wanted.partition_index,
        timestamp: NONE,
        offset: NONE,
        leader_epoch: -1,
        ..ListOffsetsPartitionResponse::default()
    };
    match find(cx, source, wanted) {
        Ok(Some(Found { offset, timestamp, leader_epoch })) => {
            ListOffsetsPartitionResponse { offset, timestamp, leader_epoch, ..empty }
        }
        Ok(None) => empty,
        Err(error_code) => ListOffsetsPartitionResponse { error_code, ..empty },
    }
}

struct Found {
    offset: i64,
    timestamp: i64,
    leader_epoch: i32,
}

fn find(
    cx: &Context<'_>,
    source: &Result<Source, NotFound>,
    wanted: &ListOffsetsPartition,
) -> Result<Option<Found>, ErrorCode> {
    let source = source.as_ref().map_err(|not_found| not_found.code())?;
    let partition = cx.partition(source.base(), wanted.partition_index)?;
    if let Some(code) = partition.check_leader_epoch(wanted.current_leader_epoch) {
        return Err(code);
    }
    let latest = || partition.readable_latest().ok_or(ErrorCode::OffsetNotAvailable);
    Ok(match wanted.timestamp {
        LATEST => Some(at(&partition, latest()?)),
        EARLIEST | EARLIEST_LOCAL => Some(at(&partition, partition.reader().log_start_offset())),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => None,
        MAX_TIMESTAMP => readable(partition.reader().max_timestamp(), latest()?)?,
        time if time >= 0 => readable(partition.reader().offset_for_timestamp(time), latest()?)?,
        _ => return Err(ErrorCode::InvalidRequest),
    })
}

fn at(partition: &Partition, offset: i64) -> Found {
    Found { offset, timestamp: NONE, leader_epoch: partition.leader_epoch() }
}

/// What was found by time, if a consumer can read it already.
fn readable(found: Result<Option<TimestampOffset>, ReadError>, latest: i64) -> Result<Option<Found>, ErrorCode> {
    let found = found.map_err(|_| ErrorCode::KafkaStorageError)?;
    Ok(found.filter(|found| found.offset < latest).map(|found| Found {
        offset: found.offset,
        timestamp: found.timestamp,
        leader_epoch: found.leader_epoch,
    }))
}
