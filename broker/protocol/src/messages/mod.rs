//! The messages, one file per call, each a table of its fields and the versions that have them.
//!
//! Fields, versions and defaults are those of Kafka 4.3's schemas; names are Kafka's in snake case. The exception is a field
//! that may be null and has no default of its own, which starts as null here.

use crate::{ApiKey, Message};

pub mod api_versions;
pub mod create_topics;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod fetch;
pub mod find_coordinator;
pub mod init_producer_id;
mod leader;
pub mod list_offsets;
pub mod metadata;
pub mod produce;

pub use api_versions::{ApiVersionsRequest, ApiVersionsResponse};
pub use create_topics::{CreateTopicsRequest, CreateTopicsResponse};
pub use delete_topics::{DeleteTopicsRequest, DeleteTopicsResponse};
pub use describe_cluster::{DescribeClusterRequest, DescribeClusterResponse};
pub use describe_configs::{DescribeConfigsRequest, DescribeConfigsResponse};
pub use fetch::{FetchRequest, FetchResponse};
pub use find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
pub use init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
pub use list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
pub use metadata::{MetadataRequest, MetadataResponse};
pub use produce::{ProduceRequest, ProduceResponse};

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
    all::<DescribeConfigsRequest>(),
    all::<DescribeClusterRequest>(),
];

const fn all<M: Message>() -> (ApiKey, i16, i16) {
    (M::KEY, *M::VERSIONS.start(), last::<M>())
}

const fn last<M: Message>() -> i16 {
    *M::VERSIONS.end()
}
