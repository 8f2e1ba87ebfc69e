//! What came of each event, put together from what three clients tell in whatever order. Knows no clock and no socket.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::stream::{Fact, Outcome, Read};
use crate::cli::error::CliError;

/// How many events came how far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// Sent and answered.
    pub(super) sent: u64,
    /// Read back from the topic.
    pub(super) stored: u64,
    /// Refused by the gate.
    pub(super) refused: u64,
    /// Read from the view.
    pub(super) seen_in_view: u64,
}

/// All that there is to say about one event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Story {
    /// Its number among those sent, from 1.
    pub(super) number: u64,
    /// The event as it was sent.
    pub(super) sent: &'static str,
    /// What came of it.
    pub(super) end: End,
}

/// What came of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The gate refused it.
    Refused {
        /// What it told the producer.
        why: String,
    },
    /// The topic has it.
    Stored {
        /// Where.
        offset: i64,
        /// As it was read back.
        stored: Bytes,
        /// As the view shows it, if it does.
        seen: Option<Bytes>,
    },
}

/// Puts facts together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Counts,
    acknowledged: u64,
    all_sent: bool,
    /// The offset after the last acknowledged event.
    end: i64,
    stored_to: i64,
    seen_to: i64,
    /// Acknowledged events that not both readers have passed yet, by offset.
    waiting: BTreeMap<i64, (u64, &'static str)>,
    stored: BTreeMap<i64, Bytes>,
    seen: BTreeMap<i64, Bytes>,
}

impl Tally {
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes a fact in and gives the stories that it completes.
    pub(super) fn take(&mut self, fact: Fact) -> Vec<Story> {
        match fact {
            Fact::Sent { event, outcome } => {
                self.counts.sent += 1;
                match outcome {
                    Outcome::Refused { why } => {
                        self.counts.refused += 1;
                        return vec![Story { number: self.counts.sent, sent: event, end: End::Refused { why } }];
                    }
                    Outcome::Stored { offset } => {
                        self.acknowledged += 1;
                        self.end = offset + 1;
                        self.waiting.insert(offset, (self.counts.sent, event));
                    }
                }
            }
            Fact::AllSent => self.all_sent = true,
            Fact::Stored(read) => {
                self.counts.stored += count(&read);
                self.stored_to = read.position;
                self.stored.extend(values(read));
            }
            Fact::Seen(read) => {
                self.counts.seen_in_view += count(&read);
                self.seen_to = read.position;
                self.seen.extend(values(read));
            }
        }
        self.completed()
    }

    /// Whether all events were sent and both readers have passed the last that was acknowledged.
    pub(super) fn is_complete(&self) -> bool {
        self.all_sent && self.stored_to.min(self.seen_to) >= self.end
    }

    /// Holds what was read back against what was acknowledged.
    pub(super) fn checked(self) -> Result<Self, CliError> {
        if self.counts.stored == self.acknowledged {
            return Ok(self);
        }
        let Counts { stored, .. } = self.counts;
        Err(CliError::failed(format!("{} events were acknowledged, and {stored} were read back", self.acknowledged)))
    }

    fn completed(&mut self) -> Vec<Story> {
        let read_to = self.stored_to.min(self.seen_to);
        let mut stories = Vec::new();
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() < read_to
        {
            let (offset, (number, sent)) = entry.remove_entry();
            // Without a value there is nothing to show; that it is missing comes out in `checked`.
            if let Some(stored) = self.stored.remove(&offset) {
                let seen = self.seen.remove(&offset);
                stories.push(Story { number, sent, end: End::Stored { offset, stored, seen } });
            }
        }
        // What others wrote has no story, and neither has what was told of already.
        let told_to = self.waiting.keys().next().copied().unwrap_or(self.end);
        self.stored = self.stored.split_off(&told_to);
        self.seen = self.seen.split_off(&told_to);
        stories
    }
}

fn count(read: &Read) -> u64 {
    read.records.len() as u64
}

fn values(read: Read) -> impl Iterator<Item = (i64, Bytes)> {
    read.records.into_iter().map(|record| (record.offset, record.value.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Consumed;

    fn stored_at(offset: i64) -> Fact {
        Fact::Sent { event: "sent", outcome: Outcome::Stored { offset } }
    }

    fn read(offsets: &[i64], position: i64) -> Read {
        let record = |&offset: &i64| Consumed {
            partition: 0,
            offset,
            timestamp: 0,
            key: None,
            value: Some(Bytes::from(format!("value {offset}"))),
            headers: Vec::new(),
        };
        Read { records: offsets.iter().map(record).collect(), position }
    }

    fn story(number: u64, offset: i64, seen: bool) -> Story {
        let value = Bytes::from(format!("value {offset}"));
        let seen = seen.then(|| value.clone());
        Story { number, sent: "sent", end: End::Stored { offset, stored: value, seen } }
    }

    #[test]
    fn a_story_is_told_once_all_three_clients_have_passed_it() {
        let facts = || {
            [
                vec![stored_at(0), stored_at(1)],
                vec![Fact::Stored(read(&[0, 1], 2))],
                vec![Fact::Seen(read(&[], 1)), Fact::Seen(read(&[1], 2))],
            ]
        };
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut facts = facts();
            let mut tally = Tally::default();
            let told: Vec<Story> = order
                .into_iter()
                .flat_map(|client| std::mem::take(&mut facts[client]))
                .flat_map(|fact| tally.take(fact))
                .collect();
            assert_eq!(told, [story(1, 0, false), story(2, 1, true)], "{order:?}");
            let counts = Counts { sent: 2, stored: 2, refused: 0, seen_in_view: 1 };
            assert_eq!(*tally.counts(), counts, "{order:?}");
            assert!(!tally.is_complete(), "more may be sent");
            assert!(tally.take(Fact::AllSent).is_empty() && tally.is_complete());
            tally.checked().expect("all is there");
        }
    }

    #[test]
    fn a_refusal_is_told_at_once() {
        let mut tally = Tally::default();
        let outcome = Outcome::Refused { why: "no".to_owned() };
        let told = tally.take(Fact::Sent { event: "blast", outcome });
        assert_eq!(told, [Story { number: 1, sent: "blast", end: End::Refused { why: "no".to_owned() } }]);
        tally.take(Fact::AllSent);
        assert!(tally.is_complete(), "nothing was stored, so there is nothing to wait for");
    }

    #[test]
    fn what_others_write_is_counted_and_not_kept() {
        let mut tally = Tally::default();
        tally.take(stored_at(0));
        tally.take(Fact::Stored(read(&[0, 1, 2], 3)));
        tally.take(Fact::Seen(read(&[0, 1, 2], 3)));
        tally.take(stored_at(3));
        tally.take(Fact::Stored(read(&[3], 4)));
        assert_eq!(tally.take(Fact::Seen(read(&[3], 4))), [story(2, 3, true)]);
        assert_eq!((tally.stored.len(), tally.seen.len(), tally.waiting.len()), (0, 0, 0));
        assert_eq!(tally.counts().stored, 4);
    }

    #[test]
    fn what_was_acknowledged_and_is_not_there_fails_the_demo() {
        let mut tally = Tally::default();
        tally.take(stored_at(0));
        tally.take(Fact::AllSent);
        tally.take(Fact::Stored(read(&[], 1)));
        tally.take(Fact::Seen(read(&[], 1)));
        assert!(tally.is_complete());
        let error = tally.checked().expect_err("one is missing").to_string();
        assert_eq!(error, "error: 1 events were acknowledged, and 0 were read back\n");
    }
}
