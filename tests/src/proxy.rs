//! A TCP proxy in front of one server: what passes on it may be delayed, stalled either way, reset, or lose its far end, for
//! all who come through it or for one of them.
//!
//! ```text
//!   broker 1 ──┐
//!   broker 2 ──┼──> Proxy ──> the server          a connection's Line: that of its client, else that of everybody
//!   a client ──┘
//! ```
//! Who a connection comes from is found by asking the kernel which of the known processes holds its other end, so that the
//! link between any two brokers can be cut although all of them go to the same address. While the server's process is gone
//! the proxy does not listen either: who connects is refused, as without it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::sockets;

/// What a line does to the connections on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Line {
    /// Everything passes.
    #[default]
    Open,
    /// Everything passes, this much later.
    Delayed(Duration),
    /// Connections stay and new ones are taken, but nothing passes this way until it is mended; then what was sent does.
    Stalled(Way),
    /// Connections are reset, new ones too.
    Reset,
    /// The server's end of each connection is reset; the client's stays, and is never answered.
    HalfOpen,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Both.
    Both,
    /// What the client sends.
    ToServer,
    /// What the server sends.
    ToClient,
}

/// The processes that connections come from, by the number each is known as. Shared by a cluster's proxies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clients(Arc<Mutex<BTreeMap<i32, u32>>>);

/// A proxy, gone when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    lines: watch::Sender<Lines>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Lines {
    listens: bool,
    of_all: Line,
    of_each: BTreeMap<i32, Line>,
}

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;

/// Chunks that wait on a line each way: beyond that the sender's own window fills, as on a line that is slow.
const CHUNKS_MAX: usize = 64;

impl Clients {
    /// A process began, or another took its place.
    pub(crate) fn know(&self, client: i32, process: u32) {
        self.0.lock().expect("nobody panics with it").insert(client, process);
    }

    fn holding(&self, peer: SocketAddr) -> Option<i32> {
        let known = self.0.lock().expect("nobody panics with it").clone();
        sockets::holder(peer, known)
    }
}

impl Proxy {
    /// A proxy at `address` in front of `server`.
    pub(crate) fn start(address: SocketAddr, server: SocketAddr, clients: Clients) -> Self {
        let (lines, state) = watch::channel(Lines { listens: true, of_all: Line::Open, of_each: BTreeMap::new() });
        let listener = runtime().block_on(TcpListener::bind(address)).expect("its port was taken for it");
        let accepting = runtime().spawn(accept(listener, server, clients, state));
        Self { address, lines, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the line of `client`, or that of everybody, something else.
    pub fn set(&self, client: Option<i32>, line: Line) {
        self.lines.send_modify(|lines| match (client, line) {
            (None, line) => lines.of_all = line,
            (Some(client), Line::Open) => drop(lines.of_each.remove(&client)),
            (Some(client), line) => drop(lines.of_each.insert(client, line)),
        });
    }

    /// Opens all lines.
    pub fn mend(&self) {
        self.lines.send_modify(|lines| {
            lines.of_all = Line::Open;
            lines.of_each.clear();
        });
    }

    /// Whether it takes connections: not while the server's process is gone.
    pub(crate) fn listen(&self, listens: bool) {
        self.lines.send_if_modified(|lines| std::mem::replace(&mut lines.listens, listens) != listens);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(None, Line::Reset);
    }
}

impl Lines {
    fn of(&self, client: Option<i32>) -> Line {
        client.and_then(|client| self.of_each.get(&client)).copied().unwrap_or(self.of_all)
    }
}

impl Line {
    fn passes(self, way: Way) -> bool {
        match self {
            Self::Stalled(stalled) => stalled != Way::Both && stalled != way,
            Self::Open | Self::Delayed(_) | Self::Reset | Self::HalfOpen => true,
        }
    }

    fn delay(self) -> Duration {
        match self {
            Self::Delayed(delay) => delay,
            Self::Open | Self::Stalled(_) | Self::Reset | Self::HalfOpen => Duration::ZERO,
        }
    }
}

/// One thread carries all lines of a test process.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("proxies").enable_all().build();
        runtime.expect("a thread can be started")
    })
}

async fn accept(listener: TcpListener, server: SocketAddr, clients: Clients, mut lines: watch::Receiver<Lines>) {
    let address = listener.local_addr().expect("it is bound");
    let mut listener = Some(listener);
    loop {
        if !lines.borrow_and_update().listens {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let connection = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = lines.changed() => if changed.is_err() { return },
            Ok((client, peer)) = connection => {
                let who = clients.holding(peer);
                tokio::spawn(carry(client, server, who, lines.clone()));
            }
        }
    }
}

/// One connection from its beginning to its end.
async fn carry(mut client: TcpStream, server: SocketAddr, who: Option<i32>, mut lines: watch::Receiver<Lines>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return reset(client) };
    // Small answers are not to wait for more on our account.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return reset(client);
    }
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let broken = lines.clone();
        let carried = async {
            tokio::try_join!(
                pump(from_client, to_server, Way::ToServer, who, broken.clone()),
                pump(from_server, to_client, Way::ToClient, who, broken.clone()),
            )
        };
        tokio::select! {
            carried = carried => carried.map(|_| Line::Open),
            line = broken_line(&mut lines, who) => Ok(line),
        }
    };
    match ended {
        Ok(Line::HalfOpen) => {
            reset(server);
            // A sender that is gone means that the proxy is, and the connection with it.
            drop(lines.wait_for(|lines| lines.of(who) != Line::HalfOpen).await);
            reset(client);
        }
        Ok(Line::Reset) | Err(_) => {
            reset(server);
            reset(client);
        }
        // Both ends have said that they are done.
        Ok(Line::Open | Line::Delayed(_) | Line::Stalled(_)) => {}
    }
}

/// Until the line is one on which no connection goes on.
async fn broken_line(lines: &mut watch::Receiver<Lines>, who: Option<i32>) -> Line {
    let broken = lines.wait_for(|lines| matches!(lines.of(who), Line::Reset | Line::HalfOpen)).await;
    broken.map_or(Line::Reset, |lines| lines.of(who))
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    way: Way,
    who: Option<i32>,
    mut lines: watch::Receiver<Lines>,
) -> io::Result<()> {
    let (queue, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let delays = lines.clone();
    let read = async move {
        loop {
            let mut chunk = vec![0; CHUNK];
            let length = from.read(&mut chunk).await?;
            chunk.truncate(length);
            let delay = delays.borrow().of(who).delay();
            if length == 0 || queue.send((Instant::now() + delay, chunk)).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, chunk)) = due.recv().await {
            sleep_until(at).await;
            lines.wait_for(|lines| lines.of(who).passes(way)).await.map_err(io::Error::other)?;
            to.write_all(&chunk).await?;
        }
        lines.wait_for(|lines| lines.of(who).passes(way)).await.map_err(io::Error::other)?;
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

/// Ends a connection with RST, as the kernel does for a process that was killed with bytes unread.
fn reset(stream: TcpStream) {
    // Where it fails the connection is gone already.
    set_socket_linger(&stream, Some(Duration::ZERO)).ok();
    drop(stream);
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener as Listener, TcpStream as Stream};
    use std::process;

    use super::*;
    use crate::Port;

    /// Long enough for what passes, and what a test waits to see that nothing does.
    const A_WHILE: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(20);

    struct Ends {
        proxy: Proxy,
        client: Stream,
        server: Stream,
        _ports: [Port; 2],
    }

    /// This very process, known as client 5, connected through a proxy.
    fn connected() -> Ends {
        let ports = [Port::take(), Port::take()];
        let listener = Listener::bind(ports[1].address()).unwrap();
        let clients = Clients::default();
        clients.know(5, process::id());
        let proxy = Proxy::start(ports[0].address(), ports[1].address(), clients);
        let client = Stream::connect(proxy.address()).unwrap();
        let server = listener.accept().unwrap().0;
        for end in [&client, &server] {
            end.set_read_timeout(Some(LONG)).unwrap();
        }
        Ends { proxy, client, server, _ports: ports }
    }

    fn pass(from: &mut Stream, to: &mut Stream) {
        from.write_all(b"so").unwrap();
        let mut got = [0; 2];
        to.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"so");
    }

    fn check_nothing_comes(end: &mut Stream) {
        end.set_read_timeout(Some(A_WHILE)).unwrap();
        let error = end.read(&mut [0; 1]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        end.set_read_timeout(Some(LONG)).unwrap();
    }

    #[test]
    fn what_is_sent_passes_and_so_does_the_end() {
        let Ends { proxy: _proxy, mut client, mut server, _ports } = connected();
        pass(&mut client, &mut server);
        pass(&mut server, &mut client);
        drop(client);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    }

    #[test]
    fn a_stall_one_way_holds_back_until_it_is_mended() {
        let Ends { proxy, mut client, mut server, _ports } = connected();
        pass(&mut client, &mut server);
        proxy.set(Some(5), Line::Stalled(Way::ToServer));
        client.write_all(b"late").unwrap();
        check_nothing_comes(&mut server);
        pass(&mut server, &mut client);
        proxy.mend();
        let mut late = [0; 4];
        server.read_exact(&mut late).unwrap();
        assert_eq!(&late, b"late");
    }

    #[test]
    fn another_clients_line_is_not_ours() {
        let Ends { proxy, mut client, mut server, _ports } = connected();
        proxy.set(Some(6), Line::Reset);
        pass(&mut client, &mut server);
        proxy.set(Some(5), Line::Reset);
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(server.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn half_open_means_that_only_the_server_knows() {
        let Ends { proxy, mut client, mut server, _ports } = connected();
        proxy.set(None, Line::HalfOpen);
        assert_eq!(server.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        check_nothing_comes(&mut client);
        proxy.mend();
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_delay_is_at_least_that() {
        let Ends { proxy, mut client, mut server, _ports } = connected();
        proxy.set(None, Line::Delayed(A_WHILE));
        let sent = std::time::Instant::now();
        pass(&mut client, &mut server);
        assert!(sent.elapsed() >= A_WHILE, "{:?}", sent.elapsed());
    }

    #[test]
    fn it_refuses_while_its_server_is_gone() {
        let Ends { proxy, _ports, .. } = connected();
        let refused = |yes: bool| {
            crate::poll_until(LONG, || match Stream::connect(proxy.address()) {
                Err(error) if yes && error.kind() == ErrorKind::ConnectionRefused => Ok(()),
                Ok(_) if !yes => Ok(()),
                other => Err(other),
            })
        };
        proxy.listen(false);
        refused(true).expect("it stops listening");
        proxy.listen(true);
        refused(false).expect("it listens again");
    }
}
