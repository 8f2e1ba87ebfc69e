//! What the demo sets up before the first event, through the same calls that users make: a topic, two plugins, a gate, a view.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::try_join_all;
use hyper::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Access;
use super::stream::{PARTITIONS, TOPIC, VIEW};
use crate::admin::shapes::{
    BindingSpec, ErrorPolicy, GateInfo, LimitsSpec, PluginPushed, PluginUseSpec, ViewInfo, ViewSpec,
};
use crate::cli::admin_client::{AdminClient, Body};
use crate::cli::dev::Settings;
use crate::cli::error::CliError;
use crate::client::NewTopic;
use crate::first_party;

/// The plugins that are in this binary.
pub(super) struct Components {
    redact: &'static [u8],
    select: &'static [u8],
}

impl Components {
    pub(super) fn built_in() -> Result<Self, CliError> {
        match (first_party::redact(), first_party::select()) {
            (Some(redact), Some(select)) => Ok(Self { redact, select }),
            _ => Err(CliError::failed(first_party::NOT_BUILT_IN)),
        }
    }
}

/// How long the other brokers may take to have the plugins ready: they compile them, all at once.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked whether they are.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The topic's limits, for a demo that is left running: some hours of events, in files that go one by one.
const RETENTION: [(&str, &str); 2] = [("retention.bytes", "67108864"), ("segment.bytes", "16777216")];

/// Refuses what is not an earthquake, takes out the links, and hides the ids.
fn gate_config() -> Value {
    json!({
        "require": [{"path": "$.properties.type", "equals": "earthquake"}],
        "rules": [
            {"path": "$.properties.url", "action": "remove"},
            {"path": "$.properties.detail", "action": "remove"},
            {"path": "$.properties.ids", "action": "hash"},
        ],
    })
}

/// Shows the strong ones.
fn view_config() -> Value {
    json!({"if": "$.properties.mag >= 4.5"})
}

fn chain(plugin: &str, config: Value) -> Vec<PluginUseSpec> {
    vec![PluginUseSpec { plugin: plugin.to_owned(), version: None, config }]
}

/// Sets everything up. When it returns, no event passes by the gate and the view can be read.
pub(super) async fn set_up(components: &Components, access: &Access) -> Result<(), CliError> {
    let configs = RETENTION.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let topic = NewTopic { name: TOPIC.to_owned(), partitions: Some(PARTITIONS), replication_factor: None, configs };
    access.client().await?.create_topic(&topic).await?;
    let admins: Result<Vec<AdminClient>, CliError> =
        access.admins.iter().map(|admin| AdminClient::new(admin, &access.tls)).collect();
    let admins = admins?;
    let Some(admin) = admins.first() else { return Err(CliError::failed("the demo's brokers have no admin API")) };
    // Compiling is most of the demo's start, so both are compiled at once.
    tokio::try_join!(push(admin, "redact", components.redact), push(admin, "select", components.select))?;
    let gate = BindingSpec {
        chain: chain("redact", gate_config()),
        on_error: ErrorPolicy::Fail,
        limits: LimitsSpec::default(),
    };
    let _: GateInfo = admin.call(Method::PUT, &format!("/v1/topics/{TOPIC}/gate"), Body::json(&gate)?).await?;
    let view = ViewSpec {
        base: TOPIC.to_owned(),
        chain: chain("select", view_config()),
        on_error: ErrorPolicy::Fail,
        allow_unfiltered: false,
        limits: LimitsSpec::default(),
    };
    let _: ViewInfo = admin.call(Method::PUT, &format!("/v1/views/{VIEW}"), Body::json(&view)?).await?;
    try_join_all(admins.iter().map(ready)).await?;
    Ok(())
}

/// Waits until a broker has the gate and the view, with their plugins: it learns of them a moment after it was asked for.
async fn ready(admin: &AdminClient) -> Result<(), CliError> {
    let give_up = Instant::now() + READY_WITHIN;
    loop {
        let not_ready = match not_ready(admin).await {
            Ok(None) => return Ok(()),
            Ok(Some(why)) => CliError::failed(format!("a broker's plugins are not ready: {why}")),
            Err(error) => error,
        };
        if Instant::now() >= give_up {
            return Err(not_ready);
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn not_ready(admin: &AdminClient) -> Result<Option<String>, CliError> {
    let gate: GateInfo = admin.call(Method::GET, &format!("/v1/topics/{TOPIC}/gate"), Body::Empty).await?;
    let view: ViewInfo = admin.call(Method::GET, &format!("/v1/views/{VIEW}"), Body::Empty).await?;
    Ok(gate.binding.not_ready.or(view.binding.not_ready))
}

async fn push(admin: &AdminClient, name: &str, component: &'static [u8]) -> Result<PluginPushed, CliError> {
    let body = Body::Wasm(Bytes::from_static(component));
    admin.call(Method::POST, &format!("/v1/plugins?name={name}"), body).await
}

/// Says what runs and how to get in, and leaves the settings for it in `folder`.
pub(super) fn introduction(folder: &Path, settings: &Settings) -> Result<String, CliError> {
    let (librdkafka, _java) = settings.write(folder)?;
    Ok(format!(
        "\n  Earthquakes of one week (USGS) are written to `{TOPIC}`, one at a time, over TLS, to three brokers.\n\n  \
         gate  `redact` on `{TOPIC}`: refuses what is not an earthquake, removes url and detail, hashes ids\n  \
         view  `select` as `{VIEW}`: shows magnitudes of 4.5 and above\n\n  \
         Look for yourself, from another terminal:\n\n    \
         kcat -F {file} -C -t {TOPIC}\n    \
         kcat -F {file} -C -t {VIEW}\n    \
         echo '{{\"properties\":{{\"type\":\"explosion\"}}}}' | kcat -F {file} -P -t {TOPIC}\n\n  \
         The file has what any client needs:\n\n{settings}\n  \
         Ctrl-C ends the brokers and removes their data.\n",
        file = librdkafka.display(),
        settings = settings.librdkafka.lines().map(|line| format!("    {line}\n")).collect::<String>(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::certs::Certificates;

    #[test]
    fn the_commands_to_paste_name_a_file_with_all_they_need() {
        let folder = tempfile::tempdir().expect("a folder");
        let certificates = Certificates { ca: "/d/ca.pem".into(), brokers: Vec::new(), client: "/d/client.pem".into() };
        let said =
            introduction(folder.path(), &Settings::new("127.0.0.1:4093", &certificates)).expect("can be written");
        let (_, after) = said.split_once("kcat -F ").expect("a command");
        let (file, rest) = after.split_once(' ').expect("the command goes on");
        assert!(rest.starts_with("-C -t earthquakes\n"), "{rest}");
        let settings = std::fs::read_to_string(file).expect("is there");
        for line in ["bootstrap.servers=127.0.0.1:4093", "ssl.ca.location=/d/ca.pem", "ssl.key.location=/d/client.pem"]
        {
            assert!(settings.contains(line) && said.contains(&format!("    {line}\n")), "{line}: {said}");
        }
    }
}
