//! The same messages through the `kafka-protocol` crate, in every version both have, in both directions.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Message as OracleMessage};
use proptest::prelude::*;

use super::tree::Tree;
use super::{Tested, ask, body, cut, for_every_message, messages, read};
use crate::wire::any::Dice;

proptest! {
    #[test]
    fn the_oracle_reads_and_writes_the_same(seed: u64) {
        for_every_message!(agrees(seed));
    }

    #[test]
    fn every_message_is_read_back(seed: u64) {
        for_every_message!(is_read_back(seed));
    }
}

fn agrees<Ours: Tested>(seed: u64) {
    let mut dice = Dice(seed);
    let known = Ours::Oracle::VERSIONS.min..=Ours::Oracle::VERSIONS.max;
    for version in Ours::VERSIONS.filter(|version| known.contains(version)) {
        let ours = Ours::some(&mut dice, version);
        let written = body(&ours, version);

        let mut rest = written.clone();
        let theirs =
            Ours::Oracle::decode(&mut rest, version).unwrap_or_else(|e| panic!("v{version} of {ours:?}: {e:#}"));
        assert!(rest.is_empty(), "v{version} of {ours:?}: {} bytes left to the oracle", rest.len());
        assert_eq!(Tree::of(&ours), Tree::of(&theirs), "v{version}");

        let mut rewritten = BytesMut::new();
        theirs.encode(&mut rewritten, version).expect("what it has read");
        let rewritten = rewritten.freeze();
        assert_eq!(read::<Ours>(rewritten.clone(), version).as_ref(), Ok(&ours), "v{version}, as the oracle writes it");
        assert_eq!(rewritten, written, "v{version} of {ours:?}");
    }
}

fn is_read_back<Ours: Tested>(seed: u64) {
    let mut dice = Dice(seed);
    for version in Ours::VERSIONS {
        let message = Ours::some(&mut dice, version);
        let written: Bytes = body(&message, version);
        assert_eq!(read::<Ours>(written.clone(), version).as_ref(), Ok(&message), "v{version}");
        // Pieces show in records alone, so these are compared as they are written again.
        let pieces = read::<Ours>(cut(&written, &mut dice), version).expect("the same bytes in pieces");
        assert_eq!(body(&pieces, version), written, "v{version} in pieces");
    }
}
