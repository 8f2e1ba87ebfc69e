//! ListPartitionReassignments (key 46): what is being reassigned, from this broker's own image (KIP-455).

use sluice_cluster::decide::reassignments;
use sluice_protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, OngoingPartitionReassignment,
    OngoingTopicReassignment,
};

use super::Context;

pub(super) fn handle(
    cx: &Context<'_>,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let is_wanted = |name: &str, index: i32| match &request.topics {
        None => true,
        Some(topics) => topics.iter().any(|topic| topic.name == name && topic.partition_indexes.contains(&index)),
    };
    let mut topics: Vec<OngoingTopicReassignment> = Vec::new();
    // Topic after topic: those of one stand together.
    for (topic, partition_index, partition) in reassignments(&cx.image) {
        if !is_wanted(&topic.name, partition_index) {
            continue;
        }
        let ongoing = OngoingPartitionReassignment {
            partition_index,
            replicas: partition.replicas.clone(),
            adding_replicas: partition.adding.clone(),
            removing_replicas: partition.removing.clone(),
        };
        match topics.last_mut().filter(|last| last.name == topic.name) {
            Some(last) => last.partitions.push(ongoing),
            None => topics.push(OngoingTopicReassignment { name: topic.name.clone(), partitions: vec![ongoing] }),
        }
    }
    ListPartitionReassignmentsResponse { topics, ..ListPartitionReassignmentsResponse::default() }
}
