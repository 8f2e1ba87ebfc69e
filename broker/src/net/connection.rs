//! One connection: one task that reads frames, hands them to the service in order, and writes the answers in order.
//!
//! ```text
//!   reader ──frame──> service.start ──> waiting: [done | later | later | done] ──in order──> writer
//! ```
//! Reading goes on while answers are awaited, up to the connection's bounds; while a request is being started the
//! earlier answers still go out. Nothing is handed to another task, so a request costs no wake-up of another thread.
//! Answers are written in the order of the requests because Kafka promises it and clients rely on it: librdkafka and the
//! Java client take an answer out of order for a broken broker.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use sluice_protocol::records::Chunks;
use tokio::{
    io::AsyncWriteExt,
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Limits, Outcome, Peer, Service, Started,
    answers::AnswerWriter,
    frames::{FrameError, FrameReader},
    memory::NetworkMemory,
    transport::Transport,
};

/// Requests of one connection that may await their answers. Clients keep 5 (the idempotent producer's bound); librdkafka
/// sends more without idempotence. Beyond this the next request waits in the socket.
const REQUESTS_WAITING_MAX: usize = 64;

/// Bytes of answers that are queued for the socket before further answers have to wait where they are.
const UNWRITTEN_BYTES_MAX: usize = 1 << 20;

/// How often it is looked whether memory is short, while a frame is older than it may be when memory is.
const SHORTAGE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the polite end of a connection may take: the last flush and TLS' close_notify.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Closed {
    #[error("the peer left")]
    ByPeer,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("writing failed: {0}")]
    Write(#[source] std::io::Error),
    #[error("{0}")]
    ByService(Cow<'static, str>),
    #[error("nothing was sent or taken for {}, see connections.max.idle.ms", Seconds(*.0))]
    Idle(Duration),
    #[error("a frame took more than {} while others waited for memory, see sluice.frame.timeout.ms", Seconds(*.0))]
    SlowFrame(Duration),
    #[error("the broker is shutting down")]
    ShuttingDown,
}

/// Serves one connection until either side ends it.
pub(super) async fn serve<S: Service>(
    io: Transport,
    peer: Peer,
    service: &S,
    limits: &Limits,
    memory: Arc<NetworkMemory>,
    stop: watch::Receiver<bool>,
) -> Closed {
    let mut state = service.connected(peer);
    let mut connection = Connection::new(io, limits, memory, stop);
    let closed = loop {
        let frame = match poll_fn(|cx| connection.poll_turn(cx)).await {
            Ok(frame) => frame,
            Err(closed) => break closed,
        };
        let bytes = frame.len();
        let mut start = pin!(service.start(&mut state, frame));
        let started = poll_fn(|cx| {
            if let Poll::Ready(started) = start.as_mut().poll(cx) {
                return Poll::Ready(Ok(started));
            }
            match connection.poll_answers(cx) {
                Ok(()) => Poll::Pending,
                Err(closed) => Poll::Ready(Err(closed)),
            }
        })
        .await;
        match started {
            Ok(started) => connection.push(bytes, started),
            Err(closed) => break closed,
        }
    };
    connection.close().await;
    closed
}

/// Ends when the broker shuts down.
pub(super) async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, and with it the broker: the same as being told.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A request that was started and whose answer has not been handed to the writer.
struct Waiting {
    bytes: usize,
    state: WaitingState,
}

enum WaitingState {
    Later(BoxFuture<'static, Outcome>),
    Done(Outcome),
}

struct Connection {
    io: Transport,
    reader: FrameReader,
    writer: AnswerWriter,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    waiting_bytes_max: usize,
    /// No more requests are started: the service wants the connection closed.
    ending: bool,
    /// No more requests are started: the broker is shutting down.
    draining: bool,
    stop: BoxFuture<'static, ()>,
    memory: Arc<NetworkMemory>,
    idle_max: Duration,
    frame_age_max: Duration,
    active_at: Instant,
    frame_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Connection {
    fn new(io: Transport, limits: &Limits, memory: Arc<NetworkMemory>, mut stop: watch::Receiver<bool>) -> Self {
        let now = Instant::now();
        Self {
            io,
            reader: FrameReader::new(Arc::clone(&memory), limits.frame_bytes_max),
            writer: AnswerWriter::new(Arc::clone(&memory)),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            waiting_bytes_max: limits.inflight_bytes_max,
            ending: false,
            draining: false,
            stop: Box::pin(async move { told_to_stop(&mut stop).await }),
            memory,
            idle_max: limits.idle_max,
            frame_age_max: limits.frame_age_while_short_max,
            active_at: now,
            frame_since: None,
            timer: Box::pin(sleep_until(now + limits.idle_max)),
        }
    }

    /// Gets on with everything; ready with the next frame, or when the connection is over.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunks, Closed>> {
        if let Err(closed) = self.poll_answers(cx) {
            return Poll::Ready(Err(closed));
        }
        if !self.draining && self.stop.as_mut().poll(cx).is_ready() {
            self.draining = true;
        }
        if self.draining && self.waiting.is_empty() && self.writer.is_idle() {
            return Poll::Ready(Err(Closed::ShuttingDown));
        }
        if self.may_start_another() {
            let before = self.reader.unfinished();
            if let Poll::Ready(frame) = self.reader.poll_frame(cx, &mut self.io) {
                self.active_at = Instant::now();
                self.frame_since = None;
                return Poll::Ready(match frame {
                    Ok(Some(frame)) => Ok(frame),
                    Ok(None) => Err(Closed::ByPeer),
                    Err(error) => Err(error.into()),
                });
            }
            self.note_unfinished_frame(before);
        }
        self.poll_timer(cx)
    }

    fn may_start_another(&self) -> bool {
        !self.ending
            && !self.draining
            && self.waiting.len() < REQUESTS_WAITING_MAX
            && self.waiting_bytes < self.waiting_bytes_max
            && self.writer.unwritten() < UNWRITTEN_BYTES_MAX
    }

    /// What the service made of a frame of `bytes`.
    fn push(&mut self, bytes: usize, started: Started) {
        let state = match started {
            Started::Answer(parts) => WaitingState::Done(Outcome::Answer(parts)),
            Started::Later(future) => WaitingState::Later(future),
            Started::None => return,
            Started::Close(why) => WaitingState::Done(Outcome::Close(why)),
            Started::Farewell(parts, why) => {
                self.push(bytes, Started::Answer(parts));
                return self.push(0, Started::Close(why));
            }
        };
        if matches!(state, WaitingState::Done(Outcome::Close(_))) {
            self.ending = true;
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(Waiting { bytes, state });
    }

    /// Gets on with the waiting requests, moves answers to the writer in order, and writes.
    fn poll_answers(&mut self, cx: &mut Context<'_>) -> Result<(), Closed> {
        loop {
            for waiting in &mut self.waiting {
                if let WaitingState::Later(future) = &mut waiting.state
                    && let Poll::Ready(outcome) = future.as_mut().poll(cx)
                {
                    waiting.state = WaitingState::Done(outcome);
                }
            }
            let closed = self.hand_over();
            let mut progress = false;
            let written = self.writer.poll_write(cx, &mut self.io, &mut progress);
            if progress {
                self.active_at = Instant::now();
            }
            match (written, closed) {
                (Poll::Ready(Err(error)), _) => return Err(Closed::Write(error)),
                (Poll::Ready(Ok(())), Some(why)) => return Err(Closed::ByService(why)),
                (Poll::Ready(Ok(())), None) if self.head_is_done() => {} // there is room again
                (Poll::Ready(Ok(())), None) | (Poll::Pending, _) => return Ok(()),
            }
        }
    }

    /// Moves finished answers from the front to the writer while it has room. Says why the connection is to be closed,
    /// if that is what comes next.
    fn hand_over(&mut self) -> Option<Cow<'static, str>> {
        while self.writer.unwritten() < UNWRITTEN_BYTES_MAX && self.head_is_done() {
            if let Some(Waiting { state: WaitingState::Done(Outcome::Close(why)), .. }) = self.waiting.front() {
                // Stays at the front, so that it is found again if the writer is not done yet.
                self.ending = true;
                return Some(why.clone());
            }
            let Some(Waiting { bytes, state }) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= bytes;
            if let WaitingState::Done(Outcome::Answer(parts)) = state {
                self.writer.push(parts);
            }
        }
        None
    }

    fn head_is_done(&self) -> bool {
        matches!(self.waiting.front(), Some(Waiting { state: WaitingState::Done(_), .. }))
    }

    /// Remembers since when a frame has been incomplete, and that bytes have arrived.
    fn note_unfinished_frame(&mut self, before: usize) {
        let unfinished = self.reader.unfinished();
        if unfinished != before {
            self.active_at = Instant::now();
        }
        if unfinished == 0 {
            self.frame_since = None;
        } else if self.frame_since.is_none() {
            let now = Instant::now();
            self.frame_since = Some(now);
            if self.timer.deadline() > now + self.frame_age_max {
                self.timer.as_mut().reset(now + self.frame_age_max);
            }
        }
    }

    /// The timer is only ever set too early, and looks at what is due when it fires: most connections are busy, and
    /// moving a timer for each request would cost more than the request's parsing.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Chunks, Closed>> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let mut next = self.active_at + self.idle_max;
            if self.waiting.is_empty() || !self.writer.is_idle() {
                if next <= now {
                    return Poll::Ready(Err(Closed::Idle(self.idle_max)));
                }
            } else {
                // The peer waits for us; its own patience, not ours, says how long.
                next = now + self.idle_max;
            }
            if let Some(since) = self.frame_since.filter(|_| self.may_start_another()) {
                let aged = since + self.frame_age_max;
                if aged <= now && self.memory.is_short() {
                    return Poll::Ready(Err(Closed::SlowFrame(self.frame_age_max)));
                }
                next = next.min(if aged <= now { now + SHORTAGE_CHECK_INTERVAL } else { aged });
            }
            self.timer.as_mut().reset(next);
        }
        Poll::Pending
    }

    /// Ends the connection politely, within a bound.
    async fn close(mut self) {
        // Whatever goes wrong here, the connection ends; there is nobody left to tell.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.io.shutdown()).await;
    }
}

/// A duration as people say it.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}
