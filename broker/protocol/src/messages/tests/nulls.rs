//! Fields that may be null in some versions only: refused in the others, read and written.
//!
//! Such rows are few, and neither other implementation can be asked: one never writes the null, the other ends on it.

use super::{Tested, read};
use crate::messages::{
    DeletableTopicResult, DeleteTopicsResponse, MetadataRequest, MetadataRequestTopic, MetadataResponse,
    MetadataResponseTopic,
};
use crate::{DecodeError, EncodeError, Writer};

#[test]
fn null_is_refused_in_versions_that_lack_it() {
    let topics = MetadataRequest { topics: None, ..MetadataRequest::default() };
    check(&topics, 1, b"\xff\xff\xff\xff");

    let name = MetadataRequestTopic { name: None, ..MetadataRequestTopic::default() };
    let name = MetadataRequest { topics: Some(vec![name]), ..MetadataRequest::default() };
    check(&name, 10, b"\0\0\0\x01\xff\xff");

    let name = MetadataResponseTopic { name: None, ..MetadataResponseTopic::default() };
    check(
        &MetadataResponse { topics: vec![name], ..MetadataResponse::default() },
        12,
        b"\0\0\0\0\0\0\0\x01\0\0\xff\xff",
    );

    let name = DeletableTopicResult { name: None, ..DeletableTopicResult::default() };
    let response = DeleteTopicsResponse { responses: vec![name], ..DeleteTopicsResponse::default() };
    check(&response, 6, b"\0\0\0\0\0\0\0\x01\xff\xff");
}

/// `message` has a null that versions have from `since` on; `refused` is its body in the first version, up to the null.
fn check<Ours: Tested>(message: &Ours, since: i16, refused: &'static [u8]) {
    for version in Ours::VERSIONS {
        let written = message.write(&mut Writer::new(), version);
        assert_eq!(written, if version < since { Err(EncodeError::Null) } else { Ok(()) }, "{} v{version}", Ours::NAME);
    }
    let first = *Ours::VERSIONS.start();
    assert_eq!(read::<Ours>(bytes::Bytes::from_static(refused), first), Err(DecodeError::Null), "{}", Ours::NAME);
}
