//! TLS as Kafka configures it: PEM files and texts by the `ssl.*` names, made into rustls' configuration.
//!
//! Everything is read and checked when the broker starts, so that a wrong file is an error with its name and not a
//! handshake that fails later.

use std::{fs, io, path::Path, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{ClientAuth, Identity, PemSource, TlsConfig, TlsProtocol};

/// Why a listener cannot offer TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// No private key where one should be.
    #[error("{place} holds no private key in PEM (PKCS#8, SEC1 or PKCS#1, not encrypted)")]
    NoKey {
        /// The file or setting.
        place: String,
    },
    /// No certificate where one should be.
    #[error("{place} holds no certificate in PEM")]
    NoCertificate {
        /// The file or setting.
        place: String,
    },
    /// A certificate authority's certificate does not parse.
    #[error("{place} holds a certificate that cannot serve as an authority: {cause}")]
    Authority {
        /// The file or setting.
        place: String,
        /// What is wrong with it.
        #[source]
        cause: rustls::Error,
    },
    /// `ssl.client.auth` asks for certificates and nothing says which are believed.
    #[error(
        "ssl.client.auth asks for client certificates, and ssl.truststore.location does not say whose are believed"
    )]
    NoTruststore,
    /// The verifier of client certificates refuses the authorities.
    #[error("the truststore cannot verify clients: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// The key does not belong to the certificate, or rustls does not know its kind.
    #[error("{place}: {cause}")]
    Identity {
        /// The file or setting.
        place: String,
        /// What is wrong.
        #[source]
        cause: rustls::Error,
    },
}

/// The server side of TLS for one listener.
pub(crate) fn server_config(config: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let (place, key, chain) = identity(&config.identity)?;
    let identity_error = |cause| TlsError::Identity { place: place.clone(), cause };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(config))
        .map_err(identity_error)?;
    let builder = match client_verifier(config, provider)? {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(builder.with_single_cert(chain, key).map_err(identity_error)?))
}

/// `ssl.enabled.protocols` in rustls' terms.
pub(crate) fn versions(config: &TlsConfig) -> Vec<&'static SupportedProtocolVersion> {
    let version = |protocol: &TlsProtocol| match protocol {
        TlsProtocol::Tls12 => &TLS12,
        TlsProtocol::Tls13 => &TLS13,
    };
    config.protocols.iter().map(version).collect()
}

/// All certificates in `pem`, in their order. `place` names it in errors.
pub fn certificates_from_pem(pem: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || TlsError::NoCertificate { place: place.to_owned() };
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| none())?;
    if certificates.is_empty() { Err(none()) } else { Ok(certificates) }
}

/// The first private key in `pem`. `place` names it in errors.
pub fn private_key_from_pem(pem: &[u8], place: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    // The parser's error may quote what it read, which is a key.
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::NoKey { place: place.to_owned() })
}

/// Where an identity came from, its key, and its certificates, the owner's first.
type LoadedIdentity = (String, PrivateKeyDer<'static>, Vec<CertificateDer<'static>>);

/// Reads a key and its certificates.
pub(crate) fn identity(identity: &Identity) -> Result<LoadedIdentity, TlsError> {
    match identity {
        Identity::File(path) => {
            let place = path.display().to_string();
            let pem = read(path)?;
            let key = private_key_from_pem(&pem, &place)?;
            let chain = certificates_from_pem(&pem, &place)?;
            Ok((place, key, chain))
        }
        Identity::Inline { key, certificate_chain } => {
            let key = private_key_from_pem(key.reveal().as_bytes(), "ssl.keystore.key")?;
            let place = "ssl.keystore.certificate.chain";
            let chain = certificates_from_pem(certificate_chain.as_bytes(), place)?;
            Ok((place.to_owned(), key, chain))
        }
    }
}

fn client_verifier(
    config: &TlsConfig,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if config.client_auth == ClientAuth::None {
        return Ok(None);
    }
    let roots = roots(config.truststore.as_ref().ok_or(TlsError::NoTruststore)?)?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match config.client_auth {
        ClientAuth::Requested => builder.allow_unauthenticated(),
        ClientAuth::Required | ClientAuth::None => builder,
    };
    Ok(Some(builder.build()?))
}

/// Reads the certificates of the authorities that are believed.
pub(crate) fn roots(truststore: &PemSource) -> Result<RootCertStore, TlsError> {
    let (place, pem) = match truststore {
        PemSource::File(path) => (path.display().to_string(), read(path)?),
        PemSource::Inline(text) => ("ssl.truststore.certificates".to_owned(), text.clone().into_bytes()),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates_from_pem(&pem, &place)? {
        roots.add(certificate).map_err(|cause| TlsError::Authority { place: place.clone(), cause })?;
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|cause| TlsError::Read { path: path.display().to_string(), cause })
}
