//! One broker with its ZooKeeper, its certificates and its folder: how it is set up, and what can happen to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Instant;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::clients::{Connection, Java, Kcat, Python, PythonClient, Rdkafka};
use crate::serving::Serving;
use crate::{Certificates, Contact, PATIENCE, Plugin, Process, Ran, ZooKeeper, binaries};

/// A running broker. Dropping it ends all its processes; after a failure they are heard first.
#[derive(Debug)]
pub struct Sluice {
    broker: Option<Process>,
    /// The broker's ZooKeeper, for tests that hurt it.
    pub zookeeper: ZooKeeper,
    /// The cluster's certificates.
    pub certificates: Certificates,
    settings: BTreeMap<String, String>,
    serving: Serving,
    folder: TempDir,
}

/// How a broker is to be set up.
#[derive(Debug, Default)]
pub struct SluiceBuilder {
    settings: BTreeMap<String, String>,
}

impl SluiceBuilder {
    /// Sets a configuration key of the broker.
    pub fn set(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.insert(key.to_owned(), value.to_string());
        self
    }

    /// Starts everything and waits until the broker serves.
    pub fn start(self) -> Sluice {
        let mut sluice = self.without_broker();
        sluice.restart();
        sluice
    }

    /// Starts everything but the broker, for tests of how it starts.
    pub fn without_broker(self) -> Sluice {
        let folder = tempfile::Builder::new().prefix("sluice-").tempdir().expect("a temporary folder");
        let certificates = Certificates::make(&folder.path().join("certificates"));
        let zookeeper = ZooKeeper::start();
        let mut settings: BTreeMap<String, String> = [
            ("broker.id", "1".to_owned()),
            ("listeners", "SSL://127.0.0.1:0".to_owned()),
            ("ssl.keystore.type", "PEM".to_owned()),
            ("ssl.keystore.location", certificates.broker.both.display().to_string()),
            ("ssl.truststore.type", "PEM".to_owned()),
            ("ssl.truststore.location", certificates.ca.display().to_string()),
            ("ssl.client.auth", "required".to_owned()),
            ("log.dirs", folder.path().join("data").display().to_string()),
            ("zookeeper.connect", zookeeper.connect()),
            // A broker that was killed holds its seat for that long.
            ("zookeeper.session.timeout.ms", "3000".to_owned()),
            ("sluice.admin.listener", "https://127.0.0.1:0".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        settings.extend(self.settings);
        Sluice { broker: None, zookeeper, certificates, settings, serving: Serving::default(), folder }
    }
}

impl Sluice {
    /// A broker as it comes, over TLS with client certificates asked for.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A broker with settings of its own.
    pub fn builder() -> SluiceBuilder {
        SluiceBuilder::default()
    }

    /// `host:port` for clients.
    pub fn bootstrap(&self) -> &str {
        &self.serving.bootstrap
    }

    /// Where the admin API is.
    pub fn admin(&self) -> &str {
        &self.serving.admin
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.serving.cluster_id
    }

    /// The broker's data folder.
    pub fn log_dir(&self) -> PathBuf {
        self.settings["log.dirs"].clone().into()
    }

    /// A folder for a test's own files, gone with the broker.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the broker has said since it was last started.
    pub fn said(&self) -> String {
        self.broker.as_ref().map(Process::said).unwrap_or_default()
    }

    /// The broker's process.
    pub fn process(&self) -> &Process {
        self.broker.as_ref().expect("the broker runs")
    }

    /// Ends the broker as a crash does.
    pub fn kill(&mut self) {
        self.broker.take().expect("the broker runs").kill();
    }

    /// Ends the broker as an operator does, with SIGTERM, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        let mut broker = self.broker.take().expect("the broker runs");
        broker.signal(Signal::TERM);
        broker.await_end(PATIENCE)
    }

    /// Stops the broker's process without ending it.
    pub fn pause(&self) {
        self.process().signal(Signal::STOP);
    }

    /// Lets a paused broker go on.
    pub fn resume(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Starts the broker on its folder, at its old ports if it served before, and waits until it serves.
    pub fn restart(&mut self) {
        let broker = self.launch(&[]);
        self.serving = broker.await_line(PATIENCE, Serving::parse);
        self.settings.insert("listeners".to_owned(), format!("SSL://{}", self.serving.bootstrap));
        self.settings.insert("sluice.admin.listener".to_owned(), self.serving.admin.clone());
        self.broker = Some(broker);
    }

    /// Starts a broker process of this cluster's settings, some of them changed, and does not wait: for tests of brokers
    /// that must not serve.
    pub fn launch(&self, changed: &[(&str, &str)]) -> Process {
        let mut settings = self.settings.clone();
        settings.extend(changed.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        let config = tempfile::Builder::new().prefix("broker-").suffix(".properties").tempfile_in(self.folder());
        let (_, config) =
            config.and_then(|file| file.keep().map_err(Into::into)).expect("the temporary folder can be written");
        let text = settings.iter().fold(String::new(), |mut text, (key, value)| {
            writeln!(text, "{key}={value}").expect("a string can be written");
            text
        });
        fs::write(&config, text).expect("the temporary folder can be written");
        Process::spawn(
            "sluice broker",
            Command::new(binaries::sluice_binary()).args(["broker", "--config"]).arg(config),
        )
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, key: &str, value: impl ToString) {
        self.settings.insert(key.to_owned(), value.to_string());
    }

    /// How it is reached.
    pub fn contact(&self) -> Contact<'_> {
        Contact::new(&self.serving.bootstrap, &self.serving.admin, &self.certificates, self.folder())
    }

    /// Runs the `sluice` command line against this broker.
    pub fn cli<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        self.contact().cli(arguments)
    }

    /// A metric, summed over the samples whose labels hold `label`.
    #[track_caller]
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        Connection::metric(&self.contact(), name, label).expect("the admin listener answers")
    }

    /// Waits until a metric is at least `least`, and gives what it then was.
    #[track_caller]
    pub fn await_metric(&self, name: &str, label: &str, least: f64) -> f64 {
        let until = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name, label);
            if value >= least {
                return value;
            }
            assert!(Instant::now() < until, "{name} of {label} is {value}, not {least}");
        }
    }

    /// Creates a topic.
    #[track_caller]
    pub fn create_topic(&self, topic: &str, partitions: u32) {
        self.cli(["topic", "create", topic, "--partitions", &partitions.to_string()]).ok();
    }

    /// Pushes a first-party plugin.
    #[track_caller]
    pub fn push(&self, plugin: &str) {
        self.push_file(plugin, &binaries::plugin_file(plugin));
    }

    /// Pushes a component under a name.
    #[track_caller]
    pub fn push_file(&self, name: &str, component: &Path) {
        self.cli([
            OsStr::new("plugin"),
            OsStr::new("push"),
            component.as_os_str(),
            OsStr::new("--name"),
            OsStr::new(name),
        ])
        .ok();
    }

    /// Puts a gate on a topic.
    #[track_caller]
    pub fn gate(&self, topic: &str, plugin: &Plugin) {
        let bound = ["gate", "set", topic, "--plugin", plugin.name(), "--config", &plugin.config];
        self.cli(bound.into_iter().chain(plugin.options.iter().map(String::as_str))).ok();
    }

    /// Takes a topic's gate away.
    #[track_caller]
    pub fn ungate(&self, topic: &str) {
        self.cli(["gate", "remove", topic]).ok();
    }

    /// Creates a view of a topic.
    #[track_caller]
    pub fn view(&self, view: &str, base: &str, plugin: &Plugin) {
        let bound = ["view", "create", view, "--of", base, "--plugin", plugin.name(), "--config", &plugin.config];
        self.cli(bound.into_iter().chain(plugin.options.iter().map(String::as_str))).ok();
    }

    /// A librdkafka client, through the rdkafka crate.
    pub fn rdkafka(&self) -> Rdkafka {
        self.contact().rdkafka()
    }

    /// Debian's kcat.
    pub fn kcat(&self) -> Kcat<'_> {
        self.contact().kcat()
    }

    /// A Python client.
    pub fn python(&self, client: PythonClient) -> Python<'_> {
        self.contact().python(client)
    }

    /// Apache's Java client.
    pub fn java(&self) -> Java<'_> {
        self.contact().java()
    }

    /// A TLS connection to say anything on.
    pub fn connection(&self) -> Connection {
        self.contact().connection()
    }

    /// The values of a partition, by librdkafka, from its first offset to its end.
    #[track_caller]
    pub fn read(&self, topic: &str) -> Vec<String> {
        self.rdkafka().read(topic, 0).into_iter().map(|record| record.value.unwrap_or_default()).collect()
    }
}
