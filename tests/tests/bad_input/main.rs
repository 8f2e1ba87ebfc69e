//! What nobody should send, and what somebody will: each case is refused as Kafka refuses it, and the next client is served.

mod bad_batches;
mod bad_connections;
mod bad_names;
mod bad_surroundings;

use sluice_protocol::ErrorCode;
use sluice_tests::Sluice;
use sluice_tests::clients::Connection;
use sluice_tests::clients::calls::{batch, values};

/// The proof that the broker is well: a connection of its own, a topic, a record in and out.
#[track_caller]
fn the_next_client_is_served(sluice: &Sluice) {
    let mut next = sluice.connection();
    let created = next.create_topic("next", &[]).error_code;
    assert!(matches!(created, ErrorCode::None | ErrorCode::TopicAlreadyExists), "{created:?}");
    let stored = next.produce("next", batch(["served"]).build());
    assert_eq!(stored.error_code, ErrorCode::None, "{:?}", stored.error_message);
    let read = next.fetch("next", stored.base_offset);
    assert_eq!(values(&read, stored.base_offset), [(stored.base_offset, "served".to_owned())]);
}

/// A broker, and a connection to say something bad on.
fn broker_and_connection() -> (Sluice, Connection) {
    let sluice = Sluice::start();
    let connection = sluice.connection();
    (sluice, connection)
}
