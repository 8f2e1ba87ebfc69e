//! Reading a condition:
//!
//! ```text
//! condition  = all { "||" all }
//! all        = one { "&&" one }
//! one        = "!" one | "(" condition ")" | "exists" "(" operand ")"
//!            | operand [ comparison operand | "in" "[" literal { "," literal } "]" ]
//! comparison = "==" | "!=" | "<" | "<=" | ">" | ">=" | "contains" | "startswith" | "endswith"
//! operand    = a path | "key" | "headers['name']" | "timestamp" | literal
//! literal    = a number | 'text' | "text" | "true" | "false" | "null"
//! ```
//!
//! Each error says at which character what was expected.

use std::fmt;

use sluice_sdk::json::{self, Path};

use super::{Comparison, Condition, Expression, Literal, Operand};

/// How deep parentheses and negations may be nested: a reader is lost long before the guest's stack is.
const NESTING_MAX: usize = 50;

pub(crate) const OPERAND: &str = "a path like $.a, key, headers['name'], timestamp, a number or a text in quotes";
pub(crate) const COMPARISON: &str = "==, !=, <, <=, >, >=, contains, startswith, endswith or in";

/// Symbols before the shorter ones they start with.
const COMPARISONS: [(&str, Comparison); 9] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::AtMost),
    ("<", Comparison::Less),
    (">=", Comparison::AtLeast),
    (">", Comparison::Greater),
    ("contains", Comparison::Contains),
    ("startswith", Comparison::StartsWith),
    ("endswith", Comparison::EndsWith),
];

/// Where a text stops being a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParseError {
    /// From 1.
    character: usize,
    expected: &'static str,
    /// The word or sign that is there instead; empty at the end.
    found: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at character {}", self.expected, self.character)?;
        if self.found.is_empty() { f.write_str(", where it ends") } else { write!(f, ", not `{}`", self.found) }
    }
}

impl std::error::Error for ParseError {}

/// Reads a condition, cut where `&&` joins its parts, so that a record can be told which part of it does not hold.
pub(crate) fn parse(text: &str) -> Result<Vec<Condition>, ParseError> {
    let mut parser = Parser { text, at: 0, nesting: 0 };
    let mut parts = parser.conjunction()?;
    if parser.takes("||") {
        let mut any = vec![joined(parts)];
        any.push(parser.disjunction()?);
        let expression = Expression::Any(any);
        parts = vec![(0..text.len(), expression)];
    }
    if !parser.rest().is_empty() {
        return parser.expected("&&, || or the end");
    }
    let condition = |(span, expression): Part| Condition { text: text[span].trim().to_owned(), expression };
    Ok(parts.into_iter().map(condition).collect())
}

/// An expression and where it is written.
type Part = (std::ops::Range<usize>, Expression);

fn joined(mut parts: Vec<Part>) -> Expression {
    match parts.len() {
        1 => parts.remove(0).1,
        _ => Expression::All(parts.into_iter().map(|(_, expression)| expression).collect()),
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    nesting: usize,
}

impl<'t> Parser<'t> {
    /// What is left, from the next word or sign.
    fn rest(&mut self) -> &'t str {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn expected<T>(&mut self, expected: &'static str) -> Result<T, ParseError> {
        let rest = self.rest();
        let word = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let found = if word > 0 { &rest[..word] } else { &rest[..rest.chars().next().map_or(0, char::len_utf8)] };
        Err(ParseError { character: self.text[..self.at].chars().count() + 1, expected, found: found.to_owned() })
    }

    /// Goes past a word or sign, if it is next. A word is a whole one.
    fn takes(&mut self, word: &str) -> bool {
        let Some(after) = self.rest().strip_prefix(word) else { return false };
        let is_word = word.ends_with(|c: char| c.is_alphanumeric());
        if is_word && after.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return false;
        }
        self.at += word.len();
        true
    }

    fn must(&mut self, sign: &'static str) -> Result<(), ParseError> {
        if self.takes(sign) { Ok(()) } else { self.expected(sign) }
    }

    fn disjunction(&mut self) -> Result<Expression, ParseError> {
        let mut any = vec![joined(self.conjunction()?)];
        while self.takes("||") {
            any.push(joined(self.conjunction()?));
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Expression::Any(any) })
    }

    fn conjunction(&mut self) -> Result<Vec<Part>, ParseError> {
        let mut parts = Vec::new();
        loop {
            let start = self.at;
            let expression = self.one()?;
            parts.push((start..self.at, expression));
            if !self.takes("&&") {
                return Ok(parts);
            }
        }
    }

    fn one(&mut self) -> Result<Expression, ParseError> {
        let opens = self.rest().starts_with(['(', '!']);
        if opens && self.nesting == NESTING_MAX {
            return self.expected("no deeper nesting");
        }
        if self.takes("!") {
            self.nesting += 1;
            let inner = self.one()?;
            self.nesting -= 1;
            return Ok(Expression::Not(Box::new(inner)));
        }
        if self.takes("(") {
            self.nesting += 1;
            let inner = self.disjunction()?;
            self.nesting -= 1;
            self.must(")")?;
            return Ok(inner);
        }
        if self.takes("exists") {
            self.must("(")?;
            let operand = self.operand()?;
            self.must(")")?;
            return Ok(Expression::Exists(operand));
        }
        let left = self.operand()?;
        if self.takes("in") {
            return Ok(Expression::OneOf(left, self.list()?));
        }
        if let Some((_, comparison)) = COMPARISONS.iter().find(|(word, _)| self.takes(word)) {
            return Ok(Expression::Compare(left, *comparison, self.operand()?));
        }
        match left {
            Operand::Path(_) | Operand::Literal(Literal::Bool(_)) => Ok(Expression::IsTrue(left)),
            Operand::Key | Operand::Header(_) | Operand::Timestamp | Operand::Literal(_) => self.expected(COMPARISON),
        }
    }

    fn list(&mut self) -> Result<Vec<Literal>, ParseError> {
        self.must("[")?;
        let mut literals = Vec::new();
        loop {
            match self.literal()? {
                Some(literal) => literals.push(literal),
                None => return self.expected("a number, a text in quotes, true, false or null"),
            }
            if self.takes("]") {
                return Ok(literals);
            }
            if !self.takes(",") {
                return self.expected(", or ]");
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, ParseError> {
        if let Some(literal) = self.literal()? {
            return Ok(Operand::Literal(literal));
        }
        if self.rest().starts_with('$') {
            return self.path().map(Operand::Path);
        }
        if self.takes("key") {
            return Ok(Operand::Key);
        }
        if self.takes("timestamp") {
            return Ok(Operand::Timestamp);
        }
        if self.takes("headers") {
            self.must("[")?;
            let Some(name) = self.quoted()? else { return self.expected("a header's name in quotes") };
            self.must("]")?;
            return Ok(Operand::Header(name));
        }
        self.expected(OPERAND)
    }

    fn path(&mut self) -> Result<Path, ParseError> {
        match Path::prefix(self.rest()) {
            Ok((path, len)) => {
                self.at += len;
                Ok(path)
            }
            Err(error) => {
                self.at += error.at;
                self.expected(error.expected)
            }
        }
    }

    fn literal(&mut self) -> Result<Option<Literal>, ParseError> {
        for (word, literal) in [("true", Literal::Bool(true)), ("false", Literal::Bool(false)), ("null", Literal::Null)]
        {
            if self.takes(word) {
                return Ok(Some(literal));
            }
        }
        if let Some(text) = self.quoted()? {
            return Ok(Some(Literal::Text(text)));
        }
        self.number()
    }

    /// A number as JSON writes it.
    fn number(&mut self) -> Result<Option<Literal>, ParseError> {
        let rest = self.rest();
        if !rest.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return Ok(None);
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
        let text = &rest[..rest.find(|c| !fits(c)).unwrap_or(rest.len())];
        match json::parse(text.as_bytes()).ok().and_then(|value| value.as_number()) {
            Some(number) => {
                self.at += text.len();
                Ok(Some(Literal::Number(number)))
            }
            None => self.expected("a number"),
        }
    }

    /// A text in quotes of either kind. A backslash takes the next character for itself.
    fn quoted(&mut self) -> Result<Option<String>, ParseError> {
        let rest = self.rest();
        let Some(quote @ ('\'' | '"')) = rest.chars().next() else { return Ok(None) };
        let mut text = String::new();
        let mut characters = rest.char_indices().skip(1);
        while let Some((at, c)) = characters.next() {
            match c {
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                c if c == quote => {
                    self.at += at + 1;
                    return Ok(Some(text));
                }
                c => text.push(c),
            }
        }
        self.at = self.text.len();
        self.expected("a closing quote")
    }
}
