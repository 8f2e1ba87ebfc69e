//! A real Apache ZooKeeper, from Debian's jars, with a folder, ports and a Java of its own; alone or in an ensemble.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::network::Place;
use crate::{Certificates, PATIENCE, Port, Process};

/// ZooKeeper and a logger that says on stderr what it does; their manifests name the rest.
const CLASS_PATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";

/// What Debian's manifest forgets, and without which TLS ends a listener before it begins.
const CLASS_PATH_TLS: &str = "/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar";

/// A tick. Sessions last between 2 and 100 of them, so that tests of expiry need not wait for long.
const TICK: Duration = Duration::from_millis(200);

/// Ticks that a member of an ensemble may be behind its leader: five seconds on a busy machine.
const LIMIT: u32 = 25;

/// A running ZooKeeper.
#[derive(Debug)]
pub struct ZooKeeper {
    process: Option<Process>,
    folder: TempDir,
    place: Place,
    port: Port,
    /// Whether its clients speak TLS.
    tls: bool,
    /// Further lines of configuration.
    lines: String,
}

/// Several of them that agree on one tree.
#[derive(Debug)]
pub struct Ensemble {
    servers: Vec<ZooKeeper>,
    /// What its members talk to each other on.
    _ports: Vec<[Port; 2]>,
}

impl ZooKeeper {
    /// Starts one with an empty data folder and waits until it serves.
    pub fn start() -> Self {
        Self::start_so(false, String::new())
    }

    /// As [`Self::start`], but it speaks only TLS, shows the broker's certificate, and asks for one of the same authority.
    pub fn start_with_tls(certificates: &Certificates) -> Self {
        Self::start_so(true, client_tls(certificates))
    }

    fn start_so(tls: bool, lines: String) -> Self {
        let mut zookeeper = Self::prepare(Place::here(), tls, lines);
        zookeeper.restart();
        zookeeper
    }

    fn prepare(place: Place, tls: bool, lines: String) -> Self {
        let folder = tempfile::Builder::new().prefix("sluice-zookeeper-").tempdir().expect("a temporary folder");
        let port = place.port();
        Self { process: None, folder, place, port, tls, lines }
    }

    /// What a broker is told as `zookeeper.connect`.
    pub fn connect(&self) -> String {
        self.address().to_string()
    }

    /// Where its clients connect.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Whether its process is there, paused or not.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Starts it, on its port and what data it has, and waits until it serves.
    pub fn restart(&mut self) {
        self.launch();
        self.await_serving();
    }

    /// Forgets all it knew: a disk replaced. It was ended before.
    pub fn wipe(&self) {
        assert!(self.process.is_none(), "it was ended before");
        let versions = self.folder.path().join("data/version-2");
        fs::remove_dir_all(versions).expect("its folder can be removed");
    }

    /// Stops it without ending it: connections stay, nothing answers.
    pub fn pause(&self) {
        self.process.as_ref().expect("it runs").signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").signal(Signal::CONT);
    }

    /// Starts it without waiting until it serves.
    pub(crate) fn launch(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let config = self.folder.path().join("zoo.cfg");
        let data = self.folder.path().join("data");
        let (tick, session_max) = (TICK.as_millis(), (100 * TICK).as_millis());
        let port_key = if self.tls { "secureClientPort" } else { "clientPort" };
        let settings = format!(
            "tickTime={tick}\nmaxSessionTimeout={session_max}\ndataDir={}\n{port_key}={}\n{port_key}Address={}\n\
             admin.enableServer=false\n{}",
            data.display(),
            self.port.number(),
            self.address().ip(),
            self.lines,
        );
        fs::write(&config, settings).expect("the temporary folder can be written");
        let mut java = self.place.command("java");
        // Small and quick to start: one test in eight runs at a time, each with one of these.
        java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
        java.args(["-Dorg.slf4j.simpleLogger.showThreadName=false", "-Dzookeeper.forceSync=no"]);
        let class_path = format!("{CLASS_PATH}:{CLASS_PATH_TLS}");
        java.args(["-cp", &class_path, "org.apache.zookeeper.server.quorum.QuorumPeerMain"]).arg(config);
        self.process = Some(Process::spawn("ZooKeeper", &mut java));
    }

    /// Its port is open before it serves. One alone makes a ContainerManager right after that; a member says that it takes
    /// part in its leader's broadcasts.
    fn await_serving(&self) {
        let serves = |line: &str| {
            let alone = self.lines.lines().all(|line| !line.starts_with("server."));
            line.contains(if alone { "ContainerManager" } else { " - broadcast" }).then_some(())
        };
        self.process.as_ref().expect("it was launched").await_line(PATIENCE, serves);
    }
}

impl Ensemble {
    /// As many servers as that, all serving; one is no ensemble but will do.
    pub fn start(servers: usize) -> Self {
        Self::start_in(&vec![Place::here(); servers], None)
    }

    /// As [`Self::start`], with TLS to clients and, where there are several, between the servers.
    pub fn start_with_tls(servers: usize, certificates: &Certificates) -> Self {
        Self::start_in(&vec![Place::here(); servers], Some(certificates))
    }

    /// A server in each of these places.
    pub(crate) fn start_in(places: &[Place], certificates: Option<&Certificates>) -> Self {
        let mut lines = certificates.map(client_tls).unwrap_or_default();
        let mut ports = Vec::new();
        if places.len() > 1 {
            lines.push_str(&format!("initLimit={LIMIT}\nsyncLimit={LIMIT}\n"));
            lines.push_str(&certificates.map(quorum_tls).unwrap_or_default());
            for (number, place) in (1..).zip(places) {
                let [peers, election] = [place.port(), place.port()];
                let (host, peers_port, election_port) = (peers.address().ip(), peers.number(), election.number());
                lines.push_str(&format!("server.{number}={host}:{peers_port}:{election_port}\n"));
                ports.push([peers, election]);
            }
        }
        let prepared = (1..).zip(places).map(|(number, place): (u32, _)| {
            let mut server = ZooKeeper::prepare(place.clone(), certificates.is_some(), lines.clone());
            let data = server.folder.path().join("data");
            fs::create_dir_all(&data).expect("the temporary folder can be written");
            fs::write(data.join("myid"), number.to_string()).expect("the temporary folder can be written");
            server.launch();
            server
        });
        let ensemble = Self { servers: prepared.collect(), _ports: ports };
        ensemble.servers.iter().for_each(ZooKeeper::await_serving);
        ensemble
    }

    /// What a broker is told as `zookeeper.connect`.
    pub fn connect(&self) -> String {
        self.servers.iter().map(ZooKeeper::connect).collect::<Vec<_>>().join(",")
    }

    /// Its members.
    pub fn servers(&self) -> &[ZooKeeper] {
        &self.servers
    }

    /// One of its members, counted from 0.
    pub fn server(&mut self, number: usize) -> &mut ZooKeeper {
        &mut self.servers[number]
    }

    /// Starts the members that do not run, at once, and waits until each serves.
    pub fn restart_all(&mut self) {
        let gone: Vec<usize> = (0..self.servers.len()).filter(|&number| !self.servers[number].runs()).collect();
        gone.iter().for_each(|&number| self.servers[number].launch());
        gone.iter().for_each(|&number| self.servers[number].await_serving());
    }
}

/// TLS to clients, which have to show a certificate of the same authority.
fn client_tls(certificates: &Certificates) -> String {
    format!(
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
         authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider\n\
         ssl.clientAuth=need\n{}",
        stores("ssl", certificates)
    )
}

/// TLS between members.
fn quorum_tls(certificates: &Certificates) -> String {
    format!("sslQuorum=true\n{}", stores("ssl.quorum", certificates))
}

fn stores(prefix: &str, certificates: &Certificates) -> String {
    let (own, authority) = (certificates.broker.both.display(), certificates.ca.display());
    format!(
        "{prefix}.keyStore.location={own}\n{prefix}.keyStore.type=PEM\n\
         {prefix}.trustStore.location={authority}\n{prefix}.trustStore.type=PEM\n"
    )
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn it_serves_before_and_after_a_crash() {
        let mut zookeeper = ZooKeeper::start();
        assert_eq!(mode(&zookeeper), "standalone");
        zookeeper.kill();
        zookeeper.restart();
        assert_eq!(mode(&zookeeper), "standalone");
    }

    #[test]
    fn an_ensemble_has_one_leader_and_another_after_its_crash() {
        let mut ensemble = Ensemble::start(3);
        let leader = |ensemble: &Ensemble| {
            let modes: Vec<_> = ensemble.servers().iter().map(|server| server.runs().then(|| mode(server))).collect();
            let leaders: Vec<_> =
                (0..modes.len()).filter(|&number| modes[number].as_deref() == Some("leader")).collect();
            if let [leader] = leaders[..] { Ok(leader) } else { Err(modes) }
        };
        let first = leader(&ensemble).expect("one of three leads");
        ensemble.server(first).kill();
        let second = crate::poll_until(PATIENCE, || leader(&ensemble)).expect("one of two leads");
        assert_ne!(first, second);
        ensemble.restart_all();
        assert_eq!(mode(&ensemble.servers()[first]), "follower");
    }

    fn mode(zookeeper: &ZooKeeper) -> String {
        let mut socket = TcpStream::connect(zookeeper.address()).expect("it listens");
        socket.write_all(b"srvr").expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it answers");
        answer.lines().find_map(|line| line.strip_prefix("Mode: ")).unwrap_or_default().to_owned()
    }
}
