//! The way from a connection's task to a plugin thread and back.
//!
//! The host's queue is bounded and shared fairly between bindings. So that a busy binding's producers wait instead of being
//! refused, each binding has a number of places of its own: whoever comes when they are taken waits for one, in turn, holding
//! nothing. A connection that waits reads nothing further, which is how a slow plugin slows its own producers and nobody else.

use std::sync::Arc;

use sluice_plugin_host::{BindingName, Host};
use tokio::sync::{Semaphore, oneshot};

use super::ChainError;

/// Batches of one binding that may be queued or running at a time: enough to keep every plugin thread busy, few enough that
/// what waits behind a plugin at its deadline is not minutes of work.
const PLACES_OF_A_BINDING: usize = 64;

/// A binding's way to the plugin threads.
pub(super) struct Places {
    host: Arc<Host>,
    binding: BindingName,
    free: Arc<Semaphore>,
}

impl Places {
    pub(super) fn new(host: Arc<Host>, binding: BindingName) -> Self {
        Self { host, binding, free: Arc::new(Semaphore::new(PLACES_OF_A_BINDING)) }
    }

    /// Runs `job` on a plugin thread. A caller that goes away does not stop the job, only its answer.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ChainError> {
        let place = Arc::clone(&self.free).acquire_owned().await.map_err(|_| ChainError::Stopped)?;
        let (answer, answered) = oneshot::channel();
        let queued = self.host.submit(&self.binding, move || {
            // Nobody listens any more if the client went away.
            let _ = answer.send(job());
            drop(place);
        });
        queued.map_err(ChainError::Busy)?;
        answered.await.map_err(|_| ChainError::Stopped)
    }
}
