//! JSON read in place: fields of a value without a tree of it, and changes that leave the rest as it was written.
//!
//! [`parse`] goes through the text once and checks all of it; what it gives, a [`Value`], is a place in the text. Nothing is
//! allocated until an escaped string is read. What is not looked at keeps its white space, its order, its numbers'
//! digits: [`rewrite`] copies those bytes, so that `1.10` stays `1.10` and a 20-digit id keeps all its digits.
//!
//! ```
//! use sluice_sdk::json::{self, Path};
//! let event = json::parse(br#"{"mag": 4.6, "place": {"name": "Alaska"}}"#).unwrap();
//! assert_eq!(event.get("mag").unwrap().as_f64(), Some(4.6));
//! let path: Path = "$.place.name".parse().unwrap();
//! assert_eq!(path.find(event).unwrap().as_str().unwrap(), "Alaska");
//! ```

mod path;
mod rewrite;
mod scan;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;

pub use path::{Path, PathError};
pub use rewrite::{Change, rewrite};
pub use scan::DEPTH_MAX;

/// Checks a JSON text (RFC 8259, UTF-8, nested at most [`DEPTH_MAX`] deep) and gives the value in it.
pub fn parse(text: &[u8]) -> Result<Value<'_>, Error> {
    let whole = std::str::from_utf8(text).map_err(|error| Error { at: error.valid_up_to(), expected: "UTF-8" })?;
    let span = scan::check(whole.as_bytes())?;
    Ok(Value { whole, start: span.start, end: span.end })
}

/// Where a text stops being JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// Bytes before it.
    pub at: usize,
    /// What should be there.
    pub expected: &'static str,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not JSON: expected {} at byte {}", self.expected, self.at)
    }
}

impl std::error::Error for Error {}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// Any number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value, as a place in the text it was parsed from.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    whole: &'a str,
    start: usize,
    end: usize,
}

impl<'a> Value<'a> {
    /// The value as it is written, without the white space around it.
    #[must_use]
    pub fn text(&self) -> &'a str {
        &self.whole[self.start..self.end]
    }

    /// Where it lies in the text that was parsed.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.start..self.end
    }

    /// What it is, which its first byte tells.
    #[must_use]
    pub fn kind(&self) -> Type {
        match self.whole.as_bytes()[self.start] {
            b'n' => Type::Null,
            b't' | b'f' => Type::Bool,
            b'"' => Type::String,
            b'[' => Type::Array,
            b'{' => Type::Object,
            _ => Type::Number,
        }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.kind() == Type::Null
    }

    /// The truth value, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.text() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_number(&self) -> Option<Number> {
        if self.kind() == Type::Number { Number::read(self.text()) } else { None }
    }

    /// The number as the nearest `f64`, if it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number().map(Number::as_f64)
    }

    /// The string, if it is one: borrowed unless something in it is escaped. Half a surrogate pair becomes U+FFFD.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        (self.kind() == Type::String).then(|| unescape(self.text()))
    }

    /// The member of that name, if it is an object that has one: the last of several, as most parsers see it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Self> {
        let mut found = None;
        for member in self.members() {
            if member.is_named(name) {
                found = Some(member.value);
            }
        }
        found
    }

    /// The members, if it is an object; none if it is not.
    pub fn members(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let object = self.kind() == Type::Object;
        self.elements().take_while(move |_| object)
    }

    /// The items, if it is an array; none if it is not.
    pub fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let array = self.kind() == Type::Array;
        self.elements().take_while(move |_| array).map(|element| element.value)
    }

    /// What is in it, an array or an object; nothing in any other.
    #[must_use]
    pub fn elements(&self) -> Elements<'a> {
        let container = matches!(self.kind(), Type::Array | Type::Object);
        Elements { whole: self.whole, at: self.start + 1, end: if container { self.end - 1 } else { self.start } }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// An item of an array or a member of an object.
#[derive(Debug, Clone)]
pub struct Element<'a> {
    /// The member's name as it is written, with its quotes; none for an item.
    name: Option<&'a str>,
    /// Its value.
    pub value: Value<'a>,
    /// All that lies between the comma or bracket before it and the one after it.
    pub(crate) segment: Range<usize>,
}

impl<'a> Element<'a> {
    /// The member's name; none for an item of an array.
    #[must_use]
    pub fn name(&self) -> Option<Cow<'a, str>> {
        self.name.map(unescape)
    }

    /// Whether it is a member of that name.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.is_some_and(|quoted| {
            let raw = &quoted[1..quoted.len() - 1];
            raw == name || (raw.len() > name.len() && raw.contains('\\') && unescape(quoted) == name)
        })
    }
}

/// What is in an array or an object, in order.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    whole: &'a str,
    /// After the opening bracket or the last comma.
    at: usize,
    /// The closing bracket.
    end: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let bytes = self.whole.as_bytes();
        let segment_start = self.at;
        let mut start = scan::space(bytes, segment_start);
        if start >= self.end {
            return None;
        }
        let first = start;
        let mut end = scan::skip(bytes, start);
        let mut after = scan::space(bytes, end);
        let mut name = None;
        if bytes[after] == b':' {
            name = Some(&self.whole[first..end]);
            start = scan::space(bytes, after + 1);
            end = scan::skip(bytes, start);
            after = scan::space(bytes, end);
        }
        self.at = after + 1;
        Some(Element { name, value: Value { whole: self.whole, start, end }, segment: segment_start..after })
    }
}

/// A number: exact if it is an integer that fits, else the nearest `f64`.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// An integer.
    Integer(i128),
    /// Any other.
    Float(f64),
}

impl Number {
    /// Reads a number as JSON writes it.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        text.parse().map(Self::Integer).or_else(|_| text.parse().map(Self::Float)).ok()
    }

    /// The nearest `f64`.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

/// Integers compare exactly; an integer and a float as floats.
impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(b)),
            _ => self.as_f64().partial_cmp(&other.as_f64()),
        }
    }
}

/// A text as a JSON string, quotes and escapes included.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The text of a JSON string that was checked, from its quotes.
fn unescape(quoted: &str) -> Cow<'_, str> {
    let raw = &quoted[1..quoted.len() - 1];
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let (escaped, len) = match escape.as_bytes() {
            [b'u', ..] => unescape_unicode(escape),
            [b'b', ..] => ('\u{8}', 1),
            [b'f', ..] => ('\u{c}', 1),
            [b'n', ..] => ('\n', 1),
            [b'r', ..] => ('\r', 1),
            [b't', ..] => ('\t', 1),
            // A quote, a slash or a backslash: `check` lets no other through.
            _ => (escape.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER), 1),
        };
        text.push(escaped);
        rest = &escape[len..];
    }
    text.push_str(rest);
    Cow::Owned(text)
}

/// The character of `uXXXX`, or of `uXXXX\uXXXX` where two make one, and how many bytes say it.
fn unescape_unicode(escape: &str) -> (char, usize) {
    let unit = |at: usize| escape.get(at..at + 4).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    let first = unit(1).unwrap_or(0xFFFD);
    let second = if escape.get(5..7) == Some("\\u") { unit(7) } else { None };
    match char::decode_utf16([first]).next() {
        Some(Ok(c)) => (c, 5),
        _ => match char::decode_utf16([Some(first), second].into_iter().flatten()).next() {
            Some(Ok(c)) => (c, 11),
            _ => (char::REPLACEMENT_CHARACTER, 5),
        },
    }
}
