//! What is said over connections. The parts of the real protocols that decisions depend on.

use super::disk::{Batch, Key};
use super::zookeeper::{Ask, Told};
use crate::PartitionRegistration;
use crate::decide::{
    AdvanceReassignments, AlterPartition, AlterPartitionError, AlterReassignments, CreateTopics, DeleteTopics, Drain,
    ElectLeaders, FailReplicas, FenceBroker, Recover, ShutDownBroker, Undrain,
};
use crate::partition::{Diverging, FetchRefused};

#[derive(Debug, Clone)]
pub(super) enum Request {
    Zookeeper {
        session: i64,
        ask: Ask,
    },
    /// To the controller.
    Change(Asked),
    /// From a follower.
    Fetch(ReplicaFetch),
    /// Whether a process answers at all.
    Probe,
    /// Never answered: ends with the connection.
    Hold,
    Produce(Produce),
    Read {
        key: Key,
        position: i64,
    },
    Latest {
        key: Key,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Reply {
    Zookeeper(Told),
    Changed(Answered),
    Fetched(Vec<(Key, Fetched)>),
    Alive,
    Produced(Result<(), ProduceError>),
    Read(Result<Vec<Batch>, NotServed>),
    Latest(Option<i64>),
}

/// A change that is asked for.
#[derive(Debug, Clone)]
pub(super) enum Asked {
    AlterPartition(AlterPartition),
    ShutDown(ShutDownBroker),
    Fence(FenceBroker),
    CreateTopics(CreateTopics),
    DeleteTopics(DeleteTopics),
    Reassign(AlterReassignments),
    Recover(Recover),
    Advance(AdvanceReassignments),
    Elect(ElectLeaders),
    Drain(Drain),
    Undrain(Undrain),
    FailReplicas(FailReplicas),
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) enum Answered {
    Altered(Vec<Result<PartitionRegistration, AlterPartitionError>>),
    ShuttingDown {
        remaining_leaders: usize,
    },
    Done,
    /// It was decided against.
    Refused(String),
    /// Not done: somebody else is controller.
    NotController,
    /// Done or not.
    Unknown,
}

#[derive(Debug, Clone)]
pub(super) struct ReplicaFetch {
    pub(super) from: i32,
    pub(super) epoch: i64,
    pub(super) partitions: Vec<FetchPartition>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct FetchPartition {
    pub(super) key: Key,
    pub(super) leader_epoch: i32,
    pub(super) fetch_offset: i64,
    pub(super) durable: i64,
    pub(super) last_fetched_epoch: i32,
}

#[derive(Debug, Clone)]
pub(super) enum Fetched {
    Batches { high_watermark: i64, log_start: i64, batches: Vec<Batch> },
    Diverging(Diverging),
    Refused(FetchRefused),
    NotLeader,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Produce {
    pub(super) key: Key,
    pub(super) producer: i32,
    pub(super) sequence: i32,
    pub(super) records: i64,
    pub(super) value: u64,
    pub(super) all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProduceError {
    NotLeader,
    NotEnoughReplicas,
    OutOfOrder,
    TimedOut,
    Doubtful,
}

/// The replica is somewhere else, or its log begins later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotServed {
    NotHere,
    StartsAt(i64),
}
