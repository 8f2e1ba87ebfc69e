//! What goes in and what comes out, a row each.

use super::redact;
use sluice_sdk::Verdict;
use sluice_sdk::testing::{Driver, TestRecord};

/// The value that is stored instead of `value`; none when the record is kept as it is.
fn check(rules: &str, value: &str, expected: Option<&str>) {
    let mut gate = Driver::gate::<redact>(format!(r#"{{"rules": {rules}, "salt": "pepper"}}"#)).unwrap();
    let expected = expected.map_or(Verdict::Keep, Verdict::replace_value);
    assert_eq!(gate.run([value]).unwrap(), [expected], "{rules} {value}");
}

#[test]
fn fields_are_removed() {
    let url = r#"[{"path": "$.properties.url", "action": "remove"}]"#;
    check(
        url,
        r#"{"properties": {"mag": 4.50, "url": "u", "type": "x"}}"#,
        Some(r#"{"properties": {"mag": 4.50, "type": "x"}}"#),
    );
    check(
        url,
        r#"{"properties":{"url":{"deep":[1]}},"id":12345678901234567890}"#,
        Some(r#"{"properties":{},"id":12345678901234567890}"#),
    );
    check(url, r#"{"properties": {"mag": 4.50}}"#, None);
    check(url, r#"{"url": "u", "properties": ["url"]}"#, None);
    check(url, r#"{"properties":{"url":1,"\u0075rl":2}}"#, Some(r#"{"properties":{}}"#));
    let cards = r#"[{"path": "$.a.b[*].c", "action": "remove"}]"#;
    check(cards, r#"{"a":{"b":[{"c":1},{"d":2},{"d":3,"c":4}]}}"#, Some(r#"{"a":{"b":[{},{"d":2},{"d":3}]}}"#));
    let anywhere = r#"[{"path": "$..password", "action": "remove"}]"#;
    check(anywhere, r#"[{"user": {"password": "p"}}, {"password": null}]"#, Some(r#"[{"user": {}}, {}]"#));
}

#[test]
fn fields_are_masked() {
    let mask = r#"[{"path": "$.card", "action": "mask"}]"#;
    check(mask, r#"{"card":"4111111111111111"}"#, Some(r#"{"card":"***"}"#));
    check(mask, r#"{"card":[1,2]}"#, Some(r#"{"card":"***"}"#));
    let last = r#"[{"path": "$.card", "action": "mask", "with": "\"x\" ", "keep_last": 4}]"#;
    check(last, r#"{"card":"4111111111111234"}"#, Some(r#"{"card":"\"x\" 1234"}"#));
    check(last, r#"{"card":"é€𝄞a"}"#, Some(r#"{"card":"\"x\" 𝄞a"}"#));
    check(last, r#"{"card":4111111111111234}"#, Some(r#"{"card":"\"x\" "}"#));
}

#[test]
fn fields_are_hashed() {
    let hash = r#"[{"path": "$.id", "action": "hash"}]"#;
    // printf '%s' pepperé | sha256sum
    let of_e = r#"{"id":"2c44ec5079857d71d0b2f3c06f8f63c514ac94618b2cc65be79e7760eecda337"}"#;
    check(hash, r#"{"id":"é"}"#, Some(of_e));
    check(hash, r#"{"id":"\u00e9"}"#, Some(of_e));
    // printf '%s' pepper17 | sha256sum
    let of_17 = r#"{"id":"0b4ddef080fcb061319256ad9d82e3a056888e1fe819dfd7b27b2153987f8087"}"#;
    check(hash, r#"{"id":17}"#, Some(of_17));
    check(hash, r#"{"id":"17"}"#, Some(of_17));
}

#[test]
fn the_first_rule_that_fits_decides() {
    let rules = r#"[{"path": "$.a.b", "action": "mask"}, {"path": "$.a", "action": "remove"}, {"path": "$.*", "action": "mask", "with": ""}]"#;
    check(rules, r#"{"a":{"b":1},"c":2}"#, Some(r#"{"c":""}"#));
    let inner = r#"[{"path": "$.a.b", "action": "mask"}, {"path": "$.a.*", "action": "remove"}]"#;
    check(inner, r#"{"a":{"b":1,"c":2}}"#, Some(r#"{"a":{"b":"***"}}"#));
}

#[test]
fn what_is_not_json_does_not_pass_unless_said() {
    let run = |view: bool, on_invalid: &str| {
        let config = format!(r#"{{"rules": [{{"path": "$.a", "action": "remove"}}]{on_invalid}}}"#);
        let driver = if view { Driver::view::<redact>(config) } else { Driver::gate::<redact>(config) };
        driver.unwrap().run([TestRecord::new("{"), TestRecord::tombstone("key")]).unwrap()
    };
    let message = "redact: not JSON: expected a name in quotes at byte 1";
    assert_eq!(run(false, ""), [Verdict::reject(message), Verdict::Keep]);
    assert_eq!(run(true, ""), [Verdict::Drop, Verdict::Keep]);
    assert_eq!(run(false, r#", "on_invalid": "reject""#), [Verdict::reject(message), Verdict::Keep]);
    assert_eq!(run(true, r#", "on_invalid": "drop""#), [Verdict::Drop, Verdict::Keep]);
    assert_eq!(run(false, r#", "on_invalid": "keep""#), [Verdict::Keep, Verdict::Keep]);
}

#[test]
fn mistakes_in_the_configuration_are_named() {
    let refuse = |config: &str, expected: &str| {
        let error = Driver::gate::<redact>(config).unwrap_err();
        assert!(error.contains(expected), "{config}: {error}");
    };
    refuse("", "missing field `rules`");
    refuse(r#"{"rules": []}"#, "`rules` is empty");
    refuse(r#"{"rules": [{"path": "a", "action": "mask"}]}"#, "path `a`: expected $ at character 1");
    refuse(r#"{"rules": [{"path": "$.a[", "action": "mask"}]}"#, "path `$.a[`: expected an index");
    refuse(r#"{"rules": [{"path": "$", "action": "mask"}]}"#, "path `$` is the whole value");
    refuse(
        r#"{"rules": [{"path": "$.a", "action": "encrypt"}]}"#,
        "unknown variant `encrypt`, expected one of `remove`, `mask`, `hash`",
    );
    refuse(r#"{"rules": [{"path": "$.a", "action": "mask", "wiht": ""}]}"#, "unknown field `wiht`");
    refuse(
        r#"{"rules": [{"path": "$.a", "action": "hash", "with": "x"}]}"#,
        "path `$.a`: `with` and `keep_last` are for",
    );
    refuse(r#"{"rules": [{"path": "$.a", "action": "mask"}], "on_invalid": "die"}"#, "unknown variant `die`");
    let view = Driver::view::<redact>(r#"{"rules": [{"path": "$.a", "action": "mask"}], "on_invalid": "reject"}"#);
    assert_eq!(view.unwrap_err(), "`on_invalid` is `reject`, which a view cannot: say keep or drop");
}

#[test]
fn what_is_required_must_hold() {
    let config = r#"{
        "require": [{"path": "$.type", "equals": "quake"}, {"path": "$.n", "equals": 2}, {"path": "$.ok", "equals": true}],
        "rules": [{"path": "$.url", "action": "remove"}]
    }"#;
    let check = |value: &str, expected: Verdict| {
        let seen = if matches!(expected, Verdict::Reject(_)) { Verdict::Drop } else { expected.clone() };
        assert_eq!(Driver::gate::<redact>(config).unwrap().run([value]).unwrap(), [expected], "as a gate: {value}");
        assert_eq!(Driver::view::<redact>(config).unwrap().run([value]).unwrap(), [seen], "as a view: {value}");
    };
    let refused = |why: &str| Verdict::reject(format!("redact: {why}"));
    check(
        r#"{"type":"quake","n":2.0,"ok":true,"url":1}"#,
        Verdict::replace_value(r#"{"type":"quake","n":2.0,"ok":true}"#),
    );
    check(r#"{"type":"qu\u0061ke","n":2,"ok":true}"#, Verdict::Keep);
    check(r#"{"type":"blast","n":2,"ok":true,"url":1}"#, refused(r#"$.type is not "quake""#));
    check(r#"{"n":2,"ok":true}"#, refused(r#"$.type is not "quake""#));
    check(r#"{"type":"quake","n":"2","ok":true}"#, refused("$.n is not 2"));
    check(r#"{"type":"quake","n":2,"ok":1}"#, refused("$.ok is not true"));
}
