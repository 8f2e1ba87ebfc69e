//! `sluice cluster reassign`: single partitions moved by hand.

use clap::Args;
use serde::Serialize;

use super::super::{
    error::CliError,
    output::{Output, say},
};
use super::text::ids;
use crate::client::{Client, Reassign, Reassigning};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The topic.
    #[arg(requires = "partition")]
    topic: Option<String>,
    /// The partition.
    partition: Option<i32>,
    /// The brokers that are to hold it, the preferred leader first, with commas between them.
    #[arg(long, value_name = "ID,ID", value_delimiter = ',', conflicts_with = "cancel", requires = "topic")]
    replicas: Vec<i32>,
    /// Take back what is under way.
    #[arg(long, requires = "topic")]
    cancel: bool,
}

#[derive(Serialize)]
struct Asked<'a> {
    topic: &'a str,
    partition: i32,
    replicas: Option<&'a [i32]>,
}

pub(super) async fn run(client: &mut Client, arguments: Arguments, output: &Output) -> Result<(), CliError> {
    let Arguments { topic, partition, replicas, cancel } = arguments;
    let (Some(topic), Some(partition)) = (topic, partition) else {
        return list(client, output).await;
    };
    if replicas.is_empty() && !cancel {
        return Err(CliError::usage("neither --replicas nor --cancel is given")
            .hint(format!("see: sluice topic describe {topic}")));
    }
    let one = Reassign { topic, partition, replicas: (!cancel).then_some(replicas) };
    for (_, refused) in client.reassign(std::slice::from_ref(&one)).await? {
        refused?;
    }
    let asked = Asked { topic: &one.topic, partition, replicas: one.replicas.as_deref() };
    output.give(&asked, |asked| {
        match asked.replicas {
            Some(replicas) => say(format_args!("{}-{partition} is to be on {}", asked.topic, ids(replicas))),
            None => say(format_args!("{}-{partition} goes back to where it was", asked.topic)),
        }
        String::new()
    })
}

async fn list(client: &mut Client, output: &Output) -> Result<(), CliError> {
    let under_way = client.reassignments().await?;
    output.give(&under_way, |under_way| {
        if under_way.is_empty() {
            say("no partition is being reassigned");
            return String::new();
        }
        let row = |one: &Reassigning| {
            vec![format!("{}-{}", one.topic, one.partition), ids(&one.replicas), ids(&one.adding), ids(&one.removing)]
        };
        let rows: Vec<_> = under_way.iter().map(row).collect();
        Output::table(&["partition", "replicas", "adding", "removing"], &rows)
    })
}
