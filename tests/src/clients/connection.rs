//! A TLS connection on which a test may say anything: whole requests through our own codec, or bytes that are none.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sluice_protocol::records::Chunks;
use sluice_protocol::{Message, Request, decode_response, encode_request};

use crate::certificates::Identity;
use crate::{Contact, PATIENCE};

/// What the broker is told our name is.
const CLIENT_ID: &str = "sluice-tests";

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    correlation_id: i32,
}

impl Connection {
    pub(crate) fn open(contact: &Contact<'_>) -> Self {
        Self::open_as(contact, Some(&contact.certificates().client)).expect("the broker takes a connection")
    }

    /// Opens one as someone else, or as nobody.
    pub fn open_as(contact: &Contact<'_>, identity: Option<&Identity>) -> io::Result<Self> {
        let stream = secured(contact, identity, Self::plain(contact)?)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// Opens one to a broker that may not be there, or never answer: nothing on it takes longer than `within`.
    pub fn try_open(contact: &Contact<'_>, within: Duration) -> io::Result<Self> {
        let address = first_of(contact).parse().map_err(io::Error::other)?;
        let socket = limited(TcpStream::connect_timeout(&address, within)?, within)?;
        let stream = secured(contact, Some(&contact.certificates().client), socket)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// A metric of the broker's `/metrics`, summed over the samples whose labels hold `label`.
    pub fn metric(contact: &Contact<'_>, name: &str, label: &str) -> io::Result<f64> {
        let text = Self::metrics(contact)?;
        let samples = text.lines().filter_map(|line| {
            let labels = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
            let (labels, value) = labels.rsplit_once(' ')?;
            labels.contains(label).then(|| value.parse::<f64>())?.ok()
        });
        // One that is not there is no zero: it may have another name by now.
        samples
            .reduce(|sum, value| sum + value)
            .ok_or_else(|| io::Error::other(format!("no {name} of {label}\n{text}")))
    }

    /// What the broker's `/metrics` says.
    pub fn metrics(contact: &Contact<'_>) -> io::Result<String> {
        let host = contact.admin().trim_start_matches("https://");
        let mut stream = secured(contact, Some(&contact.certificates().client), tcp(host)?)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        stream.flush()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// A TCP connection to the broker's TLS port, for bytes that are no TLS.
    pub fn plain(contact: &Contact<'_>) -> io::Result<TcpStream> {
        tcp(first_of(contact))
    }

    /// Asks and waits for the answer.
    #[track_caller]
    pub fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_ask(version, request).expect("the broker answers")
    }

    /// Asks a broker that may go away before it answers.
    pub fn try_ask<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.correlation_id += 1;
        let frame = encode_request(self.correlation_id, Some(CLIENT_ID), version, request).expect("a request of ours");
        self.write(&frame)?;
        let frame = Chunks::from(bytes::Bytes::from(self.read_frame()?));
        let (correlation_id, answer) = decode_response(frame, version).expect("an answer");
        assert_eq!(correlation_id, self.correlation_id, "answers come in order");
        Ok(answer)
    }

    /// Sends a request without waiting.
    #[track_caller]
    pub fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let frame = encode_request(self.correlation_id, Some(CLIENT_ID), version, request).expect("a request of ours");
        self.write(&frame).expect("the broker reads");
    }

    /// Reads the answer to the request sent as number `correlation_id`, counted from 1.
    #[track_caller]
    pub fn answer<M: Message>(&mut self, version: i16, correlation_id: i32) -> M {
        let frame = self.read_frame().expect("the broker answers");
        let (got, answer) = decode_response(Chunks::from(bytes::Bytes::from(frame)), version).expect("an answer");
        assert_eq!(got, correlation_id, "answers come in order");
        answer
    }

    /// How many requests were sent: the number of the last.
    pub fn sent(&self) -> i32 {
        self.correlation_id
    }

    /// Sends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends a frame: `body` after its length.
    pub fn write_frame(&mut self, body: &[u8]) -> io::Result<()> {
        let length = i32::try_from(body.len()).expect("test frames are small");
        self.write(&[&length.to_be_bytes()[..], body].concat())
    }

    /// Reads one frame, without its length.
    pub fn read_frame(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?];
        self.stream.read_exact(&mut frame)?;
        Ok(frame)
    }

    /// Whether the broker has closed the connection, waiting for it to.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }
}

fn first_of<'a>(contact: &'a Contact<'_>) -> &'a str {
    contact.bootstrap().split(',').next().unwrap_or_default()
}

fn tcp(address: &str) -> io::Result<TcpStream> {
    limited(TcpStream::connect(address)?, PATIENCE)
}

fn limited(socket: TcpStream, within: Duration) -> io::Result<TcpStream> {
    socket.set_read_timeout(Some(within))?;
    socket.set_write_timeout(Some(within))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// Shakes hands over a socket, trusting the cluster's authority.
fn secured(
    contact: &Contact<'_>,
    identity: Option<&Identity>,
    mut socket: TcpStream,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&contact.certificates().ca).expect("the CA is PEM"))
        .expect("the CA is sound");
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let config = match identity {
        None => config.with_no_client_auth(),
        Some(identity) => {
            let chain = vec![CertificateDer::from_pem_file(&identity.certificate).expect("a certificate is PEM")];
            let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key is PEM");
            config.with_client_auth_cert(chain, key).expect("they belong together")
        }
    };
    let name = ServerName::try_from("127.0.0.1").expect("it is an address");
    let mut session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while session.is_handshaking() {
        session.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(session, socket))
}
