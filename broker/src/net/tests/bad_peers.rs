//! Peers that speak something else, or too much, or nothing: each costs only itself.

use super::*;

#[tokio::test]
async fn a_frame_length_of_two_gibibytes_closes_the_connection_and_the_next_client_is_served() {
    let broker = Broker::start(limits()).await;
    for length in [i32::MAX, -1, i32::MIN, (1 << 20) + 1] {
        let mut client = broker.connect().await;
        client.is_served().await;
        client.send_raw(&length.to_be_bytes()).await;
        assert_eq!(client.until_closed().await, b"", "{length}");
    }
    broker.connect().await.is_served().await;
}

#[tokio::test]
async fn answers_before_a_bad_frame_are_dropped_with_the_connection() {
    let broker = Broker::start(limits()).await;
    let mut client = broker.connect().await;
    client.send(b"l1").await;
    client.send_raw(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(client.until_closed().await, b"");
    broker.connect().await.is_served().await;
}

#[tokio::test]
async fn a_peer_that_leaves_drops_what_it_waited_for() {
    let broker = Broker::start(limits()).await;
    let mut started = broker.toy.watch();
    let mut client = broker.connect().await;
    client.send(b"l1").await;
    started.recv().await.expect("starts");
    let waiting = broker.toy.key(b'1');
    assert_eq!(Arc::strong_count(&waiting), 3, "the test, the map, the request");
    drop(client);
    timeout(PATIENCE, async {
        while Arc::strong_count(&waiting) > 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the request is dropped without its answer");
}
