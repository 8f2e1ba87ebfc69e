//! Requests start in order, answers leave in order, and neither waits for the other.

use super::*;

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let broker = Broker::start(limits()).await;
    let mut started = broker.toy.watch();
    let mut client = broker.connect().await;
    for request in [&b"l1"[..], b"e2", b"n", b"l3", b"f\x03", b"e4"] {
        client.send(request).await;
    }
    for expected in [&b"l1"[..], b"e2", b"n", b"l3", b"f\x03", b"e4"] {
        assert_eq!(
            started.recv().await.expect("all start"),
            expected,
            "a request starts while earlier ones await their answers"
        );
    }
    broker.toy.release(b'3');
    broker.toy.release(b'1');
    assert_eq!(client.receive().await, b"1");
    assert_eq!(client.receive().await, b"2");
    assert_eq!(client.receive().await, b"3");
    let file = client.receive().await;
    assert_eq!(file.len(), 3 << 16);
    assert!(file.iter().enumerate().all(|(i, &byte)| usize::from(byte) == i % 251), "the file's bytes, in order");
    assert_eq!(client.receive().await, b"4");
}

#[tokio::test]
async fn answers_leave_while_the_next_request_is_being_started() {
    let broker = Broker::start(limits()).await;
    let mut client = broker.connect().await;
    let mut started = broker.toy.watch();
    for request in [b"l1", b"w2", b"e3"] {
        client.send(request).await;
    }
    assert_eq!(started.recv().await.expect("starts")[..], b"l1"[..]);
    assert_eq!(started.recv().await.expect("starts")[..], b"w2"[..]);
    broker.toy.release(b'1');
    assert_eq!(client.receive().await, b"1", "although 2 is still being started");
    assert!(started.try_recv().is_err(), "3 does not start before 2 has");
    broker.toy.release(b'2');
    assert_eq!(client.receive().await, b"2");
    assert_eq!(client.receive().await, b"3");
}

#[tokio::test]
async fn a_frame_may_come_byte_by_byte() {
    let broker = Broker::start(limits()).await;
    let mut client = broker.connect().await;
    for byte in b"\0\0\0\x04eabc\0\0\0\x02ed" {
        client.send_raw(&[*byte]).await;
    }
    assert_eq!(client.receive().await, b"abc");
    assert_eq!(client.receive().await, b"d");
}

#[tokio::test]
async fn closing_comes_after_the_answers_before_it() {
    let broker = Broker::start(limits()).await;
    let mut client = broker.connect().await;
    for request in [&b"l1"[..], b"e2", b"c", b"e3"] {
        client.send(request).await;
    }
    broker.toy.release(b'1');
    assert_eq!(client.receive().await, b"1");
    assert_eq!(client.receive().await, b"2");
    assert_eq!(client.until_closed().await, b"", "3 came after the end");
}

#[tokio::test]
async fn a_large_answer_survives_a_reader_that_pauses() {
    let broker = Broker::start(limits()).await;
    let mut client = broker.connect().await;
    for _ in 0..4 {
        client.send(b"f\xff").await;
    }
    for turn in 0..4 {
        // More than any socket buffer takes, so that writing stalls until this reads on.
        let file = client.receive().await;
        assert_eq!(file.len(), 255 << 16, "answer {turn}");
        assert!(file.iter().enumerate().all(|(i, &byte)| usize::from(byte) == i % 251), "answer {turn}");
    }
}

#[tokio::test]
async fn shutting_down_answers_what_was_started_and_no_more() {
    let broker = Broker::start(limits()).await;
    let mut started = broker.toy.watch();
    let mut busy = broker.connect().await;
    let mut stuck = broker.connect().await;
    let mut quiet = broker.connect().await;
    quiet.is_served().await;
    busy.send(b"l1").await;
    stuck.send(b"l2").await;
    let (toy, address) = (Arc::clone(&broker.toy), broker.address());
    while {
        let frame = started.recv().await.expect("both start");
        frame.first() != Some(&b'l')
    } {}
    started.recv().await.expect("the other one");

    let down = tokio::spawn(broker.running.shut_down(Duration::from_secs(2)));
    assert_eq!(quiet.until_closed().await, b"", "nothing to wait for");
    toy.release(b'1');
    assert_eq!(busy.receive().await, b"1", "answered within the grace");
    assert_eq!(busy.until_closed().await, b"");
    assert_eq!(stuck.until_closed().await, b"", "closed when the grace is over");
    timeout(PATIENCE, down).await.expect("ends").expect("does not panic");
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
