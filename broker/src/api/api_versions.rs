//! ApiVersions (key 18): what this broker speaks.
//!
//! The one request that is answered whatever its version: in one we don't know, with version 0's layout, the error, and the
//! whole list, so that the client can ask again (KIP-511).

use sluice_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, SUPPORTED};
use sluice_protocol::{Message, Reader, RequestHeader};

use super::{Answering, Unreadable, read};
use crate::net::Started;

pub(super) fn start(answering: Answering, header: &RequestHeader, frame: Reader) -> Result<Started, Unreadable> {
    if !ApiVersionsRequest::VERSIONS.contains(&header.api_version) {
        let oldest = Answering { version: 0, ..answering };
        return Ok(oldest.with(&ApiVersionsResponse::unsupported_version(SUPPORTED)));
    }
    let _: ApiVersionsRequest = read(header, frame)?;
    Ok(answering.with(&ApiVersionsResponse::listing(SUPPORTED)))
}
