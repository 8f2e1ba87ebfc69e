//! DescribeCluster (key 60): the brokers, for those who administer them.

use crate::ErrorCode;
use crate::wire::message;

message! {
    /// Asks who the brokers are (KIP-700).
    pub DescribeClusterRequest {
        include_cluster_authorized_operations: bool [0..],
        endpoint_type: i8 [1..] = 1,
        include_fenced_brokers: bool [2..],
    }
    key DescribeCluster, versions 0..=2, flexible 0.., response DescribeClusterResponse
}

message! {
    /// The cluster: its id, controller and brokers.
    pub DescribeClusterResponse {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0..],
        endpoint_type: i8 [1..] = 1,
        cluster_id: String [0..],
        controller_id: i32 [0..] = -1,
        brokers: Vec<DescribeClusterBroker> [0..],
        cluster_authorized_operations: i32 [0..] = i32::MIN,
    }
    key DescribeCluster, versions 0..=2, flexible 0..
}

message! {
    /// A broker, at the address it advertises on the listener that was asked.
    pub DescribeClusterBroker {
        broker_id: i32 [0..],
        host: String [0..],
        port: i32 [0..],
        rack: Option<String> [0..],
        is_fenced: bool [2..],
    }
}
