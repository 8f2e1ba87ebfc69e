//! ElectLeaders (key 43): have partitions led by their preferred replicas, or where nobody in sync is there, by any that is
//! (KIP-460).

use sluice_cluster::decide::{ElectLeaders, ElectLeadersError, ElectionKind};
use sluice_protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use sluice_protocol::{ErrorCode, Uuid};

use super::{Context, submit_code};

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

pub(super) async fn handle(cx: &Context<'_>, request: ElectLeadersRequest) -> ElectLeadersResponse {
    let kind = match request.election_type {
        PREFERRED => ElectionKind::Preferred,
        UNCLEAN => ElectionKind::Unclean,
        _ => return failed(ErrorCode::InvalidRequest),
    };
    let mut replica_election_results: Vec<ReplicaElectionResult> = Vec::new();
    let partitions = request.topic_partitions.map(|topics| {
        let mut known = Vec::new();
        for topic in topics {
            match cx.image.topic(&topic.topic) {
                Some(found) => known.extend(topic.partitions.iter().map(|index| (found.id, *index))),
                None => {
                    let unknown = |index: &i32| result(*index, Err(ElectLeadersError::Unknown));
                    let partition_result = topic.partitions.iter().map(unknown).collect();
                    replica_election_results.push(ReplicaElectionResult { topic: topic.topic, partition_result });
                }
            }
        }
        known
    });
    let elected = match cx.shared.metadata.submit(ElectLeaders { kind, partitions }).await {
        Ok(elected) => elected,
        Err(error) => return failed(submit_code(&error)),
    };
    for (id, index, elected) in elected {
        let Some(name) = name_of(cx, id) else { continue };
        let result = result(index, elected);
        match replica_election_results.iter_mut().find(|topic| topic.topic == name) {
            Some(topic) => topic.partition_result.push(result),
            None => {
                replica_election_results.push(ReplicaElectionResult { topic: name, partition_result: vec![result] });
            }
        }
    }
    ElectLeadersResponse { replica_election_results, ..ElectLeadersResponse::default() }
}

/// A topic that is gone since, or came since, is not in the image that the request began with.
fn name_of(cx: &Context<'_>, id: Uuid) -> Option<String> {
    let now = cx.shared.metadata.image();
    cx.image.topic_by_id(id).or_else(|| now.topic_by_id(id)).map(|topic| topic.name.clone())
}

fn failed(error_code: ErrorCode) -> ElectLeadersResponse {
    ElectLeadersResponse { error_code, ..ElectLeadersResponse::default() }
}

fn result(partition_id: i32, elected: Result<(), ElectLeadersError>) -> PartitionResult {
    let (error_code, error_message) = match &elected {
        Ok(()) => (ErrorCode::None, None),
        Err(error) => (code(error), Some(error.to_string())),
    };
    PartitionResult { partition_id, error_code, error_message }
}

fn code(error: &ElectLeadersError) -> ErrorCode {
    match error {
        ElectLeadersError::Unknown => ErrorCode::UnknownTopicOrPartition,
        ElectLeadersError::NotNeeded => ErrorCode::ElectionNotNeeded,
        ElectLeadersError::PreferredNotAvailable { .. } => ErrorCode::PreferredLeaderNotAvailable,
        ElectLeadersError::NobodyServes => ErrorCode::EligibleLeadersNotAvailable,
    }
}
