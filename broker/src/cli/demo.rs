//! `sluice demo`: real earthquakes through a gate and a view, in one process, with nothing to install and nothing left behind.
//!
//! ```text
//!   a temporary folder ─> certificates, coordination and a broker in it, as `sluice dev` has them
//!     ─> stage:  the topic, the plugins, the gate and the view, set up through the admin API as anybody does
//!     ─> stream: one client writes events; one reads the topic, one reads the view; all over TLS
//!     ─> tally:  what came of each event, once all three have said it
//!     ─> screen: sent, stored and seen side by side, for a sample of events; and the counts of all
//! ```
//! The clients are in the broker's process and know nothing of it but its address: what is shown came over sockets.

mod compare;
mod sampler;
mod screen;
mod stage;
mod stream;
mod tally;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::dev::{self, Settings};
use super::error::CliError;
use super::logging;
use super::output::{Output, say};
use super::serve::serve;
use crate::broker::Broker;
use crate::client::{Client, ClientConfig, ClientTls};
use crate::dev::certs::Certificates;

use screen::Screen;
use stage::Components;
use stream::{Fact, TOPIC, VIEW, read, send};
use tally::{Counts, Tally};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Send so many events as fast as they go, give the counts and end. Without it events come at a pace to watch, until
    /// Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
}

/// What the demo logs: what it does is on the screen, so only what goes wrong.
const LOG_FILTER: &str = "warn";

/// The pace to watch: 20 events a second.
const EVENT_EVERY: Duration = Duration::from_millis(50);

/// How often the counts are shown anew.
const COUNTS_EVERY: Duration = Duration::from_secs(1);

/// How long after the last acknowledgement everything must have been read back: a fetch is answered within half a second.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);

/// Facts on their way to the tally: enough that no client waits for the screen, and little to hold.
const FACTS_MAX: usize = 64;

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), CliError> {
    if output.is_json() && arguments.records.is_none() {
        return Err(CliError::usage(
            "--format json gives the counts at the end, and without --records there is no end",
        )
        .hint("say how many: sluice demo --records 1707 --format json"));
    }
    let components = Components::built_in()?;
    logging::start(None, LOG_FILTER)?;
    let folder = tempfile::Builder::new().prefix("sluice-demo-").tempdir();
    let folder = folder.map_err(|cause| CliError::failed(format!("cannot make a temporary folder: {cause}")))?;
    let played = play(&components, folder.path(), arguments.records, output);
    let path = folder.path().display().to_string();
    let removed = folder.close().map_err(|cause| CliError::failed(format!("cannot remove {path}: {cause}")));
    played.and(removed)
}

/// Runs the broker in `folder` and the demo on it, to the end of either.
fn play(components: &Components, folder: &Path, records: Option<u64>, output: &Output) -> Result<(), CliError> {
    let began = Instant::now();
    let (config, store, certificates) = dev::prepare(folder, dev::Ports::ANY, Vec::new())?;
    serve(config, Arc::new(store), async |broker| {
        let access = Access::new(broker, &certificates)?;
        stage::set_up(components, &access).await?;
        let seconds_to_start = began.elapsed().as_secs_f64();
        if !output.is_json() {
            say(stage::introduction(folder, &Settings::new(&access.bootstrap, &certificates))?);
        }
        let mut screen = Screen::new(output);
        let began = Instant::now();
        let tally = perform(&access, records, &mut screen).await?;
        drop(screen);
        let summary = Summary { counts: *tally.counts(), seconds_to_start, seconds: began.elapsed().as_secs_f64() };
        output.give(&summary, |summary| format!("{}   in {:.1} s", screen::counts(&summary.counts), summary.seconds))
    })
}

/// What `--format json` gives.
#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    counts: Counts,
    /// From nothing to the moment before the first event.
    seconds_to_start: f64,
    /// From the first event until the last was visible.
    seconds: f64,
}

/// How the broker is reached.
struct Access {
    bootstrap: String,
    admin: String,
    tls: ClientTls,
}

impl Access {
    fn new(broker: &Broker, certificates: &Certificates) -> Result<Self, CliError> {
        let (Some(endpoint), Some(admin)) = (broker.endpoints().first(), broker.admin_address()) else {
            return Err(CliError::failed("the demo's broker has no listener or no admin API"));
        };
        let identity = Some((certificates.client.clone(), certificates.client.clone()));
        Ok(Self {
            bootstrap: format!("{}:{}", endpoint.host, endpoint.port),
            admin: format!("https://{admin}"),
            tls: ClientTls { ca: certificates.ca.clone(), identity },
        })
    }

    async fn client(&self) -> Result<Client, CliError> {
        Ok(Client::connect(ClientConfig::new(vec![self.bootstrap.clone()], Some(self.tls.clone()))).await?)
    }
}

/// Streams until all events are visible; without a number of them, for good.
async fn perform(access: &Access, records: Option<u64>, screen: &mut Screen<'_>) -> Result<Tally, CliError> {
    let (facts, told) = mpsc::channel(FACTS_MAX);
    let pace = records.is_none().then_some(EVENT_EVERY);
    let streaming = async {
        tokio::try_join!(
            send(access.client().await?, pace, records, facts.clone()),
            read(access.client().await?, TOPIC, Fact::Stored, facts.clone()),
            read(access.client().await?, VIEW, Fact::Seen, facts.clone()),
        )
    };
    tokio::select! {
        streamed = streaming => match streamed {
            Err(error) => Err(error),
            Ok(((), never, _)) => match never {},
        },
        tally = tell(told, screen) => tally,
    }
}

/// Takes in what the clients tell and shows it, until everything has been told.
async fn tell(mut told: mpsc::Receiver<Fact>, screen: &mut Screen<'_>) -> Result<Tally, CliError> {
    let mut tally = Tally::default();
    let mut all_sent = None;
    let mut tick = interval(COUNTS_EVERY);
    loop {
        tokio::select! {
            Some(fact) = told.recv() => {
                if matches!(fact, Fact::AllSent) {
                    all_sent = Some(Instant::now());
                }
                for story in tally.take(fact) {
                    screen.story(&story, tally.counts(), Instant::now())?;
                }
                if tally.is_complete() {
                    return tally.checked();
                }
            }
            _ = tick.tick() => {
                screen.counts(tally.counts(), Instant::now())?;
                if all_sent.is_some_and(|since| since.elapsed() > VISIBLE_WITHIN) {
                    return Err(CliError::failed(format!(
                        "{} s after the last event was acknowledged, not all can be read: {}",
                        VISIBLE_WITHIN.as_secs(),
                        screen::counts(tally.counts()),
                    )));
                }
            }
        }
    }
}
