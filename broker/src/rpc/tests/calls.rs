//! Calls and fetches: order, sizes, deadlines, and what is known of a call when its peer goes.

use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use super::*;

#[tokio::test]
async fn every_call_has_its_answer() {
    let authority = Authority::new();
    let (one, _other) = two(&authority).await;
    assert_eq!(one.change(2, ECHO, b"body").await, Ok(changed(b"body")));
    let refused = Reply::Change(Err(ChangeFailed::NotController { controller: Some(9) }));
    assert_eq!(one.change(2, NOT_HERE, b"").await, Ok(refused));
    let partitions = vec![PartitionId { topic: Uuid([3; 16]), index: 4 }];
    match one.peers.call(2, Call::ReplicaStates { partitions }, PATIENCE).await {
        Ok(Reply::ReplicaStates(states)) => assert_eq!((states[0].index, states[0].log_end), (4, 10)),
        other => panic!("{other:?}"),
    }
    let stored = one.peers.call(2, Call::StorePlugin { digest: [0; 32], wasm: vec![1; 300] }, PATIENCE).await;
    assert_eq!(stored, Ok(Reply::PluginStored(Err(PluginFailed::Failed("300 bytes".to_owned())))));
    let read = one.peers.call(2, Call::ReadPlugin { digest: [9; 32] }, PATIENCE).await;
    assert_eq!(read, Ok(Reply::PluginRead(Ok(messages::PluginBinary(vec![9; 32])))));
    let asked = one.peers.call(2, Call::Probe { broker: 1 }, PATIENCE).await;
    assert_eq!(asked, Ok(Reply::Probed(Probed::Alive)));
    let large = vec![5; 900_000];
    assert_eq!(one.change(2, ECHO, &large).await, Ok(changed(&large)));
}

#[tokio::test]
async fn calls_go_out_while_others_wait_and_each_gets_its_own_answer() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    let mut started = other.toy.watch();
    let calls = (0..200_u8).map(|n| {
        let peers = one.peers.clone();
        tokio::spawn(async move { peers.call(2, Call::Change { kind: ON_LEAVE, body: vec![n] }, PATIENCE).await })
    });
    let calls: Vec<_> = calls.collect();
    // As many as the other side starts at once, without an answer to any.
    for _ in 0..64 {
        timeout(PATIENCE, started.recv()).await.expect("they do not wait for each other").expect("is watched");
    }
    other.toy.leave.add_permits(200);
    for (n, call) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(call.expect("no panic"), Ok(changed(&[u8::try_from(n).expect("few")])));
    }
}

#[tokio::test]
async fn records_come_behind_their_answer() {
    let authority = Authority::new();
    let (one, _other) = two(&authority).await;
    for sizes in [&[][..], &[0], &[1], &[10, 0, 70_000], &[400_000, 300_001, 5]] {
        let (fetched, records) = one.peers.fetch(2, fetch_of(sizes), PATIENCE).await.expect("is answered");
        let mut rest = records;
        for (partition, size) in fetched.partitions.iter().zip(sizes) {
            assert_eq!(partition.bytes, *size);
            let bytes = rest.split_to(*size as usize).to_bytes();
            assert!(bytes.iter().enumerate().all(|(at, byte)| usize::from(*byte) == at % 251), "{sizes:?}");
        }
        assert!(rest.is_empty() && fetched.partitions.len() == sizes.len());
    }
}

#[tokio::test]
async fn fetches_do_not_wait_for_calls() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    let mut started = other.toy.watch();
    let peers = one.peers.clone();
    let call =
        tokio::spawn(async move { peers.call(2, Call::Change { kind: ON_LEAVE, body: vec![1] }, PATIENCE).await });
    started.recv().await.expect("is watched");
    one.peers.fetch(2, fetch_of(&[100]), PATIENCE).await.expect("is answered");
    assert!(!call.is_finished());
    other.toy.leave.add_permits(1);
    assert_eq!(call.await.expect("no panic"), Ok(changed(&[1])));
}

#[tokio::test]
async fn an_answer_that_is_longer_than_any_may_be_ends_the_connection() {
    let authority = Authority::new();
    let (one, _other) = two(&authority).await;
    let too_long = one.peers.fetch(2, fetch_of(&[2 << 20]), PATIENCE).await;
    assert!(matches!(&too_long, Err(CallError::Lost { why, .. }) if why.contains("announces")), "{too_long:?}");
    one.peers.fetch(2, fetch_of(&[100]), PATIENCE).await.expect("the next one has another connection");
}

#[tokio::test]
async fn a_call_to_who_is_not_there_is_surely_not_done() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    let unknown = one.change(7, ECHO, b"").await;
    assert!(matches!(&unknown, Err(CallError::NotSent { broker: 7, .. })), "{unknown:?}");
    other.running.kill().await;
    for _ in 0..3 {
        let closed = one.change(2, ECHO, b"").await;
        assert!(matches!(&closed, Err(CallError::NotSent { why, .. }) if why.contains("nobody listens")), "{closed:?}");
    }
}

#[tokio::test]
async fn a_peer_that_is_killed_in_the_middle_of_a_call_leaves_it_unknown() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    let mut started = other.toy.watch();
    let peers = one.peers.clone();
    let call =
        tokio::spawn(async move { peers.call(2, Call::Change { kind: ON_LEAVE, body: vec![] }, PATIENCE).await });
    started.recv().await.expect("is watched");
    let began = Instant::now();
    other.running.kill().await;
    let lost = call.await.expect("no panic");
    assert!(matches!(&lost, Err(CallError::Lost { broker: 2, .. })), "{lost:?}");
    assert!(began.elapsed() < PATIENCE / 2, "noticed and not waited for");
    // It comes back at the same place, and is found.
    let mut again = authority.broker(2);
    again.port = other.at.port;
    let again = again.start().await;
    let mut tries = 0;
    while one.change(2, ECHO, b"back").await != Ok(changed(b"back")) {
        tries += 1;
        assert!(tries < 20, "the pause between attempts is a second at most");
    }
    drop(again);
}

#[tokio::test]
async fn a_deadline_says_whether_the_call_left() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    let short = Duration::from_millis(300);
    // A peer that takes connections and says nothing: half open, or paused.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("bound").port();
    one.peers.know([(3, PeerAddress { port, ..other.at.clone() }), (2, other.at.clone())].into());
    let call = Call::Change { kind: ECHO, body: Vec::new() };
    let waiting = one.peers.call(3, call.clone(), short).await;
    assert!(matches!(&waiting, Err(CallError::NotSent { .. })), "{waiting:?}");
    assert_eq!(one.peers.probe(3).await, Probed::Silent);
    let on_leave = Call::Change { kind: ON_LEAVE, body: Vec::new() };
    one.change(2, ECHO, b"").await.expect("connects");
    let unanswered = one.peers.call(2, on_leave, short).await;
    assert!(matches!(&unanswered, Err(CallError::Lost { .. })), "{unanswered:?}");
    // The call itself goes on: its answer is nobody's when it comes, and the next gets its own.
    other.toy.leave.add_permits(1);
    assert_eq!(one.change(2, ECHO, b"next").await, Ok(changed(b"next")));
}

#[tokio::test]
async fn a_broker_that_registers_is_known_by_its_new_epoch() {
    let authority = Authority::new();
    let (one, _other) = two(&authority).await;
    for epoch in [-1, 77, 99] {
        one.peers.set_broker_epoch(epoch);
        let who = format!("1 {epoch} CN=broker,O=Example");
        assert_eq!(one.change(2, WHO, b"").await, Ok(changed(who.as_bytes())));
    }
}

#[tokio::test]
async fn a_broker_that_has_moved_is_called_at_its_new_place() {
    let authority = Authority::new();
    let (one, other) = two(&authority).await;
    one.change(2, ECHO, b"").await.expect("is there");
    let moved = authority.broker(2).start().await;
    one.knows(&[&moved]);
    assert_eq!(one.change(2, ECHO, b"").await, Ok(changed(b"")));
    assert_eq!((other.toy.callers.lock().len(), moved.toy.callers.lock().len()), (1, 1));
}

#[tokio::test]
async fn a_broker_without_a_listener_calls_nobody() {
    let config =
        PeersConfig { node_id: 1, life: 1, tls: None, connect_timeout: PATIENCE, frame_bytes_max: LONGEST_FRAME };
    let peers = Peers::new(config);
    peers.set_cluster_id(CLUSTER);
    let authority = Authority::new();
    let other = authority.broker(2).start().await;
    peers.know([(2, other.at.clone())].into());
    let result = peers.call(2, Call::Probe { broker: 1 }, PATIENCE).await;
    assert!(matches!(&result, Err(CallError::NotSent { why, .. }) if why.contains("no inter-broker listener")));
}
