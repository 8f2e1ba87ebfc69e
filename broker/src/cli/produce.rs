//! `sluice produce`: lines of standard input become records, acknowledged by every in-sync replica.
//!
//! A batch is what comes within a few milliseconds, and what has come by the time the batch before it is acknowledged; so a
//! line typed by hand goes at once and a file goes in large batches. A batch that is refused is reported, line by line where the broker says which, and
//! the rest goes on.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use sluice_protocol::records::Compression;
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, timeout_at},
};

use super::{
    cluster::ClusterArguments,
    error::CliError,
    output::{Output, say},
    topic::name_and_value,
};
use crate::client::{Client, ClientError, NewRecord, Producer, TopicInfo, partition_for_key};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The topic to write to.
    topic: String,
    /// What stands between key and value in a line; without it a line is a value.
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// A header of every record. Can be given several times.
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    header: Vec<(String, String)>,
    /// The partition; by default the key says, and where there is none, partitions take turns.
    #[arg(short, long, value_name = "N")]
    partition: Option<i32>,
    /// The most records in one batch. One refused record refuses its whole batch.
    #[arg(short, long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    batch_size: u32,
    /// How batches are compressed.
    #[arg(short = 'z', long, value_name = "CODEC", default_value = "none", value_parser = codec)]
    compression: Compression,
}

fn codec(name: &str) -> Result<Compression, String> {
    let known = Compression::ALL.map(Compression::name);
    Compression::ALL
        .into_iter()
        .find(|codec| codec.name() == name)
        .ok_or_else(|| format!("one of {}", known.join(", ")))
}

/// Lines read ahead of the network: enough for the largest usual batch while the one before it is under way.
const LINES_AHEAD: usize = 4096;

/// Bytes at which a batch is sent though it may hold more records: a broker takes 1 MiB unless it is told otherwise, and a
/// record has some bytes around it.
const BATCH_BYTES: usize = 900_000;

/// How long a line waits for others to share its batch: `linger.ms` of Kafka's producer since 4.0.
const LINGER: Duration = Duration::from_millis(5);

/// What came of it all.
#[derive(Debug, Default, Serialize)]
struct Summary {
    topic: String,
    acknowledged: u64,
    refused: u64,
    batches: u64,
}

/// A line of input and its number, from 1.
struct Line {
    number: u64,
    record: NewRecord,
}

pub(super) async fn run(arguments: Arguments, cluster: ClusterArguments, output: &Output) -> Result<(), CliError> {
    let mut client = cluster.client().await?;
    let topic = client.topic_or_create(&arguments.topic, true).await?;
    let producer = Producer::new(&mut client, arguments.compression).await?;
    let partitions = topic.partitions.len();
    if let Some(partition) = arguments.partition
        && !topic.partitions.iter().any(|known| known.partition == partition)
    {
        return Err(ClientError::NoPartition { topic: topic.name, partition, partitions }.into());
    }
    let mut lines = read_lines(arguments.key_separator.clone(), &arguments.header);
    let mut writing =
        Writing { client, topic, producer, turn: 0, partition: arguments.partition, summary: Summary::default() };
    writing.summary.topic.clone_from(&arguments.topic);
    let mut failed = None;
    while let Some(first) = lines.recv().await {
        let mut batch = vec![first?];
        let mut bytes = batch[0].record.size();
        let deadline = Instant::now() + LINGER;
        while batch.len() < arguments.batch_size as usize && bytes < BATCH_BYTES {
            match timeout_at(deadline, lines.recv()).await {
                Ok(Some(Ok(line))) => {
                    bytes += line.record.size();
                    batch.push(line);
                }
                Ok(Some(Err(error))) => {
                    failed = Some(error);
                    break;
                }
                Ok(None) | Err(_) => break,
            }
        }
        writing.send(batch).await?;
        if let Some(error) = failed {
            return Err(error);
        }
    }
    let summary = writing.summary;
    output.give(&summary, |summary| {
        say(format_args!("{} records acknowledged, {} refused", summary.acknowledged, summary.refused));
        String::new()
    })?;
    if summary.refused > 0 { Err(CliError::said()) } else { Ok(()) }
}

struct Writing {
    client: Client,
    topic: TopicInfo,
    producer: Producer,
    /// Whose turn it is among the partitions, for records without a key.
    turn: usize,
    partition: Option<i32>,
    summary: Summary,
}

impl Writing {
    async fn send(&mut self, lines: Vec<Line>) -> Result<(), CliError> {
        let partitions = self.topic.partitions.len().max(1);
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let next = i32::try_from(self.turn % partitions).unwrap_or(0);
        self.turn += 1;
        let mut by_partition: BTreeMap<i32, (Vec<u64>, Vec<NewRecord>)> = BTreeMap::new();
        for line in lines {
            let partition = match (self.partition, &line.record.key) {
                (Some(partition), _) => partition,
                (None, Some(key)) => partition_for_key(key, count),
                (None, None) => next,
            };
            let (numbers, records) = by_partition.entry(partition).or_default();
            numbers.push(line.number);
            records.push(line.record);
        }
        for (partition, (numbers, records)) in by_partition {
            self.summary.batches += 1;
            match self.producer.send(&mut self.client, &mut self.topic, partition, &records).await {
                Ok(_) => self.summary.acknowledged += records.len() as u64,
                Err(ClientError::RecordsRefused { what, code, message, records: named }) if !code.is_retriable() => {
                    self.summary.refused += records.len() as u64;
                    report(&what, message.as_deref().unwrap_or_else(|| code.message()), &numbers, &named);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Says which lines were refused, and why where the broker says.
fn report(what: &str, message: &str, numbers: &[u64], named: &[(i32, Option<String>)]) {
    let (first, last) = (numbers.first().copied().unwrap_or(0), numbers.last().copied().unwrap_or(0));
    say(format_args!("refused: lines {first} to {last} for {what}: {message}"));
    for (index, why) in named {
        let line = usize::try_from(*index).ok().and_then(|index| numbers.get(index)).copied().unwrap_or(first);
        say(format_args!("  line {line}: {}", why.as_deref().unwrap_or(message)));
    }
}

impl NewRecord {
    fn size(&self) -> usize {
        let text = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + text(value) + 8).sum();
        text(&self.key) + text(&self.value) + headers + 24
    }
}

/// Reads lines on a thread of its own: standard input can only be waited for.
fn read_lines(separator: Option<String>, headers: &[(String, String)]) -> mpsc::Receiver<Result<Line, CliError>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    let headers: Vec<(String, Option<Bytes>)> =
        headers.iter().map(|(name, value)| (name.clone(), Some(Bytes::from(value.clone().into_bytes())))).collect();
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut number = 0;
        loop {
            let mut line = Vec::new();
            let line = match input.read_until(b'\n', &mut line) {
                Ok(0) => return,
                Ok(_) => {
                    number += 1;
                    Ok(Line { number, record: record(line, separator.as_deref(), headers.clone(), now_ms()) })
                }
                Err(cause) => Err(CliError::failed(format!("cannot read standard input: {cause}"))),
            };
            let ends = line.is_err();
            if sender.blocking_send(line).is_err() || ends {
                return; // the command has ended before its input
            }
        }
    });
    receiver
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A line as a record. A line without the separator has no key.
fn record(
    mut line: Vec<u8>,
    separator: Option<&str>,
    headers: Vec<(String, Option<Bytes>)>,
    timestamp: i64,
) -> NewRecord {
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    let line = Bytes::from(line);
    let split = separator.filter(|separator| !separator.is_empty()).and_then(|separator| {
        let at = line.windows(separator.len()).position(|window| window == separator.as_bytes())?;
        Some((line.slice(..at), line.slice(at + separator.len()..)))
    });
    let (key, value) = match split {
        Some((key, value)) => (Some(key), value),
        None => (None, line),
    };
    NewRecord { key, value: Some(value), headers, timestamp }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_records() {
        let check = |line: &str, separator: Option<&str>, key: Option<&str>, value: &str| {
            let record = record(line.as_bytes().to_vec(), separator, Vec::new(), 7);
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(
                (record.key.as_ref().map(text).as_deref(), record.value.as_ref().map(text).as_deref()),
                (key, Some(value)),
                "{line:?}"
            );
        };
        check("plain\n", None, None, "plain");
        check("windows\r\n", None, None, "windows");
        check("last", None, None, "last");
        check("\n", None, None, "");
        check("k:v\n", None, None, "k:v");
        check("k:v:w\n", Some(":"), Some("k"), "v:w");
        check("k=>v\n", Some("=>"), Some("k"), "v");
        check("no separator\n", Some("\t"), None, "no separator");
        check(":v\n", Some(":"), Some(""), "v");
    }
}
