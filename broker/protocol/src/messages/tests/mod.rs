//! Every message in every version: against another implementation, against Kafka's own frames, and against bytes nobody
//! should send. The table of messages is here; each file asks one question of all of them.

mod golden;
mod hostile;
mod nulls;
mod oracle;
mod tree;

use std::fmt::Debug;

use bytes::Bytes;
use kafka_protocol::protocol::{Decodable, Encodable, Message as OracleMessage};

use crate::records::{Chunks, Part};
use crate::wire::At;
use crate::wire::any::{Any, Dice};
use crate::{DecodeError, Message, Reader, Writer};

/// A message, and the oracle's struct for the same.
trait Tested: Message + Any + Debug + Clone + PartialEq {
    type Oracle: OracleMessage + Decodable + Encodable + Debug;

    const NAME: &'static str;

    /// Whatever it can be in a version.
    fn some(dice: &mut Dice, version: i16) -> Self {
        Self::any(dice, At { version, flexible: Self::KEY.is_flexible(version), nullable: false })
    }
}

/// Hands every message to a macro.
macro_rules! messages {
    ($macro:ident $arguments:tt) => {
        $macro! { $arguments
            ApiVersionsRequest ApiVersionsResponse MetadataRequest MetadataResponse ProduceRequest ProduceResponse
            FetchRequest FetchResponse ListOffsetsRequest ListOffsetsResponse CreateTopicsRequest CreateTopicsResponse
            DeleteTopicsRequest DeleteTopicsResponse DescribeConfigsRequest DescribeConfigsResponse
            DescribeClusterRequest DescribeClusterResponse InitProducerIdRequest InitProducerIdResponse
            FindCoordinatorRequest FindCoordinatorResponse OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse
            CreatePartitionsRequest CreatePartitionsResponse
            ElectLeadersRequest ElectLeadersResponse IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse
            AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse
            ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse
        }
    };
}

macro_rules! implement {
    (() $($message:ident)*) => {$(
        impl Tested for crate::messages::$message {
            type Oracle = kafka_protocol::messages::$message;
            const NAME: &'static str = stringify!($message);
        }
    )*};
}

messages!(implement());

/// Calls a function for every message: `for_every_message!(check(argument))`.
macro_rules! for_every_message {
    ($question:ident $arguments:tt) => {
        messages!(ask($question $arguments))
    };
}

macro_rules! ask {
    (($question:ident $arguments:tt) $($message:ident)*) => {
        $($question::<crate::messages::$message> $arguments;)*
    };
}

use {ask, for_every_message, messages};

fn body<M: Message>(message: &M, version: i16) -> Bytes {
    let mut writer = Writer::new();
    message.write(&mut writer, version).expect("a message of this version");
    writer
        .into_parts()
        .into_iter()
        .map(|part| match part {
            Part::Bytes(bytes) => bytes,
            Part::File(_) => unreachable!("the tests make no files"),
        })
        .collect::<Chunks>()
        .to_bytes()
}

fn read<M: Message>(body: impl Into<Chunks>, version: i16) -> Result<M, DecodeError> {
    M::read(&mut Reader::new(body.into()), version)
}

/// The same bytes, in pieces.
fn cut(bytes: &Bytes, dice: &mut Dice) -> Chunks {
    let mut rest = bytes.clone();
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        pieces.push(rest.split_to(rest.len().min(1 + dice.below(40) as usize)));
    }
    pieces.into()
}
