//! `sluice topic`: create, list, describe, delete, and a topic's settings.

use std::collections::{BTreeMap, BTreeSet};

use clap::Subcommand;
use serde::Serialize;
use sluice_protocol::ErrorCode;

use super::{
    cluster::ClusterArguments,
    error::CliError,
    output::{Output, say},
};
use crate::client::{Client, ClientError, NewTopic, Start, TopicInfo};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a topic.
    Create {
        /// The topic's name.
        topic: String,
        /// How many partitions; as the broker is configured if not given.
        #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// How many replicas of each partition; as the broker is configured if not given.
        #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// A setting of the topic's own. Can be given several times.
        #[arg(short, long, value_name = "NAME=VALUE", value_parser = name_and_value)]
        config: Vec<(String, String)>,
        /// Succeed if the topic exists.
        #[arg(long)]
        if_not_exists: bool,
    },
    /// List topics and views.
    List {
        /// List the brokers' own topics, too.
        #[arg(long)]
        internal: bool,
    },
    /// Show a topic's partitions: leader, replicas, first and next offset.
    Describe {
        /// The topic's name.
        topic: String,
    },
    /// Delete topics with all their records.
    Delete {
        /// The topics' names.
        #[arg(required = true)]
        topics: Vec<String>,
        /// Succeed if a topic does not exist.
        #[arg(long)]
        if_exists: bool,
    },
    /// Show a topic's settings and where each comes from.
    Config {
        /// The topic's name.
        topic: String,
        /// Show settings that nobody set, too.
        #[arg(long)]
        all: bool,
    },
}

/// `NAME=VALUE` as a flag's value.
pub(super) fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

pub(super) async fn run(command: Command, cluster: ClusterArguments, output: &Output) -> Result<(), CliError> {
    let mut client = cluster.client().await?;
    match command {
        Command::Create { topic, partitions, replication_factor, config, if_not_exists } => {
            let topic = NewTopic { name: topic, partitions, replication_factor, configs: config.into_iter().collect() };
            create(&mut client, &topic, if_not_exists, output).await
        }
        Command::List { internal } => list(&mut client, internal, output).await,
        Command::Describe { topic } => describe(&mut client, &topic, output).await,
        Command::Delete { topics, if_exists } => delete(&mut client, &topics, if_exists, output).await,
        Command::Config { topic, all } => config(&mut client, &topic, all, output).await,
    }
}

#[derive(Serialize)]
struct Created<'a> {
    topic: &'a str,
    partitions: i32,
    created: bool,
}

async fn create(client: &mut Client, topic: &NewTopic, if_not_exists: bool, output: &Output) -> Result<(), CliError> {
    let created = match client.create_topic(topic).await {
        Ok(partitions) => Created { topic: &topic.name, partitions, created: true },
        Err(ClientError::Refused { code: ErrorCode::TopicAlreadyExists, .. }) if if_not_exists => {
            let partitions = client.topic(&topic.name).await?.partitions.len();
            Created { topic: &topic.name, partitions: i32::try_from(partitions).unwrap_or(i32::MAX), created: false }
        }
        Err(error) => return Err(error.into()),
    };
    output.give(&created, |created| {
        say(format_args!("topic `{}` {}", created.topic, if created.created { "created" } else { "exists" }));
        String::new()
    })
}

#[derive(Serialize)]
struct Listed {
    topic: String,
    id: String,
    partitions: usize,
    internal: bool,
}

async fn list(client: &mut Client, internal: bool, output: &Output) -> Result<(), CliError> {
    let listed: Vec<Listed> = client
        .topics()
        .await?
        .into_iter()
        .filter(|topic| internal || !topic.is_internal)
        .map(|topic| Listed {
            id: topic.id.to_string(),
            partitions: topic.partitions.len(),
            internal: topic.is_internal,
            topic: topic.name,
        })
        .collect();
    output.give(&listed, |listed| {
        let row = |topic: &Listed| vec![topic.topic.clone(), topic.partitions.to_string(), topic.id.clone()];
        Output::table(&["topic", "partitions", "id"], &listed.iter().map(row).collect::<Vec<_>>())
    })
}

#[derive(Serialize)]
struct Described {
    topic: String,
    id: String,
    internal: bool,
    partitions: Vec<DescribedPartition>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    /// `null` where nobody leads it.
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    /// Both are `null` where no leader says them.
    log_start_offset: Option<i64>,
    high_watermark: Option<i64>,
}

async fn describe(client: &mut Client, name: &str, output: &Output) -> Result<(), CliError> {
    let topic = client.topic_as_it_is(name).await?;
    let all = topic.partitions.iter().map(|partition| partition.partition).collect();
    let first = offsets(client, &topic, &all, Start::Beginning).await?;
    let next = offsets(client, &topic, &first.keys().copied().collect(), Start::End).await?;
    let at = |offsets: &BTreeMap<i32, i64>, partition: i32| offsets.get(&partition).copied();
    let TopicInfo { name, id, is_internal, partitions } = topic;
    let partitions = partitions
        .into_iter()
        .map(|partition| DescribedPartition {
            log_start_offset: at(&first, partition.partition),
            high_watermark: at(&next, partition.partition),
            partition: partition.partition,
            leader: (partition.leader >= 0).then_some(partition.leader),
            leader_epoch: partition.leader_epoch,
            replicas: partition.replicas,
            isr: partition.isr,
        })
        .collect();
    let described = Described { topic: name, id: id.to_string(), internal: is_internal, partitions };
    output.give(&described, |described| {
        let row = |partition: &DescribedPartition| {
            vec![
                partition.partition.to_string(),
                or_dash(partition.leader),
                partition.leader_epoch.to_string(),
                numbers(&partition.replicas),
                numbers(&partition.isr),
                or_dash(partition.log_start_offset),
                or_dash(partition.high_watermark),
            ]
        };
        let heading = ["partition", "leader", "epoch", "replicas", "isr", "first offset", "next offset"];
        Output::table(&heading, &described.partitions.iter().map(row).collect::<Vec<_>>())
    })
}

/// Of each partition that is led, by a broker that answers. Of the others it is said why not.
async fn offsets(
    client: &mut Client,
    topic: &TopicInfo,
    partitions: &BTreeSet<i32>,
    start: Start,
) -> Result<BTreeMap<i32, i64>, CliError> {
    let (offsets, missing) = client.offsets_as_far_as_known(topic, partitions, start).await;
    for error in missing {
        match error {
            // The table shows it.
            ClientError::Refused { code: ErrorCode::LeaderNotAvailable, .. } => {}
            error if error.is_retriable() => say(format_args!("no offsets from a leader: {error}")),
            error => return Err(error.into()),
        }
    }
    Ok(offsets)
}

fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn numbers(list: &[i32]) -> String {
    list.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

#[derive(Serialize)]
struct Deleted<'a> {
    topic: &'a str,
    deleted: bool,
}

async fn delete(client: &mut Client, topics: &[String], if_exists: bool, output: &Output) -> Result<(), CliError> {
    let mut done = Vec::new();
    for topic in topics {
        let deleted = match client.delete_topic(topic).await {
            Ok(()) => true,
            Err(ClientError::Refused { code: ErrorCode::UnknownTopicOrPartition, .. }) if if_exists => false,
            Err(error) => return Err(error.into()),
        };
        done.push(Deleted { topic, deleted });
    }
    output.give(&done, |done| {
        for topic in done {
            say(format_args!("topic `{}` {}", topic.topic, if topic.deleted { "deleted" } else { "did not exist" }));
        }
        String::new()
    })
}

#[derive(Serialize)]
struct Configured {
    name: String,
    value: Option<String>,
    source: &'static str,
}

async fn config(client: &mut Client, topic: &str, all: bool, output: &Output) -> Result<(), CliError> {
    let configs = client.topic_configs(topic).await?;
    let configured: Vec<Configured> = configs
        .into_iter()
        .map(|config| Configured { name: config.name, value: config.value, source: source(config.config_source) })
        .filter(|config| all || config.source != DEFAULT)
        .collect();
    output.give(&configured, |configured| {
        if configured.is_empty() {
            say("every setting has its default; --all shows them");
        }
        let row = |config: &Configured| {
            vec![config.name.clone(), config.value.clone().unwrap_or_default(), config.source.to_owned()]
        };
        Output::table(&["setting", "value", "from"], &configured.iter().map(row).collect::<Vec<_>>())
    })
}

const DEFAULT: &str = "default";

/// Kafka's numbers of where a setting comes from.
const fn source(number: i8) -> &'static str {
    match number {
        1 => "topic",
        2..=4 => "broker",
        5 => DEFAULT,
        _ => "unknown",
    }
}
