//! Conditions: what they are made of, and whether they hold of a record.
//!
//! Values have the types of JSON, keys and headers are text, and nothing is converted: of two values of different types
//! every comparison is false, but `!=`, which is the opposite of `==`. What a path does not lead to equals nothing, not even
//! `null`. A path that leads to several values compares true if one of them does.

mod parse;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::cmp::Ordering;

use sluice_sdk::json::{self, Number, Path, Type, Value};
use sluice_sdk::{Columns, Record};

#[cfg(test)]
pub(crate) use parse::{COMPARISON, OPERAND};
pub(crate) use parse::{ParseError, parse};

/// A part of the configured condition, with the text it was read from.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) text: String,
    pub(crate) expression: Expression,
}

#[derive(Debug)]
pub(crate) enum Expression {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Compare(Operand, Comparison, Operand),
    OneOf(Operand, Vec<Literal>),
    Exists(Operand),
    IsTrue(Operand),
}

#[derive(Debug)]
pub(crate) enum Operand {
    Path(Path),
    Key,
    Header(String),
    Timestamp,
    Literal(Literal),
}

#[derive(Debug)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Contains,
    StartsWith,
    EndsWith,
}

/// The record that is asked about. Its value is read as JSON when it is first needed.
pub(crate) struct Subject<'a> {
    record: &'a Record<'a>,
    value: OnceCell<Result<Option<Value<'a>>, json::Error>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(record: &'a Record<'a>) -> Self {
        Self { record, value: OnceCell::new() }
    }

    fn value(&self) -> Result<Option<Value<'a>>, json::Error> {
        *self.value.get_or_init(|| self.record.value().map(json::parse).transpose())
    }
}

/// A value to compare.
enum Datum<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, [u8]>),
    /// An array or an object, which equals nothing.
    Container,
}

/// Whether something holds of a record; the error says why its value could not be read.
type Holds = Result<bool, json::Error>;

impl Expression {
    pub(crate) fn holds(&self, subject: &Subject<'_>) -> Holds {
        match self {
            Self::Any(parts) => first(parts, subject, true),
            Self::All(parts) => first(parts, subject, false).map(|one_fails| !one_fails),
            Self::Not(inner) => Ok(!inner.holds(subject)?),
            Self::Compare(left, Comparison::NotEqual, right) => Ok(!compare(subject, left, Comparison::Equal, right)?),
            Self::Compare(left, how, right) => compare(subject, left, *how, right),
            Self::OneOf(operand, literals) => operand
                .any(subject, |datum| literals.iter().any(|literal| Comparison::Equal.holds(datum, &literal.datum()))),
            Self::Exists(Operand::Key) => Ok(subject.record.key().is_some()),
            Self::Exists(operand) => operand.any(subject, |_| true),
            Self::IsTrue(operand) => operand.any(subject, |datum| matches!(datum, Datum::Bool(true))),
        }
    }

    /// The columns it looks at.
    pub(crate) fn columns(&self) -> Columns {
        match self {
            Self::Any(parts) | Self::All(parts) => {
                parts.iter().fold(Columns::NONE, |all, part| all.and(part.columns()))
            }
            Self::Not(inner) => inner.columns(),
            Self::Compare(left, _, right) => left.columns().and(right.columns()),
            Self::OneOf(operand, _) | Self::Exists(operand) | Self::IsTrue(operand) => operand.columns(),
        }
    }
}

/// Whether there is a part that holds, or fails, as `wanted`. Parts behind it are not looked at.
fn first(parts: &[Expression], subject: &Subject<'_>, wanted: bool) -> Holds {
    for part in parts {
        if part.holds(subject)? == wanted {
            return Ok(true);
        }
    }
    Ok(false)
}

fn compare(subject: &Subject<'_>, left: &Operand, how: Comparison, right: &Operand) -> Holds {
    let mut error = None;
    let holds = left.any(subject, |left| {
        right.any(subject, |right| how.holds(left, right)).unwrap_or_else(|not_json| {
            error = Some(not_json);
            false
        })
    })?;
    error.map_or(Ok(holds), Err)
}

impl Operand {
    /// Whether `holds` of one of the values it stands for.
    fn any(&self, subject: &Subject<'_>, mut holds: impl FnMut(&Datum<'_>) -> bool) -> Holds {
        Ok(match self {
            Self::Path(path) => subject.value()?.is_some_and(|value| path.any(value, |found| holds(&datum(found)))),
            Self::Key => holds(&text(subject.record.key())),
            Self::Header(name) => subject.record.header(name).is_some_and(|header| holds(&text(header.value))),
            Self::Timestamp => holds(&Datum::Number(Number::Integer(subject.record.timestamp().into()))),
            Self::Literal(literal) => holds(&literal.datum()),
        })
    }

    fn columns(&self) -> Columns {
        match self {
            Self::Path(_) => Columns::VALUES,
            Self::Key => Columns::KEYS,
            Self::Header(_) => Columns::HEADERS,
            Self::Timestamp => Columns::TIMESTAMPS,
            Self::Literal(_) => Columns::NONE,
        }
    }
}

impl Literal {
    fn datum(&self) -> Datum<'_> {
        match self {
            Self::Null => Datum::Null,
            Self::Bool(truth) => Datum::Bool(*truth),
            Self::Number(number) => Datum::Number(*number),
            Self::Text(text) => Datum::Text(Cow::Borrowed(text.as_bytes())),
        }
    }
}

fn text(bytes: Option<&[u8]>) -> Datum<'_> {
    bytes.map_or(Datum::Null, |bytes| Datum::Text(Cow::Borrowed(bytes)))
}

fn datum(value: Value<'_>) -> Datum<'_> {
    match value.kind() {
        Type::Null => Datum::Null,
        Type::Bool => Datum::Bool(value.as_bool().unwrap_or_default()),
        Type::Number => value.as_number().map_or(Datum::Container, Datum::Number),
        Type::String => match value.as_str().unwrap_or_default() {
            Cow::Borrowed(text) => Datum::Text(Cow::Borrowed(text.as_bytes())),
            Cow::Owned(text) => Datum::Text(Cow::Owned(text.into_bytes())),
        },
        Type::Array | Type::Object => Datum::Container,
    }
}

impl Comparison {
    fn holds(self, left: &Datum<'_>, right: &Datum<'_>) -> bool {
        match (self, left, right) {
            (Self::Contains, Datum::Text(text), Datum::Text(part)) => contains(text, part),
            (Self::StartsWith, Datum::Text(text), Datum::Text(part)) => text.starts_with(part),
            (Self::EndsWith, Datum::Text(text), Datum::Text(part)) => text.ends_with(part),
            (Self::Contains | Self::StartsWith | Self::EndsWith, ..) => false,
            (_, left, right) => order(left, right).is_some_and(|order| self.fits(order)),
        }
    }

    fn fits(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
            Self::Contains | Self::StartsWith | Self::EndsWith => false,
        }
    }
}

/// How two values of one type compare: texts by their bytes, false before true.
fn order(left: &Datum<'_>, right: &Datum<'_>) -> Option<Ordering> {
    match (left, right) {
        (Datum::Null, Datum::Null) => Some(Ordering::Equal),
        (Datum::Bool(left), Datum::Bool(right)) => Some(left.cmp(right)),
        (Datum::Number(left), Datum::Number(right)) => left.partial_cmp(right),
        (Datum::Text(left), Datum::Text(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}
