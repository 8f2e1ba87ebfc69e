//! ListPartitionReassignments (key 46): what is being reassigned (KIP-455).

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Asks for what is being reassigned of these topics; of all where null.
    pub ListPartitionReassignmentsRequest {
        timeout_ms: i32 [0..] = 60000,
        topics: Option<Vec<ListPartitionReassignmentsTopics>> [0..],
    }
    key ListPartitionReassignments, versions 0..=0, flexible 0.., response ListPartitionReassignmentsResponse
}

message! {
    /// Partitions of one topic.
    pub ListPartitionReassignmentsTopics {
        name: String [0..],
        partition_indexes: Vec<i32> [0..],
    }
}

message! {
    /// What is being reassigned.
    pub ListPartitionReassignmentsResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
        topics: Vec<OngoingTopicReassignment> [0..],
    }
    key ListPartitionReassignments, versions 0..=0, flexible 0..
}

message! {
    /// The partitions of one topic that are being reassigned.
    pub OngoingTopicReassignment {
        name: String [0..],
        partitions: Vec<OngoingPartitionReassignment> [0..],
    }
}

message! {
    /// A partition: all its replicas of the moment, and of these the ones that come and the ones that go.
    pub OngoingPartitionReassignment {
        partition_index: i32 [0..],
        replicas: Vec<i32> [0..],
        adding_replicas: Vec<i32> [0..],
        removing_replicas: Vec<i32> [0..],
    }
}
