//! `sluice cluster balance`: a plan, and its moves.

use std::collections::BTreeSet;

use hyper::Method;
use sluice_protocol::ErrorCode;

use super::super::{
    admin_client::Body,
    error::CliError,
    output::{Output, say},
};
use super::ClusterArguments;
use super::progress::{ASK_EVERY, Left, Progress};
use super::text::{bytes, ids};
use super::throttle::Throttle;
use crate::admin::shapes::{MoveInfo, PlanInfo, PlannedBroker};
use crate::client::{Client, ClientError, ElectionType, Reassign};

const PATH: &str = "/v1/cluster/balance";

/// Moves that are shown one by one; of more, the table of brokers says enough.
const MOVES_SHOWN: usize = 20;

/// Moves asked for in one request: a request that is refused for its size would move nothing.
const MOVES_A_REQUEST: usize = 1_000;

pub(super) async fn run(
    cluster: ClusterArguments,
    yes: bool,
    no_wait: bool,
    throttle: Option<u64>,
    output: &Output,
) -> Result<(), CliError> {
    let plan: PlanInfo = cluster.clone().admin()?.call(Method::GET, PATH, Body::Empty).await?;
    output.give(&plan, in_words)?;
    if plan.moves.is_empty() {
        if !output.is_json() {
            say("the brokers are even: nothing to move");
        }
        return Ok(());
    }
    if !yes {
        say("nothing is moved yet: --yes begins this");
        return Ok(());
    }
    let mut client = cluster.client().await?;
    let topics: BTreeSet<&String> = plan.moves.iter().map(|one| &one.topic).collect();
    let throttle = match throttle {
        Some(rate) => Some(Throttle::set(&mut client, topics.into_iter().cloned().collect(), rate).await?),
        None => None,
    };
    let moves: Vec<Reassign> = plan.moves.iter().map(wanted).collect();
    for some in moves.chunks(MOVES_A_REQUEST) {
        for (one, refused) in client.reassign(some).await? {
            if let Err(error) = refused {
                say(format_args!("{}-{} stays where it is: {error}", one.topic, one.partition));
            }
        }
    }
    if no_wait {
        return Ok(());
    }
    look_on(&mut client, &plan).await?;
    lead_as_planned(&mut client, &plan).await?;
    if let Some(throttle) = throttle {
        throttle.lift(&mut client).await?;
    }
    if !output.is_json() {
        say("done");
    }
    Ok(())
}

/// A leader that stays a replica goes on leading where its replicas are moved. The plan is of leaders too, and says more than
/// `auto.leader.rebalance.enable` does, which looks after it in minutes, and not below its percentage.
async fn lead_as_planned(client: &mut Client, plan: &PlanInfo) -> Result<(), CliError> {
    for some in plan.moves.chunks(MOVES_A_REQUEST) {
        let partitions = some.iter().map(|one| (one.topic.clone(), one.partition)).collect();
        for (topic, partition, elected) in client.elect(ElectionType::Preferred, Some(&partitions)).await? {
            match elected {
                Ok(()) | Err(ClientError::Refused { code: ErrorCode::ElectionNotNeeded, .. }) => {}
                Err(error) => say(format_args!("{topic}-{partition} is led as before: {error}")),
            }
        }
    }
    Ok(())
}

/// Shows how far the plan's moves are, until none of them is under way.
async fn look_on(client: &mut Client, plan: &PlanInfo) -> Result<(), CliError> {
    let mut progress = Progress::new("balance");
    loop {
        let under_way = client.reassignments().await?;
        let left = plan
            .moves
            .iter()
            .filter(|one| under_way.iter().any(|other| other.topic == one.topic && other.partition == one.partition));
        let left = left.fold(Left { bytes: 0, replicas: 0 }, |left, one| Left {
            bytes: left.bytes + one.bytes,
            replicas: left.replicas + one.to.iter().filter(|to| !one.from.contains(to)).count(),
        });
        if left.replicas == 0 {
            progress.end();
            return Ok(());
        }
        progress.show(left);
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn wanted(one: &MoveInfo) -> Reassign {
    Reassign { topic: one.topic.clone(), partition: one.partition, replicas: Some(one.to.clone()) }
}

fn in_words(plan: &PlanInfo) -> String {
    let broker = |one: &PlannedBroker| {
        let change = |before: String, after: String| {
            if before == after { before } else { format!("{before} -> {after}") }
        };
        vec![
            one.broker.to_string(),
            change(bytes(one.before.bytes), bytes(one.after.bytes)),
            change(one.before.replicas.to_string(), one.after.replicas.to_string()),
            change(one.before.leaders.to_string(), one.after.leaders.to_string()),
        ]
    };
    let brokers: Vec<_> = plan.brokers.iter().map(broker).collect();
    let mut text = Output::table(&["broker", "size", "replicas", "preferred leader of"], &brokers);
    if plan.moves.is_empty() {
        return text;
    }
    let one = |one: &MoveInfo| {
        vec![format!("{}-{}", one.topic, one.partition), ids(&one.from), ids(&one.to), bytes(one.bytes)]
    };
    let shown: Vec<_> = plan.moves.iter().take(MOVES_SHOWN).map(one).collect();
    text.push_str("\n\n");
    text.push_str(&Output::table(&["partition", "from", "to", "copied"], &shown));
    if plan.moves.len() > MOVES_SHOWN {
        text.push_str(&format!("\n... and {} more; --format json has all", plan.moves.len() - MOVES_SHOWN));
    }
    text.push_str(&format!("\n\n{} partitions, {} to copy", plan.moves.len(), bytes(plan.bytes)));
    text
}
