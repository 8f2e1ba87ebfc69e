//! A change that was asked for and not yet answered, whatever kind it is.

use std::sync::Arc;

use sluice_cluster::decide::{Change, Decided, Given};
use sluice_cluster::{Image, MetadataRecord};
use tokio::sync::oneshot;

/// A change of any kind on its way through the controller: decided once, then answered once.
pub(super) trait Pending: Send {
    /// Decides. Nothing, if it was refused: then it is answered already.
    fn decide(&mut self, image: &Image, given: &mut Given<'_>) -> Option<Records>;

    /// Answers: what was decided is true now, in an image of so many entries.
    fn committed(self: Box<Self>, next_seq: u64);

    /// Answers: it was not made, or nobody knows.
    fn failed(self: Box<Self>, why: Failure);
}

/// What to append for it.
pub(super) struct Records {
    pub(super) records: Vec<MetadataRecord>,
    pub(super) may_split: bool,
    /// The change's.
    pub(super) kind: u16,
}

/// Why a change that was not refused was not made, if it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not: this broker doesn't hold the seat, or not any longer. Another may.
    NotController,
    Unavailable {
        why: String,
    },
    TooLarge {
        bytes: usize,
        max: usize,
    },
    Unknown {
        why: String,
    },
}

/// What a change has come to.
#[derive(Debug)]
pub(super) struct Made<A> {
    pub(super) answer: A,
    /// Entries in the image that has it.
    pub(super) next_seq: u64,
}

/// Why a change was not made, if it was not.
#[derive(Debug)]
pub(super) enum NotMade<E> {
    /// It was decided against.
    Refused(E),
    Failed(Failure),
}

/// How a change is answered.
pub(super) type Outcome<C> = Result<Made<<C as Change>::Answer>, NotMade<<C as Change>::Error>>;

pub(super) struct Submission<C: Change> {
    change: Arc<C>,
    decided: Option<C::Answer>,
    reply: Option<oneshot::Sender<Outcome<C>>>,
}

impl<C: Change> Submission<C> {
    pub(super) fn new(change: Arc<C>) -> (Self, oneshot::Receiver<Outcome<C>>) {
        let (reply, answer) = oneshot::channel();
        (Self { change, decided: None, reply: Some(reply) }, answer)
    }

    /// Whoever asked may have gone; then nobody is told.
    fn reply(&mut self, outcome: Outcome<C>) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(outcome);
        }
    }
}

impl<C: Change + Sync> Pending for Submission<C> {
    fn decide(&mut self, image: &Image, given: &mut Given<'_>) -> Option<Records> {
        match self.change.decide(image, given) {
            Ok(Decided { records, answer, may_split }) => {
                self.decided = Some(answer);
                Some(Records { records, may_split, kind: C::KIND })
            }
            Err(error) => {
                self.reply(Err(NotMade::Refused(error)));
                None
            }
        }
    }

    fn committed(mut self: Box<Self>, next_seq: u64) {
        let answer = self.decided.take().expect("what is committed was decided");
        self.reply(Ok(Made { answer, next_seq }));
    }

    fn failed(mut self: Box<Self>, why: Failure) {
        self.reply(Err(NotMade::Failed(why)));
    }
}
