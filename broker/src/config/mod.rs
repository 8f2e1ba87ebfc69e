//! The broker's configuration: read from file, environment and flags, checked whole, and typed, once, at the start.
//!
//! ```text
//!   file, SLUICE_*, --set ──Entry──> Resolved (names known, values of their kind) ──> BrokerConfig (typed, consistent)
//! ```
//! Names are Kafka's, so that a `server.properties` works as it is; ours begin with `sluice.`. A name that nobody knows is
//! an error with a suggestion, and a setting that Kafka knows and this broker does not act on is refused by name: an
//! operator who writes a line may rely on it. [`key::Key`] rows are the only place where a setting is declared.

mod broker;
mod describe;
mod kafka_names;
mod key;
mod listeners;
mod resolved;
mod source;
mod suggest;
#[cfg(test)]
mod tests;
mod topic;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

pub use broker::{BROKER_KEYS, BrokerSettings};
pub use describe::{ConfigSource, Described, Shown, Synonym};
pub use key::{BadValue, Key, Kind};
pub use listeners::InterBrokerConfig;
pub use resolved::{
    CHANGED_WHILE_RUNNING, Problem, ProblemKind, Resolved, Setting, broker_key, broker_keys, check_changed,
};
pub use source::{Entry, Origin, SourceError, from_environment, from_file, from_flags};
pub use topic::{
    TOPIC_DEFAULT_KEYS, TOPIC_KEYS, TopicConfig, TopicConfigError, TopicDefaultSettings, TopicDefaults,
    check_topic_config, topic_key,
};

use crate::net::{Limits, NetConfig};

/// A configuration that a broker can run with.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// The settings as they are written, typed.
    pub settings: BrokerSettings,
    /// What topics inherit.
    pub topics: TopicDefaults,
    /// Clients' listeners, TLS, limits on connections.
    pub net: NetConfig,
    /// The listener for other brokers; none: this one is alone in its cluster.
    pub inter_broker: Option<InterBrokerConfig>,
    /// `host:port` of the admin API.
    pub admin_address: String,
    /// The folders that hold the topics, each on a disk of its own; at least one.
    pub log_dirs: Vec<PathBuf>,
    /// What was set, and where.
    pub resolved: Resolved,
}

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Settings are wrong, each of these.
    #[error("{}", Lines(.0))]
    Settings(Vec<Problem>),
}

struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl BrokerConfig {
    /// Reads the configuration of `sluice broker`: `file`, then the environment's variables, then `--set` flags, each
    /// over the one before.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[String],
    ) -> Result<Self, ConfigError> {
        let mut entries = file.map(from_file).transpose()?.unwrap_or_default();
        entries.extend(from_environment(environment));
        entries.extend(from_flags(flags)?);
        Self::from_entries(entries)
    }

    /// Checks and types entries, of which a later one overrules an earlier one.
    pub fn from_entries(entries: impl IntoIterator<Item = Entry>) -> Result<Self, ConfigError> {
        let resolved = Resolved::new(entries).map_err(ConfigError::Settings)?;
        let settings = BrokerSettings::read(|name| resolved.text_or_default(name)).map_err(unfit)?;
        // Read for their kinds alone: what they come to is in the topics' defaults.
        TopicDefaultSettings::read(|name| resolved.text(name)).map_err(unfit)?;
        let mut problems = Vec::new();
        let log_dirs = log_dirs(&settings, &resolved).map_err(|problem| problems.push(problem)).ok();
        let admin_address = admin_address(&settings, &resolved).map_err(|problem| problems.push(problem)).ok();
        let listeners = listeners::listeners(&settings, &resolved).map_err(|more| problems.extend(more)).ok();
        if let Err(problem) = check_zookeeper(&settings, &resolved) {
            problems.push(problem);
        }
        let (Some(log_dirs), Some(admin_address), Some(listeners), []) =
            (log_dirs, admin_address, listeners, &problems[..])
        else {
            return Err(ConfigError::Settings(problems));
        };
        let net = NetConfig { listeners: listeners.clients, limits: limits(&settings) };
        let inter_broker = listeners.inter_broker;
        let topics = TopicDefaults::new(|name| resolved.text(name));
        Ok(Self { settings, topics, net, inter_broker, admin_address, log_dirs, resolved })
    }
}

/// A text passed its row's check and does not fit its field all the same, as 2^63 - 1 does not fit a smaller machine's
/// `usize`.
fn unfit(name: &'static str) -> ConfigError {
    let kind = ProblemKind::Conflict {
        name: name.to_owned(),
        why: "has a value beyond what this machine can count".to_owned(),
    };
    ConfigError::Settings(vec![Problem { origin: Origin::Default, kind }])
}

/// A setting that does not go with the others.
fn conflict(resolved: &Resolved, name: &str, why: &str) -> Problem {
    let kind = ProblemKind::Conflict { name: name.to_owned(), why: why.to_owned() };
    Problem { origin: resolved.origin(name), kind }
}

fn admin_address(settings: &BrokerSettings, resolved: &Resolved) -> Result<String, Problem> {
    let address = settings.admin_listener.strip_prefix("https://").map(|address| address.trim_end_matches('/'));
    let good = |address: &str| {
        address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    match address {
        Some(address) if good(address) => Ok(address.to_owned()),
        _ => Err(conflict(resolved, "sluice.admin.listener", "has to be https://HOST:PORT")),
    }
}

/// TLS towards ZooKeeper needs to know whom to believe, and its files mean nothing without it.
fn check_zookeeper(settings: &BrokerSettings, resolved: &Resolved) -> Result<(), Problem> {
    let truststore = settings.zookeeper_ssl_truststore_location.is_some();
    let (name, why) = match settings.zookeeper_ssl_client_enable {
        true if !truststore => {
            ("zookeeper.ssl.client.enable", "needs zookeeper.ssl.truststore.location: whose servers are believed")
        }
        false if truststore => {
            ("zookeeper.ssl.truststore.location", "has no effect without zookeeper.ssl.client.enable=true")
        }
        false if settings.zookeeper_ssl_keystore_location.is_some() => {
            ("zookeeper.ssl.keystore.location", "has no effect without zookeeper.ssl.client.enable=true")
        }
        true | false => return Ok(()),
    };
    Err(conflict(resolved, name, why))
}

fn log_dirs(settings: &BrokerSettings, resolved: &Resolved) -> Result<Vec<PathBuf>, Problem> {
    let problem = |name: &str, why: &str| Err(conflict(resolved, name, why));
    match (settings.log_dirs.as_deref(), settings.log_dir.as_deref()) {
        (Some([]) | None, Some(only)) if !only.is_empty() => Ok(vec![PathBuf::from(only)]),
        (Some([]) | None, _) => problem("log.dirs", "is not set: say in which folder topics are kept"),
        (Some(several), _) => {
            // Paths compare by their parts: `/a/` is `/a`.
            let paths: Vec<PathBuf> = several.iter().map(PathBuf::from).collect();
            let twice = (1..paths.len()).any(|at| paths[..at].contains(&paths[at]));
            if twice { problem("log.dirs", "names a folder twice") } else { Ok(paths) }
        }
    }
}

fn limits(settings: &BrokerSettings) -> Limits {
    Limits {
        frame_bytes_max: settings.socket_request_max_bytes,
        memory_bytes_max: settings.network_memory_bytes_max,
        inflight_bytes_max: settings.inflight_bytes_max,
        connections_max: settings.max_connections,
        connections_per_ip_max: settings.max_connections_per_ip,
        idle_max: millis(settings.connections_max_idle_ms),
        frame_age_while_short_max: millis(settings.frame_timeout_ms),
        handshake_timeout: millis(settings.handshake_timeout_ms),
    }
}

/// The longest duration a setting can ask for: a year. Timers cannot count to 2^63 ms, and nobody waits that long.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Milliseconds of a setting whose row takes no negative number.
pub(crate) fn millis(setting: i64) -> Duration {
    Duration::from_millis(setting.unsigned_abs()).min(DURATION_MAX)
}
