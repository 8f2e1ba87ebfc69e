//! What a client may do, as Metadata and DescribeCluster tell it (KIP-430): a bit for each operation's code. There is no
//! authorizer yet, so everybody may do what can be done; nobody can write to a view.

use super::resolve::Source;

const READ: i32 = 1 << 3;
const WRITE: i32 = 1 << 4;
const CREATE: i32 = 1 << 5;
const DELETE: i32 = 1 << 6;
const ALTER: i32 = 1 << 7;
const DESCRIBE: i32 = 1 << 8;
const CLUSTER_ACTION: i32 = 1 << 9;
const DESCRIBE_CONFIGS: i32 = 1 << 10;
const ALTER_CONFIGS: i32 = 1 << 11;
const IDEMPOTENT_WRITE: i32 = 1 << 12;

/// On the cluster.
pub(super) const CLUSTER: i32 =
    CREATE | ALTER | DESCRIBE | CLUSTER_ACTION | DESCRIBE_CONFIGS | ALTER_CONFIGS | IDEMPOTENT_WRITE;

/// On a topic or a view.
pub(super) fn of(source: &Source) -> i32 {
    let reading = READ | DESCRIBE | DESCRIBE_CONFIGS;
    match source {
        Source::Topic(topic) if topic.internal => reading,
        Source::Topic(_) => reading | WRITE | CREATE | DELETE | ALTER | ALTER_CONFIGS,
        Source::View { .. } => reading,
    }
}
