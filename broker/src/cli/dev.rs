//! `sluice dev`: a broker on its own, or several in one process, for developing against. The cluster is kept in the data folder
//! instead of in ZooKeeper, certificates are made on the first start, and what clients need to get in is written: settings to
//! paste, and a profile for this command.

use std::{
    fs,
    future::pending,
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::Args;

use super::{
    config::environment,
    error::CliError,
    logging::{self, LogFormat},
    output::say,
    profile::{self, Profile},
    serve::serve_cluster,
};
use crate::{
    config::{BrokerConfig, Entry, Origin, from_environment, from_flags},
    coordination::LocalStore,
    dev::certs::{self, Certificates},
    dev::cluster::Cluster,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder that everything is kept in.
    #[arg(short, long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// How many brokers run, all in this process.
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=BROKERS_MAX))]
    brokers: u16,
    /// The port for Kafka clients, of the first broker; each further one has the next. 0: any free ports.
    #[arg(short, long, value_name = "PORT", default_value_t = 9093)]
    port: u16,
    /// The port of the admin API, of the first broker; each further one has the next. 0: any free ports.
    #[arg(long, value_name = "PORT", default_value_t = 9643)]
    admin_port: u16,
    /// Set a setting of the brokers. Can be given several times.
    #[arg(short, long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// How the log is written; text on a terminal and JSON otherwise.
    #[arg(long, value_enum, env = "SLUICE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

/// Brokers in one process at most: each has threads, files and caches as if it were alone.
const BROKERS_MAX: i64 = 16;

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
    let prepared = prepare(&data, arguments.brokers, ports, &set)?;
    serve_cluster(prepared.configs, &prepared.store, async |cluster| {
        introduce(cluster, &data, &prepared.certificates)?;
        pending().await
    })
}

/// Brokers ready to start, in one folder.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) configs: Vec<BrokerConfig>,
    pub(super) store: LocalStore,
    pub(super) certificates: Certificates,
}

/// The ports of the first broker.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    kafka: u16,
    admin: u16,
}

impl Ports {
    /// Any that are free.
    pub(super) const ANY: Self = Self { kafka: 0, admin: 0 };
}

impl Ports {
    /// Those of a broker, from 1.
    fn of(self, number: u16) -> Option<Self> {
        let port = |first: u16| if first == 0 { Some(0) } else { first.checked_add(number - 1) };
        Some(Self { kafka: port(self.kafka)?, admin: port(self.admin)? })
    }
}

/// Configurations, coordination and certificates of so many brokers in one folder. `set` goes over what they bring.
pub(super) fn prepare(data: &Path, brokers: u16, ports: Ports, set: &[Entry]) -> Result<Prepared, CliError> {
    if let Some(own) = set.iter().find(|entry| brokers > 1 && OF_EACH.contains(&entry.name.as_str())) {
        return Err(CliError::usage(format!(
            "{} sets `{}` for all brokers, and each has its own",
            own.origin, own.name
        )));
    }
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let certificates = certs::ensure(&data.join("tls"), &host_name, brokers.into(), SystemTime::now())
        .map_err(|cause| CliError::failed(format!("certificates: {cause}")))?;
    let mut configs = Vec::new();
    for (number, keystore) in (1..=brokers).zip(&certificates.brokers) {
        let own = own_settings(data, number, brokers, ports, keystore, &certificates.ca)?;
        let entries = own.into_iter().map(|(name, value)| Entry { name: name.to_owned(), value, origin: ORIGIN });
        configs.push(BrokerConfig::from_entries(entries.chain(set.iter().cloned()))?);
    }
    let store = LocalStore::open(&data.join("cluster")).map_err(|cause| {
        CliError::failed(cause.to_string())
            .hint("another `sluice dev` may run on this folder; --data FOLDER names another")
    })?;
    Ok(Prepared { configs, store, certificates })
}

/// Settings that no two brokers have in common.
const OF_EACH: [&str; 6] =
    ["broker.id", "listeners", "log.dirs", "log.dir", "ssl.keystore.location", "sluice.admin.listener"];

/// What a broker of these is set to.
fn own_settings(
    data: &Path,
    number: u16,
    brokers: u16,
    ports: Ports,
    keystore: &Path,
    ca: &Path,
) -> Result<Vec<(&'static str, String)>, CliError> {
    let ports = ports.of(number).ok_or_else(|| CliError::usage(format!("there is no port for broker {number}")))?;
    let file = |path: &Path| path.display().to_string();
    // The first broker keeps its folder when others join it.
    let log = if number == 1 { "log".to_owned() } else { format!("log-{number}") };
    let mut settings = vec![
        ("broker.id", number.to_string()),
        ("listeners", format!("SSL://127.0.0.1:{}", ports.kafka)),
        ("log.dirs", file(&data.join(log))),
        ("ssl.keystore.location", file(keystore)),
        ("ssl.truststore.location", file(ca)),
        ("ssl.client.auth", "required".to_owned()),
        ("sluice.admin.listener", format!("https://127.0.0.1:{}", ports.admin)),
    ];
    if brokers > 1 {
        settings[1].1.push_str(",INTERNAL://127.0.0.1:0");
        settings.push(("default.replication.factor", brokers.min(REPLICAS).to_string()));
        // One broker may be away.
        settings.push(("min.insync.replicas", (brokers.min(REPLICAS) - 1).max(1).to_string()));
    }
    Ok(settings)
}

/// Replicas of a topic where there are brokers enough: what a cluster in production has.
const REPLICAS: u16 = 3;

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

/// Where clients begin: every broker that is up.
pub(super) fn bootstrap(cluster: &Cluster) -> Vec<String> {
    let endpoints = cluster.up().filter_map(|(_, broker)| broker.endpoints().first());
    endpoints.map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port)).collect()
}

/// The admin APIs of the brokers that are up.
pub(super) fn admins(cluster: &Cluster) -> Vec<String> {
    cluster.up().filter_map(|(_, broker)| Some(format!("https://{}", broker.admin_address()?))).collect()
}

/// Writes the profile and the clients' settings, and shows how to get in.
fn introduce(cluster: &Cluster, data: &Path, certificates: &Certificates) -> Result<(), CliError> {
    let bootstrap = bootstrap(cluster).join(",");
    let profile = Profile {
        bootstrap_server: Some(bootstrap.clone()),
        admin: admins(cluster).into_iter().next(),
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
mod several;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_all_that_dev_needs() {
        let folder = tempfile::tempdir().expect("a folder");
        let set = from_flags(&["num.partitions=3".to_owned()]).expect("a setting");
        let Prepared { configs, store, certificates } = prepare(folder.path(), 1, Ports::ANY, &set).expect("prepares");
        let [config] = &configs[..] else { panic!("{} brokers", configs.len()) };
        assert_eq!((config.settings.num_partitions, config.admin_address.as_str()), (3, "127.0.0.1:0"));
        assert_eq!(config.log_dirs, [folder.path().join("log")]);
        assert_eq!(config.resolved.origin("listeners").to_string(), "sluice dev");
        assert!(config.inter_broker.is_none(), "it is alone");
        assert!(certificates.client.is_file());
        let error = prepare(folder.path(), 1, Ports::ANY, &[]).expect_err("in use").to_string();
        assert!(error.contains("--data FOLDER"), "{error}");
        drop(store);
        prepare(folder.path(), 1, Ports::ANY, &[]).expect("free again");
    }

    #[test]
    fn brokers_have_nothing_of_their_own_in_common() {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = Ports { kafka: 4000, admin: 5000 };
        let configs = prepare(folder.path(), 3, ports, &[]).expect("prepares").configs;
        let own = |config: &BrokerConfig| {
            let keystore = config.settings.ssl_keystore_location.clone().expect("has one");
            let listeners: Vec<u16> = config.net.listeners.iter().map(|listener| listener.port).collect();
            (config.settings.broker_id, config.log_dirs.clone(), keystore, listeners, config.admin_address.clone())
        };
        for (number, config) in (1..).zip(&configs) {
            let (id, log_dir, keystore, listeners, admin) = own(config);
            assert_eq!(
                (id, listeners, admin),
                (number, vec![3999 + number as u16], format!("127.0.0.1:{}", 4999 + number))
            );
            assert!(configs.iter().filter(|other| own(other).1 == log_dir || own(other).2 == keystore).count() == 1);
            assert!(config.inter_broker.is_some());
            assert_eq!(
                (config.settings.default_replication_factor, config.topics.get("min.insync.replicas")),
                (3, Some("2"))
            );
        }
        let set = from_flags(&["broker.id=7".to_owned()]).expect("a setting");
        assert!(prepare(folder.path(), 1, Ports::ANY, &set).is_ok(), "one broker may have any number");
        let error = prepare(folder.path(), 2, Ports::ANY, &set).expect_err("two may not have the same").to_string();
        assert!(error.contains("`broker.id`"), "{error}");
        assert!(prepare(folder.path(), 3, Ports { kafka: 65_534, admin: 0 }, &[]).is_err(), "there is no port 65536");
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
