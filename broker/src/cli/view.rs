//! `sluice view`: topics seen through a plugin, under names of their own.

use clap::Subcommand;
use hyper::Method;

use super::{
    admin_client::{Body, path_segment},
    cluster::ClusterArguments,
    error::CliError,
    gate::{BindingArguments, details, summary},
    output::{Output, say},
};
use crate::admin::shapes::{BindingSpec, ViewInfo, ViewSpec};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a view of a topic, or change how it sees the topic. Any Kafka client reads it by its name.
    Create {
        /// The view's name; it shares the topics' namespace.
        view: String,
        /// The topic it shows.
        #[arg(long, value_name = "TOPIC")]
        of: String,
        /// Allow --on-error=pass, which shows records that the plugin did not see.
        #[arg(long)]
        allow_unfiltered: bool,
        #[command(flatten)]
        binding: BindingArguments,
    },
    /// Show a view.
    Show {
        /// The view.
        view: String,
    },
    /// List views.
    List,
    /// Remove a view. The topic it showed stays as it is.
    Remove {
        /// The view.
        view: String,
    },
}

pub(super) async fn run(command: Command, cluster: ClusterArguments, output: &Output) -> Result<(), CliError> {
    let path = |view: &str| format!("/v1/views/{}", path_segment(view));
    match command {
        Command::Create { view, of, allow_unfiltered, binding } => {
            let BindingSpec { chain, on_error, limits } = binding.spec()?;
            let spec = ViewSpec { base: of, chain, on_error, allow_unfiltered, limits };
            let view: ViewInfo = cluster.admin()?.call(Method::PUT, &path(&view), Body::json(&spec)?).await?;
            output.give(&view, |view| {
                say(format_args!("view `{}` of `{}`: {}", view.name, view.base, summary(&view.binding)));
                String::new()
            })
        }
        Command::Show { view } => {
            let view: ViewInfo = cluster.admin()?.call(Method::GET, &path(&view), Body::Empty).await?;
            output.give(&view, |view| {
                let head = [("view", view.name.clone()), ("id", view.id.clone()), ("of", view.base.clone())];
                details(&head, &view.binding)
            })
        }
        Command::List => {
            let views: Vec<ViewInfo> = cluster.admin()?.call(Method::GET, "/v1/views", Body::Empty).await?;
            output.give(&views, |views| {
                let row = |view: &ViewInfo| vec![view.name.clone(), view.base.clone(), summary(&view.binding)];
                Output::table(&["view", "of", "through"], &views.iter().map(row).collect::<Vec<_>>())
            })
        }
        Command::Remove { view } => {
            cluster.admin()?.order(Method::DELETE, &path(&view)).await?;
            say(format_args!("view `{view}` removed"));
            Ok(())
        }
    }
}
