//! Two implementations' structs, made comparable: what `{:?}` prints, read into a tree of names and values.
//!
//! Field by field by name, so that two fields of one type that changed places are found, without a hand-written mapping for
//! each struct. Types that only wrap a value vanish. Null, empty and absent are one here, since the implementations choose
//! different defaults; that they are told apart is shown by comparing bytes.

use std::collections::BTreeMap;

use crate::Uuid;

/// A value without its types.
#[derive(Debug, PartialEq)]
pub(super) enum Tree {
    Nothing,
    Number(i64),
    Bool(bool),
    Uuid([u8; 16]),
    /// As `{:?}` escapes it.
    Text(String),
    List(Vec<Self>),
    Struct(BTreeMap<String, Self>),
}

impl Tree {
    pub(super) fn of(value: &impl std::fmt::Debug) -> Self {
        let printed = format!("{value:?}");
        let mut rest = printed.as_str();
        let tree = parse(&mut rest);
        assert_eq!(rest, "", "left over of {printed}");
        tree
    }
}

/// Fields without a counterpart: records, compared as bytes; unknown tags; and two of InitProducerId 6, which is not stable.
const APART: [&str; 6] = [
    "records",
    "unknown_tagged_fields",
    "enable_2_pc",
    "keep_prepared_txn",
    "ongoing_txn_producer_id",
    "ongoing_txn_producer_epoch",
];

fn parse(rest: &mut &str) -> Tree {
    if let Some(after) = rest.strip_prefix('"').or_else(|| rest.strip_prefix("b\"")) {
        *rest = after;
        let text = text(rest);
        return if text.is_empty() { Tree::Nothing } else { Tree::Text(text) };
    }
    if let Some(after) = rest.strip_prefix('[') {
        *rest = after;
        let mut list = Vec::new();
        while !take(rest, "]") {
            list.push(parse(rest));
            take(rest, ", ");
        }
        return if list.is_empty() { Tree::Nothing } else { Tree::List(list) };
    }
    if take(rest, "{}") {
        return Tree::Nothing;
    }
    let word = word(rest);
    if word == "Chunks" {
        *rest = rest.split_once(')').expect("closed").1;
        return Tree::Nothing;
    }
    if take(rest, " { ") {
        return fields(rest);
    }
    if take(rest, " (") || take(rest, "(") {
        let inner = parse(rest);
        assert!(take(rest, ")"), "a type around one value: {rest}");
        return inner;
    }
    value(word)
}

fn fields(rest: &mut &str) -> Tree {
    let mut fields = BTreeMap::new();
    while !take(rest, " }") {
        let name = word(rest);
        assert!(take(rest, ": "), "a value after {name}: {rest}");
        let value = parse(rest);
        if !APART.contains(&name) {
            fields.insert(name.to_owned(), value);
        }
        take(rest, ", ");
    }
    Tree::Struct(fields)
}

fn value(word: &str) -> Tree {
    if let Ok(number) = word.parse() {
        return Tree::Number(number);
    }
    match word {
        "None" => Tree::Nothing,
        "true" => Tree::Bool(true),
        "false" => Tree::Bool(false),
        _ => match word.parse::<Uuid>() {
            Ok(uuid) => Tree::Uuid(uuid.0),
            Err(_) => Tree::Uuid(hyphenated(word)),
        },
    }
}

fn hyphenated(word: &str) -> [u8; 16] {
    let digits = word.replace('-', "");
    assert_eq!(digits.len(), 32, "neither a number nor an identifier: {word}");
    u128::from_str_radix(&digits, 16).expect("hexadecimal").to_be_bytes()
}

fn take(rest: &mut &str, prefix: &str) -> bool {
    let after = rest.strip_prefix(prefix);
    *rest = after.unwrap_or(rest);
    after.is_some()
}

fn word<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-').unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    assert!(!word.is_empty(), "a word: {rest}");
    *rest = after;
    word
}

fn text(rest: &mut &str) -> String {
    let mut escaped = false;
    let end = rest
        .find(|c| {
            let quote = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            quote
        })
        .expect("a closing quote");
    let text = rest[..end].to_owned();
    *rest = &rest[end + 1..];
    text
}
