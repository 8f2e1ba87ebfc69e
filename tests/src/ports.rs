//! Ports of loopback that stay a test's own while its processes come and go.
//!
//! A port that the kernel hands out may be taken by anybody's outgoing connection as soon as its broker is killed. So tests
//! take theirs from below the kernel's range, and hold a lock on a file named after each, which ends with the test however
//! it ends.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, flock};

/// Below Linux's first ephemeral port (32768), above the ports of well-known services.
const FIRST: u32 = 13_000;
const COUNT: u32 = 19_000;

/// A port that no other test takes until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    host: Ipv4Addr,
    _lock: File,
}

impl Port {
    /// Takes one.
    ///
    /// # Panics
    /// When none is left.
    pub fn take() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = folder();
        fs::create_dir_all(&folder).expect("the temporary folder can be written");
        // Tests of several processes begin at different places, so that they seldom try the same port.
        let start = process::id().wrapping_mul(61);
        for _ in 0..COUNT {
            let turn = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + start.wrapping_add(turn) % COUNT;
            let number = u16::try_from(number).expect("the range is one of ports");
            let lock = File::create(folder.join(number.to_string())).expect("the temporary folder can be written");
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            if TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, number))).is_ok() {
                return Self { number, host: Ipv4Addr::LOCALHOST, _lock: lock };
            }
        }
        panic!("every port from {FIRST} on is taken");
    }

    /// The same port of another address: ports are taken for the machine, whatever addresses it has.
    pub(crate) fn on(self, host: Ipv4Addr) -> Self {
        Self { host, ..self }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Its address, on loopback unless it is somewhere else.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.host, self.number))
    }
}

fn folder() -> PathBuf {
    std::env::temp_dir().join("sluice-test-ports")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn nobody_is_given_a_port_that_is_taken() {
        let ports: Vec<Port> = (0..50).map(|_| Port::take()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), ports.len());
        for port in &ports {
            TcpListener::bind(port.address()).expect("it is free for whoever took it");
        }
    }
}
