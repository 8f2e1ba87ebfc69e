//! [`Driver`]: a plugin under test, bound as a gate or as a view.

use std::fmt;

use super::pack::{BatchInfo, TestRecord, pack};
use super::unpack::{Lie, unpack};
use crate::host::{Captured, capture};
use crate::log::Level;
use crate::{Columns, Instance, Kind, Plugin, Replacement, Verdict};

/// A plugin bound natively: what a test drives.
///
/// The plugin is named by the type that its attribute made, which is called as the function is.
pub struct Driver {
    process: Box<Process>,
    columns: Columns,
    info: BatchInfo,
    kind: Kind,
    captured: Captured,
}

/// A packed batch in, packed verdicts out.
type Process = dyn Fn(&[u8]) -> Result<Vec<u8>, String>;

/// Why a batch has no verdicts. In the broker the binding's error policy decides what happens then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverError {
    /// The plugin's own error.
    Failed(String),
    /// The broker would refuse the answer.
    Lie(Lie),
    /// From [`Driver::through`]: records that were refused, with their messages.
    Rejected(Vec<(usize, String)>),
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => f.write_str(error),
            Self::Lie(lie) => lie.fmt(f),
            Self::Rejected(records) => {
                let records: Vec<_> = records.iter().map(|(i, message)| format!("record {i}: {message}")).collect();
                f.write_str(&records.join("; "))
            }
        }
    }
}

impl std::error::Error for DriverError {}

impl Driver {
    /// Binds a plugin as a gate. `config` is JSON: text, or a `serde_json::Value`. The error is what the operator reads.
    pub fn gate<P: Plugin>(config: impl fmt::Display) -> Result<Self, String> {
        Self::bind::<P>(Kind::Gate, &config.to_string())
    }

    /// Binds a plugin as a view, as [`Driver::gate`] does.
    pub fn view<P: Plugin>(config: impl fmt::Display) -> Result<Self, String> {
        Self::bind::<P>(Kind::View, &config.to_string())
    }

    fn bind<P: Plugin>(kind: Kind, config: &str) -> Result<Self, String> {
        let mut captured = Captured::default();
        let instance = capture(&mut captured, || Instance::<P>::init(kind, config))?;
        let base_offset = if kind == Kind::Gate { -1 } else { 0 };
        let columns = instance.columns();
        Ok(Self {
            process: Box::new(move |packed| instance.process(packed)),
            columns,
            info: BatchInfo {
                topic: "test".to_owned(),
                partition: 0,
                base_offset,
                base_timestamp: 0,
                log_append_time: false,
            },
            kind,
            captured,
        })
    }

    /// The same, on another topic and partition than `test` 0.
    #[must_use]
    pub fn on(mut self, topic: &str, partition: i32) -> Self {
        topic.clone_into(&mut self.info.topic);
        self.info.partition = partition;
        self
    }

    /// Hands the plugin one batch; gives a verdict for each record.
    ///
    /// Records get offsets as they come, from 0 (view; a gate sees none); [`TestRecord::offset_delta`] is not looked at.
    pub fn run<R: Into<TestRecord>>(
        &mut self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Vec<Verdict>, DriverError> {
        self.ask(&numbered(records))
    }

    /// Hands the plugin one batch; gives what is stored of it (gate), or what a consumer sees (view).
    pub fn through<R: Into<TestRecord>>(
        &mut self,
        records: impl IntoIterator<Item = R>,
    ) -> Result<Vec<TestRecord>, DriverError> {
        let records = numbered(records);
        let mut passed = Vec::new();
        let mut rejected = Vec::new();
        for (index, (verdict, record)) in self.ask(&records)?.into_iter().zip(records).enumerate() {
            match verdict {
                Verdict::Keep => passed.push(record),
                Verdict::Drop => {}
                Verdict::Replace(replacement) => passed.push(replaced(record, replacement)),
                Verdict::Reject(message) => rejected.push((index, message)),
            }
        }
        if rejected.is_empty() { Ok(passed) } else { Err(DriverError::Rejected(rejected)) }
    }

    fn ask(&mut self, records: &[TestRecord]) -> Result<Vec<Verdict>, DriverError> {
        self.info.base_timestamp = records.first().map_or(0, |first| first.timestamp);
        let packed = pack(&self.info, records, self.columns);
        let process = &self.process;
        let answer = capture(&mut self.captured, || process(&packed)).map_err(DriverError::Failed)?;
        if self.kind == Kind::View {
            self.info.base_offset += records.len() as i64;
        }
        unpack(&answer, records.len()).map_err(DriverError::Lie)
    }

    /// What the plugin has logged so far.
    #[must_use]
    pub fn logs(&self) -> &[(Level, String)] {
        &self.captured.lines
    }

    /// What it has added to a counter.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.captured.counters.get(name).copied().unwrap_or(0)
    }

    /// What it last set a gauge to.
    #[must_use]
    pub fn gauge(&self, name: &str) -> Option<f64> {
        self.captured.gauges.get(name).copied()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("kind", &self.kind).field("info", &self.info).finish_non_exhaustive()
    }
}

fn numbered<R: Into<TestRecord>>(records: impl IntoIterator<Item = R>) -> Vec<TestRecord> {
    let mut records: Vec<TestRecord> = records.into_iter().map(Into::into).collect();
    for (delta, record) in (0..).zip(&mut records) {
        record.offset_delta = delta;
    }
    records
}

fn replaced(mut record: TestRecord, replacement: Replacement) -> TestRecord {
    let Replacement { key, value, headers } = replacement;
    record.key = key.unwrap_or(record.key);
    record.value = value.unwrap_or(record.value);
    record.headers = headers.unwrap_or(record.headers);
    record
}
