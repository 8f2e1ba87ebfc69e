//! The demo's clients: one writes events, two read what became of them, one looks how the cluster is. Each tells what it finds
//! and decides nothing.

use std::convert::Infallible;
use std::future::pending;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use sluice_protocol::ErrorCode;
use sluice_protocol::records::Compression;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::health::Health;
use super::tally::Place;
use crate::cli::error::CliError;
use crate::client::{Client, ClientError, Consumed, Consumer, NewRecord, Producer, Start};

/// Where the events go.
pub(super) const TOPIC: &str = "earthquakes";

/// Where the strong ones are seen.
pub(super) const VIEW: &str = "earthquakes.strong";

/// One partition for each broker to lead.
pub(super) const PARTITIONS: i32 = 3;

/// One week of real events, one a line; `examples/README.md` says from where.
const EVENTS: &str = include_str!("../../../../examples/earthquakes.jsonl");

/// How often it is looked how the cluster is.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Something that one of the clients found.
#[derive(Debug)]
pub(super) enum Fact {
    /// The producer has its answer for an event.
    Sent {
        /// The event as it was sent.
        event: &'static str,
        /// The answer.
        outcome: Outcome,
    },
    /// The producer has sent all it was to send.
    AllSent,
    /// The topic's reader got further.
    Stored(Read),
    /// The view's reader got further.
    Seen(Read),
    /// How the cluster is.
    Health(Health),
    /// A broker was killed.
    Killed(i32),
    /// The broker that was killed is back.
    Back,
}

/// What the broker answered to one event.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in the log.
    Stored(Place),
    /// The gate refused it.
    Refused {
        /// What it told the producer.
        why: String,
    },
}

/// What one fetch brought.
#[derive(Debug)]
pub(super) struct Read {
    /// The records.
    pub(super) records: Vec<Consumed>,
    /// Of each partition, the offset before which everything has been read.
    pub(super) positions: Vec<(i32, i64)>,
}

/// Sends events, over and over, each as a batch of its own: a gate refuses a batch for one record of it.
pub(super) async fn send(
    mut client: Client,
    pace: Option<Duration>,
    count: Option<u64>,
    facts: mpsc::Sender<Fact>,
) -> Result<(), CliError> {
    let mut producer = Producer::new(&mut client, Compression::None).await?;
    let mut topic = client.topic(TOPIC).await?;
    let mut pace = pace.map(interval);
    if let Some(pace) = &mut pace {
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    let count = count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    for (event, partition) in EVENTS.lines().cycle().zip((0..PARTITIONS).cycle()).take(count) {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let record = NewRecord {
            value: Some(Bytes::from_static(event.as_bytes())),
            timestamp: now_ms(),
            ..NewRecord::default()
        };
        let outcome = match producer.send(&mut client, &mut topic, partition, &[record]).await {
            Ok(stored) => Outcome::Stored(Place { partition, offset: stored.base_offset }),
            Err(error) => Outcome::Refused { why: refusal(error)? },
        };
        tell(&facts, Fact::Sent { event, outcome }).await;
    }
    tell(&facts, Fact::AllSent).await;
    Ok(())
}

/// What the gate says of the one record; any other error is the demo's end.
fn refusal(error: ClientError) -> Result<String, ClientError> {
    match error {
        // A gate that failed, rather than refused, names no record.
        ClientError::RecordsRefused { code: ErrorCode::InvalidRecord, records, message, .. } if !records.is_empty() => {
            let of_record = records.into_iter().find_map(|(_, why)| why);
            Ok(of_record.or(message).unwrap_or_else(|| ErrorCode::InvalidRecord.message().to_owned()))
        }
        error => Err(error),
    }
}

/// Reads a topic or view from its beginning, and never ends.
pub(super) async fn read(
    mut client: Client,
    name: &str,
    fact: fn(Read) -> Fact,
    facts: mpsc::Sender<Fact>,
) -> Result<Infallible, CliError> {
    let topic = client.topic(name).await?;
    let mut consumer = Consumer::new(&mut client, topic, &[], Start::Beginning).await?;
    loop {
        let records = consumer.poll(&mut client).await?;
        let position = |partition| Some((partition, consumer.position(partition)?));
        let positions = (0..PARTITIONS).filter_map(position).collect();
        tell(&facts, fact(Read { records, positions })).await;
    }
}

/// Looks how the cluster is, and never ends.
pub(super) async fn watch(mut client: Client, facts: mpsc::Sender<Fact>) -> Result<Infallible, CliError> {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match client.metadata(None, false).await {
            Ok(metadata) => tell(&facts, Fact::Health(Health::of(&metadata))).await,
            // Whoever was asked is going; the next look asks another.
            Err(error) if error.is_retriable() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Hands a fact over. Once nobody listens the show is over, and whoever waits here is about to be dropped.
pub(super) async fn tell(facts: &mpsc::Sender<Fact>, fact: Fact) {
    if facts.send(fact).await.is_err() {
        pending::<()>().await;
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ErrorCode, message: Option<&str>, records: &[(i32, Option<&str>)]) -> ClientError {
        ClientError::RecordsRefused {
            what: "earthquakes-0".to_owned(),
            code,
            message: message.map(str::to_owned),
            records: records.iter().map(|&(at, why)| (at, why.map(str::to_owned))).collect(),
        }
    }

    #[test]
    fn a_gate_that_refuses_is_told_from_all_that_goes_wrong() {
        let check = |error, expected: Option<&str>| assert_eq!(refusal(error).ok().as_deref(), expected);
        check(refused(ErrorCode::InvalidRecord, Some("batch"), &[(0, Some("record"))]), Some("record"));
        check(refused(ErrorCode::InvalidRecord, Some("batch"), &[(0, None)]), Some("batch"));
        check(refused(ErrorCode::InvalidRecord, None, &[(0, None)]), Some(ErrorCode::InvalidRecord.message()));
        check(refused(ErrorCode::InvalidRecord, Some("the plugin trapped"), &[]), None);
        check(refused(ErrorCode::KafkaStorageError, None, &[(0, Some("record"))]), None);
    }
}
