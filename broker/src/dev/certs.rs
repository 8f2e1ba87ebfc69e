//! Certificates for `sluice dev` and `sluice demo`: an authority of the data folder's own, a certificate for the broker
//! and one for clients, made on the first start and used again on the next.
//!
//! Keys are readable by their owner alone. What is missing, damaged, about to expire, or no longer names this machine is
//! made anew; while the authority stays, clients' settings stay good.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

/// The files, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The authority's certificate: what clients believe.
    pub ca: PathBuf,
    /// Each broker's key and certificate, for `ssl.keystore.location`. All have the same subject: that is what makes a broker.
    pub brokers: Vec<PathBuf>,
    /// A client's key and certificate in one file, as Java, librdkafka and OpenSSL all take it.
    pub client: PathBuf,
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file or the folder cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// How long the authority is good for: as long as anybody keeps a development folder.
const AUTHORITY_LASTS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How long the other certificates are good for. Java and browsers refuse more than 825 and 398 days.
const CERTIFICATE_LASTS: Duration = Duration::from_secs(397 * 24 * 3600);

/// A certificate with less left than this is made anew at the next start.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Certificates are good from a little before they are made, for clients whose clock is behind.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

/// The certificates of so many brokers in `folder`, made or renewed where need be.
pub fn ensure(
    folder: &Path,
    host_name: &str,
    brokers: usize,
    now: SystemTime,
) -> Result<Certificates, CertificateError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
    let files = Certificates {
        ca: folder.join("ca.pem"),
        brokers: (1..=brokers).map(|number| broker_file(folder, number)).collect(),
        client: folder.join("client.pem"),
    };
    let ca_key = folder.join("ca.key");
    let authority = match read_authority(&files.ca, &ca_key, now)? {
        Some(authority) => authority,
        None => {
            // Nothing an earlier authority signed is of use any more.
            for number in 1.. {
                if !remove(&broker_file(folder, number))? {
                    break;
                }
            }
            remove(&files.client)?;
            make_authority(&files.ca, &ca_key, now)?
        }
    };
    let names = names(host_name);
    for broker in &files.brokers {
        let kind = Kind { cn: "broker", names: &names, serves: true };
        kind.ensure(broker, &authority, now)?;
    }
    let kind = Kind { cn: "client", names: &[], serves: false };
    kind.ensure(&files.client, &authority, now)?;
    Ok(files)
}

/// The first broker's file is the only one's where there is one.
fn broker_file(folder: &Path, number: usize) -> PathBuf {
    folder.join(if number == 1 { "broker.pem".to_owned() } else { format!("broker-{number}.pem") })
}

/// What a certificate is to be.
struct Kind<'a> {
    cn: &'a str,
    names: &'a [String],
    /// Brokers serve, and are each other's clients; clients only call.
    serves: bool,
}

impl Kind<'_> {
    fn ensure(&self, file: &Path, authority: &Authority, now: SystemTime) -> Result<(), CertificateError> {
        if self.is_good(file, now)? { Ok(()) } else { issue(file, self.params(now)?, authority) }
    }

    fn params(&self, now: SystemTime) -> Result<CertificateParams, CertificateError> {
        let mut params = CertificateParams::new(self.names)?;
        params.distinguished_name = distinguished_name(self.cn);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if self.serves {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        params.not_before = (now - CLOCK_SKEW).into();
        params.not_after = (now + CERTIFICATE_LASTS).into();
        Ok(params)
    }

    /// Whether a file holds a key and a certificate that lasts, has these names and may be used for this.
    fn is_good(&self, file: &Path, now: SystemTime) -> Result<bool, CertificateError> {
        let Some(pem) = read(file)? else { return Ok(false) };
        let (Ok(certificate), Ok(_)) = (CertificateDer::from_pem_slice(&pem), PrivateKeyDer::from_pem_slice(&pem))
        else {
            return Ok(false);
        };
        Ok(lasts(&certificate, now) && has_names(&certificate, self.names) && self.has_purposes(&certificate))
    }

    /// Certificates that earlier releases made for brokers were good for serving only.
    fn has_purposes(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
        let Ok(Some(purposes)) = certificate.extended_key_usage() else { return false };
        purposes.value.client_auth && (purposes.value.server_auth || !self.serves)
    }
}

/// What clients on this machine may call the broker.
fn names(host_name: &str) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let fits =
        !host_name.is_empty() && host_name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
    if fits && !names.iter().any(|name| name == host_name) {
        names.push(host_name.to_owned());
    }
    names
}

type Authority = Issuer<'static, KeyPair>;

/// The authority on disk; none if there is none, or none that lasts.
fn read_authority(ca: &Path, key: &Path, now: SystemTime) -> Result<Option<Authority>, CertificateError> {
    let (Some(pem), Some(key)) = (read(ca)?, read(key)?) else { return Ok(None) };
    let lasts = CertificateDer::from_pem_slice(&pem).is_ok_and(|certificate| lasts(&certificate, now));
    let (Ok(pem), Ok(key)) = (String::from_utf8(pem), String::from_utf8(key)) else { return Ok(None) };
    let (true, Ok(key)) = (lasts, KeyPair::from_pem(&key)) else { return Ok(None) };
    Ok(Issuer::from_ca_cert_pem(&pem, key).ok())
}

fn make_authority(ca: &Path, key_file: &Path, now: SystemTime) -> Result<Authority, CertificateError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = distinguished_name("Sluice development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + AUTHORITY_LASTS).into();
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    // The key first: a certificate without its key would look like an authority and sign nothing.
    write(key_file, &key.serialize_pem())?;
    write(ca, &certificate.pem())?;
    Ok(Issuer::new(params, key))
}

fn distinguished_name(cn: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Sluice");
    name.push(DnType::CommonName, cn);
    name
}

fn issue(file: &Path, params: CertificateParams, authority: &Authority) -> Result<(), CertificateError> {
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    write(file, &format!("{}{}", key.serialize_pem(), certificate.pem()))
}

fn lasts(certificate: &CertificateDer<'_>, now: SystemTime) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).cast_signed();
    let validity = certificate.validity();
    validity.not_before.timestamp() <= seconds(now) && seconds(now + RENEW_BEFORE) < validity.not_after.timestamp()
}

fn has_names(certificate: &CertificateDer<'_>, names: &[String]) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let Ok(alternatives) = certificate.subject_alternative_name() else { return false };
    let known = alternatives.map_or(&[][..], |extension| &extension.value.general_names[..]);
    // The same texts, in the form in which the certificate has them.
    let Ok(wanted) = CertificateParams::new(names) else { return false };
    wanted.subject_alt_names.iter().all(|wanted| {
        known.iter().any(|known| match (wanted, known) {
            (SanType::DnsName(wanted), GeneralName::DNSName(known)) => wanted.as_str() == *known,
            (SanType::IpAddress(std::net::IpAddr::V4(wanted)), GeneralName::IPAddress(known)) => {
                wanted.octets() == *known
            }
            (SanType::IpAddress(std::net::IpAddr::V6(wanted)), GeneralName::IPAddress(known)) => {
                wanted.octets() == *known
            }
            _ => false,
        })
    })
}

fn read(file: &Path) -> Result<Option<Vec<u8>>, CertificateError> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(CertificateError::File { path: file.to_owned(), cause }),
    }
}

/// Says whether it was there.
fn remove(file: &Path) -> Result<bool, CertificateError> {
    match fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(CertificateError::File { path: file.to_owned(), cause }),
    }
}

/// Writes beside the file and renames, so that a reader never meets half a key. Only the owner may read it.
fn write(file: &Path, text: &str) -> Result<(), CertificateError> {
    let beside = file.with_extension("new");
    let written = || -> io::Result<()> {
        if let Err(error) = fs::remove_file(&beside)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut new: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&beside, file)
    };
    written().map_err(at(file))
}

fn at(path: &Path) -> impl Fn(io::Error) -> CertificateError {
    move |cause| CertificateError::File { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn contents(files: &Certificates) -> [Vec<u8>; 3] {
        [&files.ca, &files.brokers[0], &files.client].map(|file| fs::read(file).expect("is there"))
    }

    #[test]
    fn made_once_and_used_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("tls");
        let now = SystemTime::now();
        let first = ensure(&folder, "machine.example", 1, now).expect("makes them");
        let made = contents(&first);
        assert_eq!(contents(&ensure(&folder, "machine.example", 1, now).expect("reads them")), made);
        for file in fs::read_dir(&folder).expect("is there") {
            let file = file.expect("is there");
            let mode = file.metadata().expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
        }
    }

    #[test]
    fn more_brokers_get_certificates_of_their_own_from_the_same_authority() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let alone = contents(&ensure(folder.path(), "machine", 1, now).expect("makes them"));
        let three = ensure(folder.path(), "machine", 3, now).expect("makes two more");
        assert_eq!(contents(&three), alone);
        let mut keys: Vec<_> = three.brokers.iter().map(|file| fs::read(file).expect("is there")).collect();
        keys.dedup();
        assert_eq!(keys.len(), 3);
        // With another authority, what the first one signed for the third broker is not taken for good.
        fs::remove_file(&three.ca).expect("removes");
        ensure(folder.path(), "machine", 1, now).expect("makes them");
        assert!(!three.brokers[2].exists());
    }

    #[test]
    fn a_broker_whose_certificate_is_for_serving_only_gets_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now();
        let files = ensure(folder.path(), "machine", 1, now).expect("makes them");
        let authority =
            read_authority(&files.ca, &folder.path().join("ca.key"), now).expect("reads").expect("is there");
        let names = names("machine");
        let kind = Kind { cn: "broker", names: &names, serves: true };
        assert!(kind.is_good(&files.brokers[0], now).expect("reads"));
        let mut params = kind.params(now).expect("good names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        issue(&files.brokers[0], params, &authority).expect("writes");
        assert!(!kind.is_good(&files.brokers[0], now).expect("reads"));
        ensure(folder.path(), "machine", 1, now).expect("makes another");
        assert!(kind.is_good(&files.brokers[0], now).expect("reads"));
    }

    #[test]
    fn what_is_no_longer_good_is_made_anew() {
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::now();
        let check = |name: &str, change: &dyn Fn(&Certificates), host: &str, later: Duration, changed: [bool; 3]| {
            let folder = tempfile::tempdir().expect("a folder");
            let files = ensure(folder.path(), "machine", 1, now).expect("makes them");
            let before = contents(&files);
            change(&files);
            let after = contents(&ensure(folder.path(), host, 1, now + later).expect("mends them"));
            let differs = [0, 1, 2].map(|at| before[at] != after[at]);
            assert_eq!(differs, changed, "{name}: authority, broker, client");
        };
        let nothing = |_: &Certificates| {};
        let wipe = |file: &Path| fs::write(file, "no PEM").expect("writes");
        check("a year on", &nothing, "machine", day * 350, [false, false, false]);
        check("near the end", &nothing, "machine", day * 380, [false, true, true]);
        check("near the authority's end", &nothing, "machine", day * 3640, [true, true, true]);
        check("another name", &nothing, "other", Duration::ZERO, [false, true, false]);
        check(
            "no broker",
            &|files| fs::remove_file(&files.brokers[0]).expect("removes"),
            "machine",
            Duration::ZERO,
            [false, true, false],
        );
        check("a damaged client", &|files| wipe(&files.client), "machine", Duration::ZERO, [false, false, true]);
        check("a damaged authority", &|files| wipe(&files.ca), "machine", Duration::ZERO, [true, true, true]);
        check(
            "no authority's key",
            &|files| fs::remove_file(files.ca.with_extension("key")).expect("removes"),
            "machine",
            Duration::ZERO,
            [true, true, true],
        );
    }
}
