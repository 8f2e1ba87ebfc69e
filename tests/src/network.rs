//! A network of a cluster's own, in which packets vanish: every process in a namespace behind a bridge, and rules of nft that
//! drop what comes from another. Nobody is told: no connection is reset, no sender refused, which a proxy can't do to
//! connections that are to be opened.
//!
//! ```text
//!   the tests, clients (.254) ──┬── bridge ──┬── broker 1 (.1)      in its namespace: drop what .2 sends
//!                               │            ├── broker 2 (.2)
//!                               │            └── ZooKeeper 0 (.101)
//! ```
//! It takes root, `ip` and `nft`; where they are not, whoever asks is told why and does without. All of it is gone when it is
//! dropped; what a killed run left is removed by the next.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use crate::Port;
use crate::machine::{command, is_left_over, new_name, undo};

/// Where a process runs: beside the tests on loopback, or in a namespace with an address of its own.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    namespace: Option<String>,
    address: Ipv4Addr,
}

/// A bridge and the namespaces behind it.
#[derive(Debug)]
pub struct Network {
    name: String,
    /// Its subnet is that of a port that is taken: so no two have one.
    ticket: Port,
    places: BTreeMap<u8, Place>,
}

/// The host number of the first ZooKeeper server; brokers have their ids.
const ZOOKEEPER: u8 = 101;

/// The host number of the tests and their clients.
const TESTS: u8 = 254;

/// Host numbers that certificates are made for: more brokers and servers than a test has.
const HOSTS: [std::ops::RangeInclusive<u8>; 2] = [1..=8, ZOOKEEPER..=ZOOKEEPER + 4];

const NAMESPACES: &str = "/run/netns";
const LINKS: &str = "/sys/class/net";

impl Place {
    /// Beside the tests.
    pub(crate) fn here() -> Self {
        Self { namespace: None, address: Ipv4Addr::LOCALHOST }
    }

    /// A port of its.
    pub(crate) fn port(&self) -> Port {
        Port::take().on(self.address)
    }

    /// A command that runs there. What it becomes has the id of what was started.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match &self.namespace {
            None => Command::new(program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(program);
                command
            }
        }
    }

    /// Changes the rules by which packets are let in.
    fn filter(&self, rule: &str) -> Result<(), String> {
        let namespace = self.namespace.as_ref().expect("a place of a network is in a namespace");
        command(&format!("ip netns exec {namespace} nft {rule}"))
    }

    fn has_to_filter(&self, rule: &str) {
        self.filter(rule).unwrap_or_else(|why| panic!("{why}"));
    }
}

impl Network {
    /// One with nobody in it. `None` where it can't be had, which is said.
    pub fn try_new() -> Option<Self> {
        sweep();
        let made = Self { name: new_name(), ticket: Port::take(), places: BTreeMap::new() };
        match made.begin() {
            Ok(()) => Some(made),
            Err(why) => {
                eprintln!("skipped: no network of its own can be had here: {why}");
                None
            }
        }
    }

    fn begin(&self) -> Result<(), String> {
        let (name, address) = (&self.name, self.address(TESTS));
        command(&format!("ip link add {name} type bridge"))?;
        command(&format!("ip addr add {address}/24 dev {name}"))?;
        command(&format!("ip link set {name} up"))?;
        // Whether packets can be dropped is found out now, and not when they should be.
        let probe = format!("{name}p");
        command(&format!("ip netns add {probe}"))?;
        let place = Place { namespace: Some(probe.clone()), address };
        let filtered = begin_filter(&place);
        command(&format!("ip netns del {probe}"))?;
        filtered
    }

    /// The place of a broker.
    pub(crate) fn broker(&mut self, id: i32) -> Place {
        self.place(u8::try_from(id).expect("brokers are few"))
    }

    /// The place of a ZooKeeper server, counted from 0.
    pub(crate) fn zookeeper(&mut self, server: usize) -> Place {
        self.place(ZOOKEEPER + u8::try_from(server).expect("servers are few"))
    }

    /// All addresses that brokers and servers may have, for their certificates.
    pub(crate) fn addresses(&self) -> Vec<String> {
        HOSTS.into_iter().flatten().map(|host| self.address(host).to_string()).collect()
    }

    /// Nothing that `from` sends gets to `to`. The other way is open.
    pub(crate) fn cut_one_way(&self, from: &Place, to: &Place) {
        to.has_to_filter(&format!("add rule inet cut input ip saddr {} drop", from.address));
    }

    /// Nothing gets to a place, nor from it to any other. What it sends to the tests arrives, and their answers do not.
    pub(crate) fn cut_off(&self, place: &Place) {
        // Before whoever is there can say that it is.
        for other in self.places.values().filter(|other| other.address != place.address) {
            self.cut_one_way(place, other);
        }
        place.has_to_filter("add rule inet cut input iifname eth0 drop");
    }

    /// Everything passes.
    pub(crate) fn mend(&self) {
        self.places.values().for_each(|place| place.has_to_filter("flush chain inet cut input"));
    }

    fn place(&mut self, host: u8) -> Place {
        assert!(HOSTS.iter().any(|hosts| hosts.contains(&host)), "{host} is none of the hosts with a certificate");
        if let Some(place) = self.places.get(&host) {
            return place.clone();
        }
        let namespace = format!("{}-{host}", self.name);
        let place = Place { namespace: Some(namespace.clone()), address: self.address(host) };
        self.places.insert(host, place.clone());
        let (name, address) = (&self.name, place.address);
        let link = format!("{name}v{host:x}");
        let lines = [
            format!("ip netns add {namespace}"),
            format!("ip link add {link} type veth peer name eth0 netns {namespace}"),
            format!("ip link set {link} master {name} up"),
            format!("ip -n {namespace} addr add {address}/24 dev eth0"),
            format!("ip -n {namespace} link set eth0 up"),
            format!("ip -n {namespace} link set lo up"),
        ];
        for line in lines {
            command(&line).unwrap_or_else(|why| panic!("{why}"));
        }
        begin_filter(&place).unwrap_or_else(|why| panic!("{why}"));
        place
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        let [high, low] = self.ticket.number().to_be_bytes();
        // Ports of tests are below 32,768: this is in 10.50 to 10.177.
        Ipv4Addr::new(10, 50 + high, low, host)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(|name| name == self.name || self.owns(name));
    }
}

impl Network {
    /// Whether a namespace is one of its: named after it, and after a host or a probe.
    fn owns(&self, namespace: &str) -> bool {
        namespace.strip_prefix(&*self.name).is_some_and(|rest| rest.starts_with('-') || rest == "p")
    }
}

fn begin_filter(place: &Place) -> Result<(), String> {
    place.filter("add table inet cut")?;
    place.filter("add chain inet cut input { type filter hook input priority 0 ; }")
}

/// Removes what runs that were killed have left.
fn sweep() {
    remove(is_left_over);
}

/// Removes namespaces and bridges by their names. Links into a namespace go with it.
fn remove(is_meant: impl Fn(&str) -> bool) {
    let named = |folder: &str| -> Vec<String> {
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let names = entries.filter_map(Result::ok).filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| is_meant(name)).collect()
    };
    for namespace in named(NAMESPACES) {
        undo(&format!("ip netns del {namespace}"));
    }
    let bridges = named(LINKS).into_iter().filter(|name| Path::new(LINKS).join(name).join("bridge").exists());
    for bridge in bridges {
        undo(&format!("ip link del {bridge}"));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use super::*;

    /// A connection that is not refused either: nobody listens, and a packet that arrives is answered with that.
    const A_WHILE: Duration = Duration::from_millis(300);

    #[test]
    fn packets_vanish_one_way_and_pass_again() {
        let Some(mut network) = Network::try_new() else { return };
        let (one, other) = (network.broker(1), network.broker(2));
        let refused = || TcpStream::connect_timeout(&SocketAddr::from((one.address, 9)), A_WHILE);
        let kind = || refused().expect_err("nobody listens").kind();
        assert_eq!(kind(), std::io::ErrorKind::ConnectionRefused);
        network.cut_one_way(&other, &one);
        assert_eq!(kind(), std::io::ErrorKind::ConnectionRefused, "we are not who is cut off");
        network.cut_off(&one);
        assert_eq!(kind(), std::io::ErrorKind::TimedOut);
        network.mend();
        assert_eq!(kind(), std::io::ErrorKind::ConnectionRefused);
        let name = network.name.clone();
        drop(network);
        let left = |folder: &str| {
            fs::read_dir(folder).is_ok_and(|mut entries| {
                entries.any(|entry| {
                    entry.is_ok_and(|entry| {
                        let entry = entry.file_name().to_string_lossy().into_owned();
                        entry == name || entry.starts_with(&format!("{name}-"))
                    })
                })
            })
        };
        assert!(!left(NAMESPACES) && !left(LINKS), "nothing is left of {name}");
    }
}
