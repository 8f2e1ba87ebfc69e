//! What connections may cost, one by one and together.

use std::net::IpAddr;

use super::*;
use crate::net::memory::{CAPACITIES, CAPACITY_MAX};

#[tokio::test]
async fn at_max_connections_the_next_one_waits_until_somebody_leaves() {
    let broker = Broker::start(Limits { connections_max: 2, ..limits() }).await;
    let mut first = broker.connect().await;
    let mut second = broker.connect().await;
    first.is_served().await;
    second.is_served().await;
    let mut third = broker.connect().await;
    third.send(b"e3").await;
    first.is_served().await;
    assert!(futures::poll!(std::pin::pin!(third.receive())).is_pending(), "not accepted yet");
    drop(first);
    assert_eq!(third.receive().await, b"3");
}

#[tokio::test]
async fn one_address_has_its_own_limit() {
    let broker = Broker::start(Limits { connections_per_ip_max: 1, ..limits() }).await;
    let mut first = broker.connect().await;
    first.is_served().await;
    assert_eq!(broker.connect().await.until_closed().await, b"");
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind((IpAddr::from([127, 0, 0, 2]), 0).into()).expect("loopback is a whole network");
    let mut elsewhere = Client(socket.connect(broker.address()).await.expect("connects"));
    elsewhere.is_served().await;
    first.is_served().await;
}

#[tokio::test]
async fn who_is_idle_is_closed_and_who_waits_for_an_answer_is_not() {
    let broker = Broker::start(Limits { idle_max: Duration::from_millis(200), ..limits() }).await;
    let mut waiting = broker.connect().await;
    waiting.send(b"l1").await;
    let mut idle = broker.connect().await;
    let mut half = broker.connect().await;
    half.send_raw(&[0, 0, 0, 9, b'e']).await;
    assert_eq!(idle.until_closed().await, b"");
    assert_eq!(half.until_closed().await, b"");
    broker.toy.release(b'1');
    assert_eq!(waiting.receive().await, b"1");
}

#[tokio::test]
async fn a_reader_that_never_reads_is_closed_when_idle_and_starts_no_more_requests() {
    let broker = Broker::start(Limits { idle_max: Duration::from_millis(500), ..limits() }).await;
    let mut started = broker.toy.watch();
    let mut client = broker.connect().await;
    for _ in 0..20 {
        client.send(b"f\xff").await;
    }
    broker.connect().await.is_served().await;
    // The socket takes some; then the answers wait, then the requests, and then the connection has been idle.
    let rest = client.0;
    let mut begun = 0;
    let all_closed = async {
        while let Some(frame) = started.recv().await {
            begun += usize::from(frame.first() == Some(&b'f'));
        }
    };
    assert!(timeout(Duration::from_secs(2), all_closed).await.is_err(), "the toy lives on");
    assert!(begun < 20, "{begun} answers of 16 MiB were begun");
    let mut client = Client(rest);
    client.until_closed().await;
}

#[tokio::test]
async fn requests_in_flight_are_bounded_by_their_bytes() {
    let broker = Broker::start(Limits { inflight_bytes_max: 1000, ..limits() }).await;
    let mut started = broker.toy.watch();
    let mut client = broker.connect().await;
    let mut body = vec![b'x'; 700];
    for key in b'1'..=b'3' {
        body[..2].copy_from_slice(&[b'l', key]);
        client.send(&body).await;
    }
    assert_eq!(started.recv().await.expect("starts")[1], b'1');
    assert_eq!(started.recv().await.expect("starts: 700 bytes are below the bound")[1], b'2');
    broker.connect().await.is_served().await;
    assert_eq!(started.recv().await.expect("the other connection's")[0], b'e');
    assert!(started.try_recv().is_err(), "1,400 bytes are not");
    broker.toy.release(b'1');
    assert_eq!(client.receive().await[0], b'1');
    assert_eq!(started.recv().await.expect("starts now")[1], b'3');
}

#[tokio::test]
async fn when_memory_is_spent_reading_pauses_and_everybody_is_served_in_the_end() {
    let broker = Broker::start(Limits { memory_bytes_max: CAPACITY_MAX, ..limits() }).await;
    let body = vec![b'e'; 1 << 20];
    let clients: Vec<_> = futures::future::join_all((0..12).map(|_| broker.connect())).await;
    let exchanges = clients.into_iter().map(|mut client| {
        let body = body.clone();
        tokio::spawn(async move {
            client.send(&body).await;
            assert_eq!(client.receive().await.len(), body.len() - 1);
        })
    });
    for exchange in exchanges {
        exchange.await.expect("12 MiB through 256 KiB, each frame alone larger than all the memory");
    }
}

#[tokio::test]
async fn who_holds_memory_with_half_a_frame_gives_way_to_those_who_wait() {
    let limits =
        Limits { memory_bytes_max: CAPACITY_MAX, frame_age_while_short_max: Duration::from_millis(300), ..limits() };
    let broker = Broker::start(limits).await;
    // Each holds the smallest buffer; one more than there is memory for.
    let mut halves = Vec::new();
    for _ in 0..=CAPACITY_MAX / CAPACITIES[0] {
        let mut half = broker.connect().await;
        half.send_raw(&[0, 0, 0, 9, b'e']).await;
        halves.push(half);
    }
    let mut patient = broker.connect().await;
    patient.is_served().await;
    assert_eq!(halves[0].until_closed().await, b"");
    broker.connect().await.is_served().await;
}
