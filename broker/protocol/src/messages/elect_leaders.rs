//! ElectLeaders (key 43): have partitions led by their preferred replicas, or by any that is alive (KIP-460).

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Partitions to elect leaders for; null means all that need one. Type 0 elects the preferred replica, 1 any that is
    /// alive; before version 1 there was only the first.
    pub ElectLeadersRequest {
        election_type: i8 [1..],
        topic_partitions: Option<Vec<TopicPartitions>> [0..],
        timeout_ms: i32 [0..] = 60000,
    }
    key ElectLeaders, versions 0..=2, flexible 2.., response ElectLeadersResponse
}

message! {
    /// Partitions of one topic.
    pub TopicPartitions {
        topic: String [0..],
        partitions: Vec<i32> [0..],
    }
}

message! {
    /// What became of the elections.
    pub ElectLeadersResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [1..],
        replica_election_results: Vec<ReplicaElectionResult> [0..],
    }
    key ElectLeaders, versions 0..=2, flexible 2..
}

message! {
    /// The elections of one topic.
    pub ReplicaElectionResult {
        topic: String [0..],
        partition_result: Vec<PartitionResult> [0..],
    }
}

message! {
    /// A partition that is led now, or why it is not.
    pub PartitionResult {
        partition_id: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
    }
}
