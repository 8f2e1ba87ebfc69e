//! DescribeConfigs (key 32): the settings of topics and brokers, and where each comes from.

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Asks for the settings of topics and brokers.
    pub DescribeConfigsRequest {
        resources: Vec<DescribeConfigsResource> [0..],
        include_synonyms: bool [0..],
        include_documentation: bool [3..],
    }
    key DescribeConfigs, versions 1..=4, flexible 4.., response DescribeConfigsResponse
}

message! {
    /// One topic or broker, and the settings wanted: all where `configuration_keys` is null.
    pub DescribeConfigsResource {
        resource_type: i8 [0..],
        resource_name: String [0..],
        configuration_keys: Option<Vec<String>> [0..],
    }
}

message! {
    /// The settings.
    pub DescribeConfigsResponse {
        throttle_time_ms: i32 [0..],
        results: Vec<DescribeConfigsResult> [0..],
    }
    key DescribeConfigs, versions 1..=4, flexible 4..
}

message! {
    /// The settings of one topic or broker.
    pub DescribeConfigsResult {
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
        resource_type: i8 [0..],
        resource_name: String [0..],
        configs: Vec<DescribeConfigsResourceResult> [0..],
    }
}

message! {
    /// One setting and where its value comes from.
    pub DescribeConfigsResourceResult {
        name: String [0..],
        value: Option<String> [0..],
        read_only: bool [0..],
        config_source: i8 [0..] = -1,
        is_sensitive: bool [0..],
        synonyms: Vec<DescribeConfigsSynonym> [0..],
        config_type: i8 [3..],
        documentation: Option<String> [3..],
    }
}

message! {
    /// Another place the value could come from, the one in force first.
    pub DescribeConfigsSynonym {
        name: String [0..],
        value: Option<String> [0..],
        source: i8 [0..],
    }
}
