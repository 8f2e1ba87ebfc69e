//! `sluice cluster drain` and `undrain`.

use hyper::Method;

use super::super::{
    admin_client::{AdminClient, Body},
    error::CliError,
    output::{Output, say},
};
use super::progress::{ASK_EVERY, Left, Progress};
use crate::admin::shapes::DrainInfo;

pub(super) fn path(broker: i32) -> String {
    format!("/v1/cluster/brokers/{broker}/drain")
}

/// Begins, and unless told otherwise looks on until the broker is empty. The drain goes on without anybody looking.
pub(super) async fn run(admin: &AdminClient, broker: i32, no_wait: bool, output: &Output) -> Result<(), CliError> {
    let path = path(broker);
    let mut info: DrainInfo = admin.call(Method::PUT, &path, Body::Empty).await?;
    if no_wait {
        return output.give(&info, |info| {
            say(format_args!("broker {} is being drained: {} replicas to move", info.broker, info.replicas));
            String::new()
        });
    }
    let mut progress = Progress::new(&format!("broker {broker}"));
    while info.replicas > 0 {
        progress.show(Left { bytes: info.bytes.saturating_sub(info.copied), replicas: info.replicas });
        tokio::time::sleep(ASK_EVERY).await;
        info = admin.call(Method::GET, &path, Body::Empty).await?;
        if !info.draining {
            progress.end();
            return Err(CliError::failed(format!("broker {broker} is no longer drained: somebody cancelled it"))
                .hint(format!("{} replicas are still on it", info.replicas)));
        }
    }
    progress.end();
    output.give(&info, |info| {
        say(format_args!("broker {} is empty and can be stopped", info.broker));
        String::new()
    })
}

pub(super) fn undrained(info: &DrainInfo, output: &Output) -> Result<(), CliError> {
    output.give(info, |info| {
        say(format_args!("broker {} is not drained any more; it has {} replicas", info.broker, info.replicas));
        String::new()
    })
}
