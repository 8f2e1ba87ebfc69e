//! `sluice cluster drain` and `undrain`.

use std::time::{Duration, Instant};

use hyper::Method;

use super::super::{
    admin_client::{AdminClient, Body},
    error::CliError,
    output::{Output, say},
};
use super::ClusterArguments;
use super::progress::{ASK_EVERY, Left, Progress};
use super::throttle::Throttle;
use crate::admin::shapes::DrainInfo;
use crate::client::TopicInfo;

pub(super) fn path(broker: i32) -> String {
    format!("/v1/cluster/brokers/{broker}/drain")
}

/// Begins, and unless told otherwise looks on until the broker is empty. The drain goes on without anybody looking.
pub(super) async fn run(
    cluster: ClusterArguments,
    broker: i32,
    no_wait: bool,
    throttle: Option<u64>,
    output: &Output,
) -> Result<(), CliError> {
    let admin = cluster.clone().admin()?;
    let info: DrainInfo = admin.call(Method::PUT, &path(broker), Body::Empty).await?;
    if no_wait {
        return output.give(&info, |info| {
            say(format_args!("broker {} is being drained: {} replicas to move", info.broker, info.replicas));
            String::new()
        });
    }
    let mut throttled = None;
    if let Some(rate) = throttle {
        let mut client = cluster.client().await?;
        let is_held = |topic: &TopicInfo| topic.partitions.iter().any(|one| one.replicas.contains(&broker));
        let topics = client.topics().await?.into_iter().filter(is_held).map(|topic| topic.name).collect();
        throttled = Some((Throttle::set(&mut client, topics, rate).await?, client));
    }
    let drained = look_on(&admin, info).await;
    if let Some((throttle, mut client)) = throttled {
        throttle.lift(&mut client).await?;
    }
    output.give(&drained?, |info| {
        say(format_args!("broker {} is empty and can be stopped", info.broker));
        String::new()
    })
}

/// Shows how far it is, until nothing is left.
async fn look_on(admin: &AdminClient, mut info: DrainInfo) -> Result<DrainInfo, CliError> {
    let broker = info.broker;
    let mut progress = Progress::new(&format!("broker {broker}"));
    let mut heard = Instant::now();
    while info.replicas > 0 {
        progress.show(Left { bytes: info.bytes.saturating_sub(info.copied), replicas: info.replicas });
        tokio::time::sleep(ASK_EVERY).await;
        info = match admin.call(Method::GET, &path(broker), Body::Empty).await {
            Ok(info) => info,
            // A broker that restarts is no reason to look away: the drain goes on meanwhile.
            Err(_) if heard.elapsed() < SILENCE_MAX => continue,
            Err(error) => return Err(error.hint("the drain goes on; see: sluice cluster brokers")),
        };
        heard = Instant::now();
        if !info.draining {
            progress.end();
            return Err(CliError::failed(format!("broker {broker} is no longer drained: somebody cancelled it"))
                .hint(format!("{} replicas are still on it", info.replicas)));
        }
    }
    progress.end();
    Ok(info)
}

/// How long the admin API may be away before a command that looks on gives up: as long as a broker takes to restart.
const SILENCE_MAX: Duration = Duration::from_secs(30);

pub(super) fn undrained(info: &DrainInfo, output: &Output) -> Result<(), CliError> {
    output.give(info, |info| {
        say(format_args!("broker {} is not drained any more; it has {} replicas", info.broker, info.replicas));
        String::new()
    })
}
