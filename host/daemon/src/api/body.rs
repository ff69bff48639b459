//! Bodies and queries, read within their limits.

use axum::{body::Body, extract::Query, http::Uri};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;

use crate::error::{Error, Fault};

/// Reads a whole body, at most so many bytes of it.
pub(crate) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Error> {
    // A body that says its length is refused before it is read.
    let stated = axum::body::HttpBody::size_hint(&body).lower();
    if stated > bytes_max as u64 {
        return Err(Fault::BodyTooLarge { found: Some(stated), bytes_max }.into());
    }
    axum::body::to_bytes(body, bytes_max).await.map_err(|error| {
        let cause = error.into_inner();
        match cause.downcast_ref::<LengthLimitError>() {
            Some(_) => Fault::BodyTooLarge { found: None, bytes_max }.into(),
            None => Error::from(Fault::BodyBroken).because(cause),
        }
    })
}

/// Reads a JSON body of a few words; an empty one is like `{}`.
pub(crate) fn json<T: DeserializeOwned + Default>(bytes: &[u8]) -> Result<T, Error> {
    if bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(bytes).map_err(|error| Fault::Query { what: "the body", reason: error.to_string() }.into())
}

/// Reads the query of an address. Words that are not known are left alone: some clients add their own.
pub(crate) fn query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, Error> {
    let fault = |reason: String| Error::from(Fault::Query { what: "the query", reason });
    let uri: Uri = format!("/?{}", query.unwrap_or_default()).parse().map_err(|error: axum::http::uri::InvalidUri| fault(error.to_string()))?;
    let Query(value) = Query::try_from_uri(&uri).map_err(|error| fault(error.body_text()))?;
    Ok(value)
}
