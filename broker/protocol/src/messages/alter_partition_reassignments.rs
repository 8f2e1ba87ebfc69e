//! AlterPartitionReassignments (key 45): replace the replicas of partitions while they serve (KIP-455).

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Partitions and the replicas they are to have.
    pub AlterPartitionReassignmentsRequest {
        timeout_ms: i32 [0..] = 60000,
        allow_replication_factor_change: bool [1..] = true,
        topics: Vec<ReassignableTopic> [0..],
    }
    key AlterPartitionReassignments, versions 0..=1, flexible 0.., response AlterPartitionReassignmentsResponse
}

message! {
    /// Partitions of one topic.
    pub ReassignableTopic {
        name: String [0..],
        partitions: Vec<ReassignablePartition> [0..],
    }
}

message! {
    /// A partition and its replicas, the preferred leader first; null cancels what is under way.
    pub ReassignablePartition {
        partition_index: i32 [0..],
        replicas: Option<Vec<i32>> [0..],
    }
}

message! {
    /// What became of each partition.
    pub AlterPartitionReassignmentsResponse {
        throttle_time_ms: i32 [0..],
        allow_replication_factor_change: bool [1..] = true,
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
        responses: Vec<ReassignableTopicResponse> [0..],
    }
    key AlterPartitionReassignments, versions 0..=1, flexible 0..
}

message! {
    /// The partitions of one topic.
    pub ReassignableTopicResponse {
        name: String [0..],
        partitions: Vec<ReassignablePartitionResponse> [0..],
    }
}

message! {
    /// A partition whose reassignment began or was cancelled, or why not.
    pub ReassignablePartitionResponse {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
    }
}
