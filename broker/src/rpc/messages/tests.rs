//! Every message's bytes, frozen: another release reads them.

use proptest::prelude::*;

use super::*;

const TOPIC: Uuid = Uuid([0xaa; 16]);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `message` has these bytes (`aa*16` stands for the topic's id), and these bytes are `message`.
fn check<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &M, expected: &str) {
    let frame = seal(1, 0x0102_0304, message, 0).expect("is sent");
    let expected_head = expected.replace("aa*16", &"aa".repeat(16));
    let length = ENVELOPE_LEN + expected_head.len() / 2;
    let expected = format!("{length:08x}0101020304{:08x}{expected_head}", length - ENVELOPE_LEN);
    assert_eq!(hex(&frame), expected, "{message:?}");
    let envelope = Envelope::open(Chunks::from(frame.slice(4..))).expect("is a frame");
    assert_eq!((envelope.version, envelope.correlation, envelope.tail.len()), (1, 0x0102_0304, 0));
    assert_eq!(&envelope.message::<M>().expect("is read"), message);
    for cut in 0..envelope.head.len() {
        let cut = Envelope { head: envelope.head.slice(..cut), tail: Chunks::new(), ..envelope };
        cut.message::<M>().expect_err("half a message is none");
    }
    let mut longer = envelope.head.to_vec();
    longer.push(0);
    let longer = Envelope { head: longer.into(), tail: Chunks::new(), ..envelope };
    assert_eq!(longer.message::<M>(), Err(Unreadable::Surplus(1)));
}

fn partition() -> PartitionId {
    PartitionId { topic: TOPIC, index: 3 }
}

#[test]
fn greetings() {
    check(
        &Hello { versions: (1, 2), cluster_id: "abc".to_owned(), broker_id: 7, broker_epoch: -1, life: 300 },
        "0102036162630e01ac02",
    );
    check(&Greeting::Welcome { version: 1, broker_id: 7, broker_epoch: 200, life: 5 }, "00010e900305");
    check(
        &Greeting::Refused(HelloRefused::OtherCluster { ours: "a".to_owned(), theirs: "b".to_owned() }),
        "010001610162",
    );
    check(&Greeting::Refused(HelloRefused::NoCommonVersion { ours: (1, 2), theirs: (3, 4) }), "010101020304");
    check(&Greeting::Refused(HelloRefused::NotABroker { principal: "CN=x".to_owned() }), "010204434e3d78");
    check(&Greeting::Refused(HelloRefused::SameId { id: 1 }), "010302");
    check(&Greeting::Refused(HelloRefused::NotAHello), "0104");
}

#[test]
fn calls() {
    check(&Call::Change { kind: 17, body: vec![1, 2, 3] }, "001103010203");
    let fetch = ReplicaFetch {
        session: 9,
        sequence: 1,
        max_wait_ms: 500,
        min_bytes: 1,
        max_bytes: 1 << 20,
        partitions: vec![FetchPartition {
            topic: TOPIC,
            index: 3,
            leader_epoch: 4,
            fetch_offset: 100,
            durable: 90,
            last_fetched_epoch: -1,
            max_bytes: 1000,
        }],
        forgotten: vec![partition()],
    };
    check(&Call::Fetch(fetch), "010901f4030180804001aa*160608c801b40101e80701aa*1606");
    check(&Call::ReplicaStates { partitions: vec![partition()] }, "0201aa*1606");
    check(&Call::Probe { broker: 2 }, "0304");
    check(&Call::StorePlugin { digest: [0xaa; 32], wasm: vec![1, 2] }, "04aa*16aa*16020102");
    check(&Call::ReadPlugin { digest: [0xaa; 32] }, "05aa*16aa*16");
    check(&Call::InForce, "06");
}

#[test]
fn replies() {
    check(&Reply::Change(Ok(ChangeAnswer(vec![9, 8]))), "0000020908");
    check(&Reply::Change(Err(ChangeFailed::NotController { controller: None })), "00010000");
    check(&Reply::Change(Err(ChangeFailed::NotController { controller: Some(3) })), "0001000106");
    check(&Reply::Change(Err(ChangeFailed::Unavailable { why: "x".to_owned() })), "0001010178");
    check(&Reply::Change(Err(ChangeFailed::Refused(vec![7]))), "0001020107");
    check(&Reply::Change(Err(ChangeFailed::TooLarge { bytes: 300, max: 200 })), "000103ac02c801");
    check(&Reply::Change(Err(ChangeFailed::Unknown { why: "x".to_owned() })), "0001040178");
    let fetched = |error, diverging| ReplicaFetched {
        session: 9,
        session_lost: false,
        partitions: vec![FetchedPartition {
            topic: TOPIC,
            index: 3,
            error,
            high_watermark: 100,
            log_start: 0,
            diverging,
            bytes: 0,
        }],
    };
    check(&Reply::Fetched(fetched(None, None)), "01090001aa*160600c801000000");
    check(&Reply::Fetched(fetched(None, Some((2, 50)))), "01090001aa*160600c8010001046400");
    for (number, error) in [
        FetchError::NotLeader,
        FetchError::FencedLeaderEpoch,
        FetchError::UnknownLeaderEpoch,
        FetchError::NotReplica,
        FetchError::StaleBroker,
        FetchError::OffsetOutOfRange { log_start: 3, log_end: 7 },
        FetchError::Storage,
    ]
    .into_iter()
    .enumerate()
    {
        let range = if matches!(error, FetchError::OffsetOutOfRange { .. }) { "060e" } else { "" };
        let expected = format!("01090001aa*160601{number:02x}{range}c801000000");
        check(&Reply::Fetched(fetched(Some(error), None)), &expected);
    }
    let state = ReplicaState {
        topic: TOPIC,
        index: 3,
        leader_epoch: 4,
        latest_epoch: 4,
        log_start: 0,
        log_end: 100,
        high_watermark: 90,
        bytes: 300,
    };
    check(&Reply::ReplicaStates(vec![state]), "0201aa*1606080800c801b401ac02");
    for (number, probed) in [Probed::Alive, Probed::Refused, Probed::Silent].into_iter().enumerate() {
        check(&Reply::Probed(probed), &format!("03{number:02x}"));
    }
    check(&Reply::Error(CallRefused::Malformed("x".to_owned())), "04000178");
    check(&Reply::PluginStored(Ok(())), "0500");
    check(&Reply::PluginStored(Err(PluginFailed::Missing)), "050100");
    check(&Reply::PluginRead(Err(PluginFailed::Failed("x".to_owned()))), "0601010178");
    check(&Reply::PluginRead(Ok(PluginBinary(vec![1, 2]))), "0600020102");
}

#[test]
fn a_tail_is_as_long_as_announced() {
    let partition = |bytes| FetchedPartition {
        topic: TOPIC,
        index: 0,
        error: None,
        high_watermark: 0,
        log_start: 0,
        diverging: None,
        bytes,
    };
    let fetched = ReplicaFetched { partitions: vec![partition(3), partition(0), partition(2)], ..Default::default() };
    let tail = |len| Chunks::from(Bytes::from(vec![0; len]));
    assert_eq!(fetched.check(&tail(5)), Ok(()));
    for came in [0, 4, 6] {
        assert_eq!(fetched.check(&tail(came)), Err(Unreadable::Tail { announced: 5, came }));
    }
    let much = ReplicaFetched { partitions: vec![partition(u32::MAX); 3], ..Default::default() };
    assert_eq!(much.check(&tail(1)), Err(Unreadable::Tail { announced: 3 * u64::from(u32::MAX), came: 1 }));
}

#[test]
fn what_is_too_long_for_a_frame_is_not_sent() {
    let bytes = i32::MAX as usize;
    assert!(matches!(seal(1, 1, &0_u8, bytes), Err(Unsendable::TooLong { bytes: all }) if all > bytes));
}

proptest! {
    /// Bytes of anybody's making end in an error or a message, and take no more memory than they have.
    #[test]
    fn garbage_is_an_error_or_a_message(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(envelope) = Envelope::open(Chunks::from(Bytes::from(bytes))) {
            // Either is good; what is not is a panic.
            let _ = envelope.message::<Hello>();
            let _ = envelope.message::<Greeting>();
            let _ = envelope.message::<Call>();
            let _ = envelope.message::<Reply>();
        }
    }
}
