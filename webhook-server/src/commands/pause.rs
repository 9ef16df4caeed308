//! `pause` and `resume`: stops and restarts the processing of kinds.

use clap::Args;
use serde_json::{Value, json};
use webhook_core::{Admin, Kind};
use webhook_ui::KnownKinds;

use super::{CommandError, Output, blocking};
use crate::audit::Audit;
use crate::backend::CommandBackend;
use crate::config::{Config, destination_of, source_names};
use crate::views::{PausedKind, PausedKinds, parse_kind, transaction_kind};

/// How to pause a kind that nothing has yet.
const ADD_NEW: &str = ": to pause it before its first event, add --new";

/// The options of `pause`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Pause {
    #[command(flatten)]
    kinds: Kinds,
    /// Pause kinds, too, that are neither sources of CONFIG_FILE nor have any events yet
    #[arg(long)]
    new: bool,
}

/// The options of `resume`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Resume {
    #[command(flatten)]
    kinds: Kinds,
}

/// The options that both commands have.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
struct Kinds {
    /// Names of sources, or other kinds of events, such as transaction
    #[arg(
        value_name = "KIND",
        required_unless_present = "kinds",
        value_parser = parse_kind
    )]
    names: Vec<Kind>,
    /// The same as a KIND without an option; can be repeated
    #[arg(long = "kind", value_name = "KIND", value_parser = parse_kind)]
    kinds: Vec<Kind>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Pause {
    pub(super) async fn run(
        &self,
        backend: &CommandBackend,
        config: &Config,
    ) -> Result<(), CommandError> {
        let kinds = self.kinds.all();
        if !self.new {
            check(&kinds, backend, config, ADD_NEW).await?;
        }
        let destinations = destinations(&kinds, config).await?;
        let audit = Audit::begin("pause", arguments(&kinds));
        let mut paused = PausedKinds::default();
        for (kind, destination) in kinds.iter().zip(destinations) {
            let changed = backend.admin.pause(kind).await?;
            let kind = PausedKind::paused(kind, changed).with_destination(destination);
            paused.kinds.push(kind);
        }
        self.kinds.end(audit, backend, &paused).await
    }
}

impl Resume {
    pub(super) async fn run(
        &self,
        backend: &CommandBackend,
        config: &Config,
    ) -> Result<(), CommandError> {
        let kinds = self.kinds.all();
        check(&kinds, backend, config, "").await?;
        let destinations = destinations(&kinds, config).await?;
        let audit = Audit::begin("resume", arguments(&kinds));
        let mut resumed = PausedKinds::default();
        for (kind, destination) in kinds.iter().zip(destinations) {
            let changed = backend.admin.resume(kind).await?;
            let kind = PausedKind::resumed(kind, changed).with_destination(destination);
            resumed.kinds.push(kind);
        }
        self.kinds.end(audit, backend, &resumed).await
    }
}

/// Refuses `kinds` if nothing has one of them. `advice` says what else can be done.
async fn check(
    kinds: &[Kind],
    backend: &CommandBackend,
    config: &Config,
    advice: &'static str,
) -> Result<(), CommandError> {
    let mut sources = blocking(config, |config| Ok(source_names(config))).await?;
    sources.push(transaction_kind().to_string());
    let known = KnownKinds::of(&*backend.admin, sources).await?;
    for kind in kinds {
        known.check(kind, advice)?;
    }
    Ok(())
}

/// What is paused or resumed, for the audit log.
fn arguments(kinds: &[Kind]) -> [(&'static str, Value); 1] {
    let names: Vec<_> = kinds.iter().map(Kind::as_str).collect();
    [("kinds", json!(names))]
}

impl Kinds {
    fn all(&self) -> Vec<Kind> {
        [self.names.as_slice(), &self.kinds].concat()
    }

    async fn end(
        &self,
        audit: Audit,
        backend: &CommandBackend,
        done: &PausedKinds<'_>,
    ) -> Result<(), CommandError> {
        let names: Vec<_> = done.kinds.iter().map(|it| it.kind).collect();
        let target = names.join(", ");
        audit.end_in(&*backend.admin, &target, None, done).await;
        Output::new(self.json).write(done, |out| {
            for kind in &done.kinds {
                let result = match (kind.paused, kind.changed) {
                    (true, true) => "paused",
                    (true, false) => "was paused already",
                    (false, true) => "resumed",
                    (false, false) => "was not paused",
                };
                write!(out, "{}: {result}", kind.kind)?;
                match &kind.destination {
                    Some(url) if kind.paused => {
                        writeln!(out, "; nothing is forwarded to {url} until it is resumed")?;
                    }
                    Some(url) => writeln!(out, "; its events are forwarded to {url}")?,
                    None => writeln!(out)?,
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// The URLs that the events of `kinds` are forwarded to, as far as the configuration says so.
async fn destinations(
    kinds: &[Kind],
    config: &Config,
) -> Result<Vec<Option<String>>, CommandError> {
    let kinds = kinds.to_vec();
    blocking(config, move |config| {
        let urls = kinds
            .iter()
            .map(|kind| destination_of(config, kind.as_str()));
        Ok(urls.map(|url| Some(url?.to_string())).collect())
    })
    .await
}
