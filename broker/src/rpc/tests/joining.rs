//! Who is let in, who is not, and what those are told.

use std::future::poll_fn;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::messages::{Envelope, Greeting, Hello, HelloRefused, VERSION_OF_HELLO, seal};
use super::*;
use crate::net::FrameReader;

/// Broker 2, made by `plan`, calls broker 1; says what came of it.
async fn joins(authority: &Authority, plan: impl FnOnce(&mut Plan)) -> Result<Reply, CallError> {
    let one = authority.broker(1).start().await;
    let mut other = authority.broker(2);
    plan(&mut other);
    let peers = other.peers();
    peers.know([(1, one.at.clone())].into());
    peers.call(1, Call::Change { kind: WHO, body: Vec::new() }, PATIENCE).await
}

fn refused_with(result: Result<Reply, CallError>, expected: &str) {
    match result {
        Err(CallError::NotSent { broker: 1, why }) => assert!(why.contains(expected), "{why}"),
        other => panic!("{other:?} and not {expected}"),
    }
}

#[tokio::test]
async fn a_broker_is_known_by_its_first_words_and_its_certificate() {
    let authority = Authority::new();
    assert_eq!(joins(&authority, |_| ()).await, Ok(changed(b"2 -1 CN=broker,O=Example")));
}

#[tokio::test]
async fn a_broker_of_another_cluster_is_told_so() {
    let why = "belongs to cluster cluster, and the peer to other";
    refused_with(joins(&Authority::new(), |plan| plan.cluster = "other").await, why);
}

#[tokio::test]
async fn a_certificate_that_is_not_a_brokers_is_refused_by_either_end() {
    let authority = Authority::new();
    let both = || vec!["CN=broker,O=Example".to_owned(), "CN=alice,O=Example".to_owned()];
    // Alice would take broker 1 for one, and broker 1 does not take Alice.
    let alice = authority.tls("alice", "127.0.0.1");
    let result = joins(&authority, |plan| (plan.tls, plan.principals) = (alice, both())).await;
    refused_with(result, "the certificate of User:CN=alice,O=Example may not join");
    // Broker 1 shows a certificate that broker 2 does not take for a broker's.
    let result = joins(&authority, |plan| plan.principals = vec!["CN=other".to_owned()]).await;
    refused_with(result, "its certificate is CN=broker,O=Example's");
    let one = Plan { principals: both(), ..authority.broker(1) }.start().await;
    let alice = Plan { tls: authority.tls("alice", "127.0.0.1"), principals: both(), ..authority.broker(2) }.peers();
    alice.know([(1, one.at.clone())].into());
    let named = alice.call(1, Call::Change { kind: WHO, body: Vec::new() }, PATIENCE).await;
    assert_eq!(named, Ok(changed(b"2 -1 CN=alice,O=Example")));
}

#[tokio::test]
async fn strangers_do_not_get_past_tls() {
    let authority = Authority::new();
    let stranger = Authority::new().tls("broker", "127.0.0.1");
    let truststore = Some(PemSource::Inline(authority.pem.clone()));
    // Believes broker 1, and is not believed.
    let result = joins(&authority, |plan| plan.tls = TlsConfig { truststore, ..stranger.clone() }).await;
    assert!(matches!(result, Err(CallError::NotSent { .. })), "{result:?}");
    // Does not believe broker 1.
    let identity = authority.tls("broker", "127.0.0.1").identity;
    let result = joins(&authority, |plan| plan.tls = TlsConfig { identity, ..stranger }).await;
    refused_with(result, "invalid peer certificate");
}

#[tokio::test]
async fn the_host_is_verified_unless_the_operator_says_otherwise() {
    let authority = Authority::new();
    for verify in [true, false] {
        let one = Plan { tls: authority.tls("broker", "elsewhere"), ..authority.broker(1) }.start().await;
        let other = Plan { verify_host_names: verify, ..authority.broker(2) }.peers();
        other.know([(1, one.at.clone())].into());
        let result = other.call(1, Call::Change { kind: ECHO, body: Vec::new() }, PATIENCE).await;
        if verify {
            refused_with(result, "certificate not valid for name");
        } else {
            assert_eq!(result, Ok(changed(b"")));
        }
    }
}

#[tokio::test]
async fn two_brokers_with_one_number_do_not_talk() {
    refused_with(joins(&Authority::new(), |plan| plan.id = 1).await, "broker.id 1 is this broker's own");
}

#[tokio::test]
async fn another_broker_at_the_address_is_noticed() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    one.peers.know([(3, other.at.clone())].into());
    let result = one.change(3, ECHO, b"").await;
    assert!(
        matches!(&result, Err(CallError::NotSent { why, .. }) if why.contains("broker 2 is there, and not broker 3")),
        "{result:?}"
    );
}

#[tokio::test]
async fn the_highest_version_that_both_speak_is_taken() {
    let authority = Authority::new();
    for (theirs, agreed) in [((1, 1), Ok(1)), ((1, 3), Ok(3)), ((2, 9), Ok(4)), ((5, 9), Err(())), ((0, 0), Err(()))] {
        let one = Plan { versions: Some((1, 4)), ..authority.broker(1) }.start().await;
        let other = Plan { versions: Some(theirs), ..authority.broker(2) }.peers();
        other.know([(1, one.at.clone())].into());
        let result = other.call(1, Call::Change { kind: ECHO, body: vec![1] }, PATIENCE).await;
        match agreed {
            Ok(version) => {
                assert_eq!(result, Ok(changed(&[1])), "{theirs:?}");
                let opened = other.connector().open(1, &one.at).await.expect("opens");
                assert_eq!(opened.version, version, "{theirs:?}");
            }
            Err(()) => {
                let why =
                    format!("versions 1 to 4 of the inter-broker protocol, and the peer {} to {}", theirs.0, theirs.1);
                refused_with(result, &why);
            }
        }
    }
}

/// A peer that says what it likes, with a broker's certificate.
struct Raw(TlsStream<TcpStream>);

impl Raw {
    async fn connect(authority: &Authority, to: &Node) -> Self {
        let tls = PeerTls::new(&authority.tls("broker", "127.0.0.1"), &[], true).expect("good settings");
        let stream = TcpStream::connect(("127.0.0.1", to.at.port)).await.expect("connects");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        Self(TlsConnector::from(tls.client).connect(name, stream).await.expect("a handshake"))
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("is taken");
        self.0.flush().await.expect("is taken");
    }

    async fn join(&mut self, version: u8) {
        let hello = Hello {
            versions: (version, version),
            cluster_id: CLUSTER.to_owned(),
            broker_id: 5,
            broker_epoch: 8,
            life: 1,
        };
        self.say(&seal(VERSION_OF_HELLO, 0, &hello, 0).expect("a frame")).await;
        match self.hear().await.expect("an answer").message().expect("a greeting") {
            Greeting::Welcome { broker_id: 1, .. } => {}
            other => panic!("{other:?}"),
        }
    }

    async fn hear(&mut self) -> Option<Envelope> {
        let mut reader = FrameReader::new(NetworkMemory::new(LONGEST_FRAME), LONGEST_FRAME);
        let frame =
            timeout(PATIENCE, poll_fn(|cx| reader.poll_frame(cx, &mut self.0))).await.expect("an answer or an end");
        frame.ok().flatten().map(|frame| Envelope::open(frame).expect("a frame"))
    }

    async fn is_cut(&mut self) {
        let mut rest = Vec::new();
        // Cut politely or not, but cut.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("the connection is cut");
        assert!(rest.is_empty(), "{rest:?}");
    }
}

#[tokio::test]
async fn whoever_speaks_something_else_is_told_and_cut_and_costs_nobody_else() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    let greeting_of_another_version = seal(1, 0, &0_u8, 0).expect("a frame");
    for first in
        [&b"\0\0\0\x06garble"[..], b"\0\0\0\0", b"\0\0\0\x0a\0\0\0\0\0\0\0\0\xff\0", &greeting_of_another_version]
    {
        let mut raw = Raw::connect(&authority, &one).await;
        raw.say(first).await;
        let told = raw.hear().await.expect("is told").message::<Greeting>().expect("a greeting");
        assert_eq!(told, Greeting::Refused(HelloRefused::NotAHello), "{first:?}");
        raw.is_cut().await;
        assert_eq!(other.change(1, ECHO, b"served").await, Ok(changed(b"served")));
    }
    for first in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\x10\0\x01"] {
        let mut raw = Raw::connect(&authority, &one).await;
        raw.say(first).await;
        raw.is_cut().await;
        assert_eq!(other.change(1, ECHO, b"served").await, Ok(changed(b"served")));
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_read_is_refused_and_the_connection_stays() {
    let authority = Authority::new();
    let one = authority.broker(1).start().await;
    let mut raw = Raw::connect(&authority, &one).await;
    raw.join(1).await;
    raw.say(b"\0\0\0\x0b\x01\0\0\0\x07\0\0\0\x02\xff\x01").await;
    let answer = raw.hear().await.expect("an answer");
    assert_eq!((answer.version, answer.correlation), (1, 7));
    assert!(matches!(answer.message(), Ok(Reply::Error(_))), "{answer:?}");
    raw.say(&seal(1, 8, &Call::Change { kind: WHO, body: Vec::new() }, 0).expect("a frame")).await;
    let answer = raw.hear().await.expect("an answer");
    assert_eq!(answer.message(), Ok(changed(b"5 8 CN=broker,O=Example")));
    // Another version than the agreed one is another language.
    raw.say(&seal(2, 9, &Call::Probe { broker: 1 }, 0).expect("a frame")).await;
    raw.is_cut().await;
}
