//! The configuration as a whole: what an operator writes, and what comes of it or is said about it.

use std::collections::BTreeMap;

use super::*;
use crate::net::{ClientAuth, Identity, ListenerName, PemSource, Security, TlsProtocol};

const MINIMAL: [(&str, &str); 2] = [("log.dirs", "/data"), ("ssl.keystore.location", "/tls/broker.pem")];

fn load(settings: &[(&str, &str)]) -> Result<BrokerConfig, ConfigError> {
    let entry = |(name, value): &(&str, &str)| Entry {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
        origin: Origin::Flag,
    };
    BrokerConfig::from_entries(MINIMAL.iter().chain(settings).map(entry))
}

fn good(settings: &[(&str, &str)]) -> BrokerConfig {
    load(settings).unwrap_or_else(|error| panic!("{settings:?}: {error}"))
}

#[test]
fn the_rows_are_consistent() {
    let mut names = std::collections::BTreeSet::new();
    for key in broker_keys() {
        assert!(names.insert(key.name), "{} stands twice", key.name);
        assert!(key.doc().ends_with('.'), "{}: {:?}", key.name, key.doc());
        if let Some(default) = key.default {
            assert_eq!(key.kind.check(default), Ok(()), "{}", key.name);
        }
        let known = kafka_names::is_kafka_broker_name(key.name);
        assert_eq!(known, !key.name.starts_with("sluice."), "{} is Kafka's name or begins with sluice.", key.name);
    }
}

#[test]
fn what_nobody_sets_has_its_default() {
    let config = good(&[]);
    assert_eq!(config.settings.broker_id, 1);
    assert_eq!(config.log_dirs, [Path::new("/data")]);
    assert_eq!(config.net.limits.frame_bytes_max, 100 << 20);
    assert_eq!(config.net.limits.idle_max, Duration::from_secs(600));
    let [listener] = &config.net.listeners[..] else { panic!("{:?}", config.net.listeners) };
    assert_eq!((listener.name.as_str(), listener.host.as_str(), listener.port), ("SSL", "", 9093));
    assert!(config.inter_broker.is_none(), "nothing says whose brokers are believed");
    let Security::Ssl(tls) = &listener.security else { panic!("{listener:?}") };
    assert!(matches!(&tls.identity, Identity::File(path) if path == Path::new("/tls/broker.pem")));
    assert_eq!(
        (tls.client_auth, &tls.protocols[..]),
        (ClientAuth::None, &[TlsProtocol::Tls12, TlsProtocol::Tls13][..])
    );
}

#[test]
fn a_broker_works_at_all_that_its_version_can_and_at_no_more() {
    let highest = sluice_cluster::FeatureLevels::OURS.highest;
    assert_eq!(good(&[]).settings.feature_level_max, i32::from(highest));
    let beyond = (highest + 1).to_string();
    assert!(load(&[("sluice.feature.level.max", &beyond)]).is_err());
}

#[test]
fn a_server_properties_of_kafka_says_which_lines_have_to_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("server.properties");
    std::fs::write(
        &path,
        "broker.id=0\nnum.network.threads=3\nlog.dirs=/data\nnum.partitions=three\nlog.retention.hors=1\n",
    )
    .expect("writes");
    let error =
        BrokerConfig::load(Some(&path), std::iter::empty(), &[]).expect_err("three lines are wrong").to_string();
    let place = path.display();
    assert_eq!(
        error.lines().collect::<Vec<_>>(),
        [
            format!("{place}:2: `num.network.threads` is a Kafka setting that sluice does not act on yet; remove it"),
            format!("{place}:4: `num.partitions` has to be a whole number from 1, and `three` is not"),
            format!("{place}:5: there is no setting `log.retention.hors`, did you mean `log.retention.hours`?"),
        ]
    );
}

#[test]
fn flag_over_environment_over_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sluice.toml");
    std::fs::write(&path, "num.partitions = 1\nlog.dirs = \"/file\"\nbroker.id = 1\nssl.keystore.location = \"k\"\n")
        .expect("writes");
    let environment =
        [("SLUICE_NUM_PARTITIONS", "2"), ("SLUICE_LOG_DIRS", "/env"), ("SLUICE_PROFILE", "dev"), ("HOME", "/root")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config =
        BrokerConfig::load(Some(&path), environment.into_iter(), &["num.partitions=3".to_owned()]).expect("good");
    let shown = |name: &str| {
        let shown = config.show().into_iter().find(|shown| shown.name == name).expect("a setting");
        format!("{} ({})", shown.value.unwrap_or_default(), shown.origin)
    };
    assert_eq!(shown("num.partitions"), "3 (flag)");
    assert_eq!(shown("log.dirs"), "/env (environment SLUICE_LOG_DIRS)");
    assert_eq!(shown("broker.id"), format!("1 ({}:3)", path.display()));
    assert_eq!(shown("fetch.max.bytes"), "57671680 (default)");
}

#[test]
fn listeners_that_work() {
    let config = good(&[
        ("listeners", "INSIDE://10.0.0.1:9092, EXTERNAL://[::1]:0,PLAINTEXT://localhost:9094"),
        ("advertised.listeners", "EXTERNAL://broker.example.com:443"),
        ("listener.security.protocol.map", "INSIDE:SSL,external:ssl,PLAINTEXT:PLAINTEXT"),
        ("ssl.truststore.location", "/tls/ca.pem"),
        ("listener.name.inside.ssl.client.auth", "required"),
        ("listener.name.external.ssl.enabled.protocols", "TLSv1.3"),
    ]);
    let [internal, external, plain] = &config.net.listeners[..] else { panic!("{:?}", config.net.listeners) };
    assert_eq!(
        (internal.name.as_str(), internal.host.as_str(), internal.port, &internal.advertised),
        ("INSIDE", "10.0.0.1", 9092, &None)
    );
    assert_eq!(
        (external.name.clone(), external.host.as_str(), external.port),
        (ListenerName::new("external"), "::1", 0)
    );
    assert_eq!(external.advertised, Some(("broker.example.com".to_owned(), 443)));
    let (Security::Ssl(internal), Security::Ssl(external)) = (&internal.security, &external.security) else {
        panic!("both have TLS")
    };
    assert_eq!((internal.client_auth, external.client_auth), (ClientAuth::Required, ClientAuth::None));
    assert_eq!((internal.protocols.len(), &external.protocols[..]), (2, &[TlsProtocol::Tls13][..]));
    assert!(matches!(&internal.truststore, Some(PemSource::File(path)) if path == Path::new("/tls/ca.pem")));
    assert!(matches!(plain.security, Security::Plaintext));
}

#[test]
fn other_brokers_have_a_listener_of_their_own() {
    let config = good(&[("ssl.truststore.location", "/tls/ca.pem")]);
    let inter_broker = config.inter_broker.expect("the default has one");
    assert_eq!((inter_broker.listener.name.as_str(), inter_broker.listener.port), ("INTERNAL", 9094));
    assert_eq!((inter_broker.tls.client_auth, inter_broker.verify_host_names), (ClientAuth::Required, true));
    assert!(inter_broker.principals.is_empty());
    assert_eq!(config.net.listeners.len(), 1, "clients are not told of it");
    let config = good(&[
        ("listeners", "SSL://a:1,BROKERS://a:2"),
        ("inter.broker.listener.name", "brokers"),
        ("listener.security.protocol.map", "SSL:SSL,BROKERS:SSL"),
        ("listener.name.brokers.ssl.truststore.location", "/tls/brokers.pem"),
        ("ssl.endpoint.identification.algorithm", ""),
        ("sluice.broker.principals", "CN=a,O=Example; CN=b,O=Example;"),
    ]);
    let inter_broker = config.inter_broker.expect("was asked for");
    assert_eq!((inter_broker.listener.name.as_str(), inter_broker.verify_host_names), ("BROKERS", false));
    assert_eq!(inter_broker.principals, ["CN=a,O=Example", "CN=b,O=Example"]);
    assert!(good(&[("listeners", "SSL://a:1"), ("ssl.truststore.location", "t")]).inter_broker.is_none());
}

#[test]
fn settings_that_do_not_go_together() {
    let check = |settings: &[(&str, &str)], expected: &str| {
        let error = load(settings).expect_err(expected).to_string();
        assert!(error.lines().any(|line| line.contains(expected)), "{settings:?}: {error}");
    };
    check(&[("listeners", "SSL:9092")], "`listeners` wants NAME://HOST:PORT, and `SSL:9092` is not");
    check(&[("listeners", "SSL://h:99999")], "`listeners` wants NAME://HOST:PORT");
    check(&[("listeners", "SSL://::1:9093")], "`listeners` wants NAME://HOST:PORT");
    check(&[("listeners", ",")], "`listeners` names no listener");
    check(&[("listeners", "SSL://a:1,SSL://b:2")], "`listeners` names SSL twice");
    check(&[("listeners", "SSL://a:1,PLAINTEXT://a:1")], "`listeners` gives two listeners the port 1");
    check(&[("listeners", "SSL://0.0.0.0:1")], "say in `advertised.listeners` what clients connect to");
    check(&[("listeners", "SSL://a:1,INTERNAL://a:2")], "say whose brokers are believed on INTERNAL");
    check(&[("listeners", "INTERNAL://a:2"), ("ssl.truststore.location", "t")], "names no listener for clients");
    check(
        &[("inter.broker.listener.name", "OTHER")],
        "`inter.broker.listener.name` is OTHER, which is not in `listeners`",
    );
    let internal = [("listeners", "SSL://a:1,INTERNAL://a:2"), ("ssl.truststore.location", "t")];
    check(
        &[internal[0], internal[1], ("listener.security.protocol.map", "SSL:SSL,INTERNAL:PLAINTEXT")],
        "gives INTERNAL PLAINTEXT, and brokers talk to each other over TLS only",
    );
    check(
        &[internal[0], internal[1], ("listener.name.internal.ssl.client.auth", "requested")],
        "has to be required: a broker without a certificate is none",
    );
    check(&[("advertised.listeners", "SSL://0.0.0.0:1")], "an address that no client can connect to");
    check(
        &[("advertised.listeners", "OTHER://a:1")],
        "`advertised.listeners` names OTHER, which is not in `listeners`",
    );
    check(
        &[("listeners", "OTHER://a:1")],
        "`listener.security.protocol.map` does not say what OTHER is: add OTHER:SSL",
    );
    check(
        &[("listener.security.protocol.map", "SSL:SASL_SSL")],
        "gives SSL SASL_SSL, and sluice knows SSL and PLAINTEXT so far",
    );
    check(&[("listener.security.protocol.map", "SSL")], "wants NAME:PROTOCOL, and `SSL` is not");
    check(&[("ssl.keystore.location", "")], "set ssl.keystore.location to a PEM file");
    check(&[("ssl.keystore.key", "k")], "`ssl.keystore.location` and ssl.keystore.key exclude each other");
    check(
        &[("ssl.keystore.location", ""), ("ssl.keystore.key", "k")],
        "and ssl.keystore.certificate.chain belong together",
    );
    check(&[("ssl.truststore.location", "a"), ("ssl.truststore.certificates", "b")], "exclude each other");
    check(&[("ssl.client.auth", "required")], "say in ssl.truststore.location whose are believed");
    check(
        &[("ssl.client.auth", "yes")],
        "`ssl.client.auth` has to be one of none, requested, required, and `yes` is not",
    );
    check(&[("ssl.keystore.type", "JKS")], "`ssl.keystore.type` has to be PEM, and `JKS` is not");
    check(&[("listener.name.other.ssl.client.auth", "none")], "is for OTHER, which is not in `listeners`");
    check(&[("listener.name.ssl.max.connections", "1")], "is a Kafka setting that sluice does not act on yet");
    check(&[("sluice.admin.listener", "127.0.0.1:1")], "`sluice.admin.listener` has to be https://HOST:PORT");
    check(&[("zookeeper.ssl.client.enable", "true")], "needs zookeeper.ssl.truststore.location");
    check(&[("zookeeper.ssl.truststore.location", "x")], "has no effect without zookeeper.ssl.client.enable=true");
    check(&[("log.dirs", "")], "`log.dirs` is not set");
    check(&[("log.dirs", "/a,/b,/a/")], "`log.dirs` names a folder twice");
    check(
        &[("default.replication.factor", "0")],
        "`default.replication.factor` has to be a whole number from 1 to 32767",
    );
    check(&[("sluice.plugins.threads", "1")], "did you mean `sluice.plugin.threads`?");
    check(&[("process.roles", "broker")], "`process.roles` is a Kafka setting that sluice does not act on yet");
}

#[test]
fn a_key_is_never_shown() {
    let config =
        good(&[("ssl.keystore.location", ""), ("ssl.keystore.key", "SECRET"), ("ssl.keystore.certificate.chain", "c")]);
    assert!(!format!("{config:?}").contains("SECRET"));
    assert!(config.show().iter().all(|shown| shown.value.as_deref() != Some("SECRET")));
    let described = config.describe_broker(|_, _| None);
    let key = described.iter().find(|described| described.name == "ssl.keystore.key").expect("described");
    assert_eq!((key.is_sensitive, &key.value, key.config_type), (true, &None, 9));
    assert!(key.synonyms.iter().all(|synonym| synonym.value.is_none()));
}

#[test]
fn a_topic_is_described_with_every_level_that_has_a_say() {
    let config = good(&[("log.retention.hours", "1"), ("log.retention.minutes", "2")]);
    let own = BTreeMap::from([("retention.ms".to_owned(), "3".to_owned())]);
    let described = config.describe_topic(&own);
    let retention = described.iter().find(|described| described.name == "retention.ms").expect("described");
    assert_eq!(
        (retention.value.as_deref(), retention.source, retention.is_read_only),
        (Some("3"), ConfigSource::DynamicTopic, false)
    );
    let synonyms: Vec<_> =
        retention.synonyms.iter().map(|s| (s.name, s.value.as_deref().unwrap_or_default(), s.source)).collect();
    assert_eq!(
        synonyms,
        [
            ("retention.ms", "3", ConfigSource::DynamicTopic),
            ("log.retention.minutes", "120000", ConfigSource::StaticBroker),
            ("log.retention.hours", "3600000", ConfigSource::StaticBroker),
            ("log.retention.ms", "604800000", ConfigSource::Default),
        ]
    );
    let untouched = described.iter().find(|described| described.name == "segment.bytes").expect("described");
    assert_eq!((untouched.value.as_deref(), untouched.source), (Some("1073741824"), ConfigSource::Default));
}
