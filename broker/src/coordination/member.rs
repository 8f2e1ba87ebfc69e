//! The one task that takes part in the cluster: opens sessions, follows the metadata log, keeps this broker registered, takes the
//! controller's seat when nobody holds it, and begins again whenever it is in doubt.
//!
//! ```text
//!   connect ──► join: the cluster is ours, replay the log ──► follow ◄──────────────────────────┐
//!      ▲            ▲                                          │ the seat is free and taken     │ deposed
//!      │            │                                          ▼                                │
//!      │            └── the session is back ◄── doubt ◄────── reign: decide, append, answer ────┘
//!      └──────────────── the session has ended ◄──┘
//! ```
//! It acts only while its session is connected. In doubt a controller resigns: changes are refused with the reason until somebody
//! has the seat again, in a later epoch, so that nothing of the time before can still be written. Sessions end and begin without
//! anyone's help; only what an operator must see to (the log went back, another cluster) ends the task.

mod accession;
mod commit;
mod compact;
mod follow;
mod join;
mod preferred;
mod presence;
mod reign;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use sluice_cluster::Image;
use sluice_cluster::decide::ConfigRules;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};

use super::coordinator::{ConnectError, Session, SessionState};
use super::elections::Elections;
use super::lag::MetadataLag;
use super::metadata::{Metadata, REQUESTS_MAX, Request, SeatView, Standing};
use super::metadata_log::MetadataLog;
use super::pending::Failure;
use super::seen::{Place, Seen};
use super::suspicion::Suspicions;
use super::{BrokerIdentity, CoordinationConfig, Halt, Joined, StartError};
pub use preferred::ReturnLeaders;
use presence::Presence;

/// Between tries to reach the coordinator, doubled each time up to the most and spread at random: a restarted ensemble isn't met
/// by a storm, and is noticed within a second.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How often it is said that the coordinator is waited for: while whoever started the broker may be watching, and later.
const SAY_SO: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// For ever, as timers know it: tries have deadlines of their own.
const FAR_OFF: Duration = Duration::from_secs(3_600);

struct Member {
    config: CoordinationConfig,
    identity: BrokerIdentity,
    rules: Arc<dyn ConfigRules>,
    seen: Seen,
    told: Told,
    requests: mpsc::Receiver<Request>,
    /// Until this broker has joined for the first time.
    joining: Option<Joining>,
    presence: Presence,
    suspicions: Suspicions,
    /// When it was last said that the coordinator is waited for; nothing while it is not.
    said: Option<Instant>,
}

/// What the handles are told.
struct Told {
    image: Arc<ArcSwap<Image>>,
    changed: watch::Sender<u64>,
    standing: watch::Sender<Standing>,
    seat: watch::Sender<SeatView>,
    /// The session there is; none before the first.
    session: Arc<ArcSwapOption<watch::Receiver<SessionState>>>,
    elections: Arc<Elections>,
    lag: Arc<MetadataLag>,
}

struct Joining {
    reply: oneshot::Sender<Result<Joined, StartError>>,
    /// When it is given up.
    until: Instant,
}

/// Why what was under way is over.
enum Over {
    /// Try again.
    Doubt(String),
    /// The seat is another's; all else stays.
    Deposed,
    /// Never again.
    Halt(Halt),
    /// Asked to stop: whoever asked waits for this. Nobody, if all handles are gone.
    Stop(Option<oneshot::Sender<()>>),
}

/// Begins, and waits until this broker has joined the cluster or can't.
pub(super) async fn join(
    config: CoordinationConfig,
    identity: BrokerIdentity,
    rules: Arc<dyn ConfigRules>,
    seen: Seen,
) -> Result<(Metadata, Joined), StartError> {
    let image = Arc::new(ArcSwap::from_pointee(Image::default()));
    let session = Arc::new(ArcSwapOption::empty());
    let elections = Arc::<Elections>::default();
    let lag = Arc::new(MetadataLag::new(Instant::now()));
    let (changed_sender, changed) = watch::channel(0);
    let (standing_sender, standing) = watch::channel(Standing::Doubtful { why: "starting".to_owned() });
    let (seat_sender, seat) = watch::channel(SeatView::default());
    let (sender, requests) = mpsc::channel(REQUESTS_MAX);
    let (reply, joined) = oneshot::channel();
    let until = Instant::now() + config.connection_timeout;
    let peers = Arc::clone(&config.peers);
    let node_id = identity.id;
    let member = Member {
        suspicions: Suspicions::new(node_id, Arc::clone(&peers), Arc::clone(&image)),
        config,
        identity,
        rules,
        seen,
        told: Told {
            image: Arc::clone(&image),
            changed: changed_sender,
            standing: standing_sender,
            seat: seat_sender,
            session: Arc::clone(&session),
            elections: Arc::clone(&elections),
            lag: Arc::clone(&lag),
        },
        requests,
        joining: Some(Joining { reply, until }),
        presence: Presence::default(),
        said: None,
    };
    tokio::spawn(member.run());
    let joined = joined.await.expect("the task answers before it ends")?;
    let metadata =
        Metadata { node_id, image, changed, standing, seat, session, peers, elections, lag, requests: sender };
    Ok((metadata, joined))
}

impl Member {
    async fn run(mut self) {
        let mut session: Option<Arc<dyn Session>> = None;
        let asked = match self.serve(&mut session).await {
            Ended::Halted(halt) => self.halt(halt, session.take()).await,
            Ended::Stopped(asked) => asked,
        };
        if let Some(session) = session {
            session.close().await;
        }
        self.told.standing.send_replace(Standing::Stopped);
        if let Some(asked) = asked {
            let _ = asked.send(());
        }
    }

    /// Takes part until asked to stop, or until it can't.
    async fn serve(&mut self, current: &mut Option<Arc<dyn Session>>) -> Ended {
        let mut pause = RETRY.0;
        let mut log: Option<MetadataLog> = None;
        loop {
            let since = Instant::now();
            let why = match self.attempt(current, &mut log).await {
                Over::Doubt(why) => why,
                Over::Deposed => "the seat was lost before it was taken".to_owned(),
                Over::Halt(halt) => return Ended::Halted(halt),
                Over::Stop(asked) => return Ended::Stopped(asked),
            };
            self.told.seat.send_replace(SeatView::default());
            if since.elapsed() > RETRY.1 {
                pause = RETRY.0;
            }
            if let Some(joining) = self.joining.take_if(|joining| Instant::now() >= joining.until) {
                let place = self.config.coordinator.place();
                let waited = self.config.connection_timeout;
                // Nobody waits for the start any more: then nobody is told, and the handles are gone.
                let _ = joining.reply.send(Err(StartError::Unreachable { place, waited, why }));
                return Ended::Stopped(None);
            }
            self.doubt(why);
            match self.aside(sleep(spread(pause))).await {
                Ok(()) => pause = RETRY.1.min(pause * 2),
                Err(Over::Stop(asked)) => return Ended::Stopped(asked),
                Err(_) => {}
            }
        }
    }

    /// Once through: a session, the log replayed, followed and at times written.
    async fn attempt(&mut self, current: &mut Option<Arc<dyn Session>>, log: &mut Option<MetadataLog>) -> Over {
        let attempt = async {
            let session = self.live(current).await?;
            let begun = match log.take() {
                Some(log) => log.again(Arc::clone(&session)),
                None => MetadataLog::new(Arc::clone(&session), Image::default(), Arc::clone(&self.told.lag)),
            };
            let log = log.insert(begun);
            self.join(session.as_ref(), log).await?;
            loop {
                let accession = self.follow(session.as_ref(), log).await?;
                match self.reign(&session, log, accession).await {
                    Over::Deposed => info!("another broker is the controller now"),
                    over => return Err(over),
                }
            }
        };
        let over: Result<std::convert::Infallible, Over> = attempt.await;
        match over {
            Ok(never) => match never {},
            Err(over) => over,
        }
    }

    /// The session there is, once it is connected; another if it has ended.
    async fn live(&mut self, current: &mut Option<Arc<dyn Session>>) -> Result<Arc<dyn Session>, Over> {
        if let Some(session) = current {
            let mut state = session.state();
            // An error says that the session's own task is gone, and the session with it.
            let known = self.aside(state.wait_for(|state| *state != SessionState::Doubtful)).await?.map(|state| *state);
            if known.is_ok_and(|state| state == SessionState::Connected) {
                return Ok(Arc::clone(session));
            }
            info!("the session with {} has ended", self.config.coordinator.place());
            *current = None;
        }
        let coordinator = Arc::clone(&self.config.coordinator);
        // A start gives up when it said it would, also in the middle of a try.
        let patience =
            self.joining.as_ref().map_or(FAR_OFF, |joining| joining.until.saturating_duration_since(Instant::now()));
        let late = |_| Err(ConnectError::Unreachable { why: "no answer".to_owned() });
        let connected = self.aside(timeout(patience, coordinator.connect())).await?.unwrap_or_else(late);
        match connected {
            Ok(session) => {
                info!("session {:#x} with {} begins", session.id(), coordinator.place());
                self.told.session.store(Some(Arc::new(session.state())));
                *current = Some(Arc::clone(&session));
                Ok(session)
            }
            Err(ConnectError::Config { why }) => Err(Over::Halt(Halt::Config { why })),
            Err(ConnectError::Unreachable { why }) => Err(Over::Doubt(why)),
        }
    }

    /// Waits for something while nothing can be changed here, and says so to whoever asks for a change.
    async fn aside<T>(&mut self, something: impl Future<Output = T>) -> Result<T, Over> {
        let mut something = std::pin::pin!(something);
        loop {
            tokio::select! {
                biased;
                done = &mut something => return Ok(done),
                request = self.requests.recv() => self.turn_away(request)?,
            }
        }
    }

    /// As [`Self::aside`], for as long as the session is connected.
    async fn connected<T, E: Into<Over>>(
        &mut self,
        session: &dyn Session,
        something: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Over> {
        let mut state = session.state();
        let something = async {
            tokio::select! {
                biased;
                () = leaves_connected(&mut state) => Err(Over::Doubt(CONNECTION_LOST.to_owned())),
                done = something => done.map_err(Into::into),
            }
        };
        self.aside(something).await?
    }

    /// Sees to a request of a broker that doesn't hold the seat.
    fn turn_away(&mut self, request: Option<Request>) -> Result<(), Over> {
        match request {
            Some(Request::Change(pending)) => {
                pending.failed(Failure::NotController);
                Ok(())
            }
            Some(other) => self.on_request(other),
            // While joining, nobody has a handle: the channel is closed only if the start itself was given up.
            None => Err(Over::Stop(None)),
        }
    }

    /// Sees to what isn't a change.
    fn on_request(&mut self, request: Request) -> Result<(), Over> {
        match request {
            Request::Register(registering, reply) => {
                self.presence.ask(registering, reply);
                Ok(())
            }
            Request::Leave => {
                self.presence.leave();
                Ok(())
            }
            Request::Stop(asked) => Err(Over::Stop(Some(asked))),
            Request::Change(_) => unreachable!("changes are seen to by whoever received them"),
        }
    }

    /// Nothing can be changed for now. Said from time to time.
    fn doubt(&mut self, why: String) {
        self.told.lag.may_have_grown(Instant::now());
        let place = self.config.coordinator.place();
        let every = if self.joining.is_some() { SAY_SO.0 } else { SAY_SO.1 };
        if self.said.is_none_or(|said| said.elapsed() >= every) {
            self.said = Some(Instant::now());
            match &self.joining {
                Some(joining) => {
                    let left = joining.until.saturating_duration_since(Instant::now());
                    warn!("waiting for {place}, for another {left:.0?}: {why}");
                }
                None => warn!("{place}: {why}; nothing can be changed until this broker has its place again"),
            }
        }
        self.told.standing.send_replace(Standing::Doubtful { why: format!("{place}: {why}") });
    }

    /// Nothing more can be done but to say why, until everyone who might ask is gone or says stop. The session ends first: a
    /// broker that can't take part is not counted on.
    async fn halt(&mut self, halt: Halt, session: Option<Arc<dyn Session>>) -> Option<oneshot::Sender<()>> {
        self.told.seat.send_replace(SeatView::default());
        self.told.standing.send_replace(Standing::Halted(halt.clone()));
        if let Some(session) = session {
            session.close().await;
        }
        if let Some(joining) = self.joining.take() {
            // Nobody waits for the start any more: then nobody is told.
            let _ = joining.reply.send(Err(StartError::Halted(halt)));
            return None;
        }
        error!("this broker can't be part of the cluster any longer: {halt}");
        self.presence.refuse(&StartError::Halted(halt.clone()));
        loop {
            match self.aside(std::future::pending::<std::convert::Infallible>()).await {
                Ok(never) => match never {},
                Err(Over::Stop(asked)) => return asked,
                Err(_) => {}
            }
            self.presence.refuse(&StartError::Halted(halt.clone()));
        }
    }

    /// What the log has just been replayed to is what this broker knows now.
    fn publish(&mut self, log: &MetadataLog) -> Result<(), Over> {
        let image = log.image();
        let place = Place { next_seq: image.next_seq(), hash: image.hash() };
        self.seen
            .advance(place)
            .map_err(|error| Over::Halt(Halt::Seen { path: self.config.seen_path.clone(), why: error.to_string() }))?;
        if self.told.image.load().next_seq() != place.next_seq {
            self.config.peers.know(image);
            self.told.image.store(Arc::new(image.clone()));
            self.told.changed.send_replace(place.next_seq);
        }
        self.told.lag.caught_up();
        Ok(())
    }
}

enum Ended {
    Halted(Halt),
    Stopped(Option<oneshot::Sender<()>>),
}

const CONNECTION_LOST: &str = "the connection is lost";

/// Resolves when the session is no longer surely ours.
async fn leaves_connected(state: &mut watch::Receiver<SessionState>) {
    // An error says that the session's own task is gone: no longer ours either.
    let _ = state.wait_for(|state| *state != SessionState::Connected).await;
}

/// Somewhere between half of it and all of it: brokers that lost the coordinator together don't come back together.
fn spread(pause: Duration) -> Duration {
    let random = u32::from(random_bytes()[0]);
    pause / 2 + pause / 2 * random / 255
}

fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel has randomness");
    bytes
}
