//! CreatePartitions (key 37): give topics more partitions (KIP-195).

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Topics to give more partitions, or with `validate_only` to say whether they could be given them.
    pub CreatePartitionsRequest {
        topics: Vec<CreatePartitionsTopic> [0..],
        timeout_ms: i32 [0..],
        validate_only: bool [0..],
    }
    key CreatePartitions, versions 0..=3, flexible 2.., response CreatePartitionsResponse
}

message! {
    /// A topic, how many partitions it is to have, and which brokers hold the new ones: the cluster's choice where null.
    pub CreatePartitionsTopic {
        name: String [0..],
        count: i32 [0..],
        assignments: Option<Vec<CreatePartitionsAssignment>> [0..],
    }
}

message! {
    /// The brokers for one new partition, the preferred leader first.
    pub CreatePartitionsAssignment {
        broker_ids: Vec<i32> [0..],
    }
}

message! {
    /// What became of each topic.
    pub CreatePartitionsResponse {
        throttle_time_ms: i32 [0..],
        results: Vec<CreatePartitionsTopicResult> [0..],
    }
    key CreatePartitions, versions 0..=3, flexible 2..
}

message! {
    /// A topic that has more partitions now, or why it has not.
    pub CreatePartitionsTopicResult {
        name: String [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
    }
}
