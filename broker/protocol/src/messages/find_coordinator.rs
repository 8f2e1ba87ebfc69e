//! FindCoordinator (key 10): the broker that coordinates a group or transactional id.

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Asks who coordinates a group or transactional id: `coordinator_keys` from version 4 on (KIP-699), `key` before.
    pub FindCoordinatorRequest {
        key: String [0..=3],
        key_type: i8 [1..],
        coordinator_keys: Vec<String> [4..],
    }
    key FindCoordinator, versions 0..=6, flexible 3.., response FindCoordinatorResponse
}

message! {
    /// The coordinator: one for each key from version 4 on, else in the fields of the response itself.
    pub FindCoordinatorResponse {
        throttle_time_ms: i32 [1..],
        error_code: ErrorCode [0..=3],
        error_message: Option<String> [1..=3],
        node_id: i32 [0..=3],
        host: String [0..=3],
        port: i32 [0..=3],
        coordinators: Vec<Coordinator> [4..],
    }
    key FindCoordinator, versions 0..=6, flexible 3..
}

message! {
    /// The coordinator of one key.
    pub Coordinator {
        key: String [4..],
        node_id: i32 [4..],
        host: String [4..],
        port: i32 [4..],
        error_code: ErrorCode [4..],
        error_message: Option<String> [4..],
    }
}
