//! CreateTopics (key 19): make topics, or say what would come of it (`validate_only`).

use std::collections::BTreeMap;

use sluice_cluster::decide::{CreateTopicError, CreateTopics, NewTopic, Placement, PlacementError, TopicCreated};
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use super::{Context, describe_configs, submit_code};
use crate::coordination::SubmitError;

/// Asks the broker for its own default, of partitions or of replicas (KIP-464).
const DEFAULT: i32 = -1;

pub(super) async fn handle(cx: &Context<'_>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut topics = Vec::new();
    let mut results: Vec<CreatableTopicResult> = Vec::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *counts.entry(&topic.name).or_default() += 1;
    }
    for topic in &request.topics {
        if counts.get(topic.name.as_str()).is_some_and(|count| *count > 1) {
            if results.iter().all(|result| result.name != topic.name) {
                results.push(refused(&topic.name, ErrorCode::InvalidRequest, "the topic is named twice".to_owned()));
            }
            continue;
        }
        match new_topic(cx, topic) {
            Ok(topic) => topics.push(topic),
            Err((code, why)) => results.push(refused(&topic.name, code, why)),
        }
    }
    if !topics.is_empty() {
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let change = CreateTopics { topics, validate_only: request.validate_only };
        match cx.shared.metadata.submit(change).await {
            Ok(made) => results.extend(made.into_iter().map(|(name, made)| match made {
                Ok(created) => describe(cx, name, &created),
                Err(error) => refused(&name, code(&error), error.to_string()),
            })),
            Err(error) => {
                let code = match &error {
                    SubmitError::Refused(_) => ErrorCode::PolicyViolation,
                    other => submit_code(other),
                };
                results.extend(names.iter().map(|name| refused(name, code, error.to_string())));
            }
        }
    }
    CreateTopicsResponse { topics: results, ..CreateTopicsResponse::default() }
}

fn new_topic(cx: &Context<'_>, topic: &CreatableTopic) -> Result<NewTopic, (ErrorCode, String)> {
    let config = &cx.shared.config.settings;
    let placement = if topic.assignments.is_empty() {
        let or_default = |asked: i32, default: i32| if asked == DEFAULT { default } else { asked };
        let replicas = or_default(i32::from(topic.replication_factor), config.default_replication_factor);
        Placement::Count {
            partitions: or_default(topic.num_partitions, config.num_partitions),
            replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
        }
    } else if topic.num_partitions != DEFAULT || i32::from(topic.replication_factor) != DEFAULT {
        let why = "with an assignment, the numbers of partitions and of replicas are -1";
        return Err((ErrorCode::InvalidRequest, why.to_owned()));
    } else {
        let given = topic.assignments.iter().map(|given| (given.partition_index, given.broker_ids.clone()));
        Placement::Manual(given.collect())
    };
    Ok(NewTopic {
        name: topic.name.clone(),
        placement,
        configs: topic.configs.iter().map(|config| (config.name.clone(), config.value.clone())).collect(),
        internal: false,
    })
}

fn describe(cx: &Context<'_>, name: String, created: &TopicCreated) -> CreatableTopicResult {
    let configs = describe_configs::of_topic(cx, &created.configs).into_iter().map(|config| CreatableTopicConfigs {
        name: config.name,
        value: config.value,
        read_only: config.read_only,
        config_source: config.config_source,
        is_sensitive: config.is_sensitive,
    });
    CreatableTopicResult {
        name,
        topic_id: created.id,
        num_partitions: i32::try_from(created.partitions.len()).unwrap_or(i32::MAX),
        replication_factor: created
            .partitions
            .first()
            .map_or(-1, |partition| i16::try_from(partition.replicas.len()).unwrap_or(i16::MAX)),
        configs: Some(configs.collect()),
        ..CreatableTopicResult::default()
    }
}

fn refused(name: &str, error_code: ErrorCode, why: String) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_owned(),
        error_code,
        error_message: Some(why),
        ..CreatableTopicResult::default()
    }
}

fn code(error: &CreateTopicError) -> ErrorCode {
    match error {
        CreateTopicError::Name(_) | CreateTopicError::Collides { .. } => ErrorCode::InvalidTopicException,
        CreateTopicError::Exists { .. } => ErrorCode::TopicAlreadyExists,
        CreateTopicError::Config(_) => ErrorCode::InvalidConfig,
        CreateTopicError::Placement(error) => placement_code(error),
    }
}

/// Also Metadata's, for topics made on first sight.
pub(super) fn placement_code(error: &PlacementError) -> ErrorCode {
    match error {
        PlacementError::Partitions { .. } => ErrorCode::InvalidPartitions,
        PlacementError::ReplicationFactor { .. } | PlacementError::TooFewBrokers { .. } => {
            ErrorCode::InvalidReplicationFactor
        }
        PlacementError::Indexes { .. }
        | PlacementError::NoReplicas { .. }
        | PlacementError::UnevenReplicas { .. }
        | PlacementError::RepeatedBroker { .. }
        | PlacementError::UnknownBroker { .. }
        | PlacementError::DrainingBroker { .. }
        | PlacementError::NoneServing { .. } => ErrorCode::InvalidReplicaAssignment,
    }
}
