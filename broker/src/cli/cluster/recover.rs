//! `sluice cluster recover`: a partition that nobody may lead, and the operator's choice.

use clap::Args;
use hyper::Method;

use super::super::{
    admin_client::{AdminClient, Body, path_segment},
    error::CliError,
    output::{Output, say},
};
use super::text::{bytes, or_dash};
use crate::admin::shapes::{RecoverSpec, ReplicaInfo};

#[derive(Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// The topic.
    topic: String,
    /// The partition.
    partition: i32,
    /// Have this broker lead. What other replicas have more than its is lost for good.
    #[arg(long, value_name = "ID")]
    leader: Option<i32>,
}

pub(super) async fn run(admin: &AdminClient, arguments: Arguments, output: &Output) -> Result<(), CliError> {
    let Arguments { topic, partition, leader } = arguments;
    let path = format!("/v1/topics/{}/partitions/{partition}", path_segment(&topic));
    let replicas: Vec<ReplicaInfo> = match leader {
        None => admin.call(Method::GET, &format!("{path}/replicas"), Body::Empty).await?,
        Some(leader) => {
            let recover = Body::json(&RecoverSpec { leader })?;
            admin.call(Method::POST, &format!("{path}/recover"), recover).await?
        }
    };
    output.give(&replicas, |replicas| {
        match leader {
            Some(leader) => say(format_args!("broker {leader} leads {topic}-{partition}")),
            None if replicas.iter().any(|replica| replica.leader) => {
                say(format_args!("{topic}-{partition} has a leader: nothing to recover"));
            }
            None => say(format_args!(
                "{topic}-{partition} has no leader. The replica with the highest epoch, and of these the one that ends \
                 last, has most; --leader ID chooses it"
            )),
        }
        let heading =
            ["broker", "leader", "in sync", "eligible", "last epoch", "starts at", "ends at", "committed", "size"];
        Output::table(&heading, &replicas.iter().map(row).collect::<Vec<_>>())
    })
}

fn row(replica: &ReplicaInfo) -> Vec<String> {
    let yes = |is: bool| if is { "yes" } else { "-" }.to_owned();
    let log = |field: fn(&crate::admin::shapes::ReplicaLog) -> String| or_dash(replica.log.as_ref().map(field));
    vec![
        replica.broker.to_string(),
        yes(replica.leader),
        yes(replica.in_sync),
        yes(replica.eligible),
        log(|log| log.latest_epoch.to_string()),
        log(|log| log.log_start_offset.to_string()),
        log(|log| log.log_end_offset.to_string()),
        log(|log| log.high_watermark.to_string()),
        log(|log| bytes(log.bytes)),
    ]
}
