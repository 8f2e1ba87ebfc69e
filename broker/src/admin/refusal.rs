//! Refusals of the admin API: a status, the cause, and what to do about it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::shapes::ErrorBody;
use crate::coordination::SubmitError;

/// Why a call was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    body: ErrorBody,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl ToString) -> Self {
        Self { status, body: ErrorBody { error: error.to_string(), hint: None } }
    }

    pub(super) fn hint(mut self, hint: impl ToString) -> Self {
        self.body.hint = Some(hint.to_string());
        self
    }

    /// A change that was not made. `status` is for one that was decided against.
    pub(super) fn of_change<E: std::error::Error>(
        error: SubmitError<E>,
        status: impl FnOnce(&E) -> StatusCode,
    ) -> Self {
        match &error {
            SubmitError::Refused(refused) => Self::new(status(refused), refused),
            SubmitError::Unavailable { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, &error)
                .hint("try again when /readyz says that the broker is ready"),
            SubmitError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, &error),
            SubmitError::Unknown { .. } => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, &error).hint("look whether it was, then ask again")
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
