//! TLS: versions, client certificates and the principals they give, and peers that don't speak it.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto::aws_lc_rs};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::net::tls::{certificates_from_pem, private_key_from_pem, server_config};

/// An authority and what it signs, in memory.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `cn` and the key to it, both PEM.
    fn sign(&self, cn: &str) -> (String, String) {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("good names");
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, cn);
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }

    fn listener(&self, client_auth: ClientAuth, protocols: &[TlsProtocol]) -> ListenerConfig {
        let (certificate_chain, key) = self.sign("broker");
        ListenerConfig {
            name: ListenerName::new("SSL"),
            security: Security::Ssl(Box::new(TlsConfig {
                identity: Identity::Inline { key: Secret::new(key), certificate_chain },
                truststore: Some(PemSource::Inline(self.pem.clone())),
                client_auth,
                protocols: protocols.to_vec(),
            })),
            ..plaintext()
        }
    }

    async fn connect(
        &self,
        broker: &Broker,
        identity: Option<(String, String)>,
        version: &'static SupportedProtocolVersion,
    ) -> io::Result<Client<TlsStream<TcpStream>>> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates_from_pem(self.pem.as_bytes(), "test").expect("our own") {
            roots.add(certificate).expect("an authority");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[version])
            .expect("both are known")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key: PrivateKeyDer<'static> = private_key_from_pem(key.as_bytes(), "test").expect("our own");
                builder
                    .with_client_auth_cert(certificates_from_pem(chain.as_bytes(), "test").expect("our own"), key)
                    .expect("they match")
            }
        };
        let stream = TcpStream::connect(broker.address()).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        Ok(Client(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }
}

const BOTH: [TlsProtocol; 2] = [TlsProtocol::Tls12, TlsProtocol::Tls13];

#[tokio::test]
async fn the_principal_is_the_subject_of_the_clients_certificate() {
    let authority = Authority::new();
    let alice = || Some(authority.sign("alice"));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (client_auth, identity, expected) in [
            (ClientAuth::Required, alice(), "User:CN=alice,O=Example SSL true"),
            (ClientAuth::Requested, alice(), "User:CN=alice,O=Example SSL true"),
            (ClientAuth::Requested, None, "User:ANONYMOUS SSL true"),
            (ClientAuth::None, alice(), "User:ANONYMOUS SSL true"),
        ] {
            let broker = Broker::with(authority.listener(client_auth, &BOTH), limits()).await;
            let mut client = authority.connect(&broker, identity, version).await.expect("a handshake");
            client.send(b"p").await;
            assert_eq!(String::from_utf8_lossy(&client.receive().await), expected, "{client_auth:?} {version:?}");
            client.is_served().await;
        }
    }
}

#[tokio::test]
async fn strangers_are_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let broker = Broker::with(authority.listener(ClientAuth::Required, &BOTH), limits()).await;
    for (who, identity) in [("nobody", None), ("a stranger", Some(other.sign("alice")))] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            // In TLS 1.3 the client learns of it with its first read.
            match authority.connect(&broker, identity.clone(), version).await {
                Err(_) => {}
                Ok(mut client) => assert!(client.try_receive().await.is_err(), "{who} {version:?}"),
            }
        }
    }
    let mut known =
        authority.connect(&broker, Some(authority.sign("alice")), &rustls::version::TLS13).await.expect("a handshake");
    known.is_served().await;
}

#[tokio::test]
async fn only_the_enabled_protocols_are_spoken() {
    let authority = Authority::new();
    let broker = Broker::with(authority.listener(ClientAuth::None, &[TlsProtocol::Tls13]), limits()).await;
    assert!(authority.connect(&broker, None, &rustls::version::TLS12).await.is_err());
    authority.connect(&broker, None, &rustls::version::TLS13).await.expect("a handshake").is_served().await;
}

#[tokio::test]
async fn garbage_plain_text_and_half_a_handshake_on_the_tls_port_cost_nobody_else() {
    let authority = Authority::new();
    let limits = Limits { handshake_timeout: Duration::from_millis(1500), ..limits() };
    let broker = Broker::with(authority.listener(ClientAuth::None, &BOTH), limits).await;
    let mut served = authority.connect(&broker, None, &rustls::version::TLS13).await.expect("a handshake");
    let hello_of_512_bytes_that_never_come = [22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        &[0xff; 4096],
        // Metadata version 1 in plain text, as a Kafka client without TLS sends it.
        b"\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff",
        &hello_of_512_bytes_that_never_come,
        b"",
    ] {
        let mut bad = broker.connect().await;
        bad.send_raw(bytes).await;
        served.is_served().await;
        bad.until_closed().await;
        served.is_served().await;
    }
    authority.connect(&broker, None, &rustls::version::TLS12).await.expect("a handshake").is_served().await;
}

#[tokio::test]
async fn large_frames_and_answers_pass_through_tls() {
    let authority = Authority::new();
    let broker = Broker::with(authority.listener(ClientAuth::None, &BOTH), limits()).await;
    let client = authority.connect(&broker, None, &rustls::version::TLS13).await.expect("a handshake");
    let (reading, writing) = tokio::io::split(client.0);
    let (mut reading, mut writing) =
        (Client(tokio::io::join(reading, tokio::io::empty())), Client(tokio::io::join(tokio::io::empty(), writing)));
    let body: Vec<u8> = std::iter::once(b'e').chain((0..700_000_u32).map(|i| (i % 249) as u8)).collect();
    let sent = async {
        for _ in 0..20 {
            writing.send(&body).await;
            writing.send(b"f\x10").await;
        }
    };
    let received = async {
        for _ in 0..20 {
            assert_eq!(reading.receive().await, &body[1..]);
            assert_eq!(reading.receive().await.len(), 1 << 20);
        }
    };
    tokio::join!(sent, received);
}

#[test]
fn settings_that_cannot_work_say_why() {
    let authority = Authority::new();
    let (chain, key) = authority.sign("broker");
    let good = TlsConfig {
        identity: Identity::Inline { key: Secret::new(key.clone()), certificate_chain: chain.clone() },
        truststore: None,
        client_auth: ClientAuth::None,
        protocols: BOTH.to_vec(),
    };
    let check = |config: TlsConfig, expected: &str| {
        let error = server_config(&config).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    };
    let inline = |key: &str, chain: &str| Identity::Inline {
        key: Secret::new(key.to_owned()),
        certificate_chain: chain.to_owned(),
    };
    check(TlsConfig { client_auth: ClientAuth::Required, ..good.clone() }, "ssl.truststore.location");
    check(TlsConfig { identity: inline("", &chain), ..good.clone() }, "ssl.keystore.key holds no private key");
    check(
        TlsConfig { identity: inline(&key, ""), ..good.clone() },
        "ssl.keystore.certificate.chain holds no certificate",
    );
    check(
        TlsConfig { identity: inline(&authority.sign("x").1, &chain), ..good.clone() },
        "ssl.keystore.certificate.chain",
    );
    check(
        TlsConfig { identity: Identity::File("/does/not/exist.pem".into()), ..good.clone() },
        "cannot read /does/not/exist.pem",
    );
    check(
        TlsConfig {
            client_auth: ClientAuth::Required,
            truststore: Some(PemSource::Inline("nothing".to_owned())),
            ..good
        },
        "ssl.truststore.certificates holds no certificate",
    );
}
