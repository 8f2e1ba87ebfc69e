//! Fetch (key 1): read records.
//! Consumers and followers ask the same way; a replica id is believed only from a broker.

use crate::records::Part;
use crate::wire::message;
use crate::{ErrorCode, Uuid};

pub use super::leader::{LeaderIdAndEpoch, NodeEndpoint};

message! {
    /// Asks for records, to be answered when `min_bytes` are there or `max_wait_ms` have passed.
    pub FetchRequest {
        replica_id: i32 [0..=14] = -1,
        max_wait_ms: i32 [0..],
        min_bytes: i32 [0..],
        max_bytes: i32 [0..] = i32::MAX,
        isolation_level: i8 [0..],
        session_id: i32 [7..],
        session_epoch: i32 [7..] = -1,
        topics: Vec<FetchTopic> [0..],
        forgotten_topics_data: Vec<ForgottenTopic> [7..],
        rack_id: String [11..],
    }
    tagged {
        0 cluster_id: Option<String> [12..],
        1 replica_state: ReplicaState [15..],
    }
    key Fetch, versions 4..=18, flexible 12.., response FetchResponse
}

message! {
    /// Who a follower is, from version 15 on (KIP-903).
    pub ReplicaState {
        replica_id: i32 [15..] = -1,
        replica_epoch: i64 [15..] = -1,
    }
}

message! {
    /// The partitions wanted of one topic.
    pub FetchTopic {
        topic: String [0..=12],
        topic_id: Uuid [13..],
        partitions: Vec<FetchPartition> [0..],
    }
}

message! {
    /// One partition: from where, and how much.
    pub FetchPartition {
        partition: i32 [0..],
        current_leader_epoch: i32 [9..] = -1,
        fetch_offset: i64 [0..],
        last_fetched_epoch: i32 [12..] = -1,
        log_start_offset: i64 [5..] = -1,
        partition_max_bytes: i32 [0..],
    }
    tagged {
        0 replica_directory_id: Uuid [17..],
        1 high_watermark: i64 [18..] = i64::MAX,
    }
}

message! {
    /// Partitions to drop from an incremental session (KIP-227).
    pub ForgottenTopic {
        topic: String [7..=12],
        topic_id: Uuid [13..],
        partitions: Vec<i32> [7..],
    }
}

message! {
    /// Records, partition by partition.
    pub FetchResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [7..],
        session_id: i32 [7..],
        responses: Vec<FetchableTopicResponse> [0..],
    }
    tagged {
        0 node_endpoints: Vec<NodeEndpoint> [16..],
    }
    key Fetch, versions 4..=18, flexible 12..
}

message! {
    /// The partitions of one topic.
    pub FetchableTopicResponse {
        topic: String [0..=12],
        topic_id: Uuid [13..],
        partitions: Vec<PartitionData> [0..],
    }
}

message! {
    /// One partition's records, undecoded, and how far its log has come.
    pub PartitionData {
        partition_index: i32 [0..],
        error_code: ErrorCode [0..],
        high_watermark: i64 [0..],
        last_stable_offset: i64 [0..] = -1,
        log_start_offset: i64 [5..] = -1,
        aborted_transactions: Option<Vec<AbortedTransaction>> [0..],
        preferred_read_replica: i32 [11..] = -1,
        records: Vec<Part> [0..],
    }
    tagged {
        0 diverging_epoch: EpochEndOffset [12..],
        1 current_leader: LeaderIdAndEpoch [12..],
        2 snapshot_id: SnapshotId [12..],
    }
}

message! {
    /// Where the log of a follower parted from ours (KIP-595).
    pub EpochEndOffset {
        epoch: i32 [12..] = -1,
        end_offset: i64 [12..] = -1,
    }
}

message! {
    /// A snapshot to fetch instead (KIP-630). Only a metadata quorum sends one.
    pub SnapshotId {
        end_offset: i64 [0..] = -1,
        epoch: i32 [0..] = -1,
    }
}

message! {
    /// A transaction among these records that was aborted: what it wrote is to be skipped.
    pub AbortedTransaction {
        producer_id: i64 [0..],
        first_offset: i64 [0..],
    }
}
