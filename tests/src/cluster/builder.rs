//! How a cluster is set up: what of it there is, and the settings all its brokers have.

use std::collections::BTreeMap;

use super::{Cluster, Member, Software};
use crate::network::Place;
use crate::proxy::Clients;
use crate::{Certificates, Ensemble, Network};

/// How a cluster is to be set up: three brokers and one ZooKeeper unless it says otherwise.
#[derive(Debug)]
pub struct ClusterBuilder {
    software: Software,
    brokers: usize,
    zookeepers: usize,
    zookeeper_tls: bool,
    proxied: bool,
    network: Option<Network>,
    settings: BTreeMap<String, String>,
}

/// How long ZooKeeper waits for a broker that is silent: long for two busy cores, short for a test that waits for its end.
const SESSION_TIMEOUT_MS: u32 = 4000;

impl Default for ClusterBuilder {
    fn default() -> Self {
        Self {
            software: Software::Sluice,
            brokers: 3,
            zookeepers: 1,
            zookeeper_tls: false,
            proxied: false,
            network: None,
            settings: BTreeMap::new(),
        }
    }
}

impl ClusterBuilder {
    /// Brokers of somebody else's.
    pub fn software(mut self, software: Software) -> Self {
        self.software = software;
        self
    }

    /// As many brokers, with ids from 1.
    pub fn brokers(mut self, brokers: usize) -> Self {
        self.brokers = brokers;
        self
    }

    /// As many ZooKeeper servers.
    pub fn zookeepers(mut self, zookeepers: usize) -> Self {
        self.zookeepers = zookeepers;
        self
    }

    /// TLS between brokers and ZooKeeper, and between ZooKeepers.
    pub fn zookeeper_tls(mut self) -> Self {
        self.zookeeper_tls = true;
        self
    }

    /// Links that can be cut.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Every process in a place of its own in this network, where packets can be made to vanish.
    pub fn on(mut self, network: Network) -> Self {
        self.network = Some(network);
        self
    }

    /// Sets a configuration key of all brokers.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.insert(key.to_owned(), value.to_string());
        self
    }

    /// Starts everything and waits until all brokers serve.
    pub fn start(self) -> Cluster {
        let mut cluster = self.without_brokers();
        cluster.start_brokers();
        cluster
    }

    /// Starts everything but the brokers, which are there to be started.
    pub fn without_brokers(mut self) -> Cluster {
        assert!(self.network.is_none() || !self.proxied, "links are cut by one or the other");
        let folder = tempfile::Builder::new().prefix("sluice-cluster-").tempdir().expect("a temporary folder");
        let certificates = Certificates::make_for(
            &folder.path().join("certificates"),
            &self.network.as_ref().map(Network::addresses).unwrap_or_default(),
        );
        let place = |server| self.network.as_mut().map_or_else(Place::here, |network| network.zookeeper(server));
        let places: Vec<Place> = (0..self.zookeepers).map(place).collect();
        let zookeeper = Ensemble::start_in(&places, self.zookeeper_tls.then_some(&certificates));
        let (both, ca) = (certificates.broker.both.display().to_string(), certificates.ca.display().to_string());
        let mut settings: BTreeMap<String, String> = [
            ("listener.security.protocol.map", "SSL:SSL,INTERNAL:SSL"),
            ("inter.broker.listener.name", "INTERNAL"),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.location", &both),
            ("ssl.truststore.type", "PEM"),
            ("ssl.truststore.location", &ca),
            ("ssl.client.auth", "required"),
            ("zookeeper.session.timeout.ms", &SESSION_TIMEOUT_MS.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        if self.zookeeper_tls {
            let tls = [
                ("zookeeper.ssl.client.enable", "true"),
                ("zookeeper.ssl.keystore.location", &both),
                ("zookeeper.ssl.truststore.location", &ca),
            ];
            settings.extend(tls.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
        settings.extend(self.settings);
        let proxied = self.proxied.then(Clients::default);
        let mut cluster = Cluster {
            members: BTreeMap::new(),
            zookeeper,
            network: self.network,
            certificates,
            software: self.software,
            settings,
            proxied,
            folder,
        };
        for _ in 0..self.brokers {
            cluster.prepare_broker();
        }
        cluster
    }
}

impl Cluster {
    /// A broker with the next free id and addresses of its own, not yet started.
    pub fn prepare_broker(&mut self) -> i32 {
        let id = self.members.keys().next_back().map_or(1, |last| last + 1);
        let data = self.folder.path().join(format!("data-{id}"));
        let place = self.network.as_mut().map_or_else(Place::here, |network| network.broker(id));
        let member = Member::new(id, self.software, data, &self.zookeeper, self.proxied.as_ref(), place);
        self.members.insert(id, member);
        id
    }

    /// Starts all brokers that are not there, at once, and waits until each serves.
    pub fn start_brokers(&mut self) {
        let gone: Vec<i32> =
            self.members.values().filter(|member| !member.is_there()).map(|member| member.id).collect();
        for &id in &gone {
            self.launch(id);
        }
        for &id in &gone {
            self.await_serving(id);
        }
    }
}
