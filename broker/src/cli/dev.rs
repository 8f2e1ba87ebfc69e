//! `sluice dev`: a broker on its own, for developing against. It keeps its cluster in its data folder instead of in
//! ZooKeeper, makes its certificates on the first start, and writes what clients need to get in: settings to paste, and a
//! profile for this command.

use std::{
    fs,
    future::pending,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use clap::Args;

use super::{
    config::environment,
    error::CliError,
    logging::{self, LogFormat},
    output::say,
    profile::{self, Profile},
    serve::serve,
};
use crate::{
    broker::Broker,
    config::{BrokerConfig, Entry, Origin, from_environment, from_flags},
    coordination::LocalStore,
    dev::certs::{self, Certificates},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder that everything is kept in.
    #[arg(short, long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// The port for Kafka clients; 0: any free port.
    #[arg(short, long, value_name = "PORT", default_value_t = 9093)]
    port: u16,
    /// The port of the admin API; 0: any free port.
    #[arg(long, value_name = "PORT", default_value_t = 9643)]
    admin_port: u16,
    /// Set a setting of the broker. Can be given several times.
    #[arg(short, long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// How the log is written; text on a terminal and JSON otherwise.
    #[arg(long, value_enum, env = "SLUICE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

/// What settings of this command's own are said to come from.
const ORIGIN: Origin = Origin::Command("sluice dev");

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let data = match &arguments.data {
        Some(data) => {
            std::path::absolute(data).map_err(|cause| CliError::failed(format!("{}: {cause}", data.display())))?
        }
        None => default_folder()?,
    };
    logging::start(arguments.log_format, logging::SERVING)?;
    let mut set = from_environment(environment());
    set.extend(from_flags(&arguments.set).map_err(crate::config::ConfigError::from)?);
    let ports = Ports { kafka: arguments.port, admin: arguments.admin_port };
    let (config, store, certificates) = prepare(&data, ports, set)?;
    serve(config, Arc::new(store), async |broker| {
        introduce(broker, &data, &certificates)?;
        pending().await
    })
}

/// The ports of a broker on its own.
pub(super) struct Ports {
    kafka: u16,
    admin: u16,
}

impl Ports {
    /// Any that are free.
    pub(super) const ANY: Self = Self { kafka: 0, admin: 0 };
}

/// A broker's configuration, coordination and certificates in one folder. `set` goes over what they bring.
pub(super) fn prepare(
    data: &Path,
    ports: Ports,
    set: Vec<Entry>,
) -> Result<(BrokerConfig, LocalStore, Certificates), CliError> {
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let certificates = certs::ensure(&data.join("tls"), &host_name, 1, SystemTime::now())
        .map_err(|cause| CliError::failed(format!("certificates: {cause}")))?;
    let file = |path: &Path| path.display().to_string();
    let own = [
        ("listeners", format!("SSL://127.0.0.1:{}", ports.kafka)),
        ("log.dirs", file(&data.join("log"))),
        ("ssl.keystore.location", file(&certificates.brokers[0])),
        ("ssl.truststore.location", file(&certificates.ca)),
        ("ssl.client.auth", "required".to_owned()),
        ("sluice.admin.listener", format!("https://127.0.0.1:{}", ports.admin)),
    ];
    let mut entries: Vec<Entry> =
        own.into_iter().map(|(name, value)| Entry { name: name.to_owned(), value, origin: ORIGIN }).collect();
    entries.extend(set);
    let config = BrokerConfig::from_entries(entries)?;
    let store = LocalStore::open(&data.join("cluster")).map_err(|cause| {
        CliError::failed(cause.to_string())
            .hint("another `sluice dev` may run on this folder; --data FOLDER names another")
    })?;
    Ok((config, store, certificates))
}

/// `$XDG_DATA_HOME/sluice/dev`, by default `~/.local/share/sluice/dev`.
fn default_folder() -> Result<PathBuf, CliError> {
    let base = match (profile::absolute("XDG_DATA_HOME"), profile::absolute("HOME")) {
        (Some(data), _) => data,
        (None, Some(home)) => home.join(".local/share"),
        (None, None) => {
            return Err(CliError::usage("no place for data: HOME is not set").hint("name a folder: --data FOLDER"));
        }
    };
    Ok(base.join("sluice/dev"))
}

/// Writes the profile and the clients' settings, and shows how to get in.
fn introduce(broker: &Broker, data: &Path, certificates: &Certificates) -> Result<(), CliError> {
    let Some(endpoint) = broker.endpoints().first() else { return Ok(()) };
    let bootstrap = format!("{}:{}", endpoint.host, endpoint.port);
    let profile = Profile {
        bootstrap_server: Some(bootstrap.clone()),
        admin: broker.admin_address().map(|address| format!("https://{address}")),
        ca: Some(certificates.ca.clone()),
        cert: Some(certificates.client.clone()),
        key: Some(certificates.client.clone()),
        plaintext: false,
    };
    let settings = Settings::new(&bootstrap, certificates);
    let (librdkafka, java) = settings.write(data)?;
    // A profile is a convenience: where it cannot be written, flags still do.
    let profile = match profile.write(profile::DEV) {
        Ok(path) => format!("written to {}", path.display()),
        Err(error) => format!("not written: {error}"),
    };
    say(introduction(&bootstrap, &settings, &librdkafka, &java, profile.trim()));
    Ok(())
}

/// Settings of the two families of clients.
pub(super) struct Settings {
    pub(super) librdkafka: String,
    java: String,
}

impl Settings {
    pub(super) fn new(bootstrap: &str, certificates: &Certificates) -> Self {
        let (ca, client) = (certificates.ca.display(), certificates.client.display());
        Self {
            librdkafka: format!(
                "bootstrap.servers={bootstrap}\nsecurity.protocol=ssl\nssl.ca.location={ca}\nssl.certificate.location={client}\nssl.key.location={client}\n"
            ),
            java: format!(
                "bootstrap.servers={bootstrap}\nsecurity.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location={ca}\n\
                 ssl.keystore.type=PEM\nssl.keystore.location={client}\n"
            ),
        }
    }

    /// Writes both into `folder`: librdkafka's file and Java's.
    pub(super) fn write(&self, folder: &Path) -> Result<(PathBuf, PathBuf), CliError> {
        let written = |name: &str, text: &str| {
            let path = folder.join(name);
            match fs::write(&path, text) {
                Ok(()) => Ok(path),
                Err(cause) => Err(CliError::failed(format!("cannot write {}: {cause}", path.display()))),
            }
        };
        Ok((written("client.librdkafka.conf", &self.librdkafka)?, written("client.properties", &self.java)?))
    }
}

fn introduction(bootstrap: &str, settings: &Settings, librdkafka: &Path, java: &Path, profile: &str) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "\n  Kafka clients connect to {bootstrap}, over TLS and with a certificate.\n\n  \
         kcat, librdkafka and what is built on it ({librdkafka}):\n{}    kcat -F {librdkafka} -L\n\n  \
         Java ({java}):\n{}\n  \
         sluice itself (profile `dev`, {profile}):\n    sluice topic create orders\n    sluice produce orders\n",
        indented(&settings.librdkafka),
        indented(&settings.java),
        librdkafka = librdkafka.display(),
        java = java.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_all_that_dev_needs() {
        let folder = tempfile::tempdir().expect("a folder");
        let set = from_flags(&["num.partitions=3".to_owned()]).expect("a setting");
        let (config, store, certificates) = prepare(folder.path(), Ports::ANY, set).expect("prepares");
        assert_eq!((config.settings.num_partitions, config.admin_address.as_str()), (3, "127.0.0.1:0"));
        assert_eq!(config.log_dirs, [folder.path().join("log")]);
        assert_eq!(config.resolved.origin("listeners").to_string(), "sluice dev");
        assert!(certificates.client.is_file());
        let error = prepare(folder.path(), Ports::ANY, Vec::new()).expect_err("in use").to_string();
        assert!(error.contains("--data FOLDER"), "{error}");
        drop(store);
        prepare(folder.path(), Ports::ANY, Vec::new()).expect("free again");
    }

    #[test]
    fn settings_to_paste() {
        let certificates = Certificates { ca: "/d/ca.pem".into(), brokers: Vec::new(), client: "/d/client.pem".into() };
        let settings = Settings::new("127.0.0.1:9093", &certificates);
        assert!(settings.java.contains("ssl.keystore.type=PEM\nssl.keystore.location=/d/client.pem\n"));
        let text = introduction(
            "127.0.0.1:9093",
            &settings,
            Path::new("/d/c.conf"),
            Path::new("/d/c.properties"),
            "written to p",
        );
        assert!(text.contains("    ssl.ca.location=/d/ca.pem\n") && text.contains("kcat -F /d/c.conf -L"), "{text}");
    }
}
