//! How `sluice consume` writes a record: a layout like `printf`'s, with kcat's letters, or JSON.

use serde::Serialize;

use crate::client::Consumed;

/// A layout, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    KeyLength,
    Value,
    ValueLength,
    Headers,
}

/// What stands for a key or value that is null.
const NULL: &[u8] = b"NULL";

impl Layout {
    /// Reads `%t %p %o %T %k %K %s %S %h %%` and `\n \t \r \\ \0`, everything else being itself.
    pub(super) fn parse(layout: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut chars = layout.chars();
        while let Some(c) = chars.next() {
            let piece = match c {
                '\\' => {
                    text.push(match chars.next() {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some('r') => '\r',
                        Some('0') => '\0',
                        Some('\\') => '\\',
                        Some(other) => return Err(format!("`\\{other}` is not one of \\n \\t \\r \\0 \\\\")),
                        None => return Err("a `\\` stands at the end".to_owned()),
                    });
                    continue;
                }
                '%' => match chars.next() {
                    Some('%') => {
                        text.push('%');
                        continue;
                    }
                    Some('t') => Piece::Topic,
                    Some('p') => Piece::Partition,
                    Some('o') => Piece::Offset,
                    Some('T') => Piece::Timestamp,
                    Some('k') => Piece::Key,
                    Some('K') => Piece::KeyLength,
                    Some('s') => Piece::Value,
                    Some('S') => Piece::ValueLength,
                    Some('h') => Piece::Headers,
                    Some(other) => return Err(format!("`%{other}` is not one of %t %p %o %T %k %K %s %S %h %%")),
                    None => return Err("a `%` stands at the end".to_owned()),
                },
                other => {
                    text.push(other);
                    continue;
                }
            };
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(piece);
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Self(pieces))
    }

    /// A record in this layout. Keys and values are written as the bytes they are.
    pub(super) fn write(&self, topic: &str, record: &Consumed, out: &mut Vec<u8>) {
        let length = |bytes: Option<usize>| bytes.map_or_else(|| "-1".to_owned(), |len| len.to_string());
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Topic => out.extend_from_slice(topic.as_bytes()),
                Piece::Partition => out.extend_from_slice(record.partition.to_string().as_bytes()),
                Piece::Offset => out.extend_from_slice(record.offset.to_string().as_bytes()),
                Piece::Timestamp => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
                Piece::Key => out.extend_from_slice(record.key.as_deref().unwrap_or(NULL)),
                Piece::KeyLength => out.extend_from_slice(length(record.key.as_ref().map(|key| key.len())).as_bytes()),
                Piece::Value => out.extend_from_slice(record.value.as_deref().unwrap_or(NULL)),
                Piece::ValueLength => {
                    out.extend_from_slice(length(record.value.as_ref().map(|value| value.len())).as_bytes());
                }
                Piece::Headers => {
                    for (at, (name, value)) in record.headers.iter().enumerate() {
                        if at > 0 {
                            out.push(b',');
                        }
                        out.extend_from_slice(name.as_bytes());
                        out.push(b'=');
                        out.extend_from_slice(value.as_deref().unwrap_or(NULL));
                    }
                }
            }
        }
    }
}

/// A record as JSON.
#[derive(Debug, Serialize)]
pub(super) struct JsonRecord<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    key: Option<Text<'a>>,
    value: Option<Text<'a>>,
    headers: Vec<JsonHeader<'a>>,
}

/// Headers are a list: they have an order, and a name may stand twice.
#[derive(Debug, Serialize)]
struct JsonHeader<'a> {
    name: &'a str,
    value: Option<Text<'a>>,
}

/// Bytes in JSON: text where they are UTF-8, else an object with their hexadecimal digits.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Text<'a> {
    Utf8(&'a str),
    Bytes { hex: String },
}

impl<'a> Text<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Utf8(text),
            Err(_) => Self::Bytes { hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }
}

impl<'a> JsonRecord<'a> {
    pub(super) fn new(topic: &'a str, record: &'a Consumed) -> Self {
        Self {
            topic,
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref().map(Text::new),
            value: record.value.as_deref().map(Text::new),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| JsonHeader { name, value: value.as_deref().map(Text::new) })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record() -> Consumed {
        Consumed {
            partition: 3,
            offset: 42,
            timestamp: 1000,
            key: None,
            value: Some(Bytes::from_static(b"v\xff")),
            headers: vec![("a".to_owned(), Some(Bytes::from_static(b"1"))), ("a".to_owned(), None)],
        }
    }

    #[test]
    fn layouts() {
        let check = |layout: &str, expected: &[u8]| {
            let mut out = Vec::new();
            Layout::parse(layout).expect(layout).write("t", &record(), &mut out);
            assert_eq!(out, expected, "{layout}");
        };
        check("%s\\n", b"v\xff\n");
        check("%t-%p@%o %T [%k] %K %S %h\\t100%%\\\\", b"t-3@42 1000 [NULL] -1 2 a=1,a=NULL\t100%\\");
        check("", b"");
    }

    #[test]
    fn letters_that_are_none() {
        for layout in ["%x", "%", "\\", "\\q"] {
            assert!(Layout::parse(layout).is_err(), "{layout}");
        }
    }

    #[test]
    fn json_keeps_every_header_and_every_byte() {
        let json = serde_json::to_string(&JsonRecord::new("t", &record())).expect("writes");
        assert_eq!(
            json,
            r#"{"topic":"t","partition":3,"offset":42,"timestamp":1000,"key":null,"value":{"hex":"76ff"},"headers":[{"name":"a","value":"1"},{"name":"a","value":null}]}"#
        );
    }
}
