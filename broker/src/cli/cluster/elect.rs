//! `sluice cluster elect`: leaders chosen anew.

use clap::Args;
use serde::Serialize;
use sluice_protocol::ErrorCode;

use super::super::{
    error::CliError,
    output::{Output, say},
};
use crate::client::{Client, ClientError, ElectionType};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The topics; all if none is named.
    topics: Vec<String>,
    /// Of the topic, this partition alone.
    #[arg(short, long, value_name = "N")]
    partition: Option<i32>,
    /// Where nobody in sync is there, have any replica lead that is: what it lacks is lost.
    #[arg(long, requires = "topics")]
    unclean: bool,
}

#[derive(Serialize)]
struct Elected {
    topic: String,
    partition: i32,
    elected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(super) async fn run(client: &mut Client, arguments: Arguments, output: &Output) -> Result<(), CliError> {
    let Arguments { topics, partition, unclean } = arguments;
    if partition.is_some() && topics.len() != 1 {
        return Err(CliError::usage("--partition is of one topic"));
    }
    let mut wanted = Vec::new();
    for topic in &topics {
        let all = client.topics().await?.into_iter().find(|known| known.name == *topic);
        let all = all.map(|known| known.partitions.into_iter().map(|one| one.partition).collect());
        let partitions = partition.map(|partition| vec![partition]).or(all).unwrap_or_else(|| vec![0]);
        wanted.extend(partitions.into_iter().map(|partition| (topic.clone(), partition)));
    }
    let election = if unclean { ElectionType::Unclean } else { ElectionType::Preferred };
    let results = client.elect(election, (!topics.is_empty()).then_some(&wanted)).await?;
    let mut failed = 0;
    let mut elected = Vec::new();
    for (topic, partition, result) in results {
        let error = match result {
            Ok(()) => None,
            Err(ClientError::Refused { code: ErrorCode::ElectionNotNeeded, .. }) => continue,
            Err(error) => Some(error.to_string()),
        };
        failed += usize::from(error.is_some());
        elected.push(Elected { topic, partition, elected: error.is_none(), error });
    }
    output.give(&elected, |elected| {
        if elected.is_empty() {
            say("all are led as they should be");
        }
        for one in elected {
            match &one.error {
                None => say(format_args!("{}-{} has another leader", one.topic, one.partition)),
                Some(error) => say(format_args!("{}-{}: {error}", one.topic, one.partition)),
            }
        }
        String::new()
    })?;
    if failed == 0 { Ok(()) } else { Err(CliError::said()) }
}
