//! A certificate authority for one cluster: the broker's certificate, one for its clients, and one of a stranger.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// The PEM files of one cluster.
#[derive(Debug)]
pub struct Certificates {
    /// The authority's certificate: what each side trusts.
    pub ca: PathBuf,
    /// The broker's, for 127.0.0.1 and localhost.
    pub broker: Identity,
    /// A client's, signed by the authority.
    pub client: Identity,
    /// A server's of another name, signed by the authority: as good as a broker's to whoever looks at no name.
    pub other: Identity,
    /// A client's, signed by another authority.
    pub stranger: Identity,
}

/// A certificate and its private key.
#[derive(Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key, PKCS#8.
    pub key: PathBuf,
    /// Key and certificate in one file, as Kafka's PEM key stores are.
    pub both: PathBuf,
}

impl Certificates {
    /// Makes all of them in `folder`, for servers on loopback.
    pub fn make(folder: &Path) -> Self {
        Self::make_for(folder, &[])
    }

    /// As [`Self::make`], for servers at these addresses too.
    pub(crate) fn make_for(folder: &Path, addresses: &[String]) -> Self {
        fs::create_dir_all(folder).expect("the temporary folder can be written");
        let ours = authority("Sluice test CA");
        let others = authority("Another CA");
        let ca = folder.join("ca.pem");
        fs::write(&ca, &ours.pem).expect("the temporary folder can be written");
        Self {
            ca,
            broker: identity(folder, "broker", ExtendedKeyUsagePurpose::ServerAuth, &ours, addresses),
            other: identity(folder, "other", ExtendedKeyUsagePurpose::ServerAuth, &ours, addresses),
            client: identity(folder, "client", ExtendedKeyUsagePurpose::ClientAuth, &ours, &[]),
            stranger: identity(folder, "stranger", ExtendedKeyUsagePurpose::ClientAuth, &others, &[]),
        }
    }
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let pem = params.self_signed(&key).expect("its parameters are sound").pem();
    Authority { pem, issuer: Issuer::new(params, key) }
}

fn identity(
    folder: &Path,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
    authority: &Authority,
    addresses: &[String],
) -> Identity {
    let key = KeyPair::generate().expect("a key can be made");
    let mut names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    names.extend_from_slice(addresses);
    let mut params = CertificateParams::new(names).expect("all are names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // The broker's own admin client shows the same certificate.
    params.extended_key_usages = vec![usage, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &authority.issuer).expect("its parameters are sound").pem();
    let write = |file: String, text: &str| {
        let path = folder.join(file);
        fs::write(&path, text).expect("the temporary folder can be written");
        path
    };
    Identity {
        certificate: write(format!("{name}.pem"), &certificate),
        key: write(format!("{name}.key"), &key.serialize_pem()),
        both: write(format!("{name}-both.pem"), &format!("{}{certificate}", key.serialize_pem())),
    }
}
