//! One connection to one broker, made when it is needed: a task that owns it, and a handle to ask through.
//!
//! ```text
//!   ask ──queue, bounded──> task: [connect] ─> write in order ─> the oldest waits for the next answer
//! ```
//! Each call has a state that both sides change by compare-and-set: the task to *left* before the first byte is written, the
//! caller to *given up* when its deadline passes. Whoever is first is right, and so a caller knows whether its call is surely
//! not done. While there is no connection, calls wait or fail together with the attempt to make one; attempts are one at a
//! time, and the pause between them grows, however many calls there are.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};
use tracing::{debug, info};

use super::connect::{Connector, Opened};
use super::messages::{Call, Envelope, seal};
use super::{ANSWER_TIME_MAX, PeerAddress};

/// Calls that wait for one connection. Changes are batched before they come here and fetches are two at a time, so that
/// this many mean that nothing moves.
const CALLS_QUEUED_MAX: usize = 1024;

/// Calls on one connection that await their answers: as many as the other side starts.
const CALLS_UNANSWERED_MAX: usize = 64;

/// Bytes of calls that are waiting for the socket before further calls stay in the queue.
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;

/// The first pause between two attempts, and the longest: Kafka's `reconnect.backoff.ms` and its maximum.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connection that lasted so long was a good one: the next attempt is made at once.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Everything that is answered as soon as may be.
    Calls,
    /// Replication, whose answers wait for records.
    Fetches,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It did not leave.
    NotSent(String),
    /// It left, or may have.
    Lost(String),
}

/// The handle. The task ends when the last one is dropped.
#[derive(Debug, Clone)]
pub(super) struct Link {
    queue: mpsc::Sender<Asked>,
    trouble: Arc<Mutex<Option<String>>>,
}

/// A call on its way.
#[derive(Debug)]
struct Asked {
    call: Call,
    deadline: Instant,
    state: Arc<State>,
    answer: oneshot::Sender<Result<Envelope, Unanswered>>,
}

/// Who was first: see the module's story.
#[derive(Debug, Default)]
struct State(AtomicU8);

const WAITING: u8 = 0;
const LEFT: u8 = 1;
const GIVEN_UP: u8 = 2;

impl State {
    fn become_(&self, state: u8) -> bool {
        self.0.compare_exchange(WAITING, state, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl Link {
    pub(super) fn start(connector: Arc<Connector>, broker: i32, at: PeerAddress, purpose: Purpose) -> Self {
        let (queue, asked) = mpsc::channel(CALLS_QUEUED_MAX);
        let trouble = Arc::new(Mutex::new(None));
        let task = Task { connector, broker, at, purpose, trouble: Arc::clone(&trouble) };
        tokio::spawn(task.run(asked));
        Self { queue, trouble }
    }

    /// Sends `call` and waits for its answer, for `patience` at most.
    pub(super) async fn ask(&self, call: Call, patience: Duration) -> Result<Envelope, Unanswered> {
        let deadline = Instant::now() + patience;
        let state = Arc::new(State::default());
        let (answer, mut answered) = oneshot::channel();
        let asked = Asked { call, deadline, state: Arc::clone(&state), answer };
        if let Err(error) = self.queue.try_send(asked) {
            return Err(Unanswered::NotSent(match error {
                mpsc::error::TrySendError::Full(_) => format!("{CALLS_QUEUED_MAX} calls wait already"),
                mpsc::error::TrySendError::Closed(_) => "it is no longer known".to_owned(),
            }));
        }
        match timeout_at(deadline, &mut answered).await {
            Ok(Ok(answer)) => answer,
            // The task is gone: told to end, or the runtime is.
            Ok(Err(_)) if state.become_(GIVEN_UP) => Err(Unanswered::NotSent("it is no longer known".to_owned())),
            Ok(Err(_)) => Err(Unanswered::Lost("the connection was given up".to_owned())),
            Err(_) if state.become_(GIVEN_UP) => Err(Unanswered::NotSent(self.why_not_sent(patience))),
            Err(_) => match answered.try_recv() {
                // It came at the last moment.
                Ok(answer) => answer,
                Err(_) => Err(Unanswered::Lost(format!("nothing within {} ms", patience.as_millis()))),
            },
        }
    }

    fn why_not_sent(&self, patience: Duration) -> String {
        let waited = patience.as_millis();
        match &*self.trouble.lock() {
            Some(trouble) => format!("no connection within {waited} ms; the last attempt: {trouble}"),
            None => format!("its turn did not come within {waited} ms"),
        }
    }
}

struct Task {
    connector: Arc<Connector>,
    broker: i32,
    at: PeerAddress,
    purpose: Purpose,
    trouble: Arc<Mutex<Option<String>>>,
}

impl Task {
    async fn run(self, mut queue: mpsc::Receiver<Asked>) {
        let mut pause = Pause::default();
        while let Some(first) = queue.recv().await {
            pause.over().await;
            if first.answer.is_closed() {
                continue;
            }
            match self.connector.open(self.broker, &self.at).await {
                Ok(opened) => {
                    debug!(broker = self.broker, purpose = ?self.purpose, version = opened.version, "connected to a broker");
                    self.connector.local.losses.connected(self.broker);
                    *self.trouble.lock() = None;
                    let since = Instant::now();
                    let mut connection = Connection::new(opened, self.purpose, Arc::clone(&self.connector));
                    connection.take(first);
                    let ended = poll_fn(|cx| connection.poll(cx, &mut queue)).await;
                    debug!(broker = self.broker, purpose = ?self.purpose, why = %ended, "connection to a broker ended");
                    if !matches!(ended, Ended::OldEpoch | Ended::Forgotten) {
                        self.connector.local.losses.lost(self.broker, Instant::now());
                    }
                    connection.lose(&ended);
                    if since.elapsed() >= SETTLED_AFTER || matches!(ended, Ended::OldEpoch) {
                        pause = Pause::default();
                    } else {
                        pause.grow();
                    }
                    if matches!(ended, Ended::Forgotten) {
                        return;
                    }
                }
                Err(error) => {
                    let why = error.to_string();
                    // Told when it changes: a broker that is down is asked once a second, by many.
                    let news = self.trouble.lock().replace(why.clone()).is_none_or(|before| before != why);
                    if news {
                        info!(broker = self.broker, purpose = ?self.purpose, %why, "cannot connect to a broker");
                    }
                    pause.grow();
                    first.fail(&why);
                    while let Ok(asked) = queue.try_recv() {
                        asked.fail(&why);
                    }
                }
            }
        }
    }
}

impl Asked {
    fn fail(self, why: &str) {
        // A caller that gave up does not mind.
        let _ = self.answer.send(Err(Unanswered::NotSent(why.to_owned())));
    }
}

/// The pause before the next attempt, which doubles, and is never the same for two brokers.
#[derive(Default)]
struct Pause {
    until: Option<Instant>,
    last: Duration,
}

impl Pause {
    async fn over(&self) {
        if let Some(until) = self.until {
            sleep_until(until).await;
        }
    }

    fn grow(&mut self) {
        self.last = (self.last * 2).clamp(PAUSE_FIRST, PAUSE_MAX);
        self.until = Some(Instant::now() + jittered(self.last));
    }
}

/// Three quarters to five quarters of `pause`, so that brokers that lost the same peer do not come back all at once.
pub(super) fn jittered(pause: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness the pause is as it is.
    let _ = getrandom::fill(&mut byte);
    pause * 3 / 4 + pause * u32::from(byte[0]) / 510
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the peer closed it")]
    ByPeer,
    #[error("{0}")]
    Reading(#[from] crate::net::FrameError),
    #[error("{0}")]
    Writing(#[source] io::Error),
    #[error("an answer cannot be read: {0}")]
    Unreadable(#[from] super::messages::Unreadable),
    #[error("an answer with number {came} came for call {expected:?}")]
    OutOfOrder { expected: Option<u32>, came: u32 },
    #[error("an answer of version {0} came, which was not agreed")]
    Version(u8),
    #[error("no answer came in {} s", .0.as_secs())]
    Stalled(Duration),
    /// This broker has registered anew, and its next connection says so.
    #[error("this broker has another epoch")]
    OldEpoch,
    #[error("the broker is no longer known")]
    Forgotten,
}

/// A call that left.
struct Unfinished {
    correlation: u32,
    /// How long its answer may take once its turn has come.
    patience: Duration,
    answer: oneshot::Sender<Result<Envelope, Unanswered>>,
}

struct Connection {
    opened: Opened,
    purpose: Purpose,
    connector: Arc<Connector>,
    next: u32,
    unwritten: VecDeque<Bytes>,
    unwritten_bytes: usize,
    flushed: bool,
    unfinished: VecDeque<Unfinished>,
    /// When the oldest call's turn came, or a byte of its answer.
    active_at: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(opened: Opened, purpose: Purpose, connector: Arc<Connector>) -> Self {
        Self {
            opened,
            purpose,
            connector,
            next: 1,
            unwritten: VecDeque::new(),
            unwritten_bytes: 0,
            flushed: true,
            unfinished: VecDeque::new(),
            active_at: Instant::now(),
            timer: Box::pin(sleep(ANSWER_TIME_MAX)),
        }
    }

    /// Gets on with everything; ready when the connection is over.
    fn poll(&mut self, cx: &mut Context<'_>, queue: &mut mpsc::Receiver<Asked>) -> Poll<Ended> {
        match self.poll_turn(cx, queue) {
            Err(ended) => Poll::Ready(ended),
            Ok(()) => Poll::Pending,
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, queue: &mut mpsc::Receiver<Asked>) -> Result<(), Ended> {
        loop {
            self.poll_read(cx)?;
            let took = self.poll_queue(cx, queue)?;
            let was_full = self.unwritten_bytes >= UNWRITTEN_BYTES_MAX;
            self.poll_write(cx).map_err(Ended::Writing)?;
            // Room that has come: the queue was not looked at without it, and nothing else would wake this.
            let has_room = was_full && self.unwritten_bytes < UNWRITTEN_BYTES_MAX;
            if !took && !has_room {
                break;
            }
        }
        self.poll_timer(cx)
    }

    /// Takes the next call from the queue, if there is room. Says whether it did.
    fn poll_queue(&mut self, cx: &mut Context<'_>, queue: &mut mpsc::Receiver<Asked>) -> Result<bool, Ended> {
        if self.is_old() {
            return if self.unfinished.is_empty() { Err(Ended::OldEpoch) } else { Ok(false) };
        }
        if self.unfinished.len() >= CALLS_UNANSWERED_MAX || self.unwritten_bytes >= UNWRITTEN_BYTES_MAX {
            return Ok(false);
        }
        match queue.poll_recv(cx) {
            Poll::Ready(Some(asked)) => {
                self.take(asked);
                Ok(true)
            }
            Poll::Ready(None) if self.unfinished.is_empty() => Err(Ended::Forgotten),
            Poll::Ready(None) | Poll::Pending => Ok(false),
        }
    }

    /// Whether the peer knows this broker by an epoch that is over.
    fn is_old(&self) -> bool {
        *self.connector.local.epoch.borrow() != self.opened.our_epoch
    }

    /// Puts a call on its way, unless its caller has given up.
    fn take(&mut self, asked: Asked) {
        let Asked { call, deadline, state, answer } = asked;
        let correlation = self.next;
        let frame = match seal(self.opened.version, correlation, &call, 0) {
            Ok(frame) => frame,
            Err(error) => {
                let _ = answer.send(Err(Unanswered::NotSent(error.to_string())));
                return;
            }
        };
        if answer.is_closed() || !state.become_(LEFT) {
            return;
        }
        self.next = self.next.wrapping_add(1);
        self.unwritten_bytes += frame.len();
        self.unwritten.push_back(frame);
        let now = Instant::now();
        if self.unfinished.is_empty() {
            self.active_at = now;
        }
        let patience = match self.purpose {
            Purpose::Calls => ANSWER_TIME_MAX,
            Purpose::Fetches => deadline.saturating_duration_since(now),
        };
        self.unfinished.push_back(Unfinished { correlation, patience, answer });
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut io = Pin::new(&mut self.opened.io);
        while let Some(first) = self.unwritten.front_mut() {
            match io.as_mut().poll_write(cx, first) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.flushed = false;
                    self.unwritten_bytes -= n;
                    first.advance(n);
                    if first.is_empty() {
                        self.unwritten.pop_front();
                    }
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        if !self.flushed
            && let Poll::Ready(flushed) = io.as_mut().poll_flush(cx)
        {
            flushed?;
            self.flushed = true;
        }
        Ok(())
    }

    /// Hands out all answers that have come.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let before = self.opened.reader.unfinished();
            let frame = match self.opened.reader.poll_frame(cx, &mut self.opened.io) {
                Poll::Pending => {
                    if self.opened.reader.unfinished() != before {
                        self.active_at = Instant::now();
                    }
                    return Ok(());
                }
                Poll::Ready(frame) => frame?.ok_or(Ended::ByPeer)?,
            };
            let envelope = Envelope::open(frame)?;
            if envelope.version != self.opened.version {
                return Err(Ended::Version(envelope.version));
            }
            let expected = self.unfinished.front().map(|oldest| oldest.correlation);
            let Some(oldest) = self.unfinished.pop_front_if(|oldest| oldest.correlation == envelope.correlation) else {
                return Err(Ended::OutOfOrder { expected, came: envelope.correlation });
            };
            self.active_at = Instant::now();
            // A caller that gave up does not mind.
            let _ = oldest.answer.send(Ok(envelope));
        }
    }

    /// The connection is given up when the oldest call's answer does not come: whatever waits behind it is stuck as well.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        let Some(oldest) = self.unfinished.front() else { return Ok(()) };
        let due = self.active_at + oldest.patience;
        if due <= Instant::now() {
            return Err(Ended::Stalled(oldest.patience));
        }
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        // Ready only when the deadline has passed since the look at the clock above.
        match self.timer.as_mut().poll(cx) {
            Poll::Ready(()) => Err(Ended::Stalled(oldest.patience)),
            Poll::Pending => Ok(()),
        }
    }

    /// Tells all whose calls left.
    fn lose(self, ended: &Ended) {
        for unfinished in self.unfinished {
            let _ = unfinished.answer.send(Err(Unanswered::Lost(ended.to_string())));
        }
    }
}
