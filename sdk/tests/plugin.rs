//! The attribute and the driver, as a plugin's author meets them.

use serde::Deserialize;
use sluice_sdk::log::Level;
use sluice_sdk::testing::{Driver, DriverError, TestRecord, unpack};
use sluice_sdk::{Batch, Instance, Kind, Record, Replacement, Verdict, Verdicts, log, metrics};

mod every_verdict {
    use super::{Record, Replacement, Verdict, log, metrics};

    #[sluice_sdk::plugin(gate, view)]
    pub(crate) fn every(record: &Record<'_>) -> Verdict {
        metrics::add("seen", 1);
        match record.value() {
            Some(b"keep") => Verdict::Keep,
            Some(b"drop") => Verdict::Drop,
            Some(b"reject") => Verdict::reject(format!("record {} at {}", record.index(), record.timestamp())),
            Some(b"nothing") => Replacement::new().into(),
            Some(value) => {
                log::warn(format_args!("{} bytes", value.len()));
                metrics::set("longest", value.len() as f64);
                Replacement::new().key("k").null_value().header("origin", record.topic()).into()
            }
            None => Replacement::new().value("was null").null_key().clear_headers().into(),
        }
    }
}
use every_verdict::every;

#[test]
fn every_verdict_crosses() {
    let mut gate = Driver::gate::<every>("").unwrap().on("orders", 7);
    let records = [
        TestRecord::new("keep"),
        TestRecord::new("drop"),
        TestRecord::new("reject").at(5),
        TestRecord::new("nothing"),
        TestRecord::new("other"),
        TestRecord::tombstone("k").with_header("h", "v"),
    ];
    let replaced = Replacement::new().key("k").null_value().header("origin", "orders");
    let expected = [
        Verdict::Keep,
        Verdict::Drop,
        Verdict::reject("record 2 at 5"),
        Verdict::Keep,
        replaced.into(),
        Replacement::new().value("was null").null_key().clear_headers().into(),
    ];
    assert_eq!(gate.run(records.clone()).unwrap(), expected);
    assert_eq!(gate.logs(), [(Level::Warn, "5 bytes".to_owned())]);
    assert_eq!((gate.counter("seen"), gate.gauge("longest")), (6, Some(5.0)));

    let [keep, drop, reject, nothing, other, null] = records;
    let rejected = gate.through([keep.clone(), reject]).unwrap_err();
    assert_eq!(rejected, DriverError::Rejected(vec![(1, "record 1 at 5".to_owned())]));
    let mut passed = gate.through([keep, drop, nothing, other, null]).unwrap().into_iter();
    let mut next = || passed.next().map(|record| (record.key, record.value, record.headers.len()));
    assert_eq!(next(), Some((None, Some(b"keep".to_vec()), 0)));
    assert_eq!(next(), Some((None, Some(b"nothing".to_vec()), 0)));
    assert_eq!(next(), Some((Some(b"k".to_vec()), None, 1)));
    assert_eq!(next(), Some((None, Some(b"was null".to_vec()), 0)));
    assert_eq!(next(), None);
}

#[test]
fn a_view_that_rejects_fails_the_batch() {
    let mut view = Driver::view::<every>("{}").unwrap();
    let failed = view.run(["keep", "reject"]).unwrap_err().to_string();
    assert_eq!(failed, "record 1: rejected, and a view cannot reject: it keeps, replaces or drops");
}

mod configured {
    use super::{Batch, Deserialize, Kind, Record, Verdict, Verdicts};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Config {
        below: i64,
        #[serde(default)]
        refuse: bool,
    }

    fn fits(config: &Config, kind: Kind) -> Result<(), &'static str> {
        if config.refuse && kind == Kind::View { Err("`refuse` is for gates") } else { Ok(()) }
    }

    #[sluice_sdk::plugin(gate, view, columns(values, timestamps), check = fits)]
    pub(crate) fn numbers(record: &Record<'_>, config: &Config) -> Result<Verdict, std::num::ParseIntError> {
        let text = String::from_utf8_lossy(record.value().unwrap_or_default());
        let number: i64 = text.parse()?;
        let other = if config.refuse { Verdict::reject("too large") } else { Verdict::Drop };
        Ok(if number < config.below { Verdict::Keep } else { other })
    }

    pub(crate) mod batched {
        use super::{Batch, Config, Verdicts};

        #[sluice_sdk::plugin(view, batch, columns(values))]
        pub(crate) fn last_only(batch: &Batch<'_>, verdicts: &mut Verdicts) {
            (0..batch.len() - 1).for_each(|record| verdicts.drop(record));
        }

        #[sluice_sdk::plugin(gate, batch, columns(values))]
        pub(crate) fn first(batch: &Batch<'_>, verdicts: &mut Verdicts, config: &Config) -> Result<(), String> {
            if batch.len() as i64 > config.below {
                return Err("too many".to_owned());
            }
            verdicts.replace_value(0, Some(b"first"));
            Ok(())
        }
    }
}
use configured::batched::{first, last_only};
use configured::numbers;

#[test]
fn configuration_is_read_once_and_its_mistakes_are_named() {
    let check = |kind: Kind, config: &str, expected: &str| {
        let bound = match kind {
            Kind::Gate => Driver::gate::<numbers>(config),
            Kind::View => Driver::view::<numbers>(config),
        };
        let error = bound.err().unwrap_or_default();
        assert!(error.starts_with(expected) && error.is_empty() == expected.is_empty(), "{config}: {error}");
    };
    check(Kind::Gate, r#"{"below": 3, "refuse": true}"#, "");
    check(Kind::View, r#"{"below": 3}"#, "");
    check(Kind::Gate, "", "missing field `below` at line 1 column 2");
    check(Kind::Gate, r#"{"below": 3, "bellow": 4}"#, "unknown field `bellow`, expected `below` or `refuse`");
    check(Kind::Gate, r#"{"below": "3"}"#, "invalid type: string \"3\", expected i64");
    check(Kind::Gate, "{", "EOF while parsing");
    check(Kind::View, r#"{"below": 3, "refuse": true}"#, "`refuse` is for gates");
    assert_eq!(Driver::gate::<last_only>("").unwrap_err(), "not a gate");
    let error = Driver::view::<last_only>(r#"{"any": 1}"#).unwrap_err();
    assert!(error.starts_with("invalid type: map, expected unit"), "{error}");
}

#[test]
fn an_error_fails_the_batch_and_names_the_record() {
    let mut gate = Driver::gate::<numbers>(serde_json::json!({"below": 3, "refuse": true})).unwrap();
    assert_eq!(gate.run(["2", "3"]).unwrap(), [Verdict::Keep, Verdict::reject("too large")]);
    let failed = gate.run(["2", "x"]).unwrap_err();
    assert_eq!(failed, DriverError::Failed("record 1: invalid digit found in string".to_owned()));
}

#[test]
fn a_plugin_may_take_the_whole_batch() {
    let mut view = Driver::view::<last_only>("").unwrap();
    assert_eq!(view.run(["1", "2", "3"]).unwrap(), [Verdict::Drop, Verdict::Drop, Verdict::Keep]);
    let mut gate = Driver::gate::<first>(r#"{"below": 2}"#).unwrap();
    assert_eq!(gate.run(["1", "2"]).unwrap(), [Verdict::replace_value("first"), Verdict::Keep]);
    assert_eq!(gate.run(["1", "2", "3"]).unwrap_err(), DriverError::Failed("too many".to_owned()));
}

#[test]
fn what_is_not_a_batch_is_the_plugins_error_and_not_a_panic() {
    let instance = Instance::<every>::init(Kind::Gate, "").unwrap();
    let error = instance.process(b"SLB1\x02\0").unwrap_err();
    assert_eq!(error, "batch layout 2; this plugin was built for layout 1");
}

#[test]
fn an_answer_that_lies_is_told() {
    let honest = {
        let mut verdicts = Verdicts::new(2);
        verdicts.reject(0, "no");
        verdicts.replace_value(1, Some(b"yes"));
        verdicts.finish().unwrap()
    };
    assert_eq!(unpack(&honest, 2).unwrap(), [Verdict::reject("no"), Verdict::replace_value("yes")]);
    let mut undetected = Vec::new();
    for len in 0..honest.len() {
        if unpack(&honest[..len], 2).is_ok() {
            undetected.push(len);
        }
    }
    assert_eq!(undetected, Vec::<usize>::new(), "truncations taken for an answer");
    for (at, byte) in [
        (0, b'X'),
        (4, 3),
        (8, 1),
        (8, 2),
        (12, 1),
        (16, 4),
        (17, 1),
        (18, 1),
        (20, 1),
        (24, 9),
        (48, 0),
        (48, 8),
        (52, 1),
        (60, 9),
    ] {
        let mut lie = honest.clone();
        lie[at] = byte;
        assert!(unpack(&lie, 2).is_err(), "byte {at} = {byte}");
    }
}
