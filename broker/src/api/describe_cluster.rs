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
    let brokers = metadata::brokers(cx).into_iter().map(|broker| DescribeClusterBroker {
        broker_id: broker.node_id,
        host: broker.host,
        port: broker.port,
        rack: broker.rack,
        is_fenced: false,
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
