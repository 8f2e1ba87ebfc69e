//! Finding anomalies: one pass over the calls, one over each partition, one over each consumer, one over the replicas.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::history::{FinalRead, Send, Tail};
use super::{Anomaly, Counts, History, Outcome, ReplicaLog, Report, TopicPartition, Value, replicas};

/// Everything that is wrong with a history.
pub(super) fn report(history: &History, logs: &[ReplicaLog]) -> Report {
    let mut report = Report { counts: counts(history, logs), anomalies: Vec::new() };
    for (partition, read) in &history.finals {
        report.anomalies.extend(Partition::gather(history, partition, read).anomalies());
    }
    for ((consumer, partition), tail) in &history.tails {
        report.anomalies.extend(of_consumer(*consumer, partition, tail, &history.finals[partition]));
    }
    for (partition, read) in &history.finals {
        let of_partition: Vec<&ReplicaLog> = logs.iter().filter(|log| log.of == *partition).collect();
        report.anomalies.extend(replicas::differences(partition, read.high_watermark, &of_partition));
    }
    report
}

fn counts(history: &History, logs: &[ReplicaLog]) -> Counts {
    let in_the_end: BTreeSet<Value> =
        history.finals.values().flat_map(|read| &read.records).filter_map(|&(_, value)| value).collect();
    let mut counts = Counts {
        sent: history.sends.len(),
        read: history.finals.values().map(|read| read.records.len()).sum(),
        polled: history.tails.values().map(|tail| tail.records.len()).sum(),
        compared: logs.iter().map(|log| log.batches.len()).sum(),
        ..Counts::default()
    };
    for (number, send) in history.sends.iter().enumerate() {
        match send.outcome() {
            Outcome::Stored(_) => counts.stored += 1,
            Outcome::Failed => counts.failed += 1,
            Outcome::Unknown => {
                counts.unknown += 1;
                counts.unknown_stored += usize::from(in_the_end.contains(&Value(number as u64)));
            }
        }
    }
    counts
}

impl Send {
    fn outcome(&self) -> Outcome {
        self.ended.map_or(Outcome::Unknown, |(_, outcome)| outcome)
    }
}

/// All that is known of one partition.
struct Partition<'a> {
    history: &'a History,
    of: &'a TopicPartition,
    read: &'a FinalRead,
    /// Where each value was said to be: by an acknowledgement, by a consumer, in the end.
    offsets: HashMap<Value, BTreeSet<i64>>,
    /// What was said to be at each offset.
    values: BTreeMap<i64, BTreeSet<Value>>,
    /// Where each value is in the end.
    in_the_end: HashMap<Value, i64>,
}

impl<'a> Partition<'a> {
    fn gather(history: &'a History, of: &'a TopicPartition, read: &'a FinalRead) -> Self {
        let in_the_end = read.records.iter().filter_map(|&(offset, value)| Some((value?, offset))).collect();
        let (offsets, values) = (HashMap::new(), BTreeMap::new());
        let mut partition = Self { history, of, read, offsets, values, in_the_end };
        for (value, send) in partition.sends() {
            if let Outcome::Stored(Some(offset)) = send.outcome() {
                partition.place(value, offset);
            }
        }
        for (offset, value) in partition.seen() {
            if let Some(value) = value {
                partition.place(value, offset);
            }
        }
        partition
    }

    fn place(&mut self, value: Value, offset: i64) {
        self.offsets.entry(value).or_default().insert(offset);
        self.values.entry(offset).or_default().insert(value);
    }

    /// The calls that sent to this partition, in the order they began.
    fn sends(&self) -> impl Iterator<Item = (Value, &'a Send)> + use<'a> {
        let of = self.of;
        let sends = self.history.sends.iter().enumerate().map(|(number, send)| (Value(number as u64), send));
        sends.filter(move |(_, send)| send.to == *of)
    }

    /// Every record anybody was given of it.
    fn seen(&self) -> impl Iterator<Item = (i64, Option<Value>)> + use<'a> {
        let of = self.of;
        let tails = self.history.tails.iter().filter(move |((_, tailed), _)| tailed == of);
        tails.flat_map(|(_, tail)| &tail.records).chain(&self.read.records).copied()
    }

    fn anomalies(&self) -> Vec<Anomaly> {
        let mut found = self.lost();
        found.extend(self.misplaced());
        found.extend(self.not_as_sent());
        found.extend(self.reordered());
        found
    }

    fn lost(&self) -> Vec<Anomaly> {
        let acknowledged = self.sends().filter_map(|(value, send)| match send.outcome() {
            Outcome::Stored(offset) => Some((value, offset)),
            Outcome::Failed | Outcome::Unknown => None,
        });
        let gone = acknowledged.filter(|(value, _)| !self.in_the_end.contains_key(value));
        // What retention has taken was there.
        let gone = gone.filter(|(_, offset)| offset.is_none_or(|offset| offset >= self.read.log_start));
        gone.map(|(value, offset)| Anomaly::Lost { value, at: self.of.clone(), offset }).collect()
    }

    fn misplaced(&self) -> impl Iterator<Item = Anomaly> {
        let duplicated: BTreeMap<_, _> = self.offsets.iter().filter(|(_, offsets)| offsets.len() > 1).collect();
        let duplicated = duplicated.into_iter().map(|(&value, offsets)| Anomaly::Duplicated {
            value,
            at: self.of.clone(),
            offsets: offsets.iter().copied().collect(),
        });
        let contested = self.values.iter().filter(|(_, values)| values.len() > 1);
        duplicated.chain(contested.map(|(&offset, values)| Anomaly::TwoValues {
            at: self.of.clone(),
            offset,
            values: values.iter().copied().collect(),
        }))
    }

    fn not_as_sent(&self) -> Vec<Anomaly> {
        let at = || self.of.clone();
        let judged = |(offset, value): (i64, Option<Value>)| {
            let Some(value) = value else { return Some(Anomaly::Garbled { at: at(), offset }) };
            match self.history.sends.get(usize::try_from(value.0).ok()?) {
                Some(send) if send.to == *self.of => {
                    (send.outcome() == Outcome::Failed).then(|| Anomaly::Refused { at: at(), offset, value })
                }
                Some(_) | None => Some(Anomaly::Unsent { at: at(), offset, value }),
            }
        };
        // What several were given is told once.
        let seen: BTreeSet<_> = self.seen().collect();
        seen.into_iter().filter_map(judged).collect()
    }

    /// Of two acknowledged records, one acknowledged before the other was sent, or sent before it by the same producer: the
    /// order in the log has to be that order.
    ///
    /// Records of no known outcome are left out: their producer has given them up, and a request still on its way may
    /// arrive after its next.
    fn reordered(&self) -> Vec<Anomaly> {
        let mut placed: Vec<(i64, Value, u64, u64, u32)> = self
            .sends()
            .filter_map(|(value, send)| match send.ended {
                Some((ended, Outcome::Stored(_))) => {
                    Some((*self.in_the_end.get(&value)?, value, send.began, ended, send.producer))
                }
                _ => None,
            })
            .collect();
        placed.sort_unstable();
        let mut found = Vec::new();
        // From the end of the log: of what is stored behind, what ended first, and what each producer sent first.
        let mut ended_first: Option<(u64, Value, i64)> = None;
        let mut sent_first = HashMap::<u32, (u64, Value, i64)>::new();
        for (offset, value, began, ended, producer) in placed.into_iter().rev() {
            let behind = ended_first.filter(|(other_ended, ..)| *other_ended < began);
            let sent_before = sent_first.get(&producer).copied().filter(|(other_began, ..)| *other_began < began);
            if let Some((_, earlier, at)) = behind.or(sent_before) {
                let (earlier, later) = ((earlier, at), (value, offset));
                found.push(Anomaly::Reordered { at: self.of.clone(), earlier, later });
            }
            if ended_first.is_none_or(|(other_ended, ..)| ended < other_ended) {
                ended_first = Some((ended, value, offset));
            }
            if sent_first.get(&producer).is_none_or(|(other_began, ..)| began < *other_began) {
                sent_first.insert(producer, (began, value, offset));
            }
        }
        found
    }
}

/// What is wrong with what one consumer was given of a partition.
fn of_consumer(consumer: u32, of: &TopicPartition, tail: &Tail, read: &FinalRead) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let there: BTreeMap<i64, Option<Value>> = read.records.iter().copied().collect();
    let mut next = tail.from;
    for &(offset, value) in &tail.records {
        if offset < next {
            found.push(Anomaly::WentBack { consumer, at: of.clone(), from: next - 1, to: offset });
            continue;
        }
        let skipped = there.range(next..offset).map(|(&offset, _)| offset);
        found.extend(skipped.map(|offset| Anomaly::Skipped { consumer, at: of.clone(), offset }));
        if let Some(value) = value.filter(|_| offset >= read.log_start && !there.contains_key(&offset)) {
            found.push(Anomaly::Vanished { consumer, value, at: of.clone(), offset });
        }
        next = offset + 1;
    }
    if there.range(next..).next().is_some() {
        let reached = tail.records.last().map(|&(offset, _)| offset);
        found.push(Anomaly::Behind { consumer, at: of.clone(), reached, end: read.high_watermark });
    }
    found
}
