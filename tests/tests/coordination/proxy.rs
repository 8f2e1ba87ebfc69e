//! A TCP proxy between a client and ZooKeeper: the line can be cut, replies can be lost on it, requests can be held up.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A line to one server, gone when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    line: watch::Sender<Line>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Open,
    /// Connections are broken, new ones too.
    Cut,
    /// Requests arrive, replies don't.
    RepliesLost,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let (line, state) = watch::channel(Line::Open);
        Self { address, line, accepting: tokio::spawn(accept(listener, server, state)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Nothing gets through until it is mended.
    pub(crate) fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    /// From now on replies are lost, until it is mended.
    pub(crate) fn lose_replies(&self) {
        self.line.send_replace(Line::RepliesLost);
    }

    pub(crate) fn mend(&self) {
        self.line.send_replace(Line::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, line: watch::Receiver<Line>) {
    while let Ok((client, _)) = listener.accept().await {
        if *line.borrow() == Line::Cut {
            continue;
        }
        // A server that is not there: the client's connection ends, as it would without us.
        let Ok(server) = TcpStream::connect(server).await else { continue };
        let mut line = line.clone();
        tokio::spawn(async move {
            let carried = line.clone();
            tokio::select! {
                _ = line.wait_for(|line| *line == Line::Cut) => {}
                () = carry(client, server, carried) => {}
            }
        });
    }
}

async fn carry(client: TcpStream, server: TcpStream, line: watch::Receiver<Line>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let replies = async {
        let mut buffer = [0; 16 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if *line.borrow() == Line::Open && to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = replies => {}
    }
}
