//! IncrementalAlterConfigs (key 44): change single settings of topics, and of brokers while they run (KIP-339, KIP-226). A
//! broker without a name stands for all.

use sluice_cluster::decide::{
    AlterBrokerConfigs, AlterBrokerConfigsError, AlterConfigsError, AlterTopicConfigs, ConfigChange,
};
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, AlterableConfig, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use super::describe_configs::{BROKER, TOPIC};
use super::resolve::{Source, Wanted};
use super::{Context, submit_code};
use crate::coordination::SubmitError;

type Refusal = (ErrorCode, String);

pub(super) async fn handle(
    cx: &Context<'_>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::new();
    for resource in &request.resources {
        let altered = alter(cx, resource, request.validate_only).await;
        let (error_code, error_message) = match altered {
            Ok(()) => (ErrorCode::None, None),
            Err((code, why)) => (code, Some(why)),
        };
        responses.push(AlterConfigsResourceResponse {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
        });
    }
    IncrementalAlterConfigsResponse { responses, ..IncrementalAlterConfigsResponse::default() }
}

async fn alter(cx: &Context<'_>, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let name = &resource.resource_name;
    let changes = resource.configs.iter().map(change).collect::<Result<Vec<_>, _>>()?;
    match resource.resource_type {
        TOPIC => {
            match cx.resolve(Wanted::Name(name)) {
                Ok(Source::Topic(_)) => {}
                Ok(Source::View { .. }) => {
                    let why = "a view's settings are changed with the view: sluice view create";
                    return Err((ErrorCode::PolicyViolation, why.to_owned()));
                }
                Err(not_found) => return Err((not_found.code(), format!("there is no topic `{name}`"))),
            }
            let altered = cx.shared.metadata.submit(AlterTopicConfigs { topic: name.clone(), changes, validate_only });
            altered.await.map(drop).map_err(|error| refused(&error, topic_code))
        }
        BROKER => {
            let broker = match name.as_str() {
                "" => None,
                id => Some(id.parse().map_err(|_| (ErrorCode::InvalidRequest, format!("`{id}` is no broker's id")))?),
            };
            let altered = cx.shared.metadata.submit(AlterBrokerConfigs { broker, changes, validate_only });
            altered.await.map_err(|error| refused(&error, broker_code))
        }
        other => Err((ErrorCode::InvalidRequest, format!("resources of type {other} have no settings here"))),
    }
}

fn change(config: &AlterableConfig) -> Result<(String, ConfigChange), Refusal> {
    let invalid = |why: String| (ErrorCode::InvalidConfig, why);
    let value = || config.value.clone().ok_or_else(|| invalid(format!("config {}: a value is needed", config.name)));
    let change = match config.config_operation {
        0 => ConfigChange::Set(value()?),
        1 => ConfigChange::Delete,
        2 => ConfigChange::Append(value()?),
        3 => ConfigChange::Subtract(value()?),
        other => return Err((ErrorCode::InvalidRequest, format!("config {}: no operation {other}", config.name))),
    };
    Ok((config.name.clone(), change))
}

fn refused<E: std::error::Error>(error: &SubmitError<E>, code: impl FnOnce(&E) -> ErrorCode) -> Refusal {
    let code = match error {
        SubmitError::Refused(refused) => code(refused),
        other => submit_code(other),
    };
    (code, error.to_string())
}

fn topic_code(error: &AlterConfigsError) -> ErrorCode {
    match error {
        AlterConfigsError::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
        AlterConfigsError::Repeated { .. } => ErrorCode::InvalidRequest,
        AlterConfigsError::Invalid(_) => ErrorCode::InvalidConfig,
    }
}

fn broker_code(error: &AlterBrokerConfigsError) -> ErrorCode {
    match error {
        AlterBrokerConfigsError::UnknownBroker { .. } => ErrorCode::InvalidRequest,
        AlterBrokerConfigsError::Repeated { .. } => ErrorCode::InvalidRequest,
        AlterBrokerConfigsError::Invalid(_) => ErrorCode::InvalidConfig,
        AlterBrokerConfigsError::FeatureLevel { .. } => ErrorCode::UnsupportedVersion,
    }
}
