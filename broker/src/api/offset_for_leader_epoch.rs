//! OffsetForLeaderEpoch (key 23): where a leader epoch ends, as the leader's log has it. A view's epochs are its base's.
//!
//! A consumer asks after a change of leader, with the epoch of the last record it has read: an end before its position says that
//! what it read there was cut away (KIP-320).

use sluice_protocol::ErrorCode;
use sluice_protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition,
    OffsetForLeaderTopicResult,
};

use super::Context;
use super::resolve::{NotFound, Source, Wanted};

pub(super) fn handle(cx: &Context<'_>, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let source = cx.resolve(Wanted::Name(&topic.topic));
        let partitions = topic.partitions.iter().map(|wanted| match find(cx, &source, wanted) {
            Ok((leader_epoch, end_offset)) => {
                EpochEndOffset { partition: wanted.partition, leader_epoch, end_offset, ..EpochEndOffset::default() }
            }
            Err(error_code) => EpochEndOffset { partition: wanted.partition, error_code, ..EpochEndOffset::default() },
        });
        OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: topic.topic }
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..OffsetForLeaderEpochResponse::default() }
}

/// No epoch, no offset.
const NONE: (i32, i64) = (-1, -1);

fn find(
    cx: &Context<'_>,
    source: &Result<Source, NotFound>,
    wanted: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ErrorCode> {
    let source = source.as_ref().map_err(|not_found| not_found.code())?;
    let partition = cx.partition(source.base(), wanted.partition)?;
    if let Some(code) = partition.check_leader_epoch(wanted.current_leader_epoch) {
        return Err(code);
    }
    Ok(partition.reader().end_offset_for_epoch(wanted.leader_epoch).unwrap_or(NONE))
}
