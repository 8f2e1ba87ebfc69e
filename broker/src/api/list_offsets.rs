//! ListOffsets (key 2): offsets by time, and the log's two ends. A view's are its base's.

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

pub(super) fn handle(cx: &Context<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let source = cx.resolve(Wanted::Name(&topic.name));
        let partitions = topic.partitions.iter().map(|wanted| answer(cx, &source, wanted)).collect();
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
    Ok(match wanted.timestamp {
        LATEST => Some(at(&partition, partition.high_watermark())),
        EARLIEST | EARLIEST_LOCAL => Some(at(&partition, partition.reader().log_start_offset())),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => None,
        MAX_TIMESTAMP => readable(&partition, partition.reader().max_timestamp())?,
        time if time >= 0 => readable(&partition, partition.reader().offset_for_timestamp(time))?,
        _ => return Err(ErrorCode::InvalidRequest),
    })
}

fn at(partition: &Partition, offset: i64) -> Found {
    Found { offset, timestamp: NONE, leader_epoch: partition.leader_epoch() }
}

/// What was found by time, if a consumer can read it already.
fn readable(
    partition: &Partition,
    found: Result<Option<TimestampOffset>, ReadError>,
) -> Result<Option<Found>, ErrorCode> {
    let found = found.map_err(|_| ErrorCode::KafkaStorageError)?;
    Ok(found.filter(|found| found.offset < partition.high_watermark()).map(|found| Found {
        offset: found.offset,
        timestamp: found.timestamp,
        leader_epoch: found.leader_epoch,
    }))
}
