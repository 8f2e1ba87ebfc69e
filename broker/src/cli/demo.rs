//! `sluice demo`: real earthquakes through a gate and a view, on three brokers in one process, with nothing to install and nothing
//! left behind.
//!
//! ```text
//!   a temporary folder ─> certificates, coordination and three brokers in it, as `sluice dev` has them
//!     ─> stage:  the topic, the plugins, the gate and the view, set up through the admin API as anybody does
//!     ─> stream: one client writes events; one reads the topic, one reads the view, one looks how the cluster is; all over TLS
//!     ─> tally:  what came of each event, once all have said it
//!     ─> screen: sent, stored and seen side by side, for a sample of events; the counts of all; leaders and replicas in sync
//!   a key kills a broker, as a process is killed, and the stream goes on; another brings it back
//! ```
//! The clients are in the brokers' process and know nothing of them but their addresses: what is shown came over sockets.

mod compare;
mod health;
mod keys;
mod sampler;
mod screen;
mod stage;
mod stream;
mod tally;

use std::convert::Infallible;
use std::future::pending;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::interval;

use super::dev::{self, Prepared, Settings};
use super::error::CliError;
use super::logging;
use super::output::{Output, say};
use super::serve::serve_cluster;
use crate::client::{Client, ClientConfig, ClientTls};
use crate::dev::certs::Certificates;
use crate::dev::cluster::Cluster;

use health::Health;
use keys::Keys;
use screen::{Screen, Status};
use stage::Components;
use stream::{Fact, TOPIC, VIEW, read, send, tell, watch};
use tally::{Counts, Tally};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Send so many events as fast as they go, give the counts and end. Without it events come at a pace to watch, until
    /// Ctrl-C.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// Kill the leader of a partition once so many events have been answered, and bring it back half way to the end.
    #[arg(long, value_name = "M", requires = "records", value_parser = clap::value_parser!(u64).range(1..))]
    kill_at: Option<u64>,
}

/// The brokers: each partition on all of them, so that one may be away.
const BROKERS: u16 = 3;

/// What the demo logs: what it does is on the screen, so only what goes wrong.
const LOG_FILTER: &str = "error";

/// The pace to watch: 20 events a second.
const EVENT_EVERY: Duration = Duration::from_millis(50);

/// How often the status is shown anew.
const STATUS_EVERY: Duration = Duration::from_millis(200);

/// How long after the last acknowledgement everything must have been read back: a fetch is answered within half a second.
const VISIBLE_WITHIN: Duration = Duration::from_secs(30);

/// How long after the last event the replicas may take to be in sync again.
const WHOLE_WITHIN: Duration = Duration::from_secs(60);

/// Facts on their way to the tally: enough that no client waits for the screen, and little to hold.
const FACTS_MAX: usize = 64;

/// Orders to the cluster on their way: one is carried out at a time, and nobody gives many.
const ORDERS_MAX: usize = 4;

pub(super) fn run(arguments: &Arguments, output: &Output) -> Result<(), CliError> {
    if output.is_json() && arguments.records.is_none() {
        return Err(CliError::usage(
            "--format json gives the counts at the end, and without --records there is no end",
        )
        .hint("say how many: sluice demo --records 1707 --format json"));
    }
    if let (Some(kill_at), Some(records)) = (arguments.kill_at, arguments.records)
        && kill_at >= records
    {
        return Err(CliError::usage(format!("--kill-at {kill_at} is not before the last of {records} events")));
    }
    let components = Components::built_in()?;
    logging::start(None, LOG_FILTER)?;
    let folder = tempfile::Builder::new().prefix("sluice-demo-").tempdir();
    let folder = folder.map_err(|cause| CliError::failed(format!("cannot make a temporary folder: {cause}")))?;
    let played = play(&components, folder.path(), arguments, output);
    let path = folder.path().display().to_string();
    let removed = folder.close().map_err(|cause| CliError::failed(format!("cannot remove {path}: {cause}")));
    played.and(removed)
}

/// Runs the brokers in `folder` and the demo on them, to the end of either.
fn play(components: &Components, folder: &Path, arguments: &Arguments, output: &Output) -> Result<(), CliError> {
    let began = Instant::now();
    let Prepared { configs, store, certificates } = dev::prepare(folder, BROKERS, dev::Ports::ANY, &[])?;
    serve_cluster(configs, &store, async |cluster| {
        let access = Access::new(cluster, &certificates);
        stage::set_up(components, &access).await?;
        let seconds_to_start = began.elapsed().as_secs_f64();
        if !output.is_json() {
            say(stage::introduction(folder, &Settings::new(&access.bootstrap.join(","), &certificates))?);
        }
        let keys = if arguments.records.is_none() { Keys::listen() } else { None };
        let mut show = Show::new(arguments, keys, Screen::new(output));
        let began = Instant::now();
        perform(cluster, &access, arguments.records, &mut show).await?;
        let summary = show.summary(seconds_to_start, began.elapsed().as_secs_f64());
        output.give(&summary, Summary::line)
    })
}

/// What `--format json` gives.
#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    counts: Counts,
    /// How many brokers there are.
    brokers: u16,
    /// The one that was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    killed: Option<i32>,
    /// Partitions with a replica that was not in sync, at the end.
    under_replicated: usize,
    /// The longest time between two answers to the producer.
    longest_wait_seconds: f64,
    /// From nothing to the moment before the first event.
    seconds_to_start: f64,
    /// From the first event until the last was visible.
    seconds: f64,
}

impl Summary {
    fn line(&self) -> String {
        let killed = self.killed.map_or_else(String::new, |id| {
            format!("\nbroker {id} was killed; the longest wait for an answer was {:.1} s", self.longest_wait_seconds)
        });
        format!("{}   in {:.1} s{killed}", screen::counts(&self.counts), self.seconds)
    }
}

/// How the brokers are reached.
struct Access {
    bootstrap: Vec<String>,
    admins: Vec<String>,
    tls: ClientTls,
}

impl Access {
    fn new(cluster: &Cluster, certificates: &Certificates) -> Self {
        let identity = Some((certificates.client.clone(), certificates.client.clone()));
        Self {
            bootstrap: dev::bootstrap(cluster),
            admins: dev::admins(cluster),
            tls: ClientTls { ca: certificates.ca.clone(), identity },
        }
    }

    async fn client(&self) -> Result<Client, CliError> {
        Ok(Client::connect(ClientConfig::new(self.bootstrap.clone(), Some(self.tls.clone()))).await?)
    }
}

/// What is to be done to the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Kill(i32),
    BringBack,
}

/// Streams until all events are visible; without a number of them, for good.
async fn perform(
    cluster: &mut Cluster,
    access: &Access,
    records: Option<u64>,
    show: &mut Show<'_>,
) -> Result<(), CliError> {
    let (facts, told) = mpsc::channel(FACTS_MAX);
    let (orders, given) = mpsc::channel(ORDERS_MAX);
    let pace = records.is_none().then_some(EVENT_EVERY);
    let streaming = async {
        tokio::try_join!(
            send(access.client().await?, pace, records, facts.clone()),
            read(access.client().await?, TOPIC, Fact::Stored, facts.clone()),
            read(access.client().await?, VIEW, Fact::Seen, facts.clone()),
            watch(access.client().await?, facts.clone()),
            direct(cluster, given, facts.clone()),
        )
    };
    tokio::select! {
        streamed = streaming => match streamed {
            Err(error) => Err(error),
            Ok(((), never, ..)) => match never {},
        },
        shown = show.run(told, &orders) => shown,
    }
}

/// Does to the cluster what is ordered, and never ends.
async fn direct(
    cluster: &mut Cluster,
    mut given: mpsc::Receiver<Order>,
    facts: mpsc::Sender<Fact>,
) -> Result<Infallible, CliError> {
    while let Some(order) = given.recv().await {
        match order {
            Order::Kill(id) => {
                cluster.kill(id);
                tell(&facts, Fact::Killed(id)).await;
            }
            Order::BringBack => {
                cluster.start().await?;
                tell(&facts, Fact::Back).await;
            }
        }
    }
    pending().await
}

/// Takes in what everybody tells, shows it, and decides what comes next.
struct Show<'a> {
    tally: Tally,
    health: Health,
    screen: Screen<'a>,
    keys: Option<Keys>,
    /// When to kill and when to bring back, by the number of events answered.
    kill_at: Option<u64>,
    back_at: Option<u64>,
    /// The broker that is down, or about to be.
    down: Option<i32>,
    killed: Option<i32>,
    all_sent: Option<Instant>,
    answered: Option<Instant>,
    longest_wait: Duration,
}

impl<'a> Show<'a> {
    fn new(arguments: &Arguments, keys: Option<Keys>, screen: Screen<'a>) -> Self {
        let back_at =
            |kill_at: u64| kill_at + arguments.records.unwrap_or(u64::MAX).saturating_sub(kill_at).div_ceil(2);
        Self {
            tally: Tally::default(),
            health: Health::default(),
            screen,
            keys,
            kill_at: arguments.kill_at,
            back_at: arguments.kill_at.map(back_at),
            down: None,
            killed: None,
            all_sent: None,
            answered: None,
            longest_wait: Duration::ZERO,
        }
    }

    fn summary(&self, seconds_to_start: f64, seconds: f64) -> Summary {
        Summary {
            counts: *self.tally.counts(),
            brokers: BROKERS,
            killed: self.killed,
            under_replicated: self.health.under_replicated(),
            longest_wait_seconds: self.longest_wait.as_secs_f64(),
            seconds_to_start,
            seconds,
        }
    }

    /// Until everything that was sent has been told, and the cluster is whole again.
    async fn run(&mut self, mut told: mpsc::Receiver<Fact>, orders: &mpsc::Sender<Order>) -> Result<(), CliError> {
        let mut tick = interval(STATUS_EVERY);
        loop {
            tokio::select! {
                Some(fact) = told.recv() => {
                    self.take(fact, orders).await?;
                    if self.tally.is_complete() && self.down.is_none() && self.health.is_whole(BROKERS.into()) {
                        return std::mem::take(&mut self.tally).checked().map(|tally| self.tally = tally);
                    }
                }
                Some(key) = next_key(&mut self.keys) => {
                    if self.press(key, orders).await {
                        return Ok(());
                    }
                }
                _ = tick.tick() => {
                    self.screen.status(&self.status(), Instant::now())?;
                    self.check_time()?;
                }
            }
        }
    }

    async fn take(&mut self, fact: Fact, orders: &mpsc::Sender<Order>) -> Result<(), CliError> {
        let stories = match fact {
            Fact::Sent { event, outcome } => {
                let now = Instant::now();
                let waited = self.answered.map_or(Duration::ZERO, |last| now - last);
                self.longest_wait = self.longest_wait.max(waited);
                self.answered = Some(now);
                let stories = self.tally.sent(event, outcome);
                self.follow_plan(orders).await;
                stories
            }
            Fact::AllSent => {
                self.tally.all_sent();
                self.all_sent = Some(Instant::now());
                Vec::new()
            }
            Fact::Stored(read) => self.tally.stored(read),
            Fact::Seen(read) => self.tally.seen(read),
            Fact::Health(health) => {
                self.health = health;
                Vec::new()
            }
            Fact::Killed(id) => {
                self.killed = Some(id);
                self.news(&format!("broker {id} was killed: no flush, no goodbye"))?;
                Vec::new()
            }
            Fact::Back => {
                if let Some(id) = self.down.take() {
                    self.news(&format!("broker {id} is back, and fetches what it missed"))?;
                }
                Vec::new()
            }
        };
        let status = self.status();
        for story in stories {
            self.screen.story(&story, &status, Instant::now())?;
        }
        Ok(())
    }

    fn news(&mut self, news: &str) -> Result<(), CliError> {
        let status = self.status();
        self.screen.news(news, &status)
    }

    /// Kills and brings back when it was said on the command line.
    async fn follow_plan(&mut self, orders: &mpsc::Sender<Order>) {
        let sent = self.tally.counts().sent;
        if self.kill_at.is_some_and(|at| sent >= at) {
            self.kill_at = None;
            self.kill(orders).await;
        }
        if self.back_at.is_some_and(|at| sent >= at) {
            self.back_at = None;
            order(orders, Order::BringBack).await;
        }
    }

    /// What a key does; says whether it is the end.
    async fn press(&mut self, key: u8, orders: &mpsc::Sender<Order>) -> bool {
        match key {
            b'k' if self.can_kill() => self.kill(orders).await,
            b'r' if self.down.is_some() => order(orders, Order::BringBack).await,
            b'q' => return true,
            _ => {}
        }
        false
    }

    /// One at a time: with two of three away nothing can be acknowledged any more.
    fn can_kill(&self) -> bool {
        self.down.is_none() && self.answered.is_some() && self.health.is_whole(BROKERS.into())
    }

    async fn kill(&mut self, orders: &mpsc::Sender<Order>) {
        let id = self.health.leader().unwrap_or(1);
        self.down = Some(id);
        order(orders, Order::Kill(id)).await;
    }

    fn status(&self) -> Status {
        let key = match (&self.keys, self.down) {
            (None, _) => "",
            (Some(_), None) if !self.can_kill() => "",
            (Some(_), None) => "   k kills one",
            (Some(_), Some(_)) => "   r brings it back",
        };
        let cluster = format!("{}{key}", self.health.line(BROKERS.into()));
        Status { counts: screen::counts(self.tally.counts()), cluster }
    }

    fn check_time(&self) -> Result<(), CliError> {
        let Some(since) = self.all_sent else { return Ok(()) };
        if !self.tally.is_complete() && since.elapsed() > VISIBLE_WITHIN {
            return Err(CliError::failed(format!(
                "{} s after the last event was acknowledged, not all can be read: {}",
                VISIBLE_WITHIN.as_secs(),
                screen::counts(self.tally.counts()),
            )));
        }
        if since.elapsed() > WHOLE_WITHIN {
            return Err(CliError::failed(format!(
                "{} s after the last event was acknowledged, the cluster is not whole: {}",
                WHOLE_WITHIN.as_secs(),
                self.health.line(BROKERS.into()),
            )));
        }
        Ok(())
    }
}

/// Hands an order over. Nobody takes it once the show is over, and then nobody minds.
async fn order(orders: &mpsc::Sender<Order>, order: Order) {
    let _ = orders.send(order).await;
}

async fn next_key(keys: &mut Option<Keys>) -> Option<u8> {
    match keys {
        Some(keys) => keys.next().await,
        None => pending().await,
    }
}
