//! The one task that takes part in the cluster: opens sessions, takes the seat, registers, decides and appends, and begins again
//! whenever it is in doubt.
//!
//! ```text
//!   connect ──► establish: found, seat, replay, register ──► reign: gather, decide, append, answer
//!      ▲            ▲                                            │
//!      │            └── the session is back ◄── doubt ◄──────────┤ connection lost, outcome unknown, deposed
//!      └──────────────── the session has ended ◄─────────────────┘
//! ```
//! It acts only while its session is connected. In doubt it resigns: changes are refused with the reason until it has the seat
//! again, in a later epoch, so that nothing of the time before can still be written. Sessions end and begin without anyone's
//! help; only what an operator must see to (another broker serves, the log went back) ends the task.

mod establish;
mod reign;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use sluice_cluster::Image;
use sluice_cluster::decide::ConfigRules;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::coordinator::{ConnectError, Session, SessionState};
use super::metadata::{Metadata, REQUESTS_MAX, Request, Standing};
use super::metadata_log::MetadataLog;
use super::pending::Failure;
use super::seen::{Place, Seen};
use super::{BrokerIdentity, CoordinationConfig, Halt, Registration, StartError};

/// Between tries to reach the coordinator, doubled each time up to the most: a restarted ensemble isn't met by a storm, and is
/// noticed within a second.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How often it is said that the coordinator is waited for: while whoever started the broker may be watching, and later.
const SAY_SO: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// For ever, as timers know it: tries have deadlines of their own.
const FAR_OFF: Duration = Duration::from_secs(3_600);

struct Controller {
    config: CoordinationConfig,
    identity: BrokerIdentity,
    rules: Arc<dyn ConfigRules>,
    seen: Seen,
    image: Arc<ArcSwap<Image>>,
    changed: watch::Sender<u64>,
    standing: watch::Sender<Standing>,
    requests: mpsc::Receiver<Request>,
    /// Until the first time all is established.
    starting: Option<Starting>,
    /// When it was last said that the coordinator is waited for; nothing while it is not.
    said: Option<Instant>,
}

struct Starting {
    reply: oneshot::Sender<Result<Registration, StartError>>,
    /// When it is given up.
    until: Instant,
}

/// Asked to stop: whoever asked waits for this. Nobody, if all handles are gone.
struct Stop(Option<oneshot::Sender<()>>);

/// Why one session's service is over.
enum Over {
    /// Try again.
    Doubt(String),
    /// Never again.
    Halt(Halt),
}

/// Begins, and waits until this broker is part of the cluster or can't be.
pub(super) async fn start(
    config: CoordinationConfig,
    identity: BrokerIdentity,
    rules: Arc<dyn ConfigRules>,
    seen: Seen,
) -> Result<(Metadata, Registration), StartError> {
    let image = Arc::new(ArcSwap::from_pointee(Image::default()));
    let (changed_sender, changed) = watch::channel(0);
    let (standing_sender, standing) = watch::channel(Standing::Doubtful { why: "starting".to_owned() });
    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    let (reply, started) = oneshot::channel();
    let until = Instant::now() + config.connection_timeout;
    let controller = Controller {
        config,
        identity,
        rules,
        seen,
        image: Arc::clone(&image),
        changed: changed_sender,
        standing: standing_sender,
        requests,
        starting: Some(Starting { reply, until }),
        said: None,
    };
    tokio::spawn(controller.run());
    let registration = started.await.expect("the task answers before it ends")?;
    Ok((Metadata { image, changed, standing, requests: sender }, registration))
}

impl Controller {
    async fn run(mut self) {
        let mut session: Option<Arc<dyn Session>> = None;
        let stopped = match self.serve(&mut session).await {
            Ok(halt) => self.halt(halt).await,
            Err(stop) => stop,
        };
        if let Some(session) = session {
            session.close().await;
        }
        self.standing.send_replace(Standing::Stopped);
        if let Stop(Some(asked)) = stopped {
            let _ = asked.send(());
        }
    }

    /// Takes part until asked to stop, or until it can't be.
    async fn serve(&mut self, current: &mut Option<Arc<dyn Session>>) -> Result<Halt, Stop> {
        let mut pause = RETRY.0;
        loop {
            let why = match self.attempt(current).await? {
                Attempt::Halt(halt) => return Ok(halt),
                Attempt::Reigned(why) => {
                    pause = RETRY.0;
                    why
                }
                Attempt::Failed(why) => why,
            };
            if let Some(starting) = self.starting.take_if(|starting| Instant::now() >= starting.until) {
                let place = self.config.coordinator.place();
                let waited = self.config.connection_timeout;
                // Nobody waits for the start any more: then nobody is told, and the handles are gone.
                let _ = starting.reply.send(Err(StartError::Unreachable { place, waited, why }));
                return Err(Stop(None));
            }
            self.doubt(why);
            self.aside(sleep(pause)).await?;
            pause = RETRY.1.min(pause * 2);
        }
    }

    /// Once through: a session, all established, a reign.
    async fn attempt(&mut self, current: &mut Option<Arc<dyn Session>>) -> Result<Attempt, Stop> {
        let session = match self.live(current).await? {
            Ok(session) => session,
            Err(ConnectError::Config { why }) => return Ok(Attempt::Halt(Halt::Config { why })),
            Err(ConnectError::Unreachable { why }) => return Ok(Attempt::Failed(why)),
        };
        let mut log = MetadataLog::new(Arc::clone(&session), self.image.load().as_ref().clone());
        let seat = match self.establish(session.as_ref(), &mut log).await? {
            Ok(seat) => seat,
            Err(Over::Halt(halt)) => return Ok(Attempt::Halt(halt)),
            Err(Over::Doubt(why)) => return Ok(Attempt::Failed(why)),
        };
        match self.reign(session.as_ref(), &mut log, seat).await? {
            Over::Halt(halt) => Ok(Attempt::Halt(halt)),
            Over::Doubt(why) => Ok(Attempt::Reigned(why)),
        }
    }

    /// The session there is, once it is connected; another if it has ended.
    async fn live(
        &mut self,
        current: &mut Option<Arc<dyn Session>>,
    ) -> Result<Result<Arc<dyn Session>, ConnectError>, Stop> {
        if let Some(session) = current {
            let mut state = session.state();
            // An error says that the session's own task is gone, and the session with it.
            let known = self.aside(state.wait_for(|state| *state != SessionState::Doubtful)).await?.map(|state| *state);
            if known.is_ok_and(|state| state == SessionState::Connected) {
                return Ok(Ok(Arc::clone(session)));
            }
            info!("the session with {} has ended", self.config.coordinator.place());
            *current = None;
        }
        let coordinator = Arc::clone(&self.config.coordinator);
        // A start gives up when it said it would, also in the middle of a try.
        let patience =
            self.starting.as_ref().map_or(FAR_OFF, |starting| starting.until.saturating_duration_since(Instant::now()));
        let late = |_| Err(ConnectError::Unreachable { why: "no answer".to_owned() });
        let connected = self.aside(timeout(patience, coordinator.connect())).await?.unwrap_or_else(late);
        if let Ok(session) = &connected {
            info!("session {:#x} with {} begins", session.id(), coordinator.place());
            *current = Some(Arc::clone(session));
        }
        Ok(connected)
    }

    /// Waits for something while nothing can be changed, and says so to whoever asks for a change.
    async fn aside<T>(&mut self, something: impl Future<Output = T>) -> Result<T, Stop> {
        let mut something = std::pin::pin!(something);
        loop {
            tokio::select! {
                biased;
                done = &mut something => return Ok(done),
                // While starting, nobody has a handle: the channel is closed only if the start itself was given up.
                request = self.requests.recv() => match request {
                    Some(Request::Change(pending)) => pending.failed(Failure::Unavailable { why: self.why() }),
                    Some(Request::Stop(asked)) => return Err(Stop(Some(asked))),
                    None => return Err(Stop(None)),
                },
            }
        }
    }

    fn why(&self) -> String {
        match &*self.standing.borrow() {
            Standing::Doubtful { why } => why.clone(),
            Standing::Halted(halt) => halt.to_string(),
            Standing::Serving | Standing::Stopped => "this broker is taking its place in the cluster".to_owned(),
        }
    }

    /// Nothing can be changed for now. Said from time to time.
    fn doubt(&mut self, why: String) {
        let place = self.config.coordinator.place();
        let every = if self.starting.is_some() { SAY_SO.0 } else { SAY_SO.1 };
        if self.said.is_none_or(|said| said.elapsed() >= every) {
            self.said = Some(Instant::now());
            match &self.starting {
                Some(starting) => {
                    let left = starting.until.saturating_duration_since(Instant::now());
                    warn!("waiting for {place}, for another {left:.0?}: {why}");
                }
                None => warn!("{place}: {why}; nothing can be changed until this broker has its place again"),
            }
        }
        self.standing.send_replace(Standing::Doubtful { why: format!("{place}: {why}") });
    }

    /// Nothing more can be done but to say why, until everyone who might ask is gone or says stop.
    async fn halt(&mut self, halt: Halt) -> Stop {
        self.standing.send_replace(Standing::Halted(halt.clone()));
        match self.starting.take() {
            Some(starting) => {
                // Nobody waits for the start any more: then nobody is told.
                let _ = starting.reply.send(Err(StartError::Halted(halt)));
                Stop(None)
            }
            None => {
                error!("this broker can't be part of the cluster any longer: {halt}");
                match self.aside(std::future::pending::<std::convert::Infallible>()).await {
                    Ok(never) => match never {},
                    Err(stop) => stop,
                }
            }
        }
    }

    /// What the log has just been replayed to is what this broker knows now.
    fn publish(&mut self, log: &MetadataLog) -> Result<(), Over> {
        let image = log.image();
        let place = Place { next_seq: image.next_seq(), hash: image.hash() };
        self.seen
            .advance(place)
            .map_err(|error| Over::Halt(Halt::Seen { path: self.config.seen_path.clone(), why: error.to_string() }))?;
        self.image.store(Arc::new(image.clone()));
        self.changed.send_replace(place.next_seq);
        Ok(())
    }
}

enum Attempt {
    Halt(Halt),
    Reigned(String),
    Failed(String),
}
