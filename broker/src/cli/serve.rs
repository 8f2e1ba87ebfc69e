//! Runs brokers in this process until they are told to end, one cannot go on, or they are no longer needed.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{error::CliError, output::say};
use crate::{
    broker::{Broker, CompilerCommand},
    config::BrokerConfig,
    coordination::{Coordinator, LocalStore},
    dev::cluster::Cluster,
};

/// Starts a broker, says that it serves, and ends in order on SIGTERM or Ctrl-C.
pub(super) fn serve(config: BrokerConfig, coordinator: Arc<dyn Coordinator>) -> Result<(), CliError> {
    run(async |told, compiler| {
        // Starting is a task of its own: a part of it waits on files and must be allowed to.
        let start = tokio::spawn(Broker::start(config, coordinator, compiler));
        let abort = start.abort_handle();
        let broker = tokio::select! {
            started = start => match started {
                Ok(started) => started?,
                Err(cause) => return Err(CliError::failed(format!("starting failed: {cause}"))),
            },
            () = told.end() => {
                abort.abort();
                return Ok(End::Early);
            }
        };
        say(format_args!("sluice: {broker}"));
        let end = tokio::select! {
            () = told.end() => End::Told,
            halt = broker.halted() => End::Halted(format!("the broker cannot go on: {halt}")),
        };
        let clean = async { tokio::spawn(broker.stop()).await.unwrap_or(false) };
        end.after(clean, told).await
    })
}

/// Starts brokers of one process, says that they serve, and ends them in order on SIGTERM or Ctrl-C. `meanwhile` runs while
/// they serve; when that has ended, so do they.
pub(super) fn serve_cluster(
    configs: Vec<BrokerConfig>,
    store: &LocalStore,
    meanwhile: impl AsyncFnOnce(&mut Cluster) -> Result<(), CliError>,
) -> Result<(), CliError> {
    run(async |told, compiler| {
        let (mut cluster, mut halts) = Cluster::new(configs, store, compiler);
        tokio::select! {
            started = cluster.start() => started?,
            () = told.end() => return Ok(End::Early),
        }
        for (_, broker) in cluster.up() {
            say(format_args!("sluice: {broker}"));
        }
        let end = tokio::select! {
            () = told.end() => End::Told,
            (id, halt) = halts.next() => End::Halted(format!("broker {id} cannot go on: {halt}")),
            done = meanwhile(&mut cluster) => End::Done(done),
        };
        end.after(cluster.stop(), told).await
    })
}

/// Runs `work` with what every way of serving needs: signals, files, a runtime, and a way to compile plugins.
fn run(work: impl AsyncFnOnce(&mut Told, CompilerCommand) -> Result<End, CliError>) -> Result<(), CliError> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| CliError::failed(format!("cannot start: {cause}")))?;
    runtime.block_on(async {
        let mut told = Told::new()?;
        let compiler = CompilerCommand::this_program();
        let compiler = compiler
            .map_err(|cause| CliError::failed(format!("cannot find this program to compile plugins with: {cause}")))?;
        match work(&mut told, compiler).await? {
            End::Early => say("sluice: told to end before it served"),
            End::Told | End::Halted(_) | End::Done(_) => say("sluice: ended in order"),
        }
        Ok(())
    })
}

/// Why serving ends.
enum End {
    /// Told to, before it had begun.
    Early,
    Told,
    Halted(String),
    /// What it was needed for is over.
    Done(Result<(), CliError>),
}

impl End {
    /// What it comes to, once `stop` has said whether everything ended in order; told once more, nobody waits for that.
    async fn after(self, stop: impl Future<Output = bool>, told: &mut Told) -> Result<Self, CliError> {
        if matches!(self, Self::Told) {
            say("sluice: ending, requests in flight are answered first; once more ends it at once");
        }
        let clean = tokio::select! {
            clean = stop => clean,
            () = told.end() => false,
        };
        match (self, clean) {
            (Self::Halted(why), _) => Err(CliError::failed(why)),
            (Self::Done(Err(error)), _) => Err(error),
            (Self::Told | Self::Done(Ok(())), false) => Err(CliError::failed("the broker did not end in order")
                .hint("the next start checks its logs; nothing acknowledged is lost")),
            (end, _) => Ok(end),
        }
    }
}

/// SIGTERM and SIGINT.
struct Told {
    terminate: Signal,
    interrupt: Signal,
}

impl Told {
    fn new() -> Result<Self, CliError> {
        let listen =
            |kind| signal(kind).map_err(|cause| CliError::failed(format!("cannot listen for signals: {cause}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A broker holds a descriptor for each connection and each open segment; shells give 1,024 and allow more.
fn raise_file_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(cause) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%cause, ?current, "cannot raise the number of open files");
    }
}
