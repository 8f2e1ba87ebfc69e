//! Produce (key 0): append records.
//! Versions 0 to 2 are not here: their records are of formats we do not keep. They are advertised all the same, see
//! [`super::SUPPORTED`].

use crate::records::Chunks;
use crate::wire::message;
use crate::{ErrorCode, Uuid};

pub use super::leader::{LeaderIdAndEpoch, NodeEndpoint};

message! {
    /// Records to append.
    pub ProduceRequest {
        transactional_id: Option<String> [0..],
        acks: i16 [0..],
        timeout_ms: i32 [0..],
        topic_data: Vec<TopicProduceData> [0..],
    }
    key Produce, versions 3..=13, flexible 9.., response ProduceResponse
}

message! {
    /// The records for one topic.
    pub TopicProduceData {
        name: String [0..=12],
        topic_id: Uuid [13..],
        partition_data: Vec<PartitionProduceData> [0..],
    }
}

message! {
    /// The records for one partition, undecoded.
    pub PartitionProduceData {
        index: i32 [0..],
        records: Option<Chunks> [0..],
    }
}

message! {
    /// Where the records went, partition by partition.
    pub ProduceResponse {
        responses: Vec<TopicProduceResponse> [0..],
        throttle_time_ms: i32 [0..],
    }
    tagged {
        0 node_endpoints: Vec<NodeEndpoint> [10..],
    }
    key Produce, versions 3..=13, flexible 9..
}

message! {
    /// The partitions of one topic.
    pub TopicProduceResponse {
        name: String [0..=12],
        topic_id: Uuid [13..],
        partition_responses: Vec<PartitionProduceResponse> [0..],
    }
}

message! {
    /// Where one partition's batch begins in the log, or why it is not there.
    pub PartitionProduceResponse {
        index: i32 [0..],
        error_code: ErrorCode [0..],
        base_offset: i64 [0..],
        log_append_time_ms: i64 [0..] = -1,
        log_start_offset: i64 [5..] = -1,
        record_errors: Vec<BatchIndexAndErrorMessage> [8..],
        error_message: Option<String> [8..],
    }
    tagged {
        0 current_leader: LeaderIdAndEpoch [10..],
    }
}

message! {
    /// A record for which its batch was refused (KIP-467).
    pub BatchIndexAndErrorMessage {
        batch_index: i32 [8..],
        batch_index_error_message: Option<String> [8..],
    }
}
