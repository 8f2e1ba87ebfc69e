//! `/v1/cluster` and what belongs to it: how brokers and replicas are, brokers emptied and evened, partitions recovered. What
//! Kafka has calls for is done over its protocol.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use sluice_cluster::decide::{Drain, DrainError, Plan, Recover, RecoverError, Undrain, UndrainError, held};
use sluice_cluster::{BrokerRegistration, Image, PartitionRegistration, Topic};

use super::refusal::Refusal;
use super::shapes::{
    BrokerInfo, BrokerState, ClusterInfo, DrainInfo, LoadInfo, MoveInfo, PlanInfo, PlannedBroker, RecoverSpec,
    ReplicaInfo, ReplicaLog,
};
use crate::broker::Shared;
use crate::replica_states::Known;

pub(super) async fn show(State(shared): State<Arc<Shared>>) -> Json<ClusterInfo> {
    let known = shared.replicas.all().await;
    let image = shared.metadata.image();
    let count = |is: &dyn Fn(&Topic, &PartitionRegistration) -> bool| {
        let partitions = image.topics().flat_map(|topic| topic.partitions.iter().map(move |one| (topic, one)));
        partitions.filter(|(topic, one)| is(topic, one)).count()
    };
    let min_isr =
        |topic: &Topic| usize::try_from(shared.config.topics.resolve(&topic.configs).min_insync_replicas).unwrap_or(1);
    Json(ClusterInfo {
        cluster_id: image.cluster_id().unwrap_or_default().to_owned(),
        controller: image.controller_id(),
        brokers: image.brokers().map(|broker| describe(&shared, &image, &known, broker)).collect(),
        topics: image.topics().count(),
        partitions: image.partition_count(),
        offline: count(&|_, one| one.leader == PartitionRegistration::NO_LEADER),
        // A replica that is still to come is not missing.
        under_replicated: count(&|_, one| one.out_of_sync().any(|replica| !one.adding.contains(&replica))),
        under_min_isr: count(&|topic, one| one.isr.len() < min_isr(topic).min(one.replicas.len())),
        not_preferred: count(&|_, one| one.replicas.first().is_some_and(|first| *first != one.leader)),
        reassigning: count(&|_, one| one.is_reassigning()),
    })
}

fn describe(shared: &Shared, image: &Image, known: &Known, broker: &BrokerRegistration) -> BrokerInfo {
    let id = broker.id;
    // What brokers say to each other is none of the clients' business.
    let internal = &shared.config.settings.inter_broker_listener_name;
    let endpoints = broker.endpoints.iter().filter(|endpoint| endpoint.listener != *internal);
    BrokerInfo {
        broker: id,
        rack: broker.rack.clone(),
        state: state_of(broker),
        draining: broker.draining,
        replicas: held(image, id).count(),
        leaders: held(image, id).filter(|(.., one)| one.leader == id).count(),
        bytes: known.bytes_of(id),
        endpoints: endpoints.map(|at| format!("{}://{}:{}", at.listener, at.host, at.port)).collect(),
    }
}

/// How a broker stands, as the metadata has it.
pub(super) fn state_of(broker: &BrokerRegistration) -> BrokerState {
    match (broker.fenced, broker.shutting_down) {
        (true, _) => BrokerState::Fenced,
        (false, true) => BrokerState::ShuttingDown,
        (false, false) => BrokerState::Serving,
    }
}

pub(super) async fn drain(State(shared): State<Arc<Shared>>, Path(id): Path<i32>) -> Result<Json<DrainInfo>, Refusal> {
    shared.metadata.submit(Drain { id }).await.map_err(|error| {
        Refusal::of_change(error, |refused| match refused {
            DrainError::Unknown { .. } => StatusCode::NOT_FOUND,
            DrainError::TooFewBrokers { .. } | DrainError::OnlyReplica { .. } => StatusCode::CONFLICT,
        })
    })?;
    drained(State(shared), Path(id)).await
}

pub(super) async fn undrain(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<i32>,
) -> Result<Json<DrainInfo>, Refusal> {
    shared.metadata.submit(Undrain { id }).await.map_err(|error| {
        Refusal::of_change(error, |refused| match refused {
            UndrainError::Unknown { .. } => StatusCode::NOT_FOUND,
        })
    })?;
    drained(State(shared), Path(id)).await
}

/// What is still there.
pub(super) async fn drained(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<i32>,
) -> Result<Json<DrainInfo>, Refusal> {
    let image = shared.metadata.image();
    let broker = image.broker(id).ok_or_else(|| unknown_broker(id))?;
    let partitions = held(&image, id).filter_map(|(topic, index, _)| Some((topic, usize::try_from(index).ok()?)));
    let known = shared.replicas.of(&image, partitions).await;
    let mut info = DrainInfo { broker: id, draining: broker.draining, replicas: 0, leaders: 0, bytes: 0, copied: 0 };
    for (topic, index, one) in held(&image, id) {
        let bytes = |broker: i32| known.of(topic.id, index, broker).map_or(0, |state| state.bytes);
        let whole = one.replicas.iter().map(|replica| bytes(*replica)).max().unwrap_or(0);
        info.replicas += 1;
        info.leaders += usize::from(one.leader == id);
        info.bytes += whole;
        if one.removing.contains(&id) {
            let copies = one.adding.iter().map(|replica| bytes(*replica));
            info.copied += copies.sum::<u64>().checked_div(one.adding.len() as u64).unwrap_or(whole).min(whole);
        }
    }
    Ok(Json(info))
}

/// How brokers could be evened.
pub(super) async fn plan(State(shared): State<Arc<Shared>>) -> Json<PlanInfo> {
    let sizes = shared.replicas.all().await.sizes();
    let image = shared.metadata.image();
    let plan = Plan::balance(&image, &sizes);
    let load = |load: sluice_cluster::decide::BrokerLoad| LoadInfo {
        bytes: load.bytes,
        replicas: load.replicas,
        leaders: load.leaders,
    };
    let brokers = plan.before.iter().map(|(id, before)| PlannedBroker {
        broker: *id,
        before: load(*before),
        after: load(plan.after.get(id).copied().unwrap_or_default()),
    });
    let brokers = brokers.collect();
    let bytes = plan.bytes();
    let moves = plan.moves.into_iter().filter_map(|one| {
        let topic = image.topic_by_id(one.topic)?.name.clone();
        Some(MoveInfo { topic, partition: one.partition, from: one.from, to: one.to, bytes: one.bytes })
    });
    Json(PlanInfo { moves: moves.collect(), bytes, brokers })
}

/// What each replica of a partition says of itself.
pub(super) async fn replicas(
    State(shared): State<Arc<Shared>>,
    Path((name, index)): Path<(String, i32)>,
) -> Result<Json<Vec<ReplicaInfo>>, Refusal> {
    let image = shared.metadata.image();
    let (topic, at, one) = partition(&image, &name, index)?;
    let known = shared.replicas.of(&image, std::iter::once((topic, at))).await;
    let replicas = one.replicas.iter().map(|broker| ReplicaInfo {
        broker: *broker,
        leader: one.leader == *broker,
        in_sync: one.isr.contains(broker),
        eligible: one.elr.contains(broker),
        log: known.of(topic.id, index, *broker).map(|state| ReplicaLog {
            latest_epoch: state.latest_epoch,
            log_start_offset: state.log_start,
            log_end_offset: state.log_end,
            high_watermark: state.high_watermark,
            bytes: state.bytes,
        }),
    });
    Ok(Json(replicas.collect()))
}

/// Has a replica lead that would not by itself. The answer shows the replicas as they are then.
pub(super) async fn recover(
    State(shared): State<Arc<Shared>>,
    Path((name, index)): Path<(String, i32)>,
    Json(spec): Json<RecoverSpec>,
) -> Result<Json<Vec<ReplicaInfo>>, Refusal> {
    let topic = partition(&shared.metadata.image(), &name, index)?.0.id;
    let recovered = shared.metadata.submit(Recover { topic, index, leader: spec.leader }).await;
    recovered.map_err(|error| {
        Refusal::of_change(error, |refused| match refused {
            RecoverError::UnknownPartition { .. } => StatusCode::NOT_FOUND,
            RecoverError::HasLeader { .. } | RecoverError::NotServing { .. } => StatusCode::CONFLICT,
            RecoverError::NotReplica { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        })
    })?;
    replicas(State(shared), Path((name, index))).await
}

fn partition<'a>(
    image: &'a Image,
    name: &str,
    index: i32,
) -> Result<(&'a Topic, usize, &'a PartitionRegistration), Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, format!("there is no partition `{name}-{index}`"));
    let topic = image.topic(name).ok_or_else(unknown)?;
    let at = usize::try_from(index).map_err(|_| unknown())?;
    Ok((topic, at, topic.partitions.get(at).ok_or_else(unknown)?))
}

fn unknown_broker(id: i32) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no broker {id}")).hint("see: sluice cluster brokers")
}
