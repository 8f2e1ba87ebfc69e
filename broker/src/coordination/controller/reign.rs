//! While the seat is held: changes are gathered for some milliseconds, decided one after the other on the image that the ones
//! before them leave behind, appended together, and answered once their entry is in the log for sure.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sluice_cluster::decide::{Change, Decided, Given};
use sluice_cluster::{Image, MetadataRecord};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::super::coordinator::{Session, SessionState};
use super::super::metadata::Request;
use super::super::metadata_log::{AppendError, ENTRY_BYTES_MAX, MetadataLog};
use super::super::pending::{Failure, Pending, Records};
use super::super::seat::Seat;
use super::{Controller, Over, Stop};

/// Changes decided together. A bound on what fails together when an append does.
const GATHERED_MAX: usize = 256;

impl Controller {
    /// Until the session is in doubt, the seat is lost, or we are asked to stop.
    pub(super) async fn reign(
        &mut self,
        session: &dyn Session,
        log: &mut MetadataLog,
        seat: Seat,
    ) -> Result<Over, Stop> {
        let mut state = session.state();
        loop {
            let request = tokio::select! {
                biased;
                () = leaves_connected(&mut state) => return Ok(Over::Doubt("the connection is lost".to_owned())),
                request = self.requests.recv() => request,
            };
            let first = match request {
                Some(Request::Change(pending)) => pending,
                Some(Request::Stop(asked)) => return Err(Stop(Some(asked))),
                None => return Err(Stop(None)),
            };
            let (gathered, stop) = self.gather(first).await;
            let committed = self.commit(log, seat, gathered).await;
            if let Some(stop) = stop {
                return Err(stop);
            }
            if let Err(over) = committed {
                return Ok(over);
            }
        }
    }

    async fn gather(&mut self, first: Box<dyn Pending>) -> (Vec<Box<dyn Pending>>, Option<Stop>) {
        let (until, mut gathered) = (Instant::now() + self.config.linger, vec![first]);
        while gathered.len() < GATHERED_MAX {
            match timeout_at(until, self.requests.recv()).await {
                Ok(Some(Request::Change(pending))) => gathered.push(pending),
                Ok(Some(Request::Stop(asked))) => return (gathered, Some(Stop(Some(asked)))),
                Ok(None) => return (gathered, Some(Stop(None))),
                Err(_) => break,
            }
        }
        (gathered, None)
    }

    async fn commit(&mut self, log: &mut MetadataLog, seat: Seat, gathered: Vec<Box<dyn Pending>>) -> Result<(), Over> {
        let mut entry = NextEntry::on(log.image());
        let mut gathered = gathered.into_iter();
        while let Some(mut pending) = gathered.next() {
            let decided = self.given(|given| pending.decide(&entry.image, given));
            let Some(Records { records, may_split }) = decided else { continue };
            let bytes = records.iter().map(encoded_len).sum();
            if bytes > ENTRY_BYTES_MAX && !may_split {
                pending.failed(Failure::TooLarge { bytes, max: ENTRY_BYTES_MAX });
                continue;
            }
            if entry.bytes + bytes > ENTRY_BYTES_MAX && !entry.records.is_empty() {
                // What was decided on the entry before stays decided: it is on top of that one in the log too.
                let full = std::mem::replace(&mut entry, NextEntry::on(log.image()));
                if let Err(over) = self.flush(log, seat, full).await {
                    pending.failed(Failure::Unavailable { why: NOT_TRIED.to_owned() });
                    gathered.for_each(|pending| pending.failed(Failure::Unavailable { why: NOT_TRIED.to_owned() }));
                    return Err(over);
                }
                entry.image = log.image().clone();
            }
            entry.add(pending, records, bytes);
        }
        self.flush(log, seat, entry).await
    }

    async fn flush(&mut self, log: &mut MetadataLog, seat: Seat, entry: NextEntry) -> Result<(), Over> {
        let written = match append(log, seat, entry.records).await {
            // Written; if it can't be remembered here that it was, whoever asked still isn't told before it is.
            Ok(()) => self.publish(log).map_err(|over| (over, Failure::Unknown { why: "it was written".to_owned() })),
            Err(NotWritten { why, surely: true }) => Err((Over::Doubt(why.clone()), Failure::Unavailable { why })),
            Err(NotWritten { why, surely: false }) => Err((Over::Doubt(why.clone()), Failure::Unknown { why })),
        };
        match written {
            Ok(()) => {
                entry.parked.into_iter().for_each(Pending::committed);
                Ok(())
            }
            Err((over, failure)) => {
                // Known before anyone hears that their change may not have been made, and asks how this broker stands.
                if let Over::Doubt(why) = &over {
                    self.doubt(why.clone());
                }
                entry.parked.into_iter().for_each(|pending| pending.failed(failure.clone()));
                Err(over)
            }
        }
    }

    /// Decides one change of our own.
    pub(super) fn decide<C: Change>(&self, image: &Image, change: &C) -> Result<Decided<C::Answer>, C::Error> {
        self.given(|given| change.decide(image, given))
    }

    fn given<T>(&self, decide: impl FnOnce(&mut Given<'_>) -> T) -> T {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        decide(&mut Given { now_ms, random: &mut random_bytes, configs: Arc::as_ref(&self.rules) })
    }
}

/// What goes into one entry, and who waits for it.
struct NextEntry {
    /// The log's image with all of `records`.
    image: Image,
    records: Vec<MetadataRecord>,
    bytes: usize,
    parked: Vec<Box<dyn Pending>>,
}

const NOT_TRIED: &str = "the change before it could not be written";

impl NextEntry {
    fn on(image: &Image) -> Self {
        Self { image: image.clone(), records: Vec::new(), bytes: 0, parked: Vec::new() }
    }

    fn add(&mut self, pending: Box<dyn Pending>, records: Vec<MetadataRecord>, bytes: usize) {
        for record in &records {
            self.image.replay(record).expect("what was decided on this image fits it");
        }
        self.records.extend(records);
        self.bytes += bytes;
        self.parked.push(pending);
    }
}

/// Records are not in the log, or may not be.
pub(super) struct NotWritten {
    pub(super) why: String,
    surely: bool,
}

/// Appends records, in several entries when they don't fit into one.
pub(super) async fn append(log: &mut MetadataLog, seat: Seat, records: Vec<MetadataRecord>) -> Result<(), NotWritten> {
    for (index, records) in entries(records).into_iter().enumerate() {
        log.append(seat, random_nonce(), records).await.map_err(|error| {
            let surely = index == 0 && !matches!(error, AppendError::Doubt { .. });
            NotWritten { why: error.to_string(), surely }
        })?;
    }
    Ok(())
}

/// The records in portions that fit into an entry each. No records, no entry.
fn entries(records: Vec<MetadataRecord>) -> Vec<Vec<MetadataRecord>> {
    let mut entries: Vec<Vec<MetadataRecord>> = Vec::new();
    let mut room = 0;
    for record in records {
        let bytes = encoded_len(&record);
        match entries.last_mut() {
            Some(entry) if bytes <= room => entry.push(record),
            _ => {
                entries.push(vec![record]);
                room = ENTRY_BYTES_MAX;
            }
        }
        room = room.saturating_sub(bytes);
    }
    entries
}

fn encoded_len(record: &MetadataRecord) -> usize {
    postcard::experimental::serialized_size(record).expect("a record of known length")
}

/// Resolves when the session is no longer surely ours.
async fn leaves_connected(state: &mut watch::Receiver<SessionState>) {
    // An error says that the session's own task is gone: no longer ours either.
    let _ = state.wait_for(|state| *state != SessionState::Connected).await;
}

pub(super) fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel has randomness");
    bytes
}

fn random_nonce() -> u64 {
    u64::from_le_bytes(random_bytes()[..8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_do_not_fit_are_spread_in_order() {
        let record = |n: i64| MetadataRecord::TopicConfig {
            topic: sluice_protocol::Uuid::ZERO,
            name: n.to_string(),
            value: Some("x".repeat(100_000)),
        };
        let records: Vec<_> = (0..12).map(record).collect();
        let spread = entries(records.clone());
        assert_eq!(spread.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 2]);
        assert!(spread.iter().all(|entry| entry.iter().map(encoded_len).sum::<usize>() <= ENTRY_BYTES_MAX));
        assert_eq!(spread.concat(), records);
        assert_eq!(entries(Vec::new()), Vec::<Vec<_>>::new());
    }
}
