//! TLS between brokers: both ends show a certificate, and both look whose it is.
//!
//! A broker calls with the key store and trust store of its own inter-broker listener. The certificate at the other end has
//! to be signed by an authority of the trust store, to name the host that was called (unless
//! `ssl.endpoint.identification.algorithm` is empty), and to belong to a broker: `sluice.broker.principals`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::net::{TlsConfig, TlsError, identity, roots, subject, versions};

/// How this broker calls others, and whom it takes for a broker.
#[derive(Debug, Clone)]
pub(crate) struct PeerTls {
    pub(super) client: Arc<ClientConfig>,
    pub(super) principals: Principals,
}

/// The distinguished names that brokers have.
#[derive(Debug, Clone)]
pub(super) struct Principals(Arc<[String]>);

impl PeerTls {
    /// Reads the files of `tls`. Without `principals`, brokers have the name that this one's certificate has.
    pub(crate) fn new(tls: &TlsConfig, principals: &[String], verify_host_names: bool) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (place, key, chain) = identity(&tls.identity)?;
        let identity_error = |cause| TlsError::Identity { place: place.clone(), cause };
        let principals = match principals {
            [] => chain.first().and_then(subject).into_iter().collect(),
            named => named.to_vec(),
        };
        let roots = Arc::new(roots(tls.truststore.as_ref().ok_or(TlsError::NoTruststore)?)?);
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions(tls))
            .map_err(identity_error)?;
        let verifier: Arc<dyn ServerCertVerifier> = if verify_host_names {
            WebPkiServerVerifier::builder_with_provider(roots, provider).build()?
        } else {
            Arc::new(AnyName::new(roots, &provider))
        };
        // Not dangerous: the verifiers are webpki's, one of them without its look at the host's name.
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let client = builder.with_client_auth_cert(chain, key).map_err(identity_error)?;
        Ok(Self { client: Arc::new(client), principals: Principals(principals.into()) })
    }
}

impl Principals {
    /// Whether a broker may have this name.
    pub(super) fn contain(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }
}

/// Believes a certificate whatever host it names, as Kafka does when `ssl.endpoint.identification.algorithm` is empty.
#[derive(Debug)]
struct AnyName {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyName {
    fn new(roots: Arc<RootCertStore>, provider: &CryptoProvider) -> Self {
        Self { roots, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, self.algorithms.all)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
