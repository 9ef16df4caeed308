//! The sources of `webhook.toml`.

mod checker;
mod fields;
mod forward;
mod merge;
mod preset;
mod problem;
#[cfg(test)]
mod schema;
mod secrets;
mod shape;
mod source;
#[cfg(test)]
mod tests;
mod warnings;

use std::cell::{Cell, OnceCell};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};
use webhook_core::{Kind, Retention, payload, with_causes};
use webhook_sources::spec::{self, SourceSpec};
use webhook_sources::{Keys, Secrets, Source};

use super::files::{self, Guard};
use super::forward::DefaultKeys;
use super::{Config, DestinationUrl, Forwarding};
use crate::transaction::Transaction;
use checker::Checker;
use problem::Problems;
pub use problem::{Problem, SourcesError};
pub(crate) use secrets::PlaceOfSecret;
use secrets::ReadVariable;

/// The most sources.
const MAX_SOURCES: usize = 1_000;

/// The sources of `webhook.toml`, with their secrets as they are now.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourcesFile {
    /// The sources, in the order of their names.
    pub(crate) sources: Vec<SourceConfig>,
    /// The names of the sources that are wrong, as far as they are names.
    pub(crate) invalid: Vec<Kind>,
    /// What is dangerous, and what to do about it.
    pub(crate) warnings: Vec<String>,
}

/// A source.
#[derive(Clone, Debug)]
pub(crate) struct SourceConfig {
    /// The name: the last segment of its path, and the kind of its events.
    pub(crate) name: Kind,
    /// The name of its preset, if it has one.
    pub(crate) preset: Option<String>,
    /// The source itself, with its secrets.
    pub(crate) source: Arc<Source>,
    /// Its secrets once more, to notice when they change.
    pub(crate) secrets: Secrets,
    /// Where its secrets are.
    pub(crate) secret_places: Vec<SecretPlace>,
    /// The URL that the sender was given, without a query.
    pub(crate) public_url: Option<String>,
    /// If not, deliveries get 503.
    pub(crate) enabled: bool,
    /// If so, deliveries get 410.
    pub(crate) retired: bool,
    /// How long after its acceptance an event is processed.
    pub(crate) delay: Duration,
    /// The most attempts at an event.
    pub(crate) max_attempts: NonZeroU32,
    /// The most events that are processed at the same time.
    pub(crate) concurrency: usize,
    /// Where the events go; `None` if this server processes them itself.
    pub(crate) forward: Option<Forwarding>,
    /// The longest body.
    pub(crate) max_body_bytes: usize,
    /// The most requests a second on average.
    pub(crate) requests_per_second: Option<NonZeroU32>,
    /// The most deliveries that wait for the store.
    pub(crate) max_queued: usize,
    /// The most bytes of bodies that wait for the store.
    pub(crate) max_queued_bytes: usize,
    /// The most events that are not settled.
    pub(crate) max_stored: Option<NonZeroU64>,
    /// How long bodies of settled events are kept; `None` keeps all for ever.
    pub(crate) keep: Option<Duration>,
    /// How long keys are kept, at least as long as bodies.
    pub(crate) keep_keys: Option<Duration>,
    /// Whether reads need a token, as those of transactions do.
    pub(crate) reads_need_token: bool,
    /// After how long without a delivery the source counts as silent.
    pub(crate) expect_every: Option<Duration>,
    /// Whether the beginning of the bodies of refused requests is kept.
    pub(crate) keep_refused_bodies: bool,
}

/// A place of secrets, and what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretPlace {
    /// The name that the scheme takes the secrets by.
    pub(crate) name: String,
    /// The place.
    pub(crate) place: PlaceOfSecret,
    /// How many secrets there are.
    pub(crate) count: usize,
}

impl SourcesFile {
    /// The kinds whose events must be together in one partition: an event is compared with all others of its kind.
    pub(crate) fn guarded_kinds(&self) -> BTreeSet<Kind> {
        let guarded = self.sources.iter().filter(|source| source.has_guard());
        guarded.map(|source| source.name.clone()).collect()
    }

    /// Reads the file that `config` names, and the secrets that it names. Without such a file, there are no
    /// sources. Sources whose senders have keys at a URL have none of them. Blocks while it reads files.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or with everything that is wrong with it. No error quotes a value.
    pub(crate) fn read(config: &Config) -> Result<Self, SourcesError> {
        Self::read_with(config, None)
    }

    /// As [`read`](Self::read), with the keys of senders that have them at a URL.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub(crate) fn read_with(
        config: &Config,
        keys: Option<Arc<dyn Keys>>,
    ) -> Result<Self, SourcesError> {
        match Self::read_usable(config, keys)? {
            (file, None) => Ok(file),
            (_, Some(wrong)) => Err(wrong),
        }
    }

    /// As [`read_with`](Self::read_with), but returns the sources that are right together with what is wrong with others.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not TOML: then nobody knows which sources there are.
    pub(crate) fn read_usable(
        config: &Config,
        keys: Option<Arc<dyn Keys>>,
    ) -> Result<(Self, Option<SourcesError>), SourcesError> {
        let Some(path) = &config.config_file else {
            return Ok((Self::default(), None));
        };
        let file =
            files::read_quietly("CONFIG_FILE", path, Guard::Trust).map_err(SourcesError::File)?;
        let (mut read, wrong) = parse_usable(&file.text, path, config, keys, &|name| {
            std::env::var_os(name)
        })?;
        read.warnings.extend(file.exposure);
        Ok((read, wrong))
    }
}

impl SourceConfig {
    /// Whether an event may be a duplicate of one with another id.
    pub(crate) fn has_guard(&self) -> bool {
        self.spec().guard != spec::Guard::None
    }

    /// What describes its sender.
    pub(crate) fn spec(&self) -> &SourceSpec {
        self.source.spec()
    }

    /// The path of deliveries.
    pub(crate) fn path(&self) -> String {
        format!("{WEBHOOKS_PATH}{}", self.name)
    }

    /// Whether it receives, in a word.
    pub(crate) const fn state(&self) -> &'static str {
        if self.retired {
            "retired"
        } else if self.enabled {
            "enabled"
        } else {
            "disabled"
        }
    }

    /// How long events are kept; `None` keeps them for ever.
    pub(crate) fn retention(&self) -> Option<Retention> {
        let keep = self.keep?;
        let keys = self.keep_keys.unwrap_or(keep);
        Some(Retention::new(self.name.clone(), keys).with_keep_bodies(keep))
    }
}

/// Where the events of `kind` are forwarded to, as far as the configuration says so without its secrets. Blocks while it
/// reads the file.
pub(crate) fn destination_of(config: &Config, kind: &str) -> Option<DestinationUrl> {
    if kind == payload::kind_of::<Transaction>().as_str() {
        return config.forward_url.clone();
    }
    in_tables(config, |sources| {
        let forward = sources.get(kind)?.get_ref().as_table()?.get("forward")?;
        let url = match forward.get_ref() {
            DeValue::Table(table) => table.get("url")?.get_ref().as_str(),
            url => url.as_str(),
        };
        DestinationUrl::parse(url?)
    })
}

/// The names of the sources of the configuration file, as far as it can be read. Blocks while it reads the file.
pub(crate) fn source_names(config: &Config) -> Vec<String> {
    let names = |sources: &DeTable<'_>| {
        let names = sources.keys().map(|name| name.get_ref().to_string());
        Some(names.collect())
    };
    in_tables(config, names).unwrap_or_default()
}

/// Looks `up` something in the tables of the sources, by their names, without their secrets. Blocks while it reads the
/// file.
fn in_tables<T>(config: &Config, up: impl FnOnce(&DeTable<'_>) -> Option<T>) -> Option<T> {
    let path = config.config_file.as_ref()?;
    let file = files::read_quietly("CONFIG_FILE", path, Guard::Trust).ok()?;
    let (document, _) = DeTable::parse_recoverable(&file.text);
    up(document.get_ref().get("sources")?.get_ref().as_table()?)
}

/// What the paths of deliveries begin with.
pub(crate) const WEBHOOKS_PATH: &str = "/v1/webhooks/";

/// Names that would be paths of something else.
const RESERVED_NAMES: [&str; 2] = ["transactions", "transaction"];

/// What is needed to read a source, beside its own table.
struct Context<'a> {
    config: &'a Config,
    /// The keys of senders that have to be fetched.
    keys: Option<Arc<dyn Keys>>,
    /// The folder of the file.
    folder: &'a Path,
    variable: ReadVariable<'a>,
    /// The keys that sign what is forwarded, unless a destination has keys of its own; or why there are none.
    forward_keys: ReadKeys<'a>,
    /// Whether the problems say already that these keys are wrong, so that not each source repeats it.
    are_keys_wrong: Cell<bool>,
    /// `public_url` of the file.
    public_url: Option<&'a str>,
    /// Whether the parser has found errors, so that anything may be missing.
    is_damaged: bool,
}

/// Reads keys when the first destination needs them.
type ReadKeys<'a> = &'a dyn Fn() -> Result<DefaultKeys, String>;

/// Reads `text`, the content of the file at `path`.
#[cfg(test)]
fn parse(
    text: &str,
    path: &Path,
    config: &Config,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<SourcesFile, SourcesError> {
    match parse_usable(text, path, config, None, variable)? {
        (file, None) => Ok(file),
        (_, Some(wrong)) => Err(wrong),
    }
}

/// Reads `text`, the content of the file at `path`: what is right, and what is wrong. An error if it is not
/// TOML.
fn parse_usable(
    text: &str,
    path: &Path,
    config: &Config,
    keys: Option<Arc<dyn Keys>>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<(SourcesFile, Option<SourcesError>), SourcesError> {
    let mut problems = Problems::of(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(text.len()..text.len());
        problems.add(&span, error.message());
    }
    let of_syntax = problems.count();
    let table = document.get_ref();
    let mut checker = Checker {
        problems: &mut problems,
        is_partial: !errors.is_empty(),
    };
    checker.top_level(table);
    let known_keys = OnceCell::new();
    let read_keys = || config.default_keys().map_err(|error| with_causes(&error));
    let forward_keys = || known_keys.get_or_init(read_keys).clone();
    let context = Context {
        config,
        keys,
        forward_keys: &forward_keys,
        are_keys_wrong: Cell::new(false),
        folder: path.parent().unwrap_or(Path::new("")),
        variable,
        public_url: table
            .get("public_url")
            .and_then(|url| url.get_ref().as_str()),
        is_damaged: !errors.is_empty(),
    };
    let mut file = SourcesFile::default();
    if let Some(DeValue::Table(sources)) = table.get("sources").map(toml::Spanned::get_ref) {
        if sources.len() > MAX_SOURCES {
            let message = format!("more than {MAX_SOURCES} sources");
            problems.add(&(0..0), message);
        }
        for (name, value) in sources.iter().take(MAX_SOURCES) {
            match context.source(name, value, &mut problems, &mut file.warnings) {
                Some(source) => {
                    file.warnings.extend(source.warnings());
                    file.sources.push(source);
                }
                None => file.invalid.extend(Kind::new(name.get_ref().to_string())),
            }
        }
    }
    problems.prefer_first(of_syntax);
    match problems.into_result(path) {
        Err(wrong) if of_syntax > 0 => Err(wrong),
        result => Ok((file, result.err())),
    }
}

/// What is wrong with the name of a source; `None` if nothing is.
fn wrong_name(name: &str) -> Option<String> {
    if RESERVED_NAMES.contains(&name) {
        return Some(
            "the server has this source without a configuration; choose another name".to_owned(),
        );
    }
    let is_name = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    match Kind::new(name.to_owned()) {
        Ok(_) if is_name => None,
        _ => Some(format!(
            "expected a name of at most {} of the characters a-z, 0-9, '.', '_' and '-', which begins \
             with a letter or a digit",
            webhook_core::MAX_KIND_BYTES
        )),
    }
}

impl Checker<'_, '_> {
    /// Checks the keys of the whole file, but not the sources.
    fn top_level(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            match fields::FILE.iter().find(|field| field.key == key.get_ref()) {
                Some(field) if field.key == "sources" => {
                    if value.get_ref().as_table().is_none() {
                        let message = "sources: expected a table for each source, [sources.NAME]";
                        self.problems.add(&value.span(), message);
                    }
                }
                Some(field) => self.check(field.key, field.shape, value),
                None => {
                    let known = fields::FILE.iter().map(|field| field.key);
                    self.unknown("", key, known);
                }
            }
        }
    }
}
