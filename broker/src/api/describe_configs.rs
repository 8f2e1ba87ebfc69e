//! DescribeConfigs (key 32): the settings of topics, views and brokers, and where each value comes from.
//!
//! A view has settings of its own, all read only: what it shows and through what.

use sluice_cluster::{OnError, View};
use sluice_protocol::ErrorCode;
use sluice_protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::Context;
use super::resolve::{Source, Wanted};
use crate::config::{ConfigSource, Described};

/// Kafka's number for a topic as the resource.
pub(super) const TOPIC: i8 = 2;
/// And for a broker.
pub(super) const BROKER: i8 = 4;

/// Kafka's number of the type `string`, in which a view's own settings are told.
const STRING: i8 = 2;

pub(super) fn handle(cx: &Context<'_>, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let (synonyms, documentation) = (request.include_synonyms, request.include_documentation);
    let results = request.resources.into_iter().map(|resource| {
        let described = describe(cx, &resource);
        let (error_code, error_message, settings) = match described {
            Ok(settings) => (ErrorCode::None, None, settings),
            Err((code, why)) => (code, Some(why), Vec::new()),
        };
        let keys = resource.configuration_keys;
        let wanted =
            |name: &str| keys.as_ref().is_none_or(|keys| keys.is_empty() || keys.iter().any(|key| key == name));
        let settings = settings.into_iter().filter(|setting| wanted(&setting.name)).map(|mut setting| {
            if !synonyms {
                setting.synonyms.clear();
            }
            if !documentation {
                setting.documentation = None;
            }
            setting
        });
        DescribeConfigsResult {
            error_code,
            error_message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs: settings.collect(),
        }
    });
    DescribeConfigsResponse { results: results.collect(), ..DescribeConfigsResponse::default() }
}

fn describe(
    cx: &Context<'_>,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)> {
    let name = &resource.resource_name;
    match resource.resource_type {
        TOPIC => match cx.resolve(Wanted::Name(name)) {
            Ok(Source::Topic(topic)) => Ok(rows(cx.shared.config.describe_topic(&topic.configs))),
            Ok(Source::View { view, base }) => Ok(of_view(&view, &base.name)),
            Err(not_found) => Err((not_found.code(), format!("there is no topic `{name}`"))),
        },
        BROKER if name.is_empty() => Ok(rows(of_all_brokers(cx))),
        BROKER if name.parse() == Ok(cx.shared.node_id) => {
            let set = |source, name: &str| set_while_running(cx, source, name);
            Ok(rows(cx.shared.config.describe_broker(set)))
        }
        BROKER => Err((ErrorCode::InvalidRequest, format!("this is broker {}, not `{name}`", cx.shared.node_id))),
        other => Err((ErrorCode::InvalidRequest, format!("resources of type {other} have no settings here"))),
    }
}

/// What was set for this broker since it started, or for all.
fn set_while_running(cx: &Context<'_>, source: ConfigSource, name: &str) -> Option<String> {
    let whose = match source {
        ConfigSource::DynamicBroker => Some(cx.shared.node_id),
        ConfigSource::DynamicDefaultBroker => None,
        ConfigSource::DynamicTopic | ConfigSource::StaticBroker | ConfigSource::Default => return None,
    };
    cx.image.broker_configs(whose)?.get(name).cloned()
}

/// Of the settings of all brokers, those that were set while they run: a broker without a name has no others.
fn of_all_brokers(cx: &Context<'_>) -> Vec<Described> {
    let set = |source, name: &str| match source {
        ConfigSource::DynamicDefaultBroker => set_while_running(cx, source, name),
        _ => None,
    };
    let mut all = cx.shared.config.describe_broker(set);
    all.retain(|setting| setting.source == ConfigSource::DynamicDefaultBroker);
    all.iter_mut().for_each(|setting| setting.synonyms.truncate(1));
    all
}

/// A topic's settings, as the answer to CreateTopics tells them.
pub(super) fn of_topic(cx: &Context<'_>, own: &[(String, String)]) -> Vec<DescribeConfigsResourceResult> {
    rows(cx.shared.config.describe_topic(&own.iter().cloned().collect()))
}

fn rows(described: Vec<Described>) -> Vec<DescribeConfigsResourceResult> {
    let row = |setting: Described| DescribeConfigsResourceResult {
        name: setting.name.to_owned(),
        value: setting.value,
        read_only: setting.is_read_only,
        config_source: setting.source as i8,
        is_sensitive: setting.is_sensitive,
        synonyms: setting
            .synonyms
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: synonym.name.to_owned(),
                value: synonym.value,
                source: synonym.source as i8,
            })
            .collect(),
        config_type: setting.config_type,
        documentation: Some(setting.documentation),
    };
    described.into_iter().map(row).collect()
}

fn of_view(view: &View, base: &str) -> Vec<DescribeConfigsResourceResult> {
    let chain: Vec<String> =
        view.binding.chain.iter().map(|link| format!("{}@{}", link.plugin, link.version)).collect();
    let policy = match view.binding.on_error {
        OnError::Fail => "fail",
        OnError::Pass => "pass",
    };
    let settings = [
        ("sluice.view.base", base.to_owned(), "The topic this view shows."),
        ("sluice.view.chain", chain.join(","), "The plugins, in order, through which it is seen."),
        ("sluice.view.on.error", policy.to_owned(), "What becomes of a batch on which a plugin fails."),
    ];
    let row = |(name, value, documentation): (&str, String, &str)| DescribeConfigsResourceResult {
        name: name.to_owned(),
        value: Some(value),
        read_only: true,
        config_source: ConfigSource::DynamicTopic as i8,
        config_type: STRING,
        documentation: Some(documentation.to_owned()),
        ..DescribeConfigsResourceResult::default()
    };
    settings.into_iter().map(row).collect()
}
