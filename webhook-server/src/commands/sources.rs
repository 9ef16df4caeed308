//! `sources`: lists the sources.

use clap::Args;
use serde::Serialize;

use super::{CommandError, Output};
use crate::config::{Config, SourceConfig, SourcesFile};
use crate::views::scheme_text;

/// The options of `sources`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Sources {
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    json: bool,
}

/// A source, as the command shows it. What a running server knows, such as when it received something, is not
/// among this: the command reads files only.
#[derive(Debug, Serialize)]
struct SourceView<'a> {
    name: &'a str,
    path: String,
    state: &'static str,
    preset: Option<&'a str>,
    scheme: String,
    /// How many secrets are set.
    secrets: usize,
}

impl<'a> SourceView<'a> {
    fn of(source: &'a SourceConfig) -> Self {
        Self {
            name: source.name.as_str(),
            path: source.path(),
            state: if source.retired {
                "retired"
            } else if source.enabled {
                "enabled"
            } else {
                "disabled"
            },
            preset: source.preset.as_deref(),
            scheme: scheme_text(&source.spec().scheme),
            secrets: source.secret_places.iter().map(|place| place.count).sum(),
        }
    }
}

impl Sources {
    /// Reads the file. Blocks.
    pub(super) fn run(&self, config: &Config) -> Result<(), CommandError> {
        let file = SourcesFile::read(config).map_err(CommandError::Sources)?;
        let views: Vec<_> = file.sources.iter().map(SourceView::of).collect();
        let width = |title: &str, text: for<'v> fn(&'v SourceView<'_>) -> &'v str| {
            let longest = views.iter().map(|view| text(view).len()).max();
            longest.unwrap_or_default().max(title.len())
        };
        let name = width("NAME", |view| view.name);
        let path = width("PATH", |view| &view.path);
        let mut output = Output::new(self.json);
        for (index, view) in views.iter().enumerate() {
            output.write(view, |out| {
                if index == 0 {
                    writeln!(
                        out,
                        "{:<name$}  {:<path$}  {:<8}  {:>7}  SCHEME",
                        "NAME", "PATH", "STATE", "SECRETS"
                    )?;
                }
                writeln!(
                    out,
                    "{:<name$}  {:<path$}  {:<8}  {:>7}  {}",
                    view.name, view.path, view.state, view.secrets, view.scheme
                )
            })?;
        }
        Ok(())
    }
}
