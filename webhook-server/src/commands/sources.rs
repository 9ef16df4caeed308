//! `sources`: lists the sources.

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::server_api::ServerApi;
use super::{CommandError, Output, blocking};
use crate::config::{Config, SourceConfig, SourcesFile};
use crate::views::scheme_text;

/// The options of `sources`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Sources {
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerApi,
}

/// A source, as the command shows it.
#[derive(Debug, Serialize)]
struct SourceView<'a> {
    name: &'a str,
    path: String,
    state: &'static str,
    preset: Option<&'a str>,
    scheme: String,
    /// How many secrets are set.
    secrets: usize,
    /// The host that the events are forwarded to, with its port if the URL has one.
    destination: Option<&'a str>,
    /// What a running server knows of it; only if one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<Value>,
}

impl<'a> SourceView<'a> {
    /// The view of `source`. `running` is what the server says of its sources, if it was asked.
    fn of(source: &'a SourceConfig, running: Option<&Value>) -> Self {
        let of_server = running.map(|running| {
            let all = running["sources"].as_array().into_iter().flatten();
            let mut named = all.filter(|it| it["name"] == source.name.as_str());
            named.next().cloned().unwrap_or_default()
        });
        Self {
            name: source.name.as_str(),
            path: source.path(),
            state: source.state(),
            preset: source.preset.as_deref(),
            scheme: scheme_text(&source.spec().scheme),
            secrets: source.secret_places.iter().map(|place| place.count).sum(),
            destination: source.forward.as_ref().map(|it| it.url.authority()),
            running: of_server,
        }
    }

    /// The destination in the table.
    fn destination(&self) -> &str {
        self.destination.unwrap_or("-")
    }

    /// What the running server knows: how many deliveries it received and refused, and when the latest.
    fn live(&self) -> Option<String> {
        let running = self.running.as_ref()?;
        if running.is_null() {
            return Some("not loaded".to_owned());
        }
        let time = |member: &str| running[member].as_str().unwrap_or("never").to_owned();
        let mut live = format!(
            "received {}, latest {}; refused {}, latest {}",
            running["received"],
            time("last_received_at"),
            running["refused"],
            time("last_refused_at"),
        );
        if let Some(since) = running["silent_since"].as_str() {
            live.push_str(&format!("; SILENT since {since}"));
        }
        Some(live)
    }
}

impl Sources {
    /// Reads the file, and asks the server if a token is set.
    pub(super) async fn run(&self, config: &Config) -> Result<(), CommandError> {
        let read = |config: &Config| SourcesFile::read(config).map_err(CommandError::Sources);
        let file = blocking(config, read).await?;
        let running = match self.server.is_set() {
            true => Some(self.server.get(config, "/v1/operator/sources").await?),
            false => None,
        };
        let sources = file.sources.iter();
        let views: Vec<_> = sources
            .map(|source| SourceView::of(source, running.as_ref()))
            .collect();
        let width = |title: &str, text: for<'v> fn(&'v SourceView<'_>) -> &'v str| {
            let longest = views.iter().map(|view| text(view).len()).max();
            longest.unwrap_or_default().max(title.len())
        };
        let name = width("NAME", |view| view.name);
        let path = width("PATH", |view| &view.path);
        let destination = width("DESTINATION", |view| view.destination());
        let mut output = Output::new(self.json);
        if views.is_empty() && !self.json {
            output.write(&(), |out| {
                let why = match &config.config_file {
                    None => "CONFIG_FILE is not set",
                    Some(_) => "CONFIG_FILE has none",
                };
                writeln!(out, "no sources beside transactions: {why}")
            })?;
        }
        for (index, view) in views.iter().enumerate() {
            output.write(view, |out| {
                if index == 0 {
                    writeln!(
                        out,
                        "{:<name$}  {:<path$}  {:<8}  {:>7}  {:<destination$}  SCHEME",
                        "NAME", "PATH", "STATE", "SECRETS", "DESTINATION"
                    )?;
                }
                writeln!(
                    out,
                    "{:<name$}  {:<path$}  {:<8}  {:>7}  {:<destination$}  {}",
                    view.name,
                    view.path,
                    view.state,
                    view.secrets,
                    view.destination(),
                    view.scheme
                )?;
                match view.live() {
                    Some(live) => writeln!(out, "    {live}"),
                    None => Ok(()),
                }
            })?;
        }
        Ok(())
    }
}
