//! `sluice consume`: a topic's or view's records on standard output, from where one wants, until one has enough.

use std::str::FromStr;

use clap::Args;

use super::{
    cluster::ClusterArguments,
    error::CliError,
    layout::{JsonRecord, Layout},
    output::{Output, json},
};
use crate::client::{Consumer, Start};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The topic or view to read.
    topic: String,
    /// Where to begin: beginning, end, an offset, -N for N records before the end, or @MILLISECONDS since 1970.
    #[arg(short = 'o', long = "from", value_name = "WHERE", default_value = "beginning", allow_hyphen_values = true)]
    from: From,
    /// The partitions to read; all if not given.
    #[arg(short, long = "partition", value_name = "N", value_delimiter = ',')]
    partitions: Vec<i32>,
    /// End after so many records.
    #[arg(short = 'n', long = "count", value_name = "N")]
    count: Option<u64>,
    /// End when everything that is there has been read, instead of waiting for more.
    #[arg(short = 'e', long)]
    exit_at_end: bool,
    /// How a record is written: %t topic, %p partition, %o offset, %T timestamp, %k key, %K its length, %s value, %S its
    /// length, %h headers, \n, \t.
    #[arg(short = 'f', long = "print", value_name = "LAYOUT", default_value = "%s\\n", value_parser = Layout::parse)]
    layout: Layout,
}

#[derive(Debug, Clone, Copy)]
struct From(Start);

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not beginning, end, an offset, -N or @MILLISECONDS");
        let start = match text {
            "beginning" => Start::Beginning,
            "end" => Start::End,
            _ => match text.strip_prefix('@') {
                Some(timestamp) => {
                    Start::Timestamp(timestamp.parse().ok().filter(|time| *time >= 0).ok_or_else(wrong)?)
                }
                None => Start::Offset(text.parse().map_err(|_| wrong())?),
            },
        };
        Ok(Self(start))
    }
}

pub(super) async fn run(arguments: Arguments, cluster: ClusterArguments, output: &Output) -> Result<(), CliError> {
    let mut client = cluster.client().await?;
    let topic = client.topic_as_it_is(&arguments.topic).await?;
    let mut consumer = Consumer::new(&mut client, topic, &arguments.partitions, arguments.from.0).await?;
    let mut left = arguments.count.unwrap_or(u64::MAX);
    while left > 0 {
        let records = consumer.poll(&mut client).await?;
        let mut out = Vec::new();
        for record in records.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            left -= 1;
            if output.is_json() {
                out.extend_from_slice(json(&JsonRecord::new(&arguments.topic, record))?.as_bytes());
                out.push(b'\n');
            } else {
                arguments.layout.write(&arguments.topic, record, &mut out);
            }
        }
        if !out.is_empty() {
            output.raw(&out)?;
        }
        if arguments.exit_at_end && consumer.is_at_end() {
            break;
        }
    }
    Ok(())
}
