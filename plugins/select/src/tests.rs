//! Conditions and records, a row each: what holds, what does not, and what is said of it.

use super::select;
use sluice_sdk::Verdict;
use sluice_sdk::testing::{Driver, TestRecord};

/// Real ones have more members; these are those that differ in kind.
const QUAKE: &str = r#"{"mag": 4.6, "type": "earthquake", "place": "Alaska", "felt": null, "tsunami": true, "ids": [1, 2], "id": 9007199254740993}"#;

fn config(condition: &str, rest: &str) -> String {
    format!(r#"{{"if": {}{rest}}}"#, sluice_sdk::json::quote(condition))
}

fn record() -> TestRecord {
    let record = TestRecord::new(QUAKE).with_key("us-7000").at(1_700_000_000_000);
    record.with_header("origin", "eu").with_header("origin", "us").with_header("empty", "")
}

fn check(condition: &str, expected: bool) {
    let mut view = Driver::view::<select>(config(condition, "")).unwrap_or_else(|e| panic!("{condition}: {e}"));
    let expected = if expected { Verdict::Keep } else { Verdict::Drop };
    assert_eq!(view.run([record()]).unwrap(), [expected], "{condition}");
}

#[test]
fn fields_are_compared() {
    check("$.mag >= 4.5", true);
    check("$.mag > 4.6", false);
    check("$.mag <= 4.60", true);
    check("$.mag < 5", true);
    check("4.5 < $.mag", true);
    check("$.mag == 46e-1", true);
    check("$.type == 'earthquake'", true);
    check("$.type == \"blast\"", false);
    check("$.type != 'blast'", true);
    check("$['type'] == 'earthquake'", true);
    check("$.type > 'a' && $.type < 'f'", true);
    check("$.id == 9007199254740993", true);
    check("$.id == 9007199254740992", false);
    check("$.felt == null", true);
    check("$.tsunami == true", true);
    check("$.tsunami", true);
    check("!$.tsunami", false);
    check("$.place contains 'ask'", true);
    check("$.place contains ''", true);
    check("$.place startswith 'Al'", true);
    check("$.place endswith 'ka'", true);
    check("$.place endswith 'Al'", false);
    check("$.type in ['blast', 'earthquake']", true);
    check("$.mag in [1, null]", false);
    check("$.ids[*] == 2", true);
    check("$.ids[*] == 3", false);
    check("$.ids[1] == 2", true);
}

#[test]
fn what_is_not_there_and_what_is_of_another_type_equals_nothing() {
    check("$.depth == null", false);
    check("$.depth != 3", true);
    check("$.depth < 3 || $.depth >= 3", false);
    check("exists($.depth)", false);
    check("exists($.felt)", true);
    check("$.mag == '4.6'", false);
    check("$.mag < 'x' || $.mag >= 'x'", false);
    check("$.ids == 1", false);
    check("$.place", false);
    check("$.mag contains '4'", false);
}

#[test]
fn key_headers_and_timestamp_are_compared() {
    check("key == 'us-7000'", true);
    check("key startswith 'us-'", true);
    check("key == null", false);
    check("exists(key)", true);
    check("headers['origin'] == 'us'", true);
    check("headers['origin'] == 'eu'", false);
    check("headers[\"empty\"] == ''", true);
    check("exists(headers['nothing'])", false);
    check("headers['nothing'] != 'x'", true);
    check("timestamp >= 1700000000000", true);
    check("timestamp > 1700000000000", false);
}

#[test]
fn conditions_are_joined() {
    check("true", true);
    check("false || true", true);
    check("true || false && false", true);
    check("(true || false) && false", false);
    check("!(true && false)", true);
    check("!!true", true);
    check("!false && true", true);
    check(" $.mag>=4.5&&$.type=='earthquake' ", true);
    check("key == 'it\\'s'", false);
}

#[test]
fn a_rejected_record_is_told_what_does_not_hold() {
    let told = |condition: &str, record: TestRecord, expected: &str| {
        let mut gate = Driver::gate::<select>(config(condition, r#", "else": "reject""#)).unwrap();
        assert_eq!(gate.run([record]).unwrap(), [Verdict::reject(expected)], "{condition}");
    };
    told("$.amount > 0", r#"{"amount": -1}"#.into(), "select: $.amount > 0 does not hold");
    told("$.mag >= 4.5 && $.type == 'blast'", record(), "select: $.type == 'blast' does not hold");
    told("$.mag > 9 || $.type == 'blast'", record(), "select: $.mag > 9 || $.type == 'blast' does not hold");
    told("$.mag > 9 && false || false", record(), "select: $.mag > 9 && false || false does not hold");
    told("true && ($.mag > 9 && false)", record(), "select: ($.mag > 9 && false) does not hold");
    told("$.amount > 0", "amount: 1".into(), "select: not JSON: expected a value at byte 0");
    told("!exists($.secret)", "{".into(), "select: not JSON: expected a name in quotes at byte 1");
}

#[test]
fn a_value_is_read_only_when_the_condition_gets_there() {
    let mut view = Driver::view::<select>(config("key == 'us-7000' || $.mag > 9", "")).unwrap();
    let verdicts = view.run([TestRecord::new("{").with_key("us-7000"), TestRecord::new("{").with_key("x")]);
    assert_eq!(verdicts.unwrap(), [Verdict::Keep, Verdict::Drop]);
}

#[test]
fn tombstones_pass_unless_said() {
    let run = |condition: &str, rest: &str| {
        let mut view = Driver::view::<select>(config(condition, rest)).unwrap();
        view.run([TestRecord::tombstone("k")]).unwrap().remove(0)
    };
    assert_eq!(run("$.mag > 9", ""), Verdict::Keep);
    assert_eq!(run("key == 'x'", ""), Verdict::Keep);
    assert_eq!(run("$.mag > 9", r#", "tombstones": "keep""#), Verdict::Keep);
    assert_eq!(run("key == 'k'", r#", "tombstones": "drop""#), Verdict::Drop);
    assert_eq!(run("key == 'k'", r#", "tombstones": "evaluate""#), Verdict::Keep);
    assert_eq!(run("key == 'x'", r#", "tombstones": "evaluate""#), Verdict::Drop);
    assert_eq!(run("!exists($.mag)", r#", "tombstones": "evaluate""#), Verdict::Keep);
}

#[test]
fn only_the_columns_that_are_spoken_of_cross() {
    use sluice_sdk::{Columns, Instance, Kind};
    let columns =
        |condition: &str, rest: &str| Instance::<select>::init(Kind::Gate, &config(condition, rest)).unwrap().columns();
    let evaluate = r#", "tombstones": "evaluate""#;
    assert_eq!(columns("$.mag > 9", ""), Columns::VALUES);
    assert_eq!(columns("key == 'x'", ""), Columns::VALUES.and(Columns::KEYS));
    assert_eq!(columns("key == 'x'", evaluate), Columns::KEYS);
    assert_eq!(
        columns("timestamp > 9 && !(headers['x'] in ['y'])", evaluate),
        Columns::TIMESTAMPS.and(Columns::HEADERS)
    );
    assert_eq!(columns("true", evaluate), Columns::NONE);
}

#[test]
fn mistakes_are_named_with_their_place() {
    let refuse = |condition: &str, expected: &str| {
        let error = Driver::gate::<select>(config(condition, "")).unwrap_err();
        assert_eq!(error, format!("`if`: expected {expected}"), "{condition}");
    };
    let operand = super::expression::OPERAND;
    let comparison = super::expression::COMPARISON;
    refuse("", &format!("{operand} at character 1, where it ends"));
    refuse("mag > 4", &format!("{operand} at character 1, not `mag`"));
    refuse("$.mag >", &format!("{operand} at character 8, where it ends"));
    refuse("$.mag = 4", "&&, || or the end at character 7, not `=`");
    refuse("key", &format!("{comparison} at character 4, where it ends"));
    refuse("5 && true", &format!("{comparison} at character 3, not `&`"));
    refuse("$.é == 1 & true", "&&, || or the end at character 10, not `&`");
    refuse("($.mag > 4", ") at character 11, where it ends");
    refuse("$.mag > 4)", "&&, || or the end at character 10, not `)`");
    refuse("$. > 4", "a name, or one in quotes: ['name'] at character 4, not `>`");
    refuse("$.a == 'x", "a closing quote at character 10, where it ends");
    refuse("$.a == 01", "a number at character 8, not `01`");
    refuse("$.a == 4.5.6", "a number at character 8, not `4`");
    refuse("$.a in 1", "[ at character 8, not `1`");
    refuse("$.a in [1 2]", ", or ] at character 11, not `2`");
    refuse("$.a in [$.b]", "a number, a text in quotes, true, false or null at character 9, not `$`");
    refuse("headers[x] == 1", "a header's name in quotes at character 9, not `x`");
    refuse("keys == 1", &format!("{operand} at character 1, not `keys`"));
    refuse("exists $.a", "( at character 8, not `$`");
    refuse(&"(".repeat(99), "no deeper nesting at character 51, not `(`");
    refuse(&"!".repeat(99), "no deeper nesting at character 51, not `!`");
    for (config, expected) in [
        ("{}", "missing field `if`"),
        (r#"{"if": "true", "then": 1}"#, "unknown field `then`, expected one of `if`, `else`, `tombstones`"),
        (r#"{"if": "true", "else": "keep"}"#, "unknown variant `keep`, expected `drop` or `reject`"),
    ] {
        let error = Driver::gate::<select>(config).unwrap_err();
        assert!(error.contains(expected), "{config}: {error}");
    }
    let view = Driver::view::<select>(config("true", r#", "else": "reject""#));
    assert_eq!(view.unwrap_err(), "`else` is `reject`, which a view cannot: say drop");
}
