//! Two ways through a JSON text: [`check`], which believes nothing, and [`skip`], which goes over text that was checked.

use std::ops::Range;

use super::Error;

/// How deep arrays and objects may be nested: what serde_json and most others allow, and what a guest's stack bears.
pub const DEPTH_MAX: usize = 128;

type Checked = Result<usize, Error>;

/// Checks that the text is one JSON value with white space around it; gives where the value lies.
pub(super) fn check(text: &[u8]) -> Result<Range<usize>, Error> {
    let start = space(text, 0);
    let end = value(text, start, DEPTH_MAX)?;
    match space(text, end) {
        after if after == text.len() => Ok(start..end),
        after => Err(Error { at: after, expected: "the end" }),
    }
}

/// The end of the white space that starts at `at`.
#[inline]
pub(super) fn space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// The end of the value that starts at `at`, in text that was checked.
pub(super) fn skip(text: &[u8], at: usize) -> usize {
    match text[at] {
        b'"' => skip_string(text, at),
        b'[' | b'{' => skip_container(text, at),
        _ => {
            let rest = &text[at..];
            let len = rest.iter().position(|b| matches!(b, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t' | b':'));
            at + len.unwrap_or(rest.len())
        }
    }
}

fn skip_string(text: &[u8], at: usize) -> usize {
    let mut at = plain(text, at + 1);
    while text[at] == b'\\' {
        at = plain(text, at + 2);
    }
    at + 1
}

/// The end of the run of bytes that starts at `at` and has no quote, backslash or control character.
#[inline]
fn plain(text: &[u8], at: usize) -> usize {
    let ends = |word: u64| below(word, b' ') | equal(word, b'"') | equal(word, b'\\');
    run(text, at, ends, |byte| matches!(byte, b'"' | b'\\' | 0..b' '))
}

/// The end of the run of bytes that starts at `at` and has no quote and no bracket of either kind.
#[inline]
fn unstructured(text: &[u8], at: usize) -> usize {
    // One bit tells `[` from `{` and `]` from `}`; with that bit a quote stays a quote, and of other bytes only a control
    // character becomes one, which text that was checked does not have.
    let ends = |word: u64| {
        let word = word | (EACH * 0x20);
        equal(word, b'"') | equal(word, b'{') | equal(word, b'}')
    };
    run(text, at, ends, |byte| matches!(byte, b'"' | b'[' | b']' | b'{' | b'}'))
}

/// Goes over text eight bytes at a time, as most of it is neither the end of a string nor of a container, and a guest pays
/// for each turn of a loop. In what `ends` gives, the lowest bit that is set belongs to the first byte that ends the run.
#[inline]
fn run(text: &[u8], mut at: usize, ends: impl Fn(u64) -> u64, is_end: impl Fn(&u8) -> bool) -> usize {
    while let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let found = ends(u64::from_le_bytes(*bytes));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(is_end).unwrap_or(rest.len())
}

const EACH: u64 = 0x0101_0101_0101_0101;

/// The top bit of each byte below `limit`. Of the bits above the first one some may be wrong.
#[inline]
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(EACH * u64::from(limit)) & !word & (EACH << 7)
}

/// As [`below`], of each byte that is `byte`.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (EACH * u64::from(byte)), 1)
}

fn skip_container(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    loop {
        at = unstructured(text, at);
        match text[at] {
            b'"' => {
                at = skip_string(text, at);
                continue;
            }
            b'[' | b'{' => depth += 1,
            _ => depth -= 1,
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
}

fn value(text: &[u8], at: usize, depth: usize) -> Checked {
    match text.get(at) {
        Some(b'"') => string(text, at),
        Some(b'{' | b'[') if depth == 0 => Err(Error { at, expected: "no deeper nesting" }),
        Some(b'{') => container(text, at, b'}', |at| {
            let colon = space(text, name(text, at)?);
            expect(text, colon, b":", "a colon")?;
            value(text, space(text, colon + 1), depth - 1)
        }),
        Some(b'[') => container(text, at, b']', |at| value(text, at, depth - 1)),
        Some(b't') => expect(text, at, b"true", "a value"),
        Some(b'f') => expect(text, at, b"false", "a value"),
        Some(b'n') => expect(text, at, b"null", "a value"),
        Some(b'-' | b'0'..=b'9') => number(text, at),
        _ => Err(Error { at, expected: "a value" }),
    }
}

/// From the opening bracket at `at` to after the closing one, with elements between commas.
fn container(text: &[u8], at: usize, close: u8, element: impl Fn(usize) -> Checked) -> Checked {
    let mut at = space(text, at + 1);
    if text.get(at) == Some(&close) {
        return Ok(at + 1);
    }
    loop {
        let after = space(text, element(at)?);
        match text.get(after) {
            Some(b',') => at = space(text, after + 1),
            Some(byte) if *byte == close => return Ok(after + 1),
            _ => return Err(Error { at: after, expected: "a comma or a closing bracket" }),
        }
    }
}

fn name(text: &[u8], at: usize) -> Checked {
    if text.get(at) == Some(&b'"') { string(text, at) } else { Err(Error { at, expected: "a name in quotes" }) }
}

fn string(text: &[u8], at: usize) -> Checked {
    let mut at = at + 1;
    loop {
        at = plain(text, at);
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(text, at + 1)?,
            Some(_) => return Err(Error { at, expected: "no control character in a string" }),
            None => return Err(Error { at, expected: "a closing quote" }),
        }
    }
}

fn escape(text: &[u8], at: usize) -> Checked {
    match text.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
        Some(b'u') => match text.get(at + 1..at + 5) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 5),
            _ => Err(Error { at: at + 1, expected: "four hexadecimal digits" }),
        },
        _ => Err(Error { at, expected: "an escape" }),
    }
}

fn number(text: &[u8], at: usize) -> Checked {
    let mut at = if text[at] == b'-' { at + 1 } else { at };
    at = if text.get(at) == Some(&b'0') { at + 1 } else { digits(text, at)? };
    if text.get(at) == Some(&b'.') {
        at = digits(text, at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = text.get(at) {
            at += 1;
        }
        at = digits(text, at)?;
    }
    Ok(at)
}

fn digits(text: &[u8], at: usize) -> Checked {
    let rest = text.get(at..).unwrap_or_default();
    match rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len()) {
        0 => Err(Error { at, expected: "a digit" }),
        len => Ok(at + len),
    }
}

fn expect(text: &[u8], at: usize, word: &[u8], expected: &'static str) -> Checked {
    match text.get(at..) {
        Some(rest) if rest.starts_with(word) => Ok(at + word.len()),
        _ => Err(Error { at, expected }),
    }
}
