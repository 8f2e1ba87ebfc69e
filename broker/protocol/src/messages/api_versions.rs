//! ApiVersions (key 18): which calls and versions the broker speaks.
//! A client that asks in a version we do not know is answered in version 0, with `UNSUPPORTED_VERSION` and the whole list, so
//! that it can ask again (KIP-511).

use crate::wire::message;
use crate::{ApiKey, ErrorCode};

message! {
    /// Asks what the broker speaks; the first thing most clients send.
    pub ApiVersionsRequest {
        client_software_name: String [3..],
        client_software_version: String [3..],
    }
    key ApiVersions, versions 0..=4, flexible 3.., response ApiVersionsResponse
}

message! {
    /// What the broker speaks.
    pub ApiVersionsResponse {
        error_code: ErrorCode [0..],
        api_keys: Vec<ApiVersion> [0..],
        throttle_time_ms: i32 [1..],
    }
    tagged {
        0 supported_features: Vec<SupportedFeatureKey> [3..],
        1 finalized_features_epoch: i64 [3..] = -1,
        2 finalized_features: Vec<FinalizedFeatureKey> [3..],
        3 zk_migration_ready: bool [3..],
    }
    key ApiVersions, versions 0..=4, flexible 3..
}

message! {
    /// One call and its range of versions.
    pub ApiVersion {
        api_key: i16 [0..],
        min_version: i16 [0..],
        max_version: i16 [0..],
    }
}

message! {
    /// A feature the broker could have, and at which levels (KIP-584).
    pub SupportedFeatureKey {
        name: String [3..],
        min_version: i16 [3..],
        max_version: i16 [3..],
    }
}

message! {
    /// A feature the whole cluster has, and at which levels.
    pub FinalizedFeatureKey {
        name: String [3..],
        max_version_level: i16 [3..],
        min_version_level: i16 [3..],
    }
}

impl ApiVersionsResponse {
    /// The answer that lists these calls, each with its first and last version; usually [`super::SUPPORTED`].
    #[must_use]
    pub fn listing(supported: &[(ApiKey, i16, i16)]) -> Self {
        let api_keys = supported
            .iter()
            .map(|&(key, min_version, max_version)| ApiVersion { api_key: key.code(), min_version, max_version })
            .collect();
        Self { api_keys, ..Self::default() }
    }

    /// The answer to a request of a version that is not among them: the same list, with the error that makes the client
    /// choose from it. To be encoded as version 0, which every client can read.
    #[must_use]
    pub fn unsupported_version(supported: &[(ApiKey, i16, i16)]) -> Self {
        Self { error_code: ErrorCode::UnsupportedVersion, ..Self::listing(supported) }
    }
}
