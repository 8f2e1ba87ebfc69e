//! Frames: the header before a message, and the length before both.
//!
//! A request's header is version 1, or 2 with tagged fields where the request's version is flexible; an answer's is 0 or
//! 1 in the same way, but for ApiVersions, whose answer must be readable by a client that does not know what it is talking
//! to (KIP-511).

use bytes::{Bytes, BytesMut};

use crate::reader::Length;
use crate::records::{Chunks, Part};
use crate::writer::FRAME_LENGTH;
use crate::{ApiKey, DecodeError, EncodeError, Message, Reader, Request, Writer};

/// What stands before every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which call; see [`ApiKey::from_code`].
    pub api_key: i16,
    /// In which version.
    pub api_version: i16,
    /// What the answer is to carry.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<String>,
}

/// Reads a request's header and leaves `frame` at its body.
///
/// A key that Kafka does not have leaves the name unread: where its header ends nobody knows.
pub fn decode_request_header(frame: &mut Reader) -> Result<RequestHeader, DecodeError> {
    let api_key = i16::from_be_bytes(frame.array()?);
    let api_version = i16::from_be_bytes(frame.array()?);
    let correlation_id = i32::from_be_bytes(frame.array()?);
    let mut client_id = None;
    if let Some(key) = ApiKey::from_code(api_key) {
        // Never compact, in no version: an old broker must be able to read the header of any ApiVersions request.
        if let Some(length) = frame.length(Length::Int16)? {
            client_id = Some(frame.string(length)?);
        }
        if key.is_flexible(api_version) {
            frame.tagged_fields(|_, _| Ok(false))?;
        }
    }
    Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
}

/// An answer as it goes out, its length first. Records in it are not copied.
pub fn encode_response<M: Message>(correlation_id: i32, version: i16, response: &M) -> Result<Vec<Part>, EncodeError> {
    let mut writer = Writer::new();
    writer.bytes(&[0; FRAME_LENGTH]);
    writer.bytes(&correlation_id.to_be_bytes());
    if has_tagged_response_header(M::KEY, version) {
        writer.unsigned_varint(0);
    }
    response.write(&mut writer, version)?;
    writer.close_frame()?;
    Ok(writer.into_parts())
}

/// A request as it goes out, its length first.
pub fn encode_request<M: Request>(
    correlation_id: i32,
    client_id: Option<&str>,
    version: i16,
    request: &M,
) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::new();
    writer.bytes(&[0; FRAME_LENGTH]);
    writer.bytes(&M::KEY.code().to_be_bytes());
    writer.bytes(&version.to_be_bytes());
    writer.bytes(&correlation_id.to_be_bytes());
    writer.length(Length::Int16, client_id.map(str::len))?;
    writer.bytes(client_id.unwrap_or_default().as_bytes());
    if M::KEY.is_flexible(version) {
        writer.unsigned_varint(0);
    }
    request.write(&mut writer, version)?;
    writer.close_frame()?;
    let mut frame = BytesMut::with_capacity(writer.len());
    for part in writer.into_parts() {
        match part {
            Part::Bytes(bytes) => frame.extend_from_slice(&bytes),
            Part::File(_) => unreachable!("a request's records are Chunks, which are bytes"),
        }
    }
    Ok(frame.freeze())
}

/// Reads an answer, without its length, to a request of that version: its correlation id and the message.
pub fn decode_response<M: Message>(frame: Chunks, version: i16) -> Result<(i32, M), DecodeError> {
    let mut reader = Reader::new(frame);
    let correlation_id = i32::from_be_bytes(reader.array()?);
    if has_tagged_response_header(M::KEY, version) {
        reader.tagged_fields(|_, _| Ok(false))?;
    }
    Ok((correlation_id, M::read(&mut reader, version)?))
}

fn has_tagged_response_header(key: ApiKey, version: i16) -> bool {
    key != ApiKey::ApiVersions && key.is_flexible(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, SUPPORTED};

    #[test]
    fn headers() {
        check("first flexible ApiVersions", b"\0\x12\0\x03\0\0\0\x07\0\x02me\0", (18, 3, 7, Some("me")), 0);
        check("a version to come", b"\0\x12\0\x63\0\0\0\x07\xff\xff\x01\x05\x02ab\xee", (18, 99, 7, None), 1);
        check("not flexible", b"\0\x03\0\x01\0\0\0\x07\0\0\x7f\xff\xff\xff", (3, 1, 7, Some("")), 4);
        check("an unknown key", b"\x03\xe7\0\0\0\0\0\x07whatever", (999, 0, 7, None), 8);
    }

    fn check(name: &str, frame: &'static [u8], expected: (i16, i16, i32, Option<&str>), left: usize) {
        let mut reader = Reader::new(Chunks::from(Bytes::from_static(frame)));
        let header = decode_request_header(&mut reader).expect(name);
        let found = (header.api_key, header.api_version, header.correlation_id, header.client_id.as_deref());
        assert_eq!((found, reader.remaining()), (expected, left), "{name}");
    }

    #[test]
    fn a_count_of_two_billion_topics_is_refused_at_once() {
        let mut reader = Reader::new(Chunks::from(Bytes::from_static(b"\x7f\xff\xff\xff")));
        let refused = MetadataRequest::read(&mut reader, 1);
        assert_eq!(refused, Err(DecodeError::Truncated { needed: i32::MAX as usize, left: 0 }));
    }

    #[test]
    fn an_unknown_version_of_api_versions_is_answered_in_the_first() {
        let answer = ApiVersionsResponse::unsupported_version(SUPPORTED);
        let parts = encode_response(7, 0, &answer).expect("encodes");
        let [Part::Bytes(frame)] = &parts[..] else { panic!("one part: {parts:?}") };
        assert_eq!(frame.len(), 4 + 4 + 2 + 4 + 6 * SUPPORTED.len());
        assert_eq!(&frame[..10], [0, 0, 0, frame.len() as u8 - 4, 0, 0, 0, 7, 0, 35]);
        assert_eq!(&frame[14..20], [0, 0, 0, 0, 0, 13], "Produce from 0, for librdkafka");
        assert_eq!(decode_response(Chunks::from(frame.slice(4..)), 0), Ok((7, answer)));
    }

    #[test]
    fn the_answer_to_api_versions_has_no_tagged_header() {
        let parts = encode_response(7, 3, &ApiVersionsResponse::default()).expect("encodes");
        assert_eq!(parts, [Part::Bytes(Bytes::from_static(b"\0\0\0\x0c\0\0\0\x07\0\0\x01\0\0\0\0\0"))]);
    }

    #[test]
    fn a_request_is_read_back() {
        let request = ApiVersionsRequest { client_software_name: "kcat".into(), client_software_version: "1.7".into() };
        let frame = encode_request(7, Some("me"), 3, &request).expect("encodes");
        assert_eq!(&frame[..], b"\0\0\0\x17\0\x12\0\x03\0\0\0\x07\0\x02me\0\x05kcat\x041.7\0");
        let mut reader = Reader::new(Chunks::from(frame.slice(4..)));
        decode_request_header(&mut reader).expect("a header");
        assert_eq!(ApiVersionsRequest::read(&mut reader, 3), Ok(request));
    }
}
