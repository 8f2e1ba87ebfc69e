//! Evidence that a process is gone, and what is none.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;

/// Long enough for a wrong answer to show.
const A_WHILE: Duration = Duration::from_secs(1);

fn gone(from: &Node, broker: i32, epoch: i64) -> JoinHandle<()> {
    let peers = from.peers.clone();
    tokio::spawn(async move { peers.gone(broker, epoch).await })
}

async fn is_noticed(gone: JoinHandle<()>) {
    timeout(PATIENCE, gone).await.expect("is noticed").expect("no panic");
}

/// Waits until somebody has said hello to `node`, by being called from there.
async fn connected(from: &Node, to: i32) {
    from.change(to, ECHO, b"").await.expect("is served");
}

#[tokio::test]
async fn a_process_whose_connections_end_and_whose_port_is_closed_is_gone() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    let watch = gone(&one, 2, 1);
    connected(&one, 2).await;
    sleep(A_WHILE).await;
    assert!(!watch.is_finished(), "it is there");
    other.running.kill().await;
    is_noticed(watch).await;
    assert_eq!(one.peers.probe(2).await, Probed::Refused);
}

#[tokio::test]
async fn a_port_that_is_closed_from_the_start_is_evidence_after_some_looks() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    other.running.kill().await;
    is_noticed(gone(&one, 2, 1)).await;
}

/// A way to a broker that can be cut: then what goes through it ends, and what comes is taken and left without an answer.
struct Way {
    port: u16,
    cut: watch::Sender<bool>,
}

impl Way {
    async fn to(node: &Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (cut, is_cut) = watch::channel(false);
        let to = node.at.port;
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let mut is_cut = is_cut.clone();
                if *is_cut.borrow() {
                    held.push(near);
                    continue;
                }
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(("127.0.0.1", to)).await.expect("is there");
                    tokio::select! {
                        // Either end may leave as it likes.
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_cut.wait_for(|cut| *cut) => {}
                    }
                });
            }
        });
        Self { port, cut }
    }
}

#[tokio::test]
async fn a_broker_whose_connections_end_and_whose_port_is_open_is_not_gone() {
    let authority = Authority::new();
    let one = Plan { connect_timeout: Duration::from_millis(200), ..authority.broker(1) }.start().await;
    let other = authority.broker(2).start().await;
    let way = Way::to(&other).await;
    one.peers.know([(2, PeerAddress { port: way.port, ..other.at.clone() })].into());
    let watch = gone(&one, 2, 1);
    connected(&one, 2).await;
    way.cut.send_replace(true);
    let call = Call::Change { kind: ECHO, body: Vec::new() };
    let cut = one.peers.call(2, call, Duration::from_millis(300)).await;
    assert!(cut.is_err(), "{cut:?}");
    assert_eq!(one.peers.probe(2).await, Probed::Silent);
    sleep(A_WHILE).await;
    assert!(!watch.is_finished(), "silence is not the end");
    watch.abort();
}

#[tokio::test]
async fn silence_is_no_evidence() {
    let authority = Authority::new();
    let mut one = authority.broker(1);
    one.connect_timeout = Duration::from_millis(200);
    let one = one.start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("bound").port();
    one.peers.know([(2, PeerAddress { host: "127.0.0.1".to_owned(), port, epoch: 1 })].into());
    let watch = gone(&one, 2, 1);
    sleep(A_WHILE).await;
    assert!(!watch.is_finished());
    watch.abort();
}

#[tokio::test]
async fn another_process_at_the_same_place_says_that_the_first_is_gone() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    let watch = gone(&one, 2, 1);
    connected(&one, 2).await;
    let port = other.at.port;
    other.running.kill().await;
    let again = Plan { port, life: 99, ..authority.broker(2) };
    let again = again.start().await;
    is_noticed(watch).await;
    drop(again);
}

#[tokio::test]
async fn a_registration_that_was_followed_by_another_is_over() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    let watch = gone(&one, 2, 1);
    connected(&one, 2).await;
    one.peers.know([(2, PeerAddress { epoch: 2, ..other.at.clone() })].into());
    is_noticed(watch).await;
    // Who says that it has registered since, has.
    other.peers.set_broker_epoch(3);
    is_noticed(gone(&one, 2, 2)).await;
}

#[tokio::test]
async fn a_broker_nobody_knows_is_waited_for() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    one.peers.know([].into());
    let watch = gone(&one, 2, 1);
    other.running.kill().await;
    sleep(Duration::from_millis(300)).await;
    assert!(!watch.is_finished(), "nothing is known of it");
    one.peers.know([(2, other.at.clone())].into());
    is_noticed(watch).await;
}
