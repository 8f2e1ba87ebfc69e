//! DeleteTopics (key 20): delete topics.

use crate::wire::message;
use crate::{ErrorCode, Uuid};

message! {
    /// Topics to delete: `topics` from version 6 on, `topic_names` before.
    pub DeleteTopicsRequest {
        topics: Vec<DeleteTopicState> [6..],
        topic_names: Vec<String> [0..=5],
        timeout_ms: i32 [0..],
    }
    key DeleteTopics, versions 1..=6, flexible 4.., response DeleteTopicsResponse
}

message! {
    /// One topic, by name or, with a null name, by id.
    pub DeleteTopicState {
        name: Option<String> [6..],
        topic_id: Uuid [6..],
    }
}

message! {
    /// What became of each topic.
    pub DeleteTopicsResponse {
        throttle_time_ms: i32 [0..],
        responses: Vec<DeletableTopicResult> [0..],
    }
    key DeleteTopics, versions 1..=6, flexible 4..
}

message! {
    /// A topic that is gone, or why it is not.
    pub DeletableTopicResult {
        name: Option<String> [0..] nullable [6..],
        topic_id: Uuid [6..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [5..],
    }
}
