//! IncrementalAlterConfigs (key 44): change single settings of topics and brokers (KIP-339).

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Settings to change, or with `validate_only` to say whether they could be.
    pub IncrementalAlterConfigsRequest {
        resources: Vec<AlterConfigsResource> [0..],
        validate_only: bool [0..],
    }
    key IncrementalAlterConfigs, versions 0..=1, flexible 1.., response IncrementalAlterConfigsResponse
}

message! {
    /// One topic or broker, and its settings.
    pub AlterConfigsResource {
        resource_type: i8 [0..],
        resource_name: String [0..],
        configs: Vec<AlterableConfig> [0..],
    }
}

message! {
    /// One setting, and what to do with it: 0 sets it, 1 takes it back to its default, 2 and 3 add words to a list and take
    /// them away.
    pub AlterableConfig {
        name: String [0..],
        config_operation: i8 [0..],
        value: Option<String> [0..],
    }
}

message! {
    /// What became of each topic and broker.
    pub IncrementalAlterConfigsResponse {
        throttle_time_ms: i32 [0..],
        responses: Vec<AlterConfigsResourceResponse> [0..],
    }
    key IncrementalAlterConfigs, versions 0..=1, flexible 1..
}

message! {
    /// A topic or broker whose settings are changed, or why they are not.
    pub AlterConfigsResourceResponse {
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
        resource_type: i8 [0..],
        resource_name: String [0..],
    }
}
