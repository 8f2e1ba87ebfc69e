//! What happened in a run: each call to send with its outcome, each record a consumer was given, and the final read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::judge;
use super::{ReplicaLog, Report, Value};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's index.
    pub index: i32,
}

/// What a producer was told of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged; at this offset, unless the client was not told where.
    Stored(Option<i64>),
    /// Refused before anything was sent, or with an answer that says nothing was stored.
    Failed,
    /// Anything else: it timed out, the connection was lost, the client gave up.
    Unknown,
}

/// All that happened, in its order.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub(super) sends: Vec<Send>,
    pub(super) tails: BTreeMap<(u32, TopicPartition), Tail>,
    pub(super) finals: BTreeMap<TopicPartition, FinalRead>,
    /// Events so far: what came before what.
    events: u64,
    /// Acknowledgements so far.
    stored: usize,
}

/// One call to send; its value is its place in [`History::sends`].
#[derive(Debug, Clone)]
pub(super) struct Send {
    pub(super) producer: u32,
    pub(super) to: TopicPartition,
    pub(super) began: u64,
    /// When it ended and how; a call that was never heard of again is unknown.
    pub(super) ended: Option<(u64, Outcome)>,
}

/// What a consumer that follows a partition was given, in the order it was given it.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    pub(super) from: i64,
    /// Offset and value; `None` for a payload that is none of ours.
    pub(super) records: Vec<(i64, Option<Value>)>,
}

/// A partition read from its first offset to its end, after everything.
#[derive(Debug, Clone)]
pub(super) struct FinalRead {
    pub(super) records: Vec<(i64, Option<Value>)>,
    pub(super) log_start: i64,
    pub(super) high_watermark: i64,
}

impl TopicPartition {
    /// Partition `index` of `topic`.
    pub fn new(topic: &str, index: i32) -> Self {
        Self { topic: topic.into(), index }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.index)
    }
}

impl History {
    /// A producer is about to send: the value it is to send.
    pub fn begin(&mut self, producer: u32, to: &TopicPartition) -> Value {
        let value = self.next_value();
        let began = self.tick();
        self.sends.push(Send { producer, to: to.clone(), began, ended: None });
        value
    }

    /// A call to send has ended.
    ///
    /// # Panics
    /// When `value` was never begun here, or ended before: a mistake of the harness.
    pub fn end(&mut self, value: Value, outcome: Outcome) {
        let at = self.tick();
        let send = &mut self.sends[value.0 as usize];
        assert!(send.ended.is_none(), "{value} has ended before");
        send.ended = Some((at, outcome));
        self.stored += usize::from(matches!(outcome, Outcome::Stored(_)));
    }

    /// A consumer begins to follow a partition at an offset and will go on to the end.
    pub fn tail(&mut self, consumer: u32, of: &TopicPartition, from: i64) {
        let before = self.tails.insert((consumer, of.clone()), Tail { from, records: Vec::new() });
        assert!(before.is_none(), "consumer {consumer} follows {of} already");
    }

    /// A consumer was given a record.
    ///
    /// # Panics
    /// When it does not follow that partition: a mistake of the harness.
    pub fn polled(&mut self, consumer: u32, of: &TopicPartition, offset: i64, payload: &[u8]) {
        let tail = self.tails.get_mut(&(consumer, of.clone())).expect("a consumer follows what it polls");
        tail.records.push((offset, Value::of(payload)));
    }

    /// The value that the next call to send will be given.
    pub fn next_value(&self) -> Value {
        Value(self.sends.len() as u64)
    }

    /// How many records were acknowledged so far.
    pub fn stored(&self) -> usize {
        self.stored
    }

    /// The last offset a consumer was given of a partition.
    pub fn position(&self, consumer: u32, of: &TopicPartition) -> Option<i64> {
        self.tails.get(&(consumer, of.clone()))?.records.last().map(|&(offset, _)| offset)
    }

    /// All of a partition, read after everything was healed and done: from `log_start` to `high_watermark`.
    pub fn read_in_the_end<P: AsRef<[u8]>>(
        &mut self,
        of: &TopicPartition,
        (log_start, high_watermark): (i64, i64),
        records: impl IntoIterator<Item = (i64, P)>,
    ) {
        let records = records.into_iter().map(|(offset, payload)| (offset, Value::of(payload.as_ref()))).collect();
        self.finals.insert(of.clone(), FinalRead { records, log_start, high_watermark });
    }

    /// Everything that is wrong with it, given what is on the replicas' disks.
    ///
    /// # Panics
    /// When a partition that was sent to or followed was not read in the end: a mistake of the harness.
    pub fn check(&self, replicas: &[ReplicaLog]) -> Report {
        let used = self.sends.iter().map(|send| &send.to).chain(self.tails.keys().map(|(_, of)| of));
        let unread: BTreeSet<_> = used.filter(|of| !self.finals.contains_key(*of)).collect();
        assert!(unread.is_empty(), "not read in the end: {unread:?}");
        judge::report(self, replicas)
    }

    fn tick(&mut self) -> u64 {
        self.events += 1;
        self.events
    }
}
