//! The network against a toy service: order, limits, bad peers, memory, shutdown. Each test owns its listener and port.

mod bad_peers;
mod limits;
mod order;
mod secured;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Once},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use parking_lot::Mutex;
use sluice_protocol::records::{Chunks, FileRange, Part, ReadAt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, mpsc},
    time::timeout,
};

use super::*;

/// Nothing here takes long; what takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service whose requests say what is to become of them, by their first byte:
/// `e` echo, `l` echo later (when the test releases the key in the second byte), `w` wait in `start` for that key,
/// `n` no answer, `c` close, `p` who am I, `f` a file answer of as many KiB as the second byte says times 64.
#[derive(Default)]
struct Toy {
    released: Mutex<HashMap<u8, Arc<Notify>>>,
    started: Mutex<Option<mpsc::Sender<Bytes>>>,
}

impl Toy {
    fn key(&self, key: u8) -> Arc<Notify> {
        Arc::clone(self.released.lock().entry(key).or_default())
    }

    fn release(&self, key: u8) {
        self.key(key).notify_one();
    }

    /// Tells of every request that starts.
    fn watch(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(1000);
        *self.started.lock() = Some(sender);
        receiver
    }
}

/// The file behind `f`: byte `i` is `i % 251`.
#[derive(Debug)]
struct Pattern;

impl ReadAt for Pattern {
    fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        for (at, byte) in buf.iter_mut().enumerate() {
            *byte = ((position + at as u64) % 251) as u8;
        }
        Ok(())
    }
}

fn answer(body: &[u8]) -> Vec<Part> {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(body.len()).expect("small answers"));
    vec![Part::Bytes(out.freeze()), Part::Bytes(Bytes::copy_from_slice(body))]
}

impl Service for Toy {
    type Connection = Peer;

    fn connected(&self, peer: Peer) -> Peer {
        peer
    }

    async fn start(&self, peer: &mut Peer, frame: Chunks) -> Started {
        let frame = frame.to_bytes();
        let watcher = self.started.lock().clone();
        if let Some(watcher) = watcher {
            // A test that stopped watching does not mind.
            let _ = watcher.send(Bytes::copy_from_slice(&frame)).await;
        }
        match frame.first() {
            Some(b'e') => Started::Answer(answer(&frame[1..])),
            Some(b'l') => {
                let released = self.key(frame[1]);
                let body = Bytes::copy_from_slice(&frame[1..]);
                Started::Later(
                    async move {
                        released.notified().await;
                        Outcome::Answer(answer(&body))
                    }
                    .boxed(),
                )
            }
            Some(b'w') => {
                self.key(frame[1]).notified().await;
                Started::Answer(answer(&frame[1..]))
            }
            Some(b'n') => Started::None,
            Some(b'p') => {
                Started::Answer(answer(format!("{} {} {}", peer.principal, peer.listener, peer.encrypted).as_bytes()))
            }
            Some(b'f') => {
                let len = usize::from(frame[1]) << 16;
                let length = u32::try_from(len).expect("small answers").to_be_bytes();
                Started::Answer(vec![
                    Part::Bytes(Bytes::copy_from_slice(&length)),
                    Part::File(FileRange { file: Arc::new(Pattern), position: 0, len }),
                ])
            }
            _ => Started::Close("asked to".into()),
        }
    }
}

fn limits() -> Limits {
    Limits {
        frame_bytes_max: 1 << 20,
        memory_bytes_max: 16 << 20,
        inflight_bytes_max: 4 << 20,
        connections_max: 100,
        connections_per_ip_max: 100,
        idle_max: Duration::from_secs(600),
        frame_age_while_short_max: Duration::from_secs(10),
        handshake_timeout: Duration::from_secs(10),
    }
}

fn plaintext() -> ListenerConfig {
    ListenerConfig {
        name: ListenerName::new("plaintext"),
        host: "127.0.0.1".to_owned(),
        port: 0,
        advertised: None,
        security: Security::Plaintext,
    }
}

struct Broker {
    toy: Arc<Toy>,
    running: Running,
}

impl Broker {
    async fn start(limits: Limits) -> Self {
        Self::with(plaintext(), limits).await
    }

    async fn with(listener: ListenerConfig, limits: Limits) -> Self {
        log();
        let toy = Arc::new(Toy::default());
        let bound = bind(&NetConfig { listeners: vec![listener], limits }).await.expect("a loopback port");
        Self { running: bound.serve(Arc::clone(&toy)), toy }
    }

    fn address(&self) -> SocketAddr {
        self.running.endpoints()[0].bound
    }

    async fn connect(&self) -> Client<TcpStream> {
        Client(TcpStream::connect(self.address()).await.expect("connects"))
    }
}

/// Shows the broker's log of a failing test.
fn log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let logging = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::DEBUG);
        // Other tests of this crate may have been first.
        let _ = logging.try_init();
    });
}

/// A client that speaks frames.
struct Client<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn send(&mut self, body: &[u8]) {
        self.send_raw(&u32::try_from(body.len()).expect("small requests").to_be_bytes()).await;
        self.send_raw(body).await;
    }

    async fn send_raw(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        })
        .await
        .expect("the broker reads")
        .expect("the broker is there");
    }

    async fn receive(&mut self) -> Vec<u8> {
        self.try_receive().await.expect("the broker answers")
    }

    async fn try_receive(&mut self) -> io::Result<Vec<u8>> {
        timeout(PATIENCE, async {
            let len = self.0.read_u32().await?;
            let mut body = vec![0; len as usize];
            self.0.read_exact(&mut body).await?;
            Ok(body)
        })
        .await
        .expect("an answer or an end")
    }

    /// Awaits the end of the connection; says what came before it.
    async fn until_closed(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("the broker closes the connection") {
            Ok(_) => rest,
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => rest,
            Err(error) => panic!("neither closed nor reset: {error}"),
        }
    }

    async fn is_served(&mut self) {
        self.send(b"ehello").await;
        assert_eq!(self.receive().await, b"hello");
    }
}
