//! The admin API's listener: TLS, then HTTP/1.1 or 2, on its own port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{Certified, router};
use crate::broker::Shared;
use crate::config::BrokerConfig;
use crate::net::{ClientAuth, Security, TlsConfig, TlsError, server_config};

/// Connections at a time: operators, probes and a scraper, and some to spare.
const CONNECTIONS_MAX: usize = 256;

/// How long the handshake and a request's headers may take: none of this comes over a bad line.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long accepting pauses after an error such as having no file descriptors left, which only time can mend.
const ACCEPT_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// Why the admin API is not served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// As it is configured.
        address: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The TLS settings are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The listener, bound and not served yet.
pub(crate) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: TlsAcceptor,
}

/// The admin API at work.
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<JoinSet<()>>,
}

/// Binds the admin API's listener; `None` when the broker has no certificate to serve it with.
pub(crate) async fn bind(config: &BrokerConfig) -> Result<Option<Bound>, AdminError> {
    let Some(tls) = tls(config) else {
        tracing::warn!("no admin API: it is served over TLS only, and no listener has a certificate");
        return Ok(None);
    };
    let tls = server_config(&tls)?;
    let address = config.admin_address.clone();
    let failed = |cause| AdminError::Listen { address: address.clone(), cause };
    let listener = TcpListener::bind(&address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some(Bound { listener, address, tls: TlsAcceptor::from(tls) }))
}

/// The certificate of the first TLS listener. A client's is asked for; what a caller without one may do is the router's business.
fn tls(config: &BrokerConfig) -> Option<TlsConfig> {
    let tls = config.net.listeners.iter().find_map(|listener| match &listener.security {
        Security::Ssl(tls) => Some(TlsConfig::clone(tls)),
        Security::Plaintext => None,
    })?;
    let client_auth = if tls.truststore.is_some() { ClientAuth::Requested } else { ClientAuth::None };
    Some(TlsConfig { client_auth, ..tls })
}

impl Bound {
    /// Starts to accept.
    pub(crate) fn serve(self, shared: Arc<Shared>) -> Running {
        let (stop, stopped) = watch::channel(false);
        let address = self.address;
        let accepting = tokio::spawn(accept(self, router(shared), stopped));
        Running { address, stop, accepting }
    }
}

impl Running {
    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets calls under way end for at most `grace`.
    pub(crate) async fn shut_down(self, grace: Duration) {
        self.stop.send_replace(true);
        if let Ok(mut connections) = self.accepting.await {
            let drained = async { while connections.join_next().await.is_some() {} };
            // What is left is cut off when the set is dropped.
            let _ = tokio::time::timeout(grace, drained).await;
        }
    }
}

async fn accept(bound: Bound, router: Router, mut stopped: watch::Receiver<bool>) -> JoinSet<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return connections,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = bound.listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the admin API cannot accept");
                tokio::time::sleep(ACCEPT_ERROR_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, "the admin API has all its connections in use");
            continue;
        };
        let (tls, router, stopped) = (bound.tls.clone(), router.clone(), stopped.clone());
        connections.spawn(async move {
            if let Err(error) = serve(stream, tls, router, stopped).await {
                tracing::debug!(%peer, %error, "an admin connection ended");
            }
            drop(place);
        });
    }
}

async fn serve(
    stream: TcpStream,
    tls: TlsAcceptor,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let stream = tokio::time::timeout(PATIENCE, tls.accept(stream)).await??;
    let certified = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
    let service = TowerToHyperService::new(router.layer(Extension(Certified(certified))));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => return served,
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
