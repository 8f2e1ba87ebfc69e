//! Which process holds a socket, by what Linux shows of both in `/proc`.

use std::fs;
use std::net::{IpAddr, SocketAddr};

/// Which of `processes` (a name and a process id each) holds the end of a TCP connection at `end`; `None` when none does.
pub(crate) fn holder(end: SocketAddr, processes: impl IntoIterator<Item = (i32, u32)>) -> Option<i32> {
    let held = format!("socket:[{}]", inode(end)?);
    let holds = |process: u32| {
        // A process that has just ended holds nothing.
        let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
        files.filter_map(Result::ok).any(|file| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str().to_str() == Some(held.as_str()))
        })
    };
    processes.into_iter().find(|&(_, process)| holds(process)).map(|(name, _)| name)
}

/// The inode of the IPv4 socket whose own end that is.
fn inode(end: SocketAddr) -> Option<u64> {
    let IpAddr::V4(address) = end.ip() else { return None };
    // As the kernel prints it: the address as a number in its own byte order, the port as everybody writes it.
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(address.octets()), end.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let mut rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|columns| columns.get(1) == Some(&local.as_str()))?;
    row.get(9)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::process;

    use super::*;

    #[test]
    fn a_connection_of_this_process_is_its_own() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let end = client.local_addr().unwrap();
        // Process 0 is the kernel's own and has no files.
        assert_eq!(holder(end, [(1, 0), (2, process::id())]), Some(2));
        assert_eq!(holder(end, [(1, 0)]), None);
    }
}
