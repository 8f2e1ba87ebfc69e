//! AlterPartitionReassignments (key 45): give partitions other replicas while they serve, or take that back (KIP-455). The
//! answer says that it has begun; ListPartitionReassignments tells how it goes on.

use sluice_cluster::decide::{AlterReassignments, ReassignError};
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartitionResponse,
    ReassignableTopic, ReassignableTopicResponse,
};

use super::{Context, submit_code};
use crate::coordination::SubmitError;

pub(super) async fn handle(
    cx: &Context<'_>,
    request: AlterPartitionReassignmentsRequest,
) -> AlterPartitionReassignmentsResponse {
    let known = |topic: &ReassignableTopic| cx.image.topic(&topic.name).map(|topic| topic.id);
    let partitions = request.topics.iter().filter_map(|topic| {
        let id = known(topic)?;
        Some(topic.partitions.iter().map(move |one| (id, one.partition_index, one.replicas.clone())))
    });
    let change = AlterReassignments {
        partitions: partitions.flatten().collect(),
        allow_replication_factor_change: request.allow_replication_factor_change,
    };
    let response = AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        ..AlterPartitionReassignmentsResponse::default()
    };
    let mut results = match cx.shared.metadata.submit(change).await {
        Ok(results) => results.into_iter(),
        Err(error) => {
            let error_code = match &error {
                SubmitError::Refused(_) => ErrorCode::PolicyViolation,
                other => submit_code(other),
            };
            return AlterPartitionReassignmentsResponse {
                error_code,
                error_message: Some(error.to_string()),
                ..response
            };
        }
    };
    let responses = request.topics.iter().map(|topic| {
        let is_known = known(topic).is_some();
        let partitions = topic.partitions.iter().map(|one| {
            let result = if is_known { results.next() } else { None };
            answer(&topic.name, one.partition_index, result)
        });
        ReassignableTopicResponse { name: topic.name.clone(), partitions: partitions.collect() }
    });
    AlterPartitionReassignmentsResponse { responses: responses.collect(), ..response }
}

/// There is no result for a partition of a topic that there is not.
fn answer(
    topic: &str,
    partition_index: i32,
    result: Option<Result<(), ReassignError>>,
) -> ReassignablePartitionResponse {
    let (error_code, error_message) = match result {
        Some(Ok(())) => (ErrorCode::None, None),
        Some(Err(error)) => (code(&error), Some(error.to_string())),
        None => (ErrorCode::UnknownTopicOrPartition, Some(format!("there is no topic `{topic}`"))),
    };
    ReassignablePartitionResponse { partition_index, error_code, error_message }
}

fn code(error: &ReassignError) -> ErrorCode {
    match error {
        ReassignError::Unknown { .. } => ErrorCode::UnknownTopicOrPartition,
        ReassignError::Replicas(_) | ReassignError::NobodyInSync { .. } => ErrorCode::InvalidReplicaAssignment,
        ReassignError::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
        ReassignError::NotReassigning { .. } => ErrorCode::NoReassignmentInProgress,
    }
}
