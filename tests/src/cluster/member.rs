//! One broker of a cluster: its addresses, its folder, its settings and its process.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

use super::Software;
use crate::network::Place;
use crate::proxy::{Clients, Proxy};
use crate::serving::Serving;
use crate::{Ensemble, PATIENCE, Port, Process};

/// A broker, running or not.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: i32,
    software: Software,
    process: Option<Process>,
    paused: bool,
    /// It was sent SIGTERM: a second one would end it at once.
    ending: bool,
    serving: Serving,
    settings: BTreeMap<String, String>,
    data: PathBuf,
    pub(super) place: Place,
    /// What is between it and the others, where links can be cut.
    pub(super) links: Option<MemberLinks>,
    _ports: Vec<Port>,
}

/// The proxies of one broker.
#[derive(Debug)]
pub(super) struct MemberLinks {
    /// Before its INTERNAL listener: what other brokers come through.
    pub(super) internal: Proxy,
    /// On its own way to each ZooKeeper server.
    pub(super) zookeepers: Vec<Proxy>,
    clients: Clients,
}

impl Member {
    pub(super) fn new(
        id: i32,
        software: Software,
        data: PathBuf,
        zookeeper: &Ensemble,
        proxied: Option<&Clients>,
        place: Place,
    ) -> Self {
        let [clients, internal, admin] = [place.port(), place.port(), place.port()];
        let mut settings: BTreeMap<String, String> = [
            ("broker.id", id.to_string()),
            ("listeners", format!("SSL://{},INTERNAL://{}", clients.address(), internal.address())),
            ("log.dirs", data.display().to_string()),
            ("zookeeper.connect", zookeeper.connect()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        if software == Software::Sluice {
            settings.insert("sluice.admin.listener".to_owned(), format!("https://{}", admin.address()));
        }
        let serving = Serving {
            bootstrap: clients.address().to_string(),
            admin: format!("https://{}", admin.address()),
            ..Serving::default()
        };
        let mut ports = vec![clients, internal, admin];
        let links = proxied.map(|known| {
            let to = |server, ports: &mut Vec<Port>| {
                let port = Port::take();
                let proxy = Proxy::start(port.address(), server, known.clone());
                ports.push(port);
                proxy
            };
            let internal = to(ports[1].address(), &mut ports);
            // Until there is a process behind it, it refuses as one that is not there.
            internal.listen(false);
            let zookeepers: Vec<_> =
                zookeeper.servers().iter().map(|server| to(server.address(), &mut ports)).collect();
            let connect: Vec<_> = zookeepers.iter().map(|proxy| proxy.address().to_string()).collect();
            settings.insert("zookeeper.connect".to_owned(), connect.join(","));
            settings.insert("advertised.listeners".to_owned(), format!("INTERNAL://{}", internal.address()));
            MemberLinks { internal, zookeepers, clients: known.clone() }
        });
        Self {
            id,
            software,
            process: None,
            paused: false,
            ending: false,
            serving,
            settings,
            data,
            place,
            links,
            _ports: ports,
        }
    }

    /// Starts a process of it.
    pub(super) fn spawn(&self, common: &BTreeMap<String, String>, changed: &[(&str, &str)], folder: &Path) -> Process {
        let mut settings = common.clone();
        settings.extend(self.settings.clone());
        settings.extend(changed.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())));
        let text = settings.iter().fold(String::new(), |mut text, (key, value)| {
            writeln!(text, "{key}={value}").expect("a string can be written");
            text
        });
        let prefix = format!("broker-{}-", self.id);
        let config = tempfile::Builder::new().prefix(&prefix).suffix(".properties").tempfile_in(folder);
        let (_, config) =
            config.and_then(|file| file.keep().map_err(Into::into)).expect("the temporary folder can be written");
        fs::write(&config, text).expect("the temporary folder can be written");
        Process::spawn(format!("broker {}", self.id), &mut self.software.broker(&self.place, &config))
    }

    /// This is its process from now on.
    pub(super) fn runs(&mut self, process: Process) {
        assert!(self.process.is_none(), "broker {} runs", self.id);
        if let Some(links) = &self.links {
            links.clients.know(self.id, process.id());
            links.internal.listen(true);
        }
        (self.paused, self.ending) = (false, false);
        self.process = Some(process);
    }

    pub(super) fn await_serving(&mut self) {
        if let Some(serving) = self.process().await_line(PATIENCE, |line| self.software.serving(line)) {
            self.serving = serving;
        }
    }

    /// Whether it says that it serves; not when it ends first.
    ///
    /// # Panics
    /// When neither comes in time, with what it said.
    #[track_caller]
    pub(super) fn serves_within(&mut self, within: Duration) -> bool {
        let serves = self.process().find_line(within, |line| self.software.serving(line)).is_some();
        if !serves {
            let process = self.process.as_mut().expect("it was looked at");
            process.await_end(Duration::ZERO);
        }
        serves
    }

    /// Whether its process ended by itself before it served.
    ///
    /// # Panics
    /// When it ended after that: nobody told it to.
    #[track_caller]
    pub(super) fn ended_unserved(&mut self) -> bool {
        let Some(process) = &mut self.process else { return false };
        let Some(status) = process.ended() else { return false };
        let served = process.find_line(Duration::ZERO, |line| self.software.serving(line)).is_some();
        assert!(!served, "broker {} ended by itself with {status}; it said:\n{}", self.id, process.said());
        true
    }

    #[track_caller]
    pub(super) fn await_own_end(&mut self, within: Duration) -> ExitStatus {
        self.take_process().await_end(within)
    }

    pub(super) fn kill(&mut self) {
        self.take_process().kill();
    }

    pub(super) fn begin_stop(&mut self) {
        if !std::mem::replace(&mut self.ending, true) {
            self.process().signal(Signal::TERM);
        }
    }

    pub(super) fn stop(&mut self) -> ExitStatus {
        self.begin_stop();
        let mut process = self.process.take().expect("it was signalled");
        let status = process.await_end(PATIENCE);
        // Of Kafka, SIGTERM's own status is the orderly one.
        if !status.success() && self.software == Software::Sluice {
            eprintln!("---- broker {} ended with {status}; it said:\n{}\n----", self.id, process.said());
        }
        self.deafen();
        status
    }

    pub(super) fn pause(&mut self) {
        self.process().signal(Signal::STOP);
        self.paused = true;
    }

    pub(super) fn resume(&mut self) {
        self.process().signal(Signal::CONT);
        self.paused = false;
    }

    pub(super) fn wipe(&self) {
        assert!(self.process.is_none(), "broker {} was ended before", self.id);
        fs::remove_dir_all(&self.data).expect("its folder can be removed");
    }

    pub(super) fn set(&mut self, key: &str, value: String) {
        self.settings.insert(key.to_owned(), value);
    }

    /// Whether it has a process.
    pub(super) fn is_there(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it has a process that is not paused.
    pub(super) fn answers(&self) -> bool {
        self.is_there() && !self.paused
    }

    pub(super) fn process(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("broker {} does not run", self.id))
    }

    pub(super) fn bootstrap(&self) -> &str {
        &self.serving.bootstrap
    }

    pub(super) fn admin(&self) -> &str {
        &self.serving.admin
    }

    pub(super) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// All folders it is set up with, each a disk of its own.
    pub(super) fn log_dirs(&self) -> Vec<PathBuf> {
        self.settings["log.dirs"].split(',').map(PathBuf::from).collect()
    }

    pub(super) fn said(&self) -> String {
        self.process.as_ref().map(Process::said).unwrap_or_default()
    }

    fn take_process(&mut self) -> Process {
        let process = self.process.take().unwrap_or_else(|| panic!("broker {} does not run", self.id));
        self.deafen();
        process
    }

    /// With its process its listener goes, the one before it included.
    fn deafen(&self) {
        if let Some(links) = &self.links {
            links.internal.listen(false);
        }
    }
}
