//! `listeners`, `advertised.listeners`, `listener.security.protocol.map` and the `ssl.*` settings, made into what
//! [`crate::net`] binds.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    broker::BrokerSettings,
    key::words_of,
    millis,
    resolved::{Problem, ProblemKind, Resolved},
};
use crate::net::{
    ClientAuth, Identity, ListenerConfig, ListenerName, PemSource, Secret, Security, TlsConfig, TlsProtocol,
};

/// The listeners, by who comes.
pub(super) struct Listeners {
    /// Kafka's clients.
    pub(super) clients: Vec<ListenerConfig>,
    /// Other brokers.
    pub(super) inter_broker: Option<InterBrokerConfig>,
}

/// How brokers talk to each other.
#[derive(Debug, Clone)]
pub struct InterBrokerConfig {
    /// The listener by which others come.
    pub listener: ListenerConfig,
    /// The listener's TLS settings, with which this broker also calls others.
    pub tls: TlsConfig,
    /// The distinguished names of brokers; none: this broker's own.
    pub principals: Vec<String>,
    /// Whether the certificate of a broker that is called has to name its host.
    pub verify_host_names: bool,
    /// How long connecting may take.
    pub connect_timeout: Duration,
}

/// The listeners, or everything that is wrong with them.
pub(super) fn listeners(settings: &BrokerSettings, resolved: &Resolved) -> Result<Listeners, Vec<Problem>> {
    let mut builder = Builder { settings, resolved, problems: Vec::new() };
    let listeners = builder.build();
    if builder.problems.is_empty() { Ok(listeners) } else { Err(builder.problems) }
}

struct Builder<'a> {
    settings: &'a BrokerSettings,
    resolved: &'a Resolved,
    problems: Vec<Problem>,
}

/// An address as `listeners` has it.
#[derive(Debug, PartialEq, Eq)]
struct Address {
    name: ListenerName,
    host: String,
    port: u16,
}

impl Builder<'_> {
    fn build(&mut self) -> Listeners {
        let protocols = self.protocols();
        let advertised = match &self.settings.advertised_listeners {
            None => Vec::new(),
            Some(texts) => self.addresses("advertised.listeners", texts),
        };
        let mut addresses = self.addresses("listeners", &self.settings.listeners);
        let internal = ListenerName::new(&self.settings.inter_broker_listener_name);
        if self.resolved.get("listeners").is_none() && !self.says_whom_to_believe(&internal) {
            // Nobody asked for it, and without authorities it could let nobody in.
            addresses.retain(|address| address.name != internal);
        }
        if addresses.iter().all(|address| address.name == internal) && self.problems.is_empty() {
            self.problem("listeners", "names no listener for clients, so that nobody could connect");
        }
        if self.resolved.get("inter.broker.listener.name").is_some()
            && !addresses.iter().any(|address| address.name == internal)
        {
            self.problem("inter.broker.listener.name", format!("is {internal}, which is not in `listeners`"));
        }
        for address in &advertised {
            if !addresses.iter().any(|listener| listener.name == address.name) {
                self.problem("advertised.listeners", format!("names {}, which is not in `listeners`", address.name));
            }
            if is_meta_address(&address.host) {
                self.problem(
                    "advertised.listeners",
                    format!("gives {} an address that no client can connect to", address.name),
                );
            }
        }
        self.check_prefixes(&addresses);
        let mut listeners = Listeners { clients: Vec::new(), inter_broker: None };
        for address in addresses {
            let advertised = advertised.iter().find(|advertised| advertised.name == address.name);
            if advertised.is_none() && !address.host.is_empty() && is_meta_address(&address.host) {
                self.problem(
                    "listeners",
                    format!(
                        "binds {} to every interface: say in `advertised.listeners` what clients connect to",
                        address.name
                    ),
                );
            }
            let security = match protocols.get(&address.name).map(String::as_str) {
                Some("PLAINTEXT") if address.name == internal => {
                    self.problem(
                        "listener.security.protocol.map",
                        format!("gives {internal} PLAINTEXT, and brokers talk to each other over TLS only"),
                    );
                    continue;
                }
                Some("PLAINTEXT") => Security::Plaintext,
                Some("SSL") => match self.tls(&address.name) {
                    Some(tls) => Security::Ssl(Box::new(tls)),
                    None => continue,
                },
                Some(other) => {
                    self.problem(
                        "listener.security.protocol.map",
                        format!("gives {} {other}, and sluice knows SSL and PLAINTEXT so far", address.name),
                    );
                    continue;
                }
                None => {
                    self.problem(
                        "listener.security.protocol.map",
                        format!("does not say what {} is: add {}:SSL", address.name, address.name),
                    );
                    continue;
                }
            };
            let listener = ListenerConfig {
                name: address.name,
                host: address.host,
                port: address.port,
                advertised: advertised.map(|advertised| (advertised.host.clone(), advertised.port)),
                security,
            };
            match &listener.security {
                Security::Ssl(tls) if listener.name == internal => {
                    listeners.inter_broker = self.inter_broker(TlsConfig::clone(tls), listener);
                }
                Security::Ssl(_) | Security::Plaintext => listeners.clients.push(listener),
            }
        }
        listeners
    }

    fn says_whom_to_believe(&self, listener: &ListenerName) -> bool {
        ["ssl.truststore.location", "ssl.truststore.certificates"]
            .iter()
            .any(|name| self.resolved.text_for_listener(listener.as_str(), name).is_some_and(|text| !text.is_empty()))
    }

    /// Brokers show each other their certificates, whatever is asked of clients.
    fn inter_broker(&mut self, tls: TlsConfig, listener: ListenerConfig) -> Option<InterBrokerConfig> {
        let name = listener.name.as_str();
        let own = format!("listener.name.{}.ssl.client.auth", name.to_ascii_lowercase());
        if self.resolved.text(&own).is_some() && tls.client_auth != ClientAuth::Required {
            self.problem(&own, "has to be required: a broker without a certificate is none");
            return None;
        }
        if tls.truststore.is_none() {
            self.problem(
                "ssl.truststore.location",
                format!("is not set: say whose brokers are believed on {name}, or leave {name} out of `listeners`"),
            );
            return None;
        }
        let text = |key: &str| self.resolved.text_for_listener(name, key).map_or("", str::trim);
        let tls = TlsConfig { client_auth: ClientAuth::Required, ..tls };
        let principals = self.settings.broker_principals.as_deref().unwrap_or_default().split(';').map(str::trim);
        Some(InterBrokerConfig {
            principals: principals.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            verify_host_names: text("ssl.endpoint.identification.algorithm") == "https",
            connect_timeout: millis(self.settings.socket_connection_setup_timeout_ms),
            listener: ListenerConfig { security: Security::Ssl(Box::new(tls.clone())), ..listener },
            tls,
        })
    }

    fn problem(&mut self, name: &str, why: impl Into<String>) {
        let kind = ProblemKind::Conflict { name: name.to_owned(), why: why.into() };
        self.problems.push(Problem { origin: self.resolved.origin(name), kind });
    }

    fn protocols(&mut self) -> BTreeMap<ListenerName, String> {
        let mut protocols = BTreeMap::new();
        for text in &self.settings.listener_security_protocol_map {
            match text.split_once(':') {
                Some((name, protocol)) => {
                    protocols.insert(ListenerName::new(name.trim()), protocol.trim().to_ascii_uppercase());
                }
                None => {
                    self.problem("listener.security.protocol.map", format!("wants NAME:PROTOCOL, and `{text}` is not"));
                }
            }
        }
        protocols
    }

    fn addresses(&mut self, setting: &str, texts: &[String]) -> Vec<Address> {
        let mut addresses: Vec<Address> = Vec::new();
        for text in texts {
            let Some(address) = parse_address(text) else {
                self.problem(setting, format!("wants NAME://HOST:PORT, and `{text}` is not"));
                continue;
            };
            if addresses.iter().any(|other| other.name == address.name) {
                self.problem(setting, format!("names {} twice", address.name));
            }
            if address.port != 0
                && addresses.iter().any(|other| (&other.host, other.port) == (&address.host, address.port))
            {
                self.problem(setting, format!("gives two listeners the port {}", address.port));
            }
            addresses.push(address);
        }
        addresses
    }

    /// A setting for a listener that there is not would silently do nothing.
    fn check_prefixes(&mut self, addresses: &[Address]) {
        let strangers: Vec<_> = self
            .resolved
            .of_listeners()
            .filter(|(_, listener, _)| !addresses.iter().any(|address| address.name == ListenerName::new(listener)))
            .map(|(name, listener, _)| (name.to_owned(), listener.to_owned()))
            .collect();
        for (name, listener) in strangers {
            self.problem(&name, format!("is for {}, which is not in `listeners`", listener.to_ascii_uppercase()));
        }
    }

    fn tls(&mut self, listener: &ListenerName) -> Option<TlsConfig> {
        let resolved = self.resolved;
        let text = |name: &str| {
            resolved.text_for_listener(listener.as_str(), name).map(str::trim).filter(|text| !text.is_empty())
        };
        let identity = match (
            text("ssl.keystore.location"),
            text("ssl.keystore.key"),
            text("ssl.keystore.certificate.chain"),
        ) {
            (Some(path), None, None) => Identity::File(PathBuf::from(path)),
            (None, Some(key), Some(chain)) => {
                Identity::Inline { key: Secret::new(key.to_owned()), certificate_chain: chain.to_owned() }
            }
            (None, None, None) => {
                let why = format!(
                    "offers TLS on {listener}, and nothing says with which key: set ssl.keystore.location to a PEM file with the key and its certificates, \
                     or let `sluice dev` make them"
                );
                self.problem("listeners", why);
                return None;
            }
            (Some(_), ..) => {
                self.problem("ssl.keystore.location", "and ssl.keystore.key exclude each other");
                return None;
            }
            (None, ..) => {
                self.problem("ssl.keystore.key", "and ssl.keystore.certificate.chain belong together");
                return None;
            }
        };
        let truststore = match (text("ssl.truststore.location"), text("ssl.truststore.certificates")) {
            (Some(_), Some(_)) => {
                self.problem("ssl.truststore.location", "and ssl.truststore.certificates exclude each other");
                return None;
            }
            (Some(path), None) => Some(PemSource::File(PathBuf::from(path))),
            (None, Some(pem)) => Some(PemSource::Inline(pem.to_owned())),
            (None, None) => None,
        };
        let client_auth = match text("ssl.client.auth") {
            Some("required") => ClientAuth::Required,
            Some("requested") => ClientAuth::Requested,
            _ => ClientAuth::None, // the row knows three words
        };
        if client_auth != ClientAuth::None && truststore.is_none() {
            self.problem("ssl.client.auth", "asks for certificates: say in ssl.truststore.location whose are believed");
            return None;
        }
        let protocols = words_of(text("ssl.enabled.protocols").unwrap_or_default())
            .map(|word| if word == "TLSv1.2" { TlsProtocol::Tls12 } else { TlsProtocol::Tls13 })
            .collect();
        Some(TlsConfig { identity, truststore, client_auth, protocols })
    }
}

/// Whether an address means "all of this machine's", which nobody else can connect to.
fn is_meta_address(host: &str) -> bool {
    host.is_empty() || host == "0.0.0.0" || host == "::"
}

/// `NAME://HOST:PORT`; an IPv6 host stands in brackets.
fn parse_address(text: &str) -> Option<Address> {
    let (name, rest) = text.split_once("://")?;
    let (host, port) = rest.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let good_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    good_name.then_some(())?;
    Some(Address { name: ListenerName::new(name), host: host.to_owned(), port: port.parse().ok()? })
}
