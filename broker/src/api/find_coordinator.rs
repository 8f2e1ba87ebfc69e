//! FindCoordinator (key 10): who looks after a group or a transaction.
//!
//! Nobody yet: groups and transactions are not served. The answer is the one that clients take for "try again later". The API
//! is there all the same because librdkafka before 2.11.1 leaves lz4 off with brokers that lack its version 0.

use sluice_protocol::ErrorCode;
use sluice_protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};

/// The version from which several keys are asked for in one request.
const BATCHED: i16 = 4;

pub(super) fn handle(version: i16, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let code = ErrorCode::CoordinatorNotAvailable;
    let why = "groups and transactions are not served by this version of the broker";
    if version < BATCHED {
        return FindCoordinatorResponse {
            error_code: code,
            error_message: Some(why.to_owned()),
            node_id: -1,
            port: -1,
            ..FindCoordinatorResponse::default()
        };
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code: code,
        error_message: Some(why.to_owned()),
        ..Coordinator::default()
    });
    FindCoordinatorResponse { coordinators: coordinators.collect(), ..FindCoordinatorResponse::default() }
}
