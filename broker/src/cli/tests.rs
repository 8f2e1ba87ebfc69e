//! The command line as people write it.

use clap::CommandFactory as _;

use super::*;
use crate::admin::shapes::{BindingSpec, ErrorPolicy};

fn parse(line: &str) -> Arguments {
    Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"))
}

#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn lines_that_are_understood() {
    for line in [
        "sluice broker --config b.toml --set a=b -s c=d --log-format json",
        "sluice dev --data /d --port 0 --admin-port 0 -s num.partitions=3",
        "sluice topic create orders --partitions 3 -c retention.ms=1000 -c sluice.flush.mode=os --if-not-exists",
        "sluice topic list --format json",
        "sluice topic describe orders --bootstrap-server h:1,h:2 --admin https://h:3 --ca a --cert b --key c",
        "sluice topic delete a b --if-exists",
        "sluice topic config orders --all",
        "sluice produce orders -K : -H a=b --batch-size 1 -z zstd -p 2",
        "sluice consume orders --from -5 -n 10 -e -f %k:%s\\n -p 0,1",
        "sluice consume orders -o @1000 --profile dev",
        "sluice consume orders --from 42 --plaintext",
        "sluice plugin push x.wasm --name x",
        "sluice plugin push",
        "sluice plugin list",
        "sluice plugin remove x 3",
        "sluice gate set orders --plugin redact@2 --config {} --on-error=pass --cpu-ms 5",
        "sluice gate show",
        "sluice gate show orders",
        "sluice gate remove orders",
        "sluice view create strong --of quakes --plugin select --allow-unfiltered",
        "sluice view list",
        "sluice view show strong",
        "sluice view remove strong",
        "sluice cluster status --format json",
        "sluice cluster brokers",
        "sluice cluster features",
        "sluice cluster features --upgrade",
        "sluice cluster features --level 2",
        "sluice cluster unregister 3",
        "sluice cluster drain 3 --no-wait",
        "sluice cluster drain 3 --throttle 50MB",
        "sluice cluster balance --yes --throttle 1.5GB",
        "sluice cluster undrain 3",
        "sluice cluster balance",
        "sluice cluster balance --yes --no-wait",
        "sluice cluster reassign",
        "sluice cluster reassign orders 0 --replicas 1,2,3",
        "sluice cluster reassign orders 0 --cancel",
        "sluice cluster elect",
        "sluice cluster elect orders --partition 1 --unclean",
        "sluice cluster recover orders 0 --leader 2",
        "sluice config show --config b.toml --set a.b=c --origin --all",
        "sluice config keys log. --topic",
    ] {
        parse(line);
    }
}

#[test]
fn lines_that_are_not() {
    for (line, expected) in [
        ("sluice topic create", "<TOPIC>"),
        ("sluice topic create a --partitions 0", "0 is not in 1.."),
        ("sluice topic create a -c retention.ms", "`retention.ms` is not NAME=VALUE"),
        ("sluice topic delete", "<TOPICS>"),
        ("sluice cluster drain", "<BROKER>"),
        ("sluice cluster unregister", "<BROKER>"),
        ("sluice cluster features --upgrade --level 2", "cannot be used with"),
        ("sluice cluster drain 1 --throttle fast", "`fast` is no rate"),
        ("sluice cluster balance --no-wait", "--yes"),
        ("sluice cluster reassign orders", "<PARTITION>"),
        ("sluice cluster reassign orders 0 --replicas 1 --cancel", "cannot be used with"),
        ("sluice cluster elect --unclean", "<TOPICS>"),
        ("sluice consume a --from yesterday", "`yesterday` is not beginning, end, an offset, -N or @MILLISECONDS"),
        ("sluice consume a -f %q", "`%q` is not one of"),
        ("sluice produce a -z brotli", "one of none, gzip, snappy, lz4, zstd"),
        ("sluice produce a -b 0", "0 is not in 1..=100000"),
        ("sluice frobnicate", "unrecognized subcommand"),
        ("sluice topic list --format yaml", "[possible values: text, json]"),
    ] {
        let error = Arguments::try_parse_from(line.split(' ')).expect_err(line);
        assert!(error.to_string().contains(expected), "{line}: {error}");
        assert!(error.use_stderr(), "{line}: a usage error, not help");
    }
}

fn binding(line: &str) -> Result<BindingSpec, CliError> {
    let Command::Gate(gate::Command::Set { binding, .. }) = parse(line).command else { panic!("{line} sets a gate") };
    binding.spec()
}

#[test]
fn a_binding_comes_from_its_flags() {
    let spec = binding(r#"sluice gate set t --plugin select@3 --config {"if":"$.a"} --on-error pass --memory-bytes 9"#)
        .expect("good");
    assert_eq!((spec.chain[0].plugin.as_str(), spec.chain[0].version), ("select", Some(3)));
    assert_eq!(spec.chain[0].config, serde_json::json!({"if": "$.a"}));
    assert_eq!((spec.on_error, spec.limits.memory_bytes, spec.limits.cpu_ms), (ErrorPolicy::Pass, Some(9), None));

    let plain = binding("sluice gate set t --plugin select").expect("good");
    assert_eq!(
        (plain.chain[0].version, plain.chain[0].config.to_string().as_str(), plain.on_error),
        (None, "{}", ErrorPolicy::Fail)
    );
}

#[test]
fn a_binding_may_have_its_configuration_in_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.json");
    std::fs::write(&path, "{\"a\": 1}\n").expect("writes");
    let spec = binding(&format!("sluice gate set t --plugin x --config @{}", path.display())).expect("good");
    assert_eq!(spec.chain[0].config, serde_json::json!({"a": 1}));
}

#[test]
fn a_binding_that_cannot_be_says_why() {
    for (line, expected) in [
        ("sluice gate set t --plugin x@new", "--plugin wants NAME or NAME@VERSION"),
        ("sluice gate set t --plugin x --config {", "--config is not JSON"),
        ("sluice gate set t --plugin x --config @/does/not/exist", "cannot read /does/not/exist"),
    ] {
        let error = binding(line).expect_err(line).to_string();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn a_broker_that_does_not_start_says_what_to_do() {
    use crate::broker::BrokerError;
    use crate::coordination::{Halt, StartError};
    use crate::net::{BindError, ListenerName};

    let check = |error: BrokerError, expected: &str| {
        let said = CliError::from(error).to_string();
        assert!(said.contains(expected), "{said}");
    };
    let cause = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    let listener = ListenerName::new("SSL");
    check(BindError::Listen { listener, address: "h:1".to_owned(), cause }.into(), "--port");
    check(
        StartError::Unregistered { why: "nobody is the controller".to_owned() }.into(),
        "the controller\n  is a controller there?",
    );
    check(StartError::Halted(Halt::IdInUse { id: 1 }).into(), "another `broker.id`");
}
