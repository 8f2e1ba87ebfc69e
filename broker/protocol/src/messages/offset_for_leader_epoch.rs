//! OffsetForLeaderEpoch (key 23): where a leader epoch ends in the log; how a consumer finds out that what it read was cut away
//! (KIP-320).

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Asks where epochs end.
    pub OffsetForLeaderEpochRequest {
        replica_id: i32 [3..] = -2,
        topics: Vec<OffsetForLeaderTopic> [0..],
    }
    key OffsetForLeaderEpoch, versions 2..=4, flexible 4.., response OffsetForLeaderEpochResponse
}

message! {
    /// The partitions of one topic.
    pub OffsetForLeaderTopic {
        topic: String [0..],
        partitions: Vec<OffsetForLeaderPartition> [0..],
    }
}

message! {
    /// One partition and an epoch of it.
    pub OffsetForLeaderPartition {
        partition: i32 [0..],
        current_leader_epoch: i32 [2..] = -1,
        leader_epoch: i32 [0..],
    }
}

message! {
    /// Where they end.
    pub OffsetForLeaderEpochResponse {
        throttle_time_ms: i32 [2..],
        topics: Vec<OffsetForLeaderTopicResult> [0..],
    }
    key OffsetForLeaderEpoch, versions 2..=4, flexible 4..
}

message! {
    /// The partitions of one topic.
    pub OffsetForLeaderTopicResult {
        topic: String [0..],
        partitions: Vec<EpochEndOffset> [0..],
    }
}

message! {
    /// The greatest epoch not above the one asked for, and where it ends; -1 for both where there is none.
    pub EpochEndOffset {
        error_code: ErrorCode [0..],
        partition: i32 [0..],
        leader_epoch: i32 [1..] = -1,
        end_offset: i64 [0..] = -1,
    }
}
