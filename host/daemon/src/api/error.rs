//! The one place where errors become statuses, and the JSON that says what is wrong.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use host_wire::oip::ErrorBody;

use crate::error::{Error, ErrorKind, Fault};

/// What a client should wait, in seconds, where nothing more is known.
const RETRY_AFTER_S: u32 = 1;

/// The status of an error.
pub fn status(error: &Error) -> StatusCode {
    match error.fault() {
        Fault::UnknownModel { .. } | Fault::UnknownVersion { .. } | Fault::NoRoute { .. } => StatusCode::NOT_FOUND,
        Fault::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
        Fault::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Fault::ContentType { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Fault::NotOffered { .. } => StatusCode::NOT_IMPLEMENTED,
        _ => match error.kind() {
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Busy | ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Plugin | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

/// The status of a health answer.
pub fn health(ready: bool) -> StatusCode {
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = status(&self);
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error = %self, "a request failed");
        }
        let mut response = (status, Json(ErrorBody { error: self.to_string() })).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            // Whole seconds, rounded up; `as` turns what is out of range into the nearest that there is.
            let seconds = self.retry_after().map_or(RETRY_AFTER_S, |wait| (wait.0 / 1e3).ceil() as u32);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(RETRY_AFTER_S)));
        }
        response
    }
}
