//! A real Apache ZooKeeper, from Debian's jars, with a folder, a port and a Java of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{Certificates, PATIENCE, Process};

/// ZooKeeper and a logger that says on stderr what it does; their manifests name the rest.
const CLASS_PATH: &str = "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar";

/// What Debian's manifest forgets, and without which TLS ends a listener before it begins.
const CLASS_PATH_TLS: &str = "/usr/share/java/netty-codec.jar:/usr/share/java/netty-resolver.jar";

/// A tick. Sessions last between 2 and 100 of them, so that tests of expiry need not wait for long.
const TICK: Duration = Duration::from_millis(200);

/// Another process may take a free port before ZooKeeper does.
const TRIES: usize = 5;

/// A running ZooKeeper.
#[derive(Debug)]
pub struct ZooKeeper {
    process: Option<Process>,
    folder: TempDir,
    port: u16,
    /// Lines of configuration for a listener with TLS, if that is what it has.
    tls: Option<String>,
}

impl ZooKeeper {
    /// Starts one with an empty data folder and waits until it serves.
    pub fn start() -> Self {
        Self::start_so(None)
    }

    /// As [`Self::start`], but it speaks only TLS, shows the broker's certificate, and asks for one of the same authority.
    pub fn start_with_tls(certificates: &Certificates) -> Self {
        let (own, authority) = (certificates.broker.both.display(), certificates.ca.display());
        Self::start_so(Some(format!(
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
             authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider\n\
             ssl.keyStore.location={own}\nssl.keyStore.type=PEM\n\
             ssl.trustStore.location={authority}\nssl.trustStore.type=PEM\nssl.clientAuth=need\n"
        )))
    }

    fn start_so(tls: Option<String>) -> Self {
        let folder = tempfile::Builder::new().prefix("sluice-zookeeper-").tempdir().expect("a temporary folder");
        let mut zookeeper = Self { process: None, folder, port: 0, tls };
        for _ in 0..TRIES {
            zookeeper.port = free_port();
            if zookeeper.try_run() {
                return zookeeper;
            }
        }
        panic!("ZooKeeper does not start on any of {TRIES} free ports");
    }

    /// What a broker is told as `zookeeper.connect`.
    pub fn connect(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Starts it again on its port and its data.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "it was killed before");
        assert!(self.try_run(), "ZooKeeper does not start again on port {}", self.port);
    }

    /// Stops it without ending it: connections stay, nothing answers.
    pub fn pause(&self) {
        self.process.as_ref().expect("it runs").signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").signal(Signal::CONT);
    }

    fn try_run(&mut self) -> bool {
        let config = self.folder.path().join("zoo.cfg");
        let data = self.folder.path().join("data");
        let tick = TICK.as_millis();
        let port_key = if self.tls.is_some() { "secureClientPort" } else { "clientPort" };
        let settings = format!(
            "tickTime={tick}\nmaxSessionTimeout={}\ndataDir={}\n{port_key}={}\n{port_key}Address=127.0.0.1\nadmin.enableServer=false\n{}",
            100 * tick,
            data.display(),
            self.port,
            self.tls.as_deref().unwrap_or_default(),
        );
        fs::write(&config, settings).expect("the temporary folder can be written");
        let mut java = Command::new("java");
        // Small and quick to start: one test in eight runs at a time, each with one of these.
        java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
        java.args(["-Dorg.slf4j.simpleLogger.showThreadName=false", "-Dzookeeper.forceSync=no"]);
        let class_path = format!("{CLASS_PATH}:{CLASS_PATH_TLS}");
        java.args(["-cp", &class_path, "org.apache.zookeeper.server.quorum.QuorumPeerMain"]).arg(config);
        let process = Process::spawn("ZooKeeper", &mut java);
        // Made right after the server began to serve; its port is open before that.
        let serves = process.find_line(PATIENCE, |line| line.contains("ContainerManager").then_some(())).is_some();
        self.process = serves.then_some(process);
        serves
    }
}

/// A port of loopback that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn it_serves_before_and_after_a_crash() {
        let mut zookeeper = ZooKeeper::start();
        check_serves(&zookeeper);
        zookeeper.kill();
        zookeeper.restart();
        check_serves(&zookeeper);
    }

    fn check_serves(zookeeper: &ZooKeeper) {
        let mut socket = TcpStream::connect(zookeeper.connect()).expect("it listens");
        socket.write_all(b"srvr").expect("it reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("it answers");
        assert!(answer.contains("Mode: standalone"), "{answer}");
    }
}
