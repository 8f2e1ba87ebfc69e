//! CreateTopics (key 19): create topics.

use crate::wire::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Topics to create, or with `validate_only` to say whether they could be.
    pub CreateTopicsRequest {
        topics: Vec<CreatableTopic> [0..],
        timeout_ms: i32 [0..] = 60000,
        validate_only: bool [0..],
    }
    key CreateTopics, versions 2..=7, flexible 5.., response CreateTopicsResponse
}

message! {
    /// A topic; counts of -1 mean the broker's defaults (KIP-464).
    pub CreatableTopic {
        name: String [0..],
        num_partitions: i32 [0..],
        replication_factor: i16 [0..],
        assignments: Vec<CreatableReplicaAssignment> [0..],
        configs: Vec<CreatableTopicConfig> [0..],
    }
}

message! {
    /// The brokers for one partition, the preferred leader first.
    pub CreatableReplicaAssignment {
        partition_index: i32 [0..],
        broker_ids: Vec<i32> [0..],
    }
}

message! {
    /// A setting that differs from the broker's.
    pub CreatableTopicConfig {
        name: String [0..],
        value: Option<String> [0..],
    }
}

message! {
    /// What became of each topic.
    pub CreateTopicsResponse {
        throttle_time_ms: i32 [0..],
        topics: Vec<CreatableTopicResult> [0..],
    }
    key CreateTopics, versions 2..=7, flexible 5..
}

message! {
    /// A topic as it was created (KIP-525), or why it was not.
    pub CreatableTopicResult {
        name: String [0..],
        topic_id: Uuid [7..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
        num_partitions: i32 [5..] = -1,
        replication_factor: i16 [5..] = -1,
        configs: Option<Vec<CreatableTopicConfigs>> [5..],
    }
    tagged {
        0 topic_config_error_code: ErrorCode [5..],
    }
}

message! {
    /// A setting the topic has.
    pub CreatableTopicConfigs {
        name: String [5..],
        value: Option<String> [5..],
        read_only: bool [5..],
        config_source: i8 [5..] = -1,
        is_sensitive: bool [5..],
    }
}
