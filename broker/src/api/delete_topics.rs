//! DeleteTopics (key 20): delete topics, by name or by id. A view is not deleted this way.

use sluice_cluster::decide::{DeleteTopicError, DeleteTopics, TopicRef};
use sluice_protocol::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use sluice_protocol::{ErrorCode, Uuid};

use super::{Context, submit_code};

pub(super) async fn handle(cx: &Context<'_>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    // Up to version 5 names come in a list of their own.
    let named = request.topic_names.into_iter().map(TopicRef::Name);
    let asked = request.topics.into_iter().map(|topic| match topic.name {
        Some(name) => TopicRef::Name(name),
        None => TopicRef::Id(topic.topic_id),
    });
    let topics: Vec<TopicRef> = named.chain(asked).collect();
    let (internal, topics): (Vec<_>, Vec<_>) = topics.into_iter().partition(|topic| is_internal(cx, topic));
    let mut responses: Vec<DeletableTopicResult> = internal
        .iter()
        .map(|topic| refused(topic, ErrorCode::TopicAuthorizationFailed, "it is the broker's own topic".to_owned()))
        .collect();
    match cx.shared.metadata.submit(DeleteTopics { topics: topics.clone() }).await {
        Ok(deleted) => responses.extend(deleted.into_iter().map(|(asked, deleted)| match deleted {
            Ok((name, topic_id)) => {
                DeletableTopicResult { name: Some(name), topic_id, ..DeletableTopicResult::default() }
            }
            Err(error) => refused(&asked, code(&asked, &error), error.to_string()),
        })),
        Err(error) => {
            responses.extend(topics.iter().map(|topic| refused(topic, submit_code(&error), error.to_string())));
        }
    }
    DeleteTopicsResponse { responses, ..DeleteTopicsResponse::default() }
}

fn is_internal(cx: &Context<'_>, topic: &TopicRef) -> bool {
    let topic = match topic {
        TopicRef::Name(name) => cx.image.topic(name),
        TopicRef::Id(id) => cx.image.topic_by_id(*id),
    };
    topic.is_some_and(|topic| topic.internal)
}

fn refused(asked: &TopicRef, error_code: ErrorCode, why: String) -> DeletableTopicResult {
    let (name, topic_id) = match asked {
        TopicRef::Name(name) => (Some(name.clone()), Uuid::ZERO),
        TopicRef::Id(id) => (None, *id),
    };
    DeletableTopicResult { name, topic_id, error_code, error_message: Some(why) }
}

fn code(asked: &TopicRef, error: &DeleteTopicError) -> ErrorCode {
    match (error, asked) {
        (DeleteTopicError::Unknown { .. }, TopicRef::Name(_)) => ErrorCode::UnknownTopicOrPartition,
        (DeleteTopicError::Unknown { .. }, TopicRef::Id(_)) => ErrorCode::UnknownTopicId,
        (DeleteTopicError::IsView { .. }, _) => ErrorCode::PolicyViolation,
    }
}
