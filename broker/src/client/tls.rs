//! The client's side of TLS: whom it believes, and as whom it comes. Shared by the Kafka client and the admin API's.

use std::{fs, io, path::Path, path::PathBuf, sync::Arc};

use rustls::{RootCertStore, crypto::aws_lc_rs};

use crate::net::{TlsError, certificates_from_pem, private_key_from_pem};

/// PEM files of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Certificates of the authorities that are believed.
    pub ca: PathBuf,
    /// The client's own certificate chain and key, which may be the same file.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why a client cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A file does not hold what it should.
    #[error(transparent)]
    Pem(#[from] TlsError),
    /// A certificate does not serve.
    #[error("{path}: {cause}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        cause: rustls::Error,
    },
}

/// rustls' configuration for these files.
pub(crate) fn client_config(tls: &ClientTls) -> Result<Arc<rustls::ClientConfig>, ClientTlsError> {
    let unusable = |path: &Path| {
        let path = path.to_owned();
        |cause| ClientTlsError::Unusable { path, cause }
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates_from_pem(&read(&tls.ca)?, &tls.ca.display().to_string())? {
        roots.add(certificate).map_err(unusable(&tls.ca))?;
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable(&tls.ca))?
        .with_root_certificates(roots);
    Ok(Arc::new(match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates_from_pem(&read(certificate)?, &certificate.display().to_string())?;
            let key = private_key_from_pem(&read(key)?, &key.display().to_string())?;
            builder.with_client_auth_cert(chain, key).map_err(unusable(certificate))?
        }
    }))
}

fn read(path: &Path) -> Result<Vec<u8>, ClientTlsError> {
    fs::read(path).map_err(|cause| ClientTlsError::Read { path: path.to_owned(), cause })
}
