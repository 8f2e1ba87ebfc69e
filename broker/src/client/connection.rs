//! One connection to one broker: opens it, learns which versions the broker speaks, and asks one thing at a time.

use std::{collections::HashMap, fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use rustls_pki_types::ServerName;
use sluice_protocol::{
    ApiKey, ErrorCode, Message, Request, decode_response, encode_request,
    messages::{ApiVersionsRequest, ApiVersionsResponse},
    records::Chunks,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{CLIENT_ID, ClientError};

/// The longest answer that is read: a fetch answer holds one batch whole however large, and 100 MiB is the longest
/// request, so the largest batch, a broker takes unless it is told otherwise.
const ANSWER_BYTES_MAX: u32 = 128 << 20;

/// What a TLS server answers to plain text begins with: an alert of TLS 1.x. As a length it would be 352 MB.
const TLS_ALERT: u32 = 0x1503;

/// What is said then.
pub(crate) const SPEAKS_TLS: &str = "it speaks TLS";

/// The version that ApiVersions is asked in first: what Kafka's clients since 2.4 do.
const API_VERSIONS_FIRST: i16 = 3;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

pub(super) struct Connection {
    address: String,
    stream: Box<dyn Stream>,
    timeout: Duration,
    correlation_id: i32,
    /// First and last version by call.
    versions: HashMap<i16, (i16, i16)>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects to `host:port` and asks for the broker's versions.
    pub(super) async fn open(
        address: &str,
        tls: Option<&Arc<rustls::ClientConfig>>,
        limit: Duration,
    ) -> Result<Self, ClientError> {
        let stream =
            timeout(limit, open_stream(address, tls)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|cause| ClientError::Connect { address: address.to_owned(), cause })?;
        let mut connection =
            Self { address: address.to_owned(), stream, timeout: limit, correlation_id: 0, versions: HashMap::new() };
        let answer = connection.api_versions().await.map_err(not_connected)?;
        connection.versions =
            answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(connection)
    }

    /// A broker that does not know the version answers in version 0 and says what it knows (KIP-511).
    async fn api_versions(&mut self) -> Result<ApiVersionsResponse, ClientError> {
        let request = ApiVersionsRequest {
            client_software_name: CLIENT_ID.to_owned(),
            client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut version = API_VERSIONS_FIRST;
        loop {
            let frame = self.exchange(&request, version).await?;
            // The error stands first in every version's body, after the correlation id.
            let unsupported = frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes());
            let answer: ApiVersionsResponse =
                self.decode::<ApiVersionsRequest>(frame, if unsupported { 0 } else { version })?;
            match answer.error_code {
                ErrorCode::None => return Ok(answer),
                ErrorCode::UnsupportedVersion if version != 0 => version = 0,
                code => {
                    return Err(ClientError::Refused {
                        what: format!("the versions of {}", self.address),
                        code,
                        message: None,
                    });
                }
            }
        }
    }

    /// Asks, in the highest version that both sides know.
    pub(super) async fn call<R: Request>(&mut self, request: &R) -> Result<R::Response, ClientError> {
        let version = self.version::<R>()?;
        let frame = self.exchange(request, version).await?;
        self.decode::<R>(frame, version)
    }

    fn version<R: Request>(&self) -> Result<i16, ClientError> {
        let none = || ClientError::NoVersion { address: self.address.clone(), api: R::KEY };
        let (min, max) = *self.versions.get(&R::KEY.code()).ok_or_else(none)?;
        let version = max.min(*R::VERSIONS.end());
        if version < min.max(*R::VERSIONS.start()) { Err(none()) } else { Ok(version) }
    }

    async fn exchange<R: Request>(&mut self, request: &R, version: i16) -> Result<Bytes, ClientError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = encode_request(self.correlation_id, Some(CLIENT_ID), version, request)
            .map_err(|cause| ClientError::Encode { api: R::KEY, cause })?;
        let answer = timeout(self.timeout, write_and_read(&mut self.stream, &frame)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        answer.map_err(|cause| self.lost(R::KEY, cause))
    }

    fn decode<R: Request>(&self, frame: Bytes, version: i16) -> Result<R::Response, ClientError> {
        let (correlation_id, answer) = decode_response::<R::Response>(Chunks::from(frame), version)
            .map_err(|cause| ClientError::Decode { address: self.address.clone(), api: R::KEY, cause })?;
        if correlation_id == self.correlation_id {
            Ok(answer)
        } else {
            let cause = io::Error::new(io::ErrorKind::InvalidData, "the answer belongs to another request");
            Err(self.lost(<R as Message>::KEY, cause))
        }
    }

    fn lost(&self, api: ApiKey, cause: io::Error) -> ClientError {
        ClientError::Lost { address: self.address.clone(), api, cause }
    }
}

/// With TLS 1.3 a client learns with its first answer that the broker does not want it.
fn not_connected(error: ClientError) -> ClientError {
    match error {
        ClientError::Lost { address, cause, .. } => ClientError::Connect { address, cause },
        other => other,
    }
}

async fn open_stream(address: &str, tls: Option<&Arc<rustls::ClientConfig>>) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = server_name(address)?;
    Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
}

/// The name that the broker's certificate has to have: the host of `host:port`.
pub(crate) fn server_name(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

async fn write_and_read(stream: &mut Box<dyn Stream>, frame: &[u8]) -> io::Result<Bytes> {
    stream.write_all(frame).await?;
    stream.flush().await?;
    let len = stream.read_u32().await?;
    if len >> 16 == TLS_ALERT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, SPEAKS_TLS));
    }
    if len > ANSWER_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("an answer of {len} bytes is announced")));
    }
    // Grows with what arrives, whatever was announced.
    let mut answer = Vec::new();
    stream.take(u64::from(len)).read_to_end(&mut answer).await?;
    if answer.len() < len as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Bytes::from(answer))
}
