//! Changes become entries of the log: decided one after the other on the image that the ones before them leave behind, appended
//! together, and answered once their entry is in the log for sure.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sluice_cluster::decide::{Change, Decided, Given};
use sluice_cluster::{Image, MetadataRecord};

use super::super::elections::elected;
use super::super::metadata_log::{AppendError, ENTRY_BYTES_MAX, MetadataLog};
use super::super::pending::{Failure, Pending, Records};
use super::super::seat::Seat;
use super::{Member, Over, random_bytes};

impl Member {
    /// Decides, appends and answers changes that were asked for.
    pub(super) async fn commit(
        &mut self,
        log: &mut MetadataLog,
        seat: Seat,
        gathered: Vec<Box<dyn Pending>>,
    ) -> Result<(), Over> {
        let mut entry = NextEntry::on(log.image());
        let mut gathered = gathered.into_iter();
        while let Some(mut pending) = gathered.next() {
            let decided = self.given(|given| pending.decide(&entry.image, given));
            let Some(Records { records, may_split, kind }) = decided else { continue };
            let bytes = records.iter().map(encoded_len).sum();
            if bytes > ENTRY_BYTES_MAX && !may_split {
                pending.failed(Failure::TooLarge { bytes, max: ENTRY_BYTES_MAX });
                continue;
            }
            if entry.bytes + bytes > ENTRY_BYTES_MAX && !entry.records.is_empty() {
                // What was decided on the entry before stays decided: it is on top of that one in the log too.
                let full = std::mem::replace(&mut entry, NextEntry::on(log.image()));
                if let Err(over) = self.flush(log, seat, full).await {
                    // Not tried: another controller may make them.
                    pending.failed(Failure::NotController);
                    gathered.for_each(|pending| pending.failed(Failure::NotController));
                    return Err(over);
                }
                entry.image = log.image().clone();
            }
            entry.add(pending, kind, records, bytes);
        }
        self.flush(log, seat, entry).await
    }

    /// One change of the controller's own, decided and appended at once.
    pub(super) async fn change<C: Change>(
        &mut self,
        log: &mut MetadataLog,
        seat: Seat,
        change: &C,
    ) -> Result<Result<C::Answer, C::Error>, Over> {
        match self.given(|given| change.decide(log.image(), given)) {
            Ok(Decided { records, answer, .. }) => {
                if !records.is_empty() {
                    let elected = elected(log.image(), &records);
                    append(log, seat, records).await.map_err(|error| error.over)?;
                    self.told.elections.add(C::KIND, elected);
                    self.publish(log)?;
                }
                Ok(Ok(answer))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    async fn flush(&mut self, log: &mut MetadataLog, seat: Seat, entry: NextEntry) -> Result<(), Over> {
        let written = match append(log, seat, entry.records).await {
            // Written; if it can't be remembered here that it was, whoever asked still isn't told before it is.
            Ok(()) => self.publish(log).map_err(|over| (over, Failure::Unknown { why: "it was written".to_owned() })),
            Err(NotWritten { over, failure }) => Err((over, failure)),
        };
        match written {
            Ok(()) => {
                let next_seq = log.image().next_seq();
                entry.elected.iter().for_each(|(kind, elected)| self.told.elections.add(*kind, *elected));
                entry.parked.into_iter().for_each(|pending| pending.committed(next_seq));
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
    /// Leaders that they elect, by the kind of the change.
    elected: Vec<(u16, u64)>,
}

impl NextEntry {
    fn on(image: &Image) -> Self {
        Self { image: image.clone(), records: Vec::new(), bytes: 0, parked: Vec::new(), elected: Vec::new() }
    }

    fn add(&mut self, pending: Box<dyn Pending>, kind: u16, records: Vec<MetadataRecord>, bytes: usize) {
        self.elected.push((kind, elected(&self.image, &records)));
        for record in &records {
            self.image.replay(record).expect("what was decided on this image fits it");
        }
        self.records.extend(records);
        self.bytes += bytes;
        self.parked.push(pending);
    }
}

/// Records are not in the log, or may not be.
struct NotWritten {
    over: Over,
    /// What whoever asked is told.
    failure: Failure,
}

/// Appends records, in several entries when they don't fit into one.
async fn append(log: &mut MetadataLog, seat: Seat, records: Vec<MetadataRecord>) -> Result<(), NotWritten> {
    for (index, records) in entries(records).into_iter().enumerate() {
        let nonce = u64::from_le_bytes(random_bytes()[..8].try_into().expect("eight bytes"));
        if let Err(error) = log.append(seat, nonce, records).await {
            let why = error.to_string();
            let failure = match error {
                // A part of it is written.
                _ if index > 0 => Failure::Unknown { why: why.clone() },
                AppendError::Deposed => Failure::NotController,
                AppendError::NotDone { .. } => Failure::Unavailable { why: why.clone() },
                AppendError::Doubt { .. } => Failure::Unknown { why: why.clone() },
            };
            let over = if matches!(error, AppendError::Deposed) { Over::Deposed } else { Over::Doubt(why) };
            return Err(NotWritten { over, failure });
        }
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
