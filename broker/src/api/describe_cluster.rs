//! DescribeCluster (key 60): the brokers, for those who administer them (KIP-700).

use sluice_protocol::ErrorCode;
use sluice_protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::{Context, authorized, metadata};

/// Endpoints of brokers, as opposed to those of controllers (KIP-919), which have none of their own here.
const BROKERS: i8 = 1;

pub(super) fn handle(cx: &Context<'_>, request: &DescribeClusterRequest) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        return DescribeClusterResponse {
            error_code: ErrorCode::UnsupportedEndpointType,
            error_message: Some("controllers have no endpoints of their own".to_owned()),
            endpoint_type: request.endpoint_type,
            ..DescribeClusterResponse::default()
        };
    }
    let known = cx.image.brokers().filter(|broker| !broker.fenced || request.include_fenced_brokers);
    let brokers = known.filter_map(|broker| {
        let endpoint = metadata::endpoint(cx, broker)?;
        Some(DescribeClusterBroker {
            broker_id: broker.id,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            rack: broker.rack.clone(),
            is_fenced: broker.fenced,
        })
    });
    let mut response = DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: cx.image.cluster_id().unwrap_or_default().to_owned(),
        controller_id: cx.image.controller_id().unwrap_or(-1),
        brokers: brokers.collect(),
        ..DescribeClusterResponse::default()
    };
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = authorized::CLUSTER;
    }
    response
}
