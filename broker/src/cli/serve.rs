//! Runs a broker in this process until it is told to end, cannot go on, or is no longer needed.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{error::CliError, output::say};
use crate::{
    broker::{Broker, CannotGoOn, CompilerCommand},
    config::BrokerConfig,
    coordination::Coordinator,
};

/// Starts a broker, says that it serves, and ends in order on SIGTERM or Ctrl-C. `meanwhile` runs while it serves; when that
/// has ended, so does the broker.
pub(super) fn serve(
    config: BrokerConfig,
    coordinator: Arc<dyn Coordinator>,
    meanwhile: impl AsyncFnOnce(&Broker) -> Result<(), CliError>,
) -> Result<(), CliError> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| CliError::failed(format!("cannot start: {cause}")))?;
    runtime.block_on(async {
        let mut told = Told::new()?;
        let compiler = CompilerCommand::this_program();
        let compiler = compiler
            .map_err(|cause| CliError::failed(format!("cannot find this program to compile plugins with: {cause}")))?;
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
                say("sluice: told to end before it served");
                return Ok(());
            }
        };
        say(format_args!("sluice: {broker}"));
        let end = tokio::select! {
            () = told.end() => End::Told,
            halt = broker.halted() => End::Halted(halt),
            done = meanwhile(&broker) => End::Done(done),
        };
        if matches!(end, End::Told) {
            say("sluice: ending, requests in flight are answered first; once more ends it at once");
        }
        let stop = tokio::spawn(broker.stop());
        let clean = tokio::select! {
            clean = stop => clean.unwrap_or(false),
            () = told.end() => false,
        };
        match (end, clean) {
            (End::Halted(halt), _) => Err(CliError::failed(format!("the broker cannot go on: {halt}"))),
            (End::Done(Err(error)), _) => Err(error),
            (End::Told | End::Done(Ok(())), false) => Err(CliError::failed("the broker did not end in order")
                .hint("the next start checks its logs; nothing acknowledged is lost")),
            (End::Told | End::Done(Ok(())), true) => {
                say("sluice: ended in order");
                Ok(())
            }
        }
    })
}

/// Why a broker ends.
enum End {
    Told,
    Halted(CannotGoOn),
    /// What it was needed for is over.
    Done(Result<(), CliError>),
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
