//! A client of the admin API: HTTPS with a client certificate, JSON both ways, in the shapes of [`crate::admin::shapes`].

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::error::{CliError, connect_hint};
use crate::{
    admin::shapes::ErrorBody,
    client::{ClientTls, client_config, server_name},
};

/// How long one call may take: a pushed plugin is compiled before the answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer: lists of some thousand plugins or views.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The admin API of one broker.
pub(super) struct AdminClient {
    authority: String,
    name: ServerName<'static>,
    tls: Arc<rustls::ClientConfig>,
}

/// What a call sends.
pub(super) enum Body {
    /// Nothing.
    Empty,
    /// JSON.
    Json(Bytes),
    /// A plugin.
    Wasm(Bytes),
}

impl Body {
    /// A value as JSON.
    pub(super) fn json<T: Serialize>(value: &T) -> Result<Self, CliError> {
        Ok(Self::Json(super::output::json(value)?.into()))
    }
}

impl AdminClient {
    /// A client for `https://host:port`. Nothing is connected yet.
    pub(super) fn new(url: &str, tls: &ClientTls) -> Result<Self, CliError> {
        let wrong = || CliError::usage(format!("--admin wants https://HOST:PORT, and `{url}` is not"));
        let authority = url.strip_prefix("https://").ok_or_else(wrong)?.trim_end_matches('/');
        if authority.contains('/')
            || authority.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
        {
            return Err(wrong());
        }
        let name = server_name(authority).map_err(|_| wrong())?;
        Ok(Self { authority: authority.to_owned(), name, tls: client_config(tls)? })
    }

    /// Calls and reads the JSON answer.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, CliError> {
        let answer = self.exchange(method, path, body).await?;
        serde_json::from_slice(&answer)
            .map_err(|cause| CliError::failed(format!("{} answered something else: {cause}", self.authority)))
    }

    /// Calls where there is nothing to be told.
    pub(super) async fn order(&self, method: Method, path: &str) -> Result<(), CliError> {
        self.exchange(method, path, Body::Empty).await.map(drop)
    }

    async fn exchange(&self, method: Method, path: &str, body: Body) -> Result<Bytes, CliError> {
        let stream = self.connect().await.map_err(|cause| {
            CliError::failed(format!("cannot connect to the admin API at https://{}: {cause}", self.authority))
                .hint(connect_hint(&cause))
        })?;
        let called = timeout(CALL_TIMEOUT, self.call_over(stream, method, path, body)).await;
        let called = called.unwrap_or_else(|_| Err(format!("no answer within {} s", CALL_TIMEOUT.as_secs())));
        let (status, answer) =
            called.map_err(|cause| CliError::failed(format!("https://{}{path}: {cause}", self.authority)))?;
        if status.is_success() { Ok(answer) } else { Err(refusal(status, &answer)) }
    }

    async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let connect = async {
            let stream = TcpStream::connect(&self.authority).await?;
            TlsConnector::from(Arc::clone(&self.tls)).connect(self.name.clone(), stream).await
        };
        timeout(CONNECT_TIMEOUT, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn call_over(
        &self,
        stream: TlsStream<TcpStream>,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<(StatusCode, Bytes), String> {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|cause| cause.to_string())?;
        let request = Request::builder().method(method).uri(path).header(HOST, &self.authority);
        let request = match body {
            Body::Empty => request.body(Full::new(Bytes::new())),
            Body::Json(json) => request.header(CONTENT_TYPE, "application/json").body(Full::new(json)),
            Body::Wasm(wasm) => request.header(CONTENT_TYPE, "application/wasm").body(Full::new(wasm)),
        };
        let request = request.map_err(|cause| cause.to_string())?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|cause| cause.to_string())?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|cause| cause.to_string())?;
            Ok((status, body.to_bytes()))
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // The connection does the work; if it ends first, the exchange knows why, or has its answer.
            _ = connection => exchange.await,
        }
    }
}

fn refusal(status: StatusCode, answer: &[u8]) -> CliError {
    match serde_json::from_slice::<ErrorBody>(answer) {
        Ok(body) => {
            let error = CliError::failed(body.error);
            match body.hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        Err(_) => CliError::failed(format!("the admin API answered {status}")),
    }
}

/// A name as part of a path.
pub(super) fn path_segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_paths() {
        assert_eq!(path_segment("orders-2.eu_west"), "orders-2.eu_west");
        assert_eq!(path_segment("a/b c?é"), "a%2Fb%20c%3F%C3%A9");
    }

    #[test]
    fn a_refusal_says_what_the_broker_says() {
        let said = |status, body: &str| refusal(status, body.as_bytes()).to_string();
        assert_eq!(
            said(StatusCode::NOT_FOUND, r#"{"error":"no plugin `x`","hint":"see: sluice plugin list"}"#),
            "error: no plugin `x`\n  see: sluice plugin list\n"
        );
        assert_eq!(said(StatusCode::CONFLICT, r#"{"error":"in use"}"#), "error: in use\n");
        assert_eq!(said(StatusCode::BAD_GATEWAY, "<html>"), "error: the admin API answered 502 Bad Gateway\n");
    }
}
