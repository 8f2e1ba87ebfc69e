//! CreatePartitions (key 37): give topics more partitions, or say what would come of it (`validate_only`).

use sluice_cluster::decide::{CreatePartitions, CreatePartitionsError, MorePartitions};
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

use super::create_topics::placement_code;
use super::{Context, submit_code};
use crate::coordination::SubmitError;

pub(super) async fn handle(cx: &Context<'_>, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let names: Vec<String> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let topics = request.topics.into_iter().map(more).collect();
    let change = CreatePartitions { topics, validate_only: request.validate_only };
    let results = match cx.shared.metadata.submit(change).await {
        Ok(made) => made.into_iter().map(|(name, made)| match made {
            Ok(_) => CreatePartitionsTopicResult { name, ..CreatePartitionsTopicResult::default() },
            Err(error) => refused(name, code(&error), error.to_string()),
        }),
        Err(error) => {
            let code = match &error {
                SubmitError::Refused(_) => ErrorCode::PolicyViolation,
                other => submit_code(other),
            };
            let results = names.into_iter().map(|name| refused(name, code, error.to_string())).collect();
            return CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() };
        }
    };
    CreatePartitionsResponse { results: results.collect(), ..CreatePartitionsResponse::default() }
}

fn more(topic: CreatePartitionsTopic) -> MorePartitions {
    let assignments = topic.assignments.map(|given| given.into_iter().map(|partition| partition.broker_ids).collect());
    MorePartitions { topic: topic.name, count: topic.count, assignments }
}

fn refused(name: String, error_code: ErrorCode, why: String) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult { name, error_code, error_message: Some(why) }
}

fn code(error: &CreatePartitionsError) -> ErrorCode {
    match error {
        CreatePartitionsError::Unknown { .. } => ErrorCode::UnknownTopicOrPartition,
        CreatePartitionsError::IsView { .. } => ErrorCode::PolicyViolation,
        CreatePartitionsError::Internal { .. } => ErrorCode::TopicAuthorizationFailed,
        CreatePartitionsError::Twice => ErrorCode::InvalidRequest,
        CreatePartitionsError::NotMore { .. } => ErrorCode::InvalidPartitions,
        CreatePartitionsError::Assignments { .. } => ErrorCode::InvalidReplicaAssignment,
        CreatePartitionsError::Placement(error) => placement_code(error),
    }
}
