//! The messages, one file per call, each a table of its fields and the versions that have them.
//!
//! Fields, versions and defaults are those of Kafka 4.3's schemas; names are Kafka's in snake case. The exception is a field
//! that may be null and has no default of its own, which starts as null here. The structs are reached through this module;
//! should two calls come to share a name for different structs, through their calls' modules.

use crate::{ApiKey, Message};

pub mod alter_partition_reassignments;
pub mod api_versions;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod elect_leaders;
pub mod fetch;
pub mod find_coordinator;
pub mod incremental_alter_configs;
pub mod init_producer_id;
mod leader;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;

pub use alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopic, ReassignableTopicResponse,
};
pub use api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey};
pub use create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
pub use create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicConfigs, CreatableTopicResult,
    CreateTopicsRequest, CreateTopicsResponse,
};
pub use delete_topics::{DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse};
pub use describe_cluster::{DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse};
pub use describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};
pub use elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult, TopicPartitions,
};
pub use fetch::{
    AbortedTransaction, EpochEndOffset, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
    FetchableTopicResponse, ForgottenTopic, PartitionData, ReplicaState, SnapshotId,
};
pub use find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
pub use incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
pub use init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub use leader::{LeaderIdAndEpoch, NodeEndpoint};
pub use list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
    ListOffsetsTopicResponse,
};
pub use list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, ListPartitionReassignmentsTopics,
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
pub use metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
pub use offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderPartition, OffsetForLeaderTopic,
    OffsetForLeaderTopicResult,
};
pub use produce::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse,
    TopicProduceData, TopicProduceResponse,
};

/// The calls this codec has, each with its first and last version, as ApiVersions tells them.
///
/// Produce is told from 0 although its first version here is 3: librdkafka before 2.11.1 looks for version 0 and, not
/// finding it, quietly sends uncompressed (KAFKA-18659). Whoever then asks in 0 to 2 is refused.
pub const SUPPORTED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 0, last::<ProduceRequest>()),
    all::<FetchRequest>(),
    all::<ListOffsetsRequest>(),
    all::<MetadataRequest>(),
    all::<FindCoordinatorRequest>(),
    all::<ApiVersionsRequest>(),
    all::<CreateTopicsRequest>(),
    all::<DeleteTopicsRequest>(),
    all::<InitProducerIdRequest>(),
    all::<OffsetForLeaderEpochRequest>(),
    all::<DescribeConfigsRequest>(),
    all::<CreatePartitionsRequest>(),
    all::<ElectLeadersRequest>(),
    all::<IncrementalAlterConfigsRequest>(),
    all::<AlterPartitionReassignmentsRequest>(),
    all::<ListPartitionReassignmentsRequest>(),
    all::<DescribeClusterRequest>(),
];

const fn all<M: Message>() -> (ApiKey, i16, i16) {
    (M::KEY, *M::VERSIONS.start(), last::<M>())
}

const fn last<M: Message>() -> i16 {
    *M::VERSIONS.end()
}

#[cfg(test)]
mod tests;
