//! Metadata (key 3): the brokers, the topics and views, who leads what; and topics made on first sight.
//!
//! A view is listed as the topic it is to clients: own name, own id, its base's partitions, leaders and epochs.

use std::sync::Arc;

use sluice_cluster::decide::{CreateTopicError, CreateTopics, NewTopic, Placement, check_name};
use sluice_cluster::{BrokerRegistration, Endpoint, Image, PartitionRegistration};
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use tokio::time::timeout_at;

use super::create_topics::placement_code;
use super::resolve::{Source, Wanted, resolve};
use super::{Answering, Context, authorized};
use crate::coordination::SubmitError;
use crate::net::Started;

/// The version from which topics can be asked for by id.
const IDS_FROM: i16 = 12;

/// Topics made by one request at most: what a client that mistypes in a loop can do at a time.
const AUTO_CREATED_MAX: usize = 100;

pub(super) async fn handle(cx: &Context<'_>, answering: Answering, request: MetadataRequest) -> Started {
    // Before version 12 an answer cannot do without names, so neither can the question (as in Kafka).
    let nameless = request.topics.iter().flatten().any(|topic| topic.name.is_none());
    if nameless && answering.version < IDS_FROM {
        return Started::Close("Metadata by topic id before version 12".into());
    }
    let cx = &Context { shared: cx.shared, peer: cx.peer, image: settled(cx).await };
    let all = match &request.topics {
        None => true,
        // Version 0 has no null: there an empty list asks for all.
        Some(topics) => answering.version == 0 && topics.is_empty(),
    };
    let include_operations = request.include_topic_authorized_operations;
    let mut topics: Vec<MetadataResponseTopic> = if all {
        cx.sources().map(|source| describe(&cx.image, &source, include_operations)).collect()
    } else {
        let wanted = request.topics.unwrap_or_default();
        wanted.into_iter().map(|topic| look_up(cx, topic, include_operations)).collect()
    };
    if !all && request.allow_auto_topic_creation && cx.shared.config.settings.auto_create_topics_enable {
        auto_create(cx, &mut topics, include_operations).await;
    }
    let image = cx.shared.metadata.image();
    let mut response = MetadataResponse {
        brokers: brokers(cx, &image),
        cluster_id: image.cluster_id().map(str::to_owned),
        controller_id: image.controller_id().unwrap_or(-1),
        topics,
        ..MetadataResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = authorized::CLUSTER;
    }
    answering.with(&response)
}

/// The image, once it shows what became of a broker that has just been lost: who asks has often just lost it too, and comes back
/// late if it is sent there again. It does not wait long.
async fn settled(cx: &Context<'_>) -> Arc<Image> {
    let mut changed = cx.shared.metadata.changed();
    loop {
        changed.mark_unchanged();
        let image = cx.shared.metadata.image();
        let serves = |id| image.broker(id).is_some_and(|broker| !broker.fenced);
        let Some(passes) = cx.shared.peers.unsettled_until(serves) else { return image };
        match timeout_at(passes, changed.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return cx.shared.metadata.image(),
        }
    }
}

/// Where a broker is reached on the listener that was asked: a client behind one network is not sent to another. Nobody is
/// asked on the listener that brokers have for each other.
pub(super) fn endpoint<'a>(cx: &Context<'_>, broker: &'a BrokerRegistration) -> Option<&'a Endpoint> {
    broker.endpoints.iter().find(|endpoint| cx.peer.listener.as_str() == endpoint.listener)
}

/// The brokers to go to: those that serve, and this one in any case. Where nobody serves, which is how it looks for a moment when
/// the coordinator was away for longer than sessions last, those that did: a client that is told of no broker may forget all it
/// knows (librdkafka does) and fall back on addresses of long ago.
fn listed(image: &Image, local: i32) -> impl Iterator<Item = &BrokerRegistration> {
    let nobody = image.serving().next().is_none();
    let brokers = image.brokers().map(|broker| &**broker);
    brokers.filter(move |broker| !broker.fenced || broker.id == local || (nobody && !broker.draining))
}

fn brokers(cx: &Context<'_>, image: &Image) -> Vec<MetadataResponseBroker> {
    let brokers = listed(image, cx.shared.node_id).filter_map(|broker| {
        let endpoint = endpoint(cx, broker)?;
        Some(MetadataResponseBroker {
            node_id: broker.id,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            rack: broker.rack.clone(),
        })
    });
    brokers.collect()
}

fn look_up(cx: &Context<'_>, topic: MetadataRequestTopic, include_operations: bool) -> MetadataResponseTopic {
    let wanted = topic.name.as_deref().map_or(Wanted::Id(topic.topic_id), Wanted::Name);
    match cx.resolve(wanted) {
        Ok(source) => describe(&cx.image, &source, include_operations),
        Err(not_found) => MetadataResponseTopic {
            error_code: match wanted {
                // Asked again, such a name would not come to be either.
                Wanted::Name(name) if check_name(name).is_err() => ErrorCode::InvalidTopicException,
                Wanted::Name(_) | Wanted::Id(_) => not_found.code(),
            },
            name: topic.name,
            topic_id: topic.topic_id,
            ..MetadataResponseTopic::default()
        },
    }
}

fn describe(image: &Image, source: &Source, include_operations: bool) -> MetadataResponseTopic {
    let base = source.base();
    MetadataResponseTopic {
        name: Some(source.name().to_owned()),
        topic_id: source.id(),
        is_internal: base.internal,
        partitions: base
            .partitions
            .iter()
            .zip(0..)
            .map(|(partition, index)| describe_partition(image, index, partition))
            .collect(),
        topic_authorized_operations: if include_operations { authorized::of(source) } else { i32::MIN },
        ..MetadataResponseTopic::default()
    }
}

fn describe_partition(
    image: &Image,
    partition_index: i32,
    partition: &PartitionRegistration,
) -> MetadataResponsePartition {
    let is_away = |id: &i32| image.broker(*id).is_none_or(|broker| broker.fenced);
    let has_leader = partition.leader != PartitionRegistration::NO_LEADER;
    MetadataResponsePartition {
        error_code: if has_leader { ErrorCode::None } else { ErrorCode::LeaderNotAvailable },
        partition_index,
        leader_id: partition.leader,
        leader_epoch: partition.leader_epoch,
        replica_nodes: partition.replicas.clone(),
        isr_nodes: partition.isr.clone(),
        offline_replicas: partition.replicas.iter().copied().filter(is_away).collect(),
    }
}

/// Makes the topics that are not there, and answers with what is there then: a client need not ask twice.
async fn auto_create(cx: &Context<'_>, topics: &mut [MetadataResponseTopic], include_operations: bool) {
    let missing = topics.iter().filter(|topic| topic.error_code == ErrorCode::UnknownTopicOrPartition);
    let mut names: Vec<String> = missing.filter_map(|topic| topic.name.clone()).take(AUTO_CREATED_MAX).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return;
    }
    let defaults = &cx.shared.config.settings;
    let placement = Placement::Count {
        partitions: defaults.num_partitions,
        replication_factor: i16::try_from(defaults.default_replication_factor).unwrap_or(i16::MAX),
    };
    let news = names.into_iter().map(|name| NewTopic {
        name,
        placement: placement.clone(),
        configs: Vec::new(),
        internal: false,
    });
    let created = cx.shared.metadata.submit(CreateTopics { topics: news.collect(), validate_only: false }).await;
    let image = cx.shared.metadata.image();
    for topic in topics.iter_mut().filter(|topic| topic.error_code == ErrorCode::UnknownTopicOrPartition) {
        let Some(name) = topic.name.as_deref() else { continue };
        if let Ok(source) = resolve(&image, Wanted::Name(name)) {
            *topic = describe(&image, &source, include_operations);
            continue;
        }
        topic.error_code = match &created {
            Ok(results) => match results.iter().find(|(made, _)| made == name) {
                Some((_, Err(error))) => not_created(error),
                Some((_, Ok(_))) => ErrorCode::LeaderNotAvailable,
                None => ErrorCode::UnknownTopicOrPartition,
            },
            // Asked again, it may work: the controller is being elected, or ZooKeeper is away.
            Err(SubmitError::Refused(_)) => ErrorCode::InvalidPartitions,
            Err(_) => ErrorCode::LeaderNotAvailable,
        };
    }
}

fn not_created(error: &CreateTopicError) -> ErrorCode {
    match error {
        CreateTopicError::Name(_) | CreateTopicError::Collides { .. } => ErrorCode::InvalidTopicException,
        CreateTopicError::Placement(error) => placement_code(error),
        CreateTopicError::Config(_) => ErrorCode::InvalidConfig,
        CreateTopicError::Exists { .. } => ErrorCode::LeaderNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_cluster::MetadataRecord;
    use sluice_cluster::metadata::BrokerRecord;
    use sluice_protocol::Uuid;

    #[test]
    fn nobody_is_told_of_no_broker() {
        check("those that serve", &[], &[], &[1, 2, 3, 4]);
        check("not who is gone", &[2, 3], &[], &[1, 4]);
        check("who answers is there", &[1, 2], &[], &[1, 3, 4]);
        check("all were taken for gone", &[1, 2, 3, 4], &[], &[1, 2, 3, 4]);
        check("and some had been emptied before", &[1, 2, 3, 4], &[3, 4], &[1, 2]);
    }

    /// Of four brokers, as the first tells.
    fn check(what: &str, fenced: &[i32], draining: &[i32], expected: &[i32]) {
        let mut image = Image::default();
        let mut replay = |record| image.replay(&record).expect("it fits");
        for id in 1..=4 {
            replay(MetadataRecord::BrokerRegistered(BrokerRecord {
                id,
                uuid: Uuid([u8::try_from(id).expect("few"); 16]),
                epoch: 1,
                endpoints: Vec::new(),
                rack: None,
                clean: true,
                fenced: fenced.contains(&id),
            }));
        }
        for &id in draining {
            replay(MetadataRecord::BrokerDraining { id, draining: true });
        }
        let told: Vec<i32> = listed(&image, 1).map(|broker| broker.id).collect();
        assert_eq!(told, expected, "{what}");
    }
}
