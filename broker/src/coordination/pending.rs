//! A change that was asked for and not yet answered, whatever kind it is.

use sluice_cluster::decide::{Change, Decided, Given};
use sluice_cluster::{Image, MetadataRecord};
use tokio::sync::oneshot;

use super::metadata::SubmitError;

/// A change of any kind on its way through the controller: decided once, then answered once.
pub(super) trait Pending: Send {
    /// Decides. Nothing, if it was refused: then it is answered already.
    fn decide(&mut self, image: &Image, given: &mut Given<'_>) -> Option<Records>;

    /// Answers: what was decided is true now.
    fn committed(self: Box<Self>);

    /// Answers: it was not made, or nobody knows.
    fn failed(self: Box<Self>, why: Failure);
}

/// What to append for it.
pub(super) struct Records {
    pub(super) records: Vec<MetadataRecord>,
    pub(super) may_split: bool,
}

/// Why a change that was not refused was not made, if it was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    Unavailable { why: String },
    TooLarge { bytes: usize, max: usize },
    Unknown { why: String },
}

/// How a change is answered.
pub(super) type Answer<C> = Result<<C as Change>::Answer, SubmitError<<C as Change>::Error>>;

pub(super) struct Submission<C: Change> {
    change: C,
    decided: Option<C::Answer>,
    reply: Option<oneshot::Sender<Answer<C>>>,
}

impl<C: Change> Submission<C> {
    pub(super) fn new(change: C) -> (Self, oneshot::Receiver<Answer<C>>) {
        let (reply, answer) = oneshot::channel();
        (Self { change, decided: None, reply: Some(reply) }, answer)
    }

    /// Whoever asked may have gone; then nobody is told.
    fn reply(&mut self, answer: Answer<C>) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(answer);
        }
    }
}

impl<C: Change> Pending for Submission<C> {
    fn decide(&mut self, image: &Image, given: &mut Given<'_>) -> Option<Records> {
        match self.change.decide(image, given) {
            Ok(Decided { records, answer, may_split }) => {
                self.decided = Some(answer);
                Some(Records { records, may_split })
            }
            Err(error) => {
                self.reply(Err(SubmitError::Refused(error)));
                None
            }
        }
    }

    fn committed(mut self: Box<Self>) {
        let answer = self.decided.take().expect("what is committed was decided");
        self.reply(Ok(answer));
    }

    fn failed(mut self: Box<Self>, why: Failure) {
        self.reply(Err(match why {
            Failure::Unavailable { why } => SubmitError::Unavailable { why },
            Failure::TooLarge { bytes, max } => SubmitError::TooLarge { bytes, max },
            Failure::Unknown { why } => SubmitError::Unknown { why },
        }));
    }
}
