//! The text that is shown: as OpenMetrics has it, and as METRICS.md says.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const PAGE: &str = include_str!("../../../METRICS.md");

/// Everything there can be, once each.
fn everything() -> String {
    let metrics = Metrics::new();
    metrics.plugin_add("gate:t", "seen", 1);
    metrics.plugin_set("gate:t", "longest", 1.5);
    metrics.plugin_lines_dropped("gate:t", 2);
    let binding = BindingSnapshot { binding: "gate:t".into(), batches: 1, records: 3, failures: 0, cpu_seconds: 0.25 };
    metrics.render(&Snapshot { elections: vec![("other", 4)], bindings: vec![binding], ..Snapshot::default() })
}

/// A family by the name that is asked for, and its type.
fn families(text: &str) -> BTreeMap<String, &str> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| (if kind == "counter" { format!("{name}_total") } else { name.to_owned() }, kind))
        .collect()
}

#[test]
fn the_page_names_every_metric_and_no_other() {
    let rows = PAGE.lines().map(|line| line.split(" | ").collect::<Vec<_>>());
    let told: BTreeMap<String, &str> = rows
        .filter_map(|row| {
            // Of name, type, unit and what it says.
            let [name, kind, _, _] = row[..] else { return None };
            Some((name.strip_prefix("| `")?.split(['`', '{']).next()?.to_owned(), kind))
        })
        .collect();
    let text = everything();
    assert_eq!(told, families(&text));
    // What is said to be alarmed on, and anywhere else.
    let known: BTreeSet<String> = families(&text).into_keys().collect();
    for name in PAGE.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("sluice_"))
    {
        let of_histogram = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
        assert!(known.contains(name) || of_histogram.is_some_and(|name| known.contains(name)), "{name} is no metric");
    }
}

#[test]
fn each_family_is_said_once_and_before_its_samples() {
    let text = everything();
    assert!(text.ends_with("# EOF\n") && !text[..text.len() - 1].contains("# EOF\n#"));
    let (mut seen, mut current) = (BTreeSet::new(), None);
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            assert!(seen.insert(name), "{name} is said twice");
            current = Some((name, kind));
        } else if !line.starts_with('#') {
            let (name, kind) = current.expect("a family comes first");
            let sample = line.split(['{', ' ']).next().unwrap_or_default();
            let suffixes: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            assert!(
                suffixes.iter().any(|suffix| sample.strip_suffix(suffix) == Some(name)),
                "{line} of {name}, a {kind}"
            );
            let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
            assert!(value.is_some_and(|value| value >= 0.0), "{line}");
        }
    }
}

#[test]
fn what_is_no_more_is_shown_no_more() {
    let metrics = Metrics::new();
    let binding = BindingSnapshot { binding: "gate:t".into(), batches: 7, ..BindingSnapshot::default() };
    let shown = |bindings| metrics.render(&Snapshot { bindings, ..Snapshot::default() });
    assert!(shown(vec![binding]).contains("sluice_plugin_batches_total{binding=\"gate:t\"} 7\n"));
    assert!(!shown(Vec::new()).contains("gate:t"));
}

#[test]
fn requests_are_counted_by_api_and_timed() {
    let metrics = Metrics::new();
    let took = metrics.request(ApiKey::Produce).expect("it is served");
    took.observe(std::time::Duration::from_millis(3));
    assert!(metrics.request(ApiKey::Vote).is_none(), "what is not served is not counted");
    let text = metrics.render(&Snapshot::default());
    for line in ["sluice_requests_total{api=\"Produce\"} 1", "sluice_request_seconds_count{api=\"Produce\"} 1"] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}
