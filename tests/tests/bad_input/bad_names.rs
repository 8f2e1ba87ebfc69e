//! Names that nothing can have: topics, and configuration keys.

use std::process::ExitStatus;

use sluice_protocol::ErrorCode;
use sluice_tests::{PATIENCE, Sluice};

use crate::{broker_and_connection, the_next_client_is_served};

#[test]
fn topic_names_kafka_refuses() {
    let (sluice, mut connection) = broker_and_connection();
    let too_long = "x".repeat(250);
    for name in ["", ".", "..", "sp ace", "sla/sh", "umläut", "nul\0", too_long.as_str()] {
        let result = connection.create_topic(name, &[]);
        assert_eq!(result.error_code, ErrorCode::InvalidTopicException, "{name:?}");
        assert!(
            result.error_message.is_some_and(|message| !message.is_empty()),
            "{name:?} is refused without a reason"
        );
    }
    assert_eq!(connection.create_topic(&too_long[1..], &[]).error_code, ErrorCode::None, "249 letters are a name");
    the_next_client_is_served(&sluice);
}

#[test]
fn topic_names_that_metrics_could_not_tell_apart() {
    let (sluice, mut connection) = broker_and_connection();
    assert_eq!(connection.create_topic("a.b", &[]).error_code, ErrorCode::None);
    assert_eq!(connection.create_topic("a_b", &[]).error_code, ErrorCode::InvalidTopicException);
    the_next_client_is_served(&sluice);
}

#[test]
fn an_unknown_topic_config() {
    let (sluice, mut connection) = broker_and_connection();
    let refused = connection.create_topic("odd", &[("retention.mss", "1000")]);
    assert_eq!(refused.error_code, ErrorCode::InvalidConfig);
    let message = refused.error_message.unwrap_or_default();
    assert!(message.contains("`retention.ms`"), "no suggestion: {message}");
    assert_eq!(connection.metadata("odd").error_code, ErrorCode::UnknownTopicOrPartition, "nothing is left of it");
    the_next_client_is_served(&sluice);
}

#[test]
fn an_unknown_broker_config() {
    let sluice = Sluice::builder().without_broker();
    let mut broker = sluice.launch(&[("num.partitionz", "3")]);
    let ended: ExitStatus = broker.await_end(PATIENCE);
    assert!(!ended.success());
    assert!(broker.said().contains("`num.partitions`"), "no suggestion: {}", broker.said());
}

#[test]
fn a_replication_factor_above_1() {
    let sluice = Sluice::start();
    let refused = sluice.cli(["topic", "create", "twice", "--partitions", "1", "--replication-factor", "2"]).failed(1);
    assert!(refused.contains("2 replicas") && refused.contains("INVALID_REPLICATION_FACTOR"), "{refused}");
    the_next_client_is_served(&sluice);
}
