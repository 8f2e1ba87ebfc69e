//! Metadata (key 3): the brokers, the topics, and which broker leads what.

use crate::wire::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Asks about topics: those named, or all of them where `topics` is null (in version 0: empty).
    pub MetadataRequest {
        topics: Option<Vec<MetadataRequestTopic>> [0..] nullable [1..],
        allow_auto_topic_creation: bool [4..] = true,
        include_cluster_authorized_operations: bool [8..=10],
        include_topic_authorized_operations: bool [8..],
    }
    key Metadata, versions 0..=13, flexible 9.., response MetadataResponse
}

message! {
    /// One topic, by name or (from version 12, with a null name) by id.
    pub MetadataRequestTopic {
        topic_id: Uuid [10..],
        name: Option<String> [0..] nullable [10..],
    }
}

message! {
    /// The cluster as its clients see it.
    pub MetadataResponse {
        throttle_time_ms: i32 [3..],
        brokers: Vec<MetadataResponseBroker> [0..],
        cluster_id: Option<String> [2..],
        controller_id: i32 [1..] = -1,
        topics: Vec<MetadataResponseTopic> [0..],
        cluster_authorized_operations: i32 [8..=10] = i32::MIN,
        error_code: ErrorCode [13..],
    }
    key Metadata, versions 0..=13, flexible 9..
}

message! {
    /// A broker, at the address it advertises on the listener that was asked.
    pub MetadataResponseBroker {
        node_id: i32 [0..],
        host: String [0..],
        port: i32 [0..],
        rack: Option<String> [1..],
    }
}

message! {
    /// A topic, or why there is none of that name or id.
    pub MetadataResponseTopic {
        error_code: ErrorCode [0..],
        name: Option<String> [0..] nullable [12..],
        topic_id: Uuid [10..],
        is_internal: bool [1..],
        partitions: Vec<MetadataResponsePartition> [0..],
        topic_authorized_operations: i32 [8..] = i32::MIN,
    }
}

message! {
    /// A partition and where it lives.
    pub MetadataResponsePartition {
        error_code: ErrorCode [0..],
        partition_index: i32 [0..],
        leader_id: i32 [0..],
        leader_epoch: i32 [7..] = -1,
        replica_nodes: Vec<i32> [0..],
        isr_nodes: Vec<i32> [0..],
        offline_replicas: Vec<i32> [5..],
    }
}
