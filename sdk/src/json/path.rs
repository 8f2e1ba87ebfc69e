//! Paths to values, in the part of JSONPath (RFC 9535) that says where something is: `$.a.b`, `$['a b']`, `$.list[3]`,
//! `$.list[*].name`, `$..name`.

use std::fmt;
use std::str::FromStr;

use super::{Element, Value};

/// Where values are, counted from the whole.
///
/// - `$`: the whole.
/// - `.name` or `['name']`: the member of that name. Without quotes a name is letters, digits, `_` and `-`.
/// - `[3]`: an item of an array, from 0.
/// - `[*]` or `.*`: each item or member.
/// - `..name`: the members of that name at any depth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// At any depth below, and not just one.
    pub(super) anywhere: bool,
    pub(super) selector: Selector,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selector {
    Member(String),
    Item(usize),
    Each,
}

impl Selector {
    /// Whether it selects an element, `index` of its container.
    pub(super) fn selects(&self, element: &Element<'_>, index: usize) -> bool {
        match self {
            Self::Member(name) => element.is_named(name),
            Self::Item(wanted) => element.name.is_none() && index == *wanted,
            Self::Each => true,
        }
    }
}

/// Where a text stops being a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathError {
    /// Bytes before it.
    pub at: usize,
    /// What should be there.
    pub expected: &'static str,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at character {}", self.expected, self.at + 1)
    }
}

impl std::error::Error for PathError {}

impl Path {
    /// Whether it is `$`, the whole value.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.steps.is_empty()
    }

    /// The first value it leads to.
    #[must_use]
    pub fn find<'a>(&self, value: Value<'a>) -> Option<Value<'a>> {
        let mut found = None;
        self.any(value, |value| {
            found = Some(value);
            true
        });
        found
    }

    /// Whether `holds` of any value it leads to. Of members with the same name the last one is looked at; `..name` and `[*]`
    /// look at all.
    pub fn any<'a>(&self, value: Value<'a>, mut holds: impl FnMut(Value<'a>) -> bool) -> bool {
        visit(&self.steps, value, &mut holds)
    }

    /// Reads the path that a text starts with; gives also how many bytes it is long.
    pub fn prefix(text: &str) -> Result<(Self, usize), PathError> {
        if !text.starts_with('$') {
            return Err(PathError { at: 0, expected: "$" });
        }
        let mut reader = Reader { text, at: 1 };
        let mut steps = Vec::new();
        while let Some(step) = reader.step()? {
            steps.push(step);
        }
        Ok((Self { text: text[..reader.at].to_owned(), steps }, reader.at))
    }
}

fn visit<'a>(steps: &[Step], value: Value<'a>, holds: &mut impl FnMut(Value<'a>) -> bool) -> bool {
    let Some((step, rest)) = steps.split_first() else { return holds(value) };
    let here = match &step.selector {
        Selector::Member(name) => value.get(name).is_some_and(|member| visit(rest, member, holds)),
        Selector::Item(index) => value.items().nth(*index).is_some_and(|item| visit(rest, item, holds)),
        Selector::Each => value.elements().any(|element| visit(rest, element.value, holds)),
    };
    here || (step.anywhere && value.elements().any(|element| visit(steps, element.value, holds)))
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        match Self::prefix(text)? {
            (path, len) if len == text.len() => Ok(path),
            (_, at) => Err(PathError { at, expected: "., [ or the end" }),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn takes(&mut self, word: &str) -> bool {
        let there = self.rest().starts_with(word);
        self.at += if there { word.len() } else { 0 };
        there
    }

    fn expected<T>(&self, expected: &'static str) -> Result<T, PathError> {
        Err(PathError { at: self.at, expected })
    }

    /// The next step, if the path goes on.
    fn step(&mut self) -> Result<Option<Step>, PathError> {
        let anywhere = self.takes("..");
        if self.takes("[") {
            return Ok(Some(Step { anywhere, selector: self.bracket()? }));
        }
        if !anywhere && !self.takes(".") {
            return Ok(None);
        }
        let selector = if self.takes("*") { Selector::Each } else { Selector::Member(self.name()?) };
        Ok(Some(Step { anywhere, selector }))
    }

    fn name(&mut self) -> Result<String, PathError> {
        let fits = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let len = self.rest().find(|c| !fits(c)).unwrap_or_else(|| self.rest().len());
        if len == 0 {
            return self.expected("a name, or one in quotes: ['name']");
        }
        let name = self.rest()[..len].to_owned();
        self.at += len;
        Ok(name)
    }

    /// After `[`, to after `]`.
    fn bracket(&mut self) -> Result<Selector, PathError> {
        let quote = self.rest().chars().next();
        let selector = match quote {
            Some('*') => {
                self.at += 1;
                Selector::Each
            }
            Some(quote @ ('\'' | '"')) => {
                self.at += 1;
                let Some(len) = self.rest().find(quote) else { return self.expected("a closing quote") };
                let name = self.rest()[..len].to_owned();
                self.at += len + 1;
                Selector::Member(name)
            }
            _ => {
                let len = self.rest().find(|c: char| !c.is_ascii_digit()).unwrap_or_else(|| self.rest().len());
                let Ok(index) = self.rest()[..len].parse() else {
                    return self.expected("an index, * or a name in quotes");
                };
                self.at += len;
                Selector::Item(index)
            }
        };
        if self.takes("]") { Ok(selector) } else { self.expected("]") }
    }
}
