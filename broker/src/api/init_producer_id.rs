//! InitProducerId (key 22): an id for an idempotent producer (KIP-98).
//!
//! Ids come from blocks that the metadata log hands out, so that no two producers ever get the same one. Whoever asks gets a
//! new one: an id and an epoch that a client names are believed only of a transaction (as in Kafka).

use sluice_protocol::ErrorCode;
use sluice_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::Context;

/// Transactions are not served yet. This is a code that every client gives up on, where a retriable one would leave it waiting.
const NO_TRANSACTIONS: ErrorCode = ErrorCode::UnsupportedVersion;

pub(super) async fn handle(cx: &Context<'_>, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    if request.transactional_id.is_some() {
        return refused(NO_TRANSACTIONS);
    }
    match cx.shared.producer_ids.next(&cx.shared.metadata).await {
        Ok(producer_id) => {
            InitProducerIdResponse { producer_id, producer_epoch: 0, ..InitProducerIdResponse::default() }
        }
        Err(error) => {
            tracing::warn!(%error, "no producer id");
            refused(ErrorCode::CoordinatorLoadInProgress)
        }
    }
}

fn refused(error_code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse { error_code, producer_id: -1, producer_epoch: -1, ..InitProducerIdResponse::default() }
}
