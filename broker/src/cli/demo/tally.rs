//! What came of each event, put together from what three clients tell in whatever order. Knows no clock and no socket.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;

use super::stream::{Outcome, Read};
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
        at: Place,
        /// As it was read back.
        stored: Bytes,
        /// As the view shows it, if it does.
        seen: Option<Bytes>,
    },
}

/// Where a record is in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// Puts facts together.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: Counts,
    acknowledged: u64,
    all_sent: bool,
    lanes: BTreeMap<i32, Lane>,
}

/// One partition's events.
#[derive(Debug, Default)]
struct Lane {
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

    /// Takes in what came of an event that was sent, and gives the stories that it completes.
    pub(super) fn sent(&mut self, event: &'static str, outcome: Outcome) -> Vec<Story> {
        self.counts.sent += 1;
        match outcome {
            Outcome::Refused { why } => {
                self.counts.refused += 1;
                vec![Story { number: self.counts.sent, sent: event, end: End::Refused { why } }]
            }
            Outcome::Stored(Place { partition, offset }) => {
                self.acknowledged += 1;
                let lane = self.lanes.entry(partition).or_default();
                lane.end = offset + 1;
                lane.waiting.insert(offset, (self.counts.sent, event));
                self.completed()
            }
        }
    }

    /// Nothing more is sent.
    pub(super) const fn all_sent(&mut self) {
        self.all_sent = true;
    }

    /// Takes in what the topic's reader read.
    pub(super) fn stored(&mut self, read: Read) -> Vec<Story> {
        self.counts.stored += read.records.len() as u64;
        for (partition, position) in read.positions {
            self.lanes.entry(partition).or_default().stored_to = position;
        }
        for record in read.records {
            let lane = self.lanes.entry(record.partition).or_default();
            lane.stored.insert(record.offset, record.value.unwrap_or_default());
        }
        self.completed()
    }

    /// Takes in what the view's reader read.
    pub(super) fn seen(&mut self, read: Read) -> Vec<Story> {
        self.counts.seen_in_view += read.records.len() as u64;
        for (partition, position) in read.positions {
            self.lanes.entry(partition).or_default().seen_to = position;
        }
        for record in read.records {
            let lane = self.lanes.entry(record.partition).or_default();
            lane.seen.insert(record.offset, record.value.unwrap_or_default());
        }
        self.completed()
    }

    /// Whether all events were sent and both readers have passed the last that was acknowledged.
    pub(super) fn is_complete(&self) -> bool {
        self.all_sent && self.lanes.values().all(|lane| lane.read_to() >= lane.end)
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
        let mut stories: Vec<Story> =
            self.lanes.iter_mut().flat_map(|(&partition, lane)| lane.completed(partition)).collect();
        stories.sort_by_key(|story| story.number);
        stories
    }
}

impl Lane {
    /// The offset that both readers have passed.
    fn read_to(&self) -> i64 {
        self.stored_to.min(self.seen_to)
    }

    fn completed(&mut self, partition: i32) -> Vec<Story> {
        let read_to = self.read_to();
        let mut stories = Vec::new();
        while let Some(entry) = self.waiting.first_entry()
            && *entry.key() < read_to
        {
            let (offset, (number, sent)) = entry.remove_entry();
            // Without a value there is nothing to show; that it is missing comes out in `checked`.
            if let Some(stored) = self.stored.remove(&offset) {
                let seen = self.seen.remove(&offset);
                stories.push(Story {
                    number,
                    sent,
                    end: End::Stored { at: Place { partition, offset }, stored, seen },
                });
            }
        }
        // What others wrote has no story, and neither has what was told of already.
        let told_to = self.waiting.keys().next().copied().unwrap_or(self.end);
        self.stored = self.stored.split_off(&told_to);
        self.seen = self.seen.split_off(&told_to);
        stories
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Consumed;

    /// A client's word.
    #[derive(Clone)]
    enum Told {
        Sent(i32, i64),
        Stored(Vec<(i32, i64)>, Vec<(i32, i64)>),
        Seen(Vec<(i32, i64)>, Vec<(i32, i64)>),
    }

    fn value(partition: i32, offset: i64) -> Bytes {
        Bytes::from(format!("value {partition}:{offset}"))
    }

    fn read(places: Vec<(i32, i64)>, positions: Vec<(i32, i64)>) -> Read {
        let record = |(partition, offset)| Consumed {
            partition,
            offset,
            timestamp: 0,
            key: None,
            value: Some(value(partition, offset)),
            headers: Vec::new(),
        };
        Read { records: places.into_iter().map(record).collect(), positions }
    }

    fn take(tally: &mut Tally, told: Told) -> Vec<Story> {
        match told {
            Told::Sent(partition, offset) => tally.sent("sent", Outcome::Stored(Place { partition, offset })),
            Told::Stored(places, positions) => tally.stored(read(places, positions)),
            Told::Seen(places, positions) => tally.seen(read(places, positions)),
        }
    }

    fn story(number: u64, partition: i32, offset: i64, seen: bool) -> Story {
        let stored = value(partition, offset);
        let seen = seen.then(|| stored.clone());
        Story { number, sent: "sent", end: End::Stored { at: Place { partition, offset }, stored, seen } }
    }

    #[test]
    fn a_story_is_told_once_all_three_clients_have_passed_it() {
        let clients = [
            vec![Told::Sent(0, 0), Told::Sent(0, 1), Told::Sent(2, 0)],
            vec![Told::Stored(vec![(0, 0), (2, 0), (0, 1)], vec![(0, 2), (2, 1)])],
            vec![Told::Seen(vec![], vec![(0, 1)]), Told::Seen(vec![(0, 1)], vec![(0, 2), (2, 1)])],
        ];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut tally = Tally::default();
            let words = order.into_iter().flat_map(|client| clients[client].clone());
            let mut told: Vec<Story> = words.flat_map(|word| take(&mut tally, word)).collect();
            told.sort_by_key(|story| story.number);
            let expected = [story(1, 0, 0, false), story(2, 0, 1, true), story(3, 2, 0, false)];
            assert_eq!(told, expected, "{order:?}");
            let counts = Counts { sent: 3, stored: 3, refused: 0, seen_in_view: 1 };
            assert_eq!(*tally.counts(), counts, "{order:?}");
            assert!(!tally.is_complete(), "more may be sent");
            tally.all_sent();
            assert!(tally.is_complete());
            tally.checked().expect("all is there");
        }
    }

    #[test]
    fn a_partition_that_stands_still_holds_up_no_other() {
        let mut tally = Tally::default();
        take(&mut tally, Told::Sent(0, 0));
        take(&mut tally, Told::Sent(1, 0));
        take(&mut tally, Told::Stored(vec![(1, 0)], vec![(0, 0), (1, 1)]));
        assert_eq!(take(&mut tally, Told::Seen(vec![], vec![(0, 0), (1, 1)])), [story(2, 1, 0, false)]);
        tally.all_sent();
        assert!(!tally.is_complete(), "0:0 has not been read");
    }

    #[test]
    fn a_refusal_is_told_at_once() {
        let mut tally = Tally::default();
        let told = tally.sent("blast", Outcome::Refused { why: "no".to_owned() });
        assert_eq!(told, [Story { number: 1, sent: "blast", end: End::Refused { why: "no".to_owned() } }]);
        tally.all_sent();
        assert!(tally.is_complete(), "nothing was stored, so there is nothing to wait for");
    }

    #[test]
    fn what_others_write_is_counted_and_not_kept() {
        let mut tally = Tally::default();
        take(&mut tally, Told::Sent(0, 0));
        let all = vec![(0, 0), (0, 1), (0, 2)];
        take(&mut tally, Told::Stored(all.clone(), vec![(0, 3)]));
        take(&mut tally, Told::Seen(all, vec![(0, 3)]));
        take(&mut tally, Told::Sent(0, 3));
        take(&mut tally, Told::Stored(vec![(0, 3)], vec![(0, 4)]));
        assert_eq!(take(&mut tally, Told::Seen(vec![(0, 3)], vec![(0, 4)])), [story(2, 0, 3, true)]);
        let lane = &tally.lanes[&0];
        assert_eq!((lane.stored.len(), lane.seen.len(), lane.waiting.len()), (0, 0, 0));
        assert_eq!(tally.counts().stored, 4);
    }

    #[test]
    fn what_was_acknowledged_and_is_not_there_fails_the_demo() {
        let mut tally = Tally::default();
        take(&mut tally, Told::Sent(0, 0));
        tally.all_sent();
        take(&mut tally, Told::Stored(vec![], vec![(0, 1)]));
        take(&mut tally, Told::Seen(vec![], vec![(0, 1)]));
        assert!(tally.is_complete());
        let error = tally.checked().expect_err("one is missing").to_string();
        assert_eq!(error, "error: 1 events were acknowledged, and 0 were read back\n");
    }
}
