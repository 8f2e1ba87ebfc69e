//! InitProducerId (key 22): a producer id for an idempotent or transactional producer.
//! Version 6 (KIP-939) is unstable in Kafka 4.3 and is not here.

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Asks for a producer id, or with a transactional id for its next epoch.
    pub InitProducerIdRequest {
        transactional_id: Option<String> [0..],
        transaction_timeout_ms: i32 [0..],
        producer_id: i64 [3..] = -1,
        producer_epoch: i16 [3..] = -1,
    }
    key InitProducerId, versions 0..=5, flexible 2.., response InitProducerIdResponse
}

message! {
    /// The producer id and epoch that batches are to carry.
    pub InitProducerIdResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        producer_id: i64 [0..] = -1,
        producer_epoch: i16 [0..],
    }
    key InitProducerId, versions 0..=5, flexible 2..
}
