//! Between the author's function and the bytes: what the attribute implements ([`Plugin`]), and one instance of it with
//! its configuration ([`Instance`]), which the guest's exports and the test driver both call.

use std::fmt::{self, Display};

use serde::de::DeserializeOwned;

use crate::{Batch, Columns, Record, Verdict, Verdicts};

/// Where a plugin is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On the produce path of a topic.
    Gate,
    /// On the fetch path of a view.
    View,
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gate => "gate",
            Self::View => "view",
        })
    }
}

/// A plugin, by type. The attribute makes one with the name of the function it stands on.
pub trait Plugin: 'static {
    /// Its configuration: what the binding's JSON becomes.
    type Config: DeserializeOwned;
    /// Where it may be bound.
    const KINDS: &'static [Kind];

    /// The columns it wants to see, given its configuration.
    fn columns(config: &Self::Config) -> Columns;

    /// Whether the configuration serves a binding of this kind; the error is what the operator reads.
    fn check(config: &Self::Config, kind: Kind) -> Result<(), String>;

    /// Says what becomes of each record. An error fails the batch, by the binding's error policy.
    fn process(batch: &Batch<'_>, verdicts: &mut Verdicts, config: &Self::Config) -> Result<(), String>;
}

/// A plugin with its configuration.
#[derive(Debug)]
pub struct Instance<P: Plugin> {
    kind: Kind,
    config: P::Config,
}

impl<P: Plugin> Instance<P> {
    /// Reads the configuration, JSON text; none, or `null`, is `{}`. The error is what the operator reads.
    pub fn init(kind: Kind, config: &str) -> Result<Self, String> {
        if !P::KINDS.contains(&kind) {
            return Err(format!("not a {kind}"));
        }
        let text = if matches!(config.trim(), "" | "null") { "{}" } else { config };
        let config = read(text).map_err(|error| error.to_string())?;
        P::check(&config, kind)?;
        Ok(Self { kind, config })
    }

    /// The columns to pack.
    pub fn columns(&self) -> Columns {
        P::columns(&self.config)
    }

    /// A packed batch in, packed verdicts out.
    pub fn process(&self, packed: &[u8]) -> Result<Vec<u8>, String> {
        let batch = Batch::parse(packed).map_err(|e| e.to_string())?;
        let mut verdicts = Verdicts::new(batch.len());
        P::process(&batch, &mut verdicts, &self.config)?;
        if self.kind == Kind::View
            && let Some(record) = verdicts.first_reject()
        {
            return Err(format!("record {record}: rejected, and a view cannot reject: it keeps, replaces or drops"));
        }
        verdicts.finish().map_err(|e| e.to_string())
    }
}

/// A plugin without configuration takes `{}` as well as nothing, and says so of anything else.
fn read<C: DeserializeOwned>(text: &str) -> Result<C, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match text.trim() {
        "{}" => serde_json::from_str("null").map_err(|_| error),
        _ => Err(error),
    })
}

/// What a plugin's function may return of a record: a [`Verdict`], or a `Result` of one whose error fails the batch.
pub trait IntoVerdict {
    /// The verdict, or why there is none.
    fn into_verdict(self) -> Result<Verdict, String>;
}

impl IntoVerdict for Verdict {
    #[inline]
    fn into_verdict(self) -> Result<Verdict, String> {
        Ok(self)
    }
}

impl<E: Display> IntoVerdict for Result<Verdict, E> {
    #[inline]
    fn into_verdict(self) -> Result<Verdict, String> {
        self.map_err(|e| e.to_string())
    }
}

/// Asks a function of one record about each record of a batch. The error names the record.
pub fn each_record<'a, V: IntoVerdict>(
    batch: &'a Batch<'a>,
    verdicts: &mut Verdicts,
    mut decide: impl FnMut(&Record<'a>) -> V,
) -> Result<(), String> {
    for record in batch.records() {
        match decide(&record).into_verdict() {
            Ok(Verdict::Keep) => {}
            Ok(verdict) => verdicts.set(record.index(), &verdict),
            Err(error) => return Err(format!("record {}: {error}", record.index())),
        }
    }
    Ok(())
}

/// What a plugin's function of a whole batch may return: nothing, or a `Result` whose error fails the batch.
pub trait IntoDone {
    /// Done, or why not.
    fn into_done(self) -> Result<(), String>;
}

impl IntoDone for () {
    fn into_done(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Display> IntoDone for Result<(), E> {
    fn into_done(self) -> Result<(), String> {
        self.map_err(|e| e.to_string())
    }
}
