//! On the wire: frames and bytes that are no requests.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use sluice_protocol::messages::ApiVersionsRequest;
use sluice_tests::Sluice;
use sluice_tests::clients::Connection;

use crate::{broker_and_connection, the_next_client_is_served};

#[test]
fn a_metadata_v1_body_of_7fffffff() {
    let (sluice, mut connection) = broker_and_connection();
    // Key 3, version 1, correlation id 1, no client id, and an array of 2^31 - 1 topics in four bytes.
    connection.write_frame(b"\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff").expect("the broker reads");
    assert!(connection.is_closed(), "there is no answer to what cannot be read");
    the_next_client_is_served(&sluice);
}

#[test]
fn a_frame_length_of_2_to_the_31_minus_1() {
    let (sluice, mut connection) = broker_and_connection();
    connection.write(&i32::MAX.to_be_bytes()).expect("the broker reads");
    assert!(connection.is_closed(), "nobody waits for two gigabytes");
    the_next_client_is_served(&sluice);
}

#[test]
fn a_negative_frame_length() {
    let (sluice, mut connection) = broker_and_connection();
    connection.write(&(-1_i32).to_be_bytes()).expect("the broker reads");
    assert!(connection.is_closed());
    the_next_client_is_served(&sluice);
}

#[test]
fn an_unknown_api_key() {
    let (sluice, mut connection) = broker_and_connection();
    connection.write_frame(b"\x03\xe7\0\0\0\0\0\x01\xff\xff").expect("the broker reads");
    assert!(connection.is_closed(), "the shape of its answer is not known either");
    the_next_client_is_served(&sluice);
}

#[test]
fn a_request_cut_short() {
    let (sluice, mut connection) = broker_and_connection();
    connection.write(b"\0\0\x01\0\0\x03\0\x01").expect("the broker reads");
    drop(connection);
    the_next_client_is_served(&sluice);
}

#[test]
fn requests_before_a_bad_one_are_answered() {
    let (sluice, mut connection) = broker_and_connection();
    connection.send(0, &ApiVersionsRequest::default());
    connection.write_frame(b"\x03\xe7\0\0\0\0\0\x01\xff\xff").expect("the broker reads");
    connection.read_frame().expect("what was good is answered");
    assert!(connection.is_closed());
    the_next_client_is_served(&sluice);
}

#[test]
fn garbage_on_the_tls_port() {
    let noise: Vec<u8> = (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    check_not_tls(&noise);
}

#[test]
fn plain_text_on_the_tls_port() {
    check_not_tls(b"GET / HTTP/1.1\r\nHost: kafka\r\n\r\n");
}

#[test]
fn kafka_without_tls_on_the_tls_port() {
    check_not_tls(b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff");
}

#[test]
fn a_half_open_handshake() {
    let sluice = Sluice::builder().set("sluice.handshake.timeout.ms", 500).start();
    let mut socket = Connection::plain(&sluice.contact()).expect("the port is open");
    // The head of a ClientHello of 512 bytes, and then nothing.
    socket.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").expect("the broker reads");
    the_next_client_is_served(&sluice);
    assert!(ends(&mut socket), "the broker waits as long as it says and not longer");
}

#[test]
fn a_client_without_a_certificate() {
    check_certificate_refused(|sluice| Connection::open_as(&sluice.contact(), None));
}

#[test]
fn a_client_with_a_strangers_certificate() {
    check_certificate_refused(|sluice| Connection::open_as(&sluice.contact(), Some(&sluice.certificates.stranger)));
}

#[track_caller]
fn check_not_tls(bytes: &[u8]) {
    let sluice = Sluice::start();
    let mut socket = Connection::plain(&sluice.contact()).expect("the port is open");
    socket.write_all(bytes).expect("the broker reads");
    // A broker that takes its leave before it has read everything resets the connection: also an end.
    assert!(ends(&mut socket));
    the_next_client_is_served(&sluice);
}

/// In TLS 1.3 a client has finished its handshake before the server has seen its certificate: the refusal may come after.
#[track_caller]
fn check_certificate_refused(open: impl FnOnce(&Sluice) -> std::io::Result<Connection>) {
    let sluice = Sluice::start();
    if let Ok(mut connection) = open(&sluice) {
        let asked = connection.write_frame(b"\0\x12\0\0\0\0\0\x01\xff\xff");
        assert!(asked.is_err() || connection.is_closed(), "the broker answers someone it cannot know");
    }
    the_next_client_is_served(&sluice);
}

/// Whether the broker ends the connection, whatever it says before.
fn ends(socket: &mut TcpStream) -> bool {
    match socket.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}
