//! JSON read in place, against serde_json: what is JSON, what is in it, and what a rewrite leaves alone.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use sluice_sdk::json::{self, Change, DEPTH_MAX, Number, Path, Type};

#[test]
fn what_is_json_is_what_serde_json_takes() {
    let texts = [
        "",
        " ",
        "null",
        " true ",
        "false",
        "nul",
        "truex",
        "nulll",
        "0",
        "-0",
        "01",
        "-",
        "1.",
        ".5",
        "1.5e",
        "1e+",
        "1E-7",
        "1.50",
        "+1",
        "1e999",
        "\"\"",
        "\"a",
        "\"\\\"\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u1234\"",
        "\"\\ud800\"",
        "\"\u{1}\"",
        "\"é\"",
        "[]",
        "[ ]",
        "[,]",
        "[1,]",
        "[1 2]",
        "[1,2]",
        "[",
        "]",
        "[1}",
        "{}",
        "{ }",
        "{,}",
        "{\"a\":1}",
        "{\"a\" : 1 , \"b\":[]}",
        "{\"a\":1,}",
        "{\"a\"}",
        "{a:1}",
        "{\"a\":}",
        "{1:2}",
        "{\"a\":1",
        "1 2",
        "{}{}",
        "[[[]]]",
        "\u{feff}1",
        "NaN",
        "'a'",
    ];
    for text in texts {
        let expected = serde_json::from_str::<IgnoredAny>(text).is_ok();
        assert_eq!(json::parse(text.as_bytes()).is_ok(), expected, "{text:?}");
    }
}

#[test]
fn what_is_not_json_says_where() {
    let check = |text: &[u8], expected: &str| {
        assert_eq!(json::parse(text).unwrap_err().to_string(), expected);
    };
    check(b"", "not JSON: expected a value at byte 0");
    check(b"{\"a\": 1 \"b\": 2}", "not JSON: expected a comma or a closing bracket at byte 8");
    check(b"{a: 1}", "not JSON: expected a name in quotes at byte 1");
    check(b"1 x", "not JSON: expected the end at byte 2");
    check(b"\"\xff\"", "not JSON: expected UTF-8 at byte 1");
    let deep = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(json::parse(&deep(DEPTH_MAX)).is_ok());
    check(&deep(DEPTH_MAX + 1), "not JSON: expected no deeper nesting at byte 128");
    check(&vec![b'['; 1 << 20], "not JSON: expected no deeper nesting at byte 128");
}

#[test]
fn values_are_what_they_say() {
    let text = br#" {"n": null, "t": true, "i": 12345678901234567890123, "f": -1.50, "s": "a\"\u00e9\ud83d\ude00\ud83dx", "l": [1, {"x": 2}], "n": 7} "#;
    let value = json::parse(text).unwrap();
    let get = |name: &str| value.get(name).unwrap();
    assert_eq!(value.kind(), Type::Object);
    assert_eq!(get("n").text(), "7", "the last of that name");
    assert_eq!((get("t").as_bool(), get("t").as_f64()), (Some(true), None));
    assert_eq!(get("i").as_number(), Some(Number::Integer(12_345_678_901_234_567_890_123)));
    assert_eq!((get("f").text(), get("f").as_f64()), ("-1.50", Some(-1.5)));
    assert_eq!(get("s").as_str().unwrap(), "a\"é😀\u{fffd}x");
    assert_eq!(get("l").items().map(|item| item.text()).collect::<Vec<_>>(), ["1", r#"{"x": 2}"#]);
    assert!(get("l").get("x").is_none() && value.items().next().is_none() && get("t").elements().next().is_none());
    let names: Vec<_> = value.members().map(|member| member.name().unwrap()).collect();
    assert_eq!(names, ["n", "t", "i", "f", "s", "l", "n"]);
    assert!(json::parse(br#"{"\u0061": 1}"#).unwrap().get("a").is_some(), "an escaped name");
}

#[test]
fn numbers_compare_exactly_when_they_are_integers() {
    let check = |less: &str, greater: &str| {
        let (less, greater) = (Number::read(less).unwrap(), Number::read(greater).unwrap());
        assert!(less < greater && less != greater && less == less, "{less:?} {greater:?}");
    };
    check("9007199254740992", "9007199254740993");
    check("-1", "0");
    check("1", "1.5");
    check("-1e3", "-999");
    assert_eq!(Number::read("1.0"), Number::read("1"));
}

#[test]
fn paths_say_where_they_are_wrong() {
    let check = |text: &str, expected: &str| {
        assert_eq!(text.parse::<Path>().unwrap_err().to_string(), expected, "{text}");
    };
    check("", "expected $ at character 1");
    check("a.b", "expected $ at character 1");
    check("$.", "expected a name, or one in quotes: ['name'] at character 3");
    check("$.a b", "expected ., [ or the end at character 4");
    check("$[a]", "expected an index, * or a name in quotes at character 3");
    check("$['a]", "expected a closing quote at character 4");
    check("$[1", "expected ] at character 4");
    check("$[-1]", "expected an index, * or a name in quotes at character 3");
    assert_eq!(Path::prefix("$.a[*].b == 1").unwrap(), ("$.a[*].b".parse().unwrap(), 8));
}

#[test]
fn paths_lead_to_values() {
    let value = r#"{"a": {"b c": [10, {"x": 1}, {"x": 2}]}, "x": 3, "é": 4, "event-type": 5}"#;
    let value = json::parse(value.as_bytes()).unwrap();
    let check = |path: &str, expected: &[&str]| {
        let mut found = Vec::new();
        let any = path.parse::<Path>().unwrap().any(value, |value| {
            found.push(value.text());
            false
        });
        assert!(!any);
        assert_eq!(found, expected, "{path}");
    };
    check("$", &[value.text()]);
    check("$.x", &["3"]);
    check("$.é", &["4"]);
    check("$.event-type", &["5"]);
    check("$.a['b c'][0]", &["10"]);
    check("$.a[\"b c\"][*].x", &["1", "2"]);
    check("$.a.*[1]", &["{\"x\": 1}"]);
    check("$..x", &["3", "1", "2"]);
    check("$.nothing.x", &[]);
    check("$.x.y", &[]);
    check("$.a['b c'][7]", &[]);
    check("$.a[0]", &[]);
}

#[test]
fn a_rewrite_changes_what_paths_lead_to_and_nothing_else() {
    let check = |text: &str, paths: &[&str], expected: Option<&str>| {
        let paths: Vec<Path> = paths.iter().map(|path| path.parse().unwrap()).collect();
        // The last path replaces, the others remove.
        let rewritten = json::rewrite(json::parse(text.as_bytes()).unwrap(), &paths, |path, _| {
            if path + 1 == paths.len() { Change::Replace("9".to_owned()) } else { Change::Remove }
        });
        assert_eq!(rewritten.as_deref(), expected, "{text}");
    };
    check(r#"{"a": 1}"#, &["$.b", "$.c"], None);
    check(r#"{"a": 1}"#, &["$.a", "$.c"], Some("{}"));
    check(r#" { "a" : 1 , "b" : 2 } "#, &["$.a", "$.c"], Some(r#" { "b" : 2 } "#));
    check(r#" { "a" : 1 , "b" : 2 } "#, &["$.b", "$.c"], Some(r#" { "a" : 1 } "#));
    check(r#"{"a":1,"b":2,"c":3}"#, &["$.a", "$.b", "$.c"], Some(r#"{"c":9}"#));
    check(r#"{"a":1,"b":2,"c":1.0}"#, &["$.b", "$.z"], Some(r#"{"a":1,"c":1.0}"#));
    check(r#"{"a":1,"b":2,"a":3}"#, &["$.a", "$.z"], Some(r#"{"b":2}"#));
    check(r#"{"a":1,"b":2}"#, &["$.*", "$.z"], Some("{}"));
    check(r#"[1, 2, 3]"#, &["$[1]", "$[0]"], Some("[9, 3]"));
    check(r#"[{"x":1},{"x":2,"y":3},5]"#, &["$[*].x", "$.z"], Some(r#"[{},{"y":3},5]"#));
    check(r#"{"x":{"x":1},"y":[{"x":2}]}"#, &["$..x", "$.z"], Some(r#"{"y":[{}]}"#));
    check(r#"{"x":{"x":1},"y":[{"x":2}]}"#, &["$..x"], Some(r#"{"x":9,"y":[{"x":9}]}"#));
    check(r#"{"\u0061":1}"#, &["$.a", "$.z"], Some("{}"));
    check("7", &["$.a", "$"], None);
}

fn some_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,6}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map("[ab\"\\\\é\n]{0,2}", inner, 0..5)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// The tree that reading in place sees.
fn seen(value: json::Value<'_>) -> serde_json::Value {
    match value.kind() {
        Type::Null => serde_json::Value::Null,
        Type::Bool => value.as_bool().unwrap().into(),
        Type::Number => match value.as_number().unwrap() {
            Number::Integer(integer) => i64::try_from(integer).unwrap().into(),
            Number::Float(float) => float.into(),
        },
        Type::String => value.as_str().unwrap().into_owned().into(),
        Type::Array => value.items().map(seen).collect::<Vec<_>>().into(),
        Type::Object => {
            let members = value.members().map(|member| (member.name().unwrap().into_owned(), seen(member.value)));
            members.collect::<serde_json::Map<_, _>>().into()
        }
    }
}

proptest! {
    #[test]
    fn reading_in_place_sees_what_serde_json_wrote(value in some_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert_eq!(seen(json::parse(text.as_bytes()).unwrap()), value);
    }

    #[test]
    fn a_rewrite_is_json_without_what_was_removed(value in some_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let paths = ["$..a".parse().unwrap(), "$..[1]".parse().unwrap()];
        let parsed = json::parse(text.as_bytes()).unwrap();
        let rewritten = json::rewrite(parsed, &paths, |_, _| Change::Remove).unwrap_or_else(|| text.clone());
        prop_assert_eq!(seen(json::parse(rewritten.as_bytes()).unwrap()), without(value));
    }

    #[test]
    fn mutilated_json_is_what_serde_json_takes(value in some_json(), at in any::<prop::sample::Index>(), to in "[\\[\\]{}\",:0-9e.x -]{0,2}") {
        let mut text = value.to_string();
        let at = at.index(text.len());
        prop_assume!(text.is_char_boundary(at) && text.is_char_boundary(at + 1));
        text.replace_range(at..=at, &to);
        let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
        prop_assert_eq!(json::parse(text.as_bytes()).is_ok(), expected, "{}", text);
    }

    #[test]
    fn what_is_quoted_is_the_same_string(text in "\\PC{0,8}[\u{0}-\u{1f}\"\\\\]{0,4}") {
        let quoted = json::quote(&text);
        prop_assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text.as_str());
        prop_assert_eq!(json::parse(quoted.as_bytes()).unwrap().as_str().unwrap(), text.as_str());
    }
}

fn without(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Array(items) => {
            let kept = items.into_iter().enumerate().filter(|(index, _)| *index != 1);
            kept.map(|(_, item)| without(item)).collect::<Vec<_>>().into()
        }
        serde_json::Value::Object(members) => {
            let kept = members.into_iter().filter(|(name, _)| name != "a");
            kept.map(|(name, value)| (name, without(value))).collect::<serde_json::Map<_, _>>().into()
        }
        other => other,
    }
}
