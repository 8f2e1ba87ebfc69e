//! ListOffsets (key 2): the offset a timestamp stands for.

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Asks which offset a timestamp stands for.
    pub ListOffsetsRequest {
        replica_id: i32 [0..],
        isolation_level: i8 [2..],
        topics: Vec<ListOffsetsTopic> [0..],
        timeout_ms: i32 [10..],
    }
    key ListOffsets, versions 1..=11, flexible 6.., response ListOffsetsResponse
}

message! {
    /// The partitions of one topic.
    pub ListOffsetsTopic {
        name: String [0..],
        partitions: Vec<ListOffsetsPartition> [0..],
    }
}

message! {
    /// One partition, and a timestamp or one of the negative ones that stand for a place in the log.
    pub ListOffsetsPartition {
        partition_index: i32 [0..],
        current_leader_epoch: i32 [4..] = -1,
        timestamp: i64 [0..],
    }
}

message! {
    /// The offsets.
    pub ListOffsetsResponse {
        throttle_time_ms: i32 [2..],
        topics: Vec<ListOffsetsTopicResponse> [0..],
    }
    key ListOffsets, versions 1..=11, flexible 6..
}

message! {
    /// The partitions of one topic.
    pub ListOffsetsTopicResponse {
        name: String [0..],
        partitions: Vec<ListOffsetsPartitionResponse> [0..],
    }
}

message! {
    /// The first offset at or after the timestamp; -1 where there is none.
    pub ListOffsetsPartitionResponse {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
        timestamp: i64 [0..] = -1,
        offset: i64 [0..] = -1,
        leader_epoch: i32 [4..] = -1,
    }
}
