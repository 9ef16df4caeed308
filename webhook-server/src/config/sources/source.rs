//! Reads one source.

use std::borrow::Cow;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use webhook_core::Kind;
use webhook_sources::spec::{Scheme, SourceSpec, Tolerance};
use webhook_sources::{InvalidSource, SecretLength, Secrets, Source, SourceOptions};

use webhook_ui::did_you_mean;

use super::super::Forwarding;
use super::super::secret::looks_secret;
use super::super::values;
use super::checker::{Checker, bytes_of, number_of};
use super::fields::{self, SOURCE, describes_sender};
use super::forward::OfSource;
use super::problem::Problems;
use super::secrets::PlaceOfSecret;
use super::{Context, SecretPlace, SourceConfig, WEBHOOKS_PATH, merge, preset, wrong_name};

/// How long the server may take to answer a delivery once its body has arrived.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// How long keys are kept at least, unless the source says otherwise: senders replay deliveries for up to
/// this long.
const KEEP_KEYS: Duration = Duration::from_secs(30 * 86_400);

/// The default of `concurrency`.
const CONCURRENCY: usize = 32;

/// The default of `max_queued`.
const MAX_QUEUED: usize = 1_024;

/// The default of `max_queued_bytes`.
const MAX_QUEUED_BYTES: usize = 16 << 20;

impl Context<'_> {
    /// Reads the source `name`, and adds what is wrong with it to `problems`. `None` if anything is.
    pub(super) fn source(
        &self,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Problems<'_>,
        warnings: &mut Vec<String>,
    ) -> Option<SourceConfig> {
        let before = problems.count();
        let wrong = wrong_name(name.get_ref());
        let path = match &wrong {
            None if !looks_secret(name.get_ref()) => format!("sources.{}", name.get_ref()),
            _ => "the source".to_owned(),
        };
        if let Some(wrong) = wrong {
            problems.add(&name.span(), format!("the name of the source: {wrong}"));
        }
        let Some(own) = value.get_ref().as_table() else {
            let message = format!("{path}: expected a table, [{path}]");
            problems.add(&value.span(), message);
            return None;
        };
        let (table, is_whole) = with_preset(&path, own, problems);
        let span = name.span();
        let whole = Spanned::new(span.clone(), DeValue::Table(table));
        let is_partial = !is_whole || self.is_damaged;
        Checker {
            problems,
            is_partial,
        }
        .check(&path, &SOURCE, &whole);
        let DeValue::Table(table) = whole.into_inner() else {
            return None;
        };
        let is_understood = !is_partial && problems.count() == before;
        let reading = Reading {
            context: self,
            path,
            span,
            table,
            problems,
        };
        if is_understood {
            let kind = Kind::new(name.get_ref().clone().into_owned()).ok()?;
            reading.config(kind, warnings)
        } else {
            // What is wrong with the secrets does not depend on the rest.
            let mut reading = reading;
            reading.secrets(None, warnings);
            let _ = reading.forward(None, warnings);
            None
        }
    }
}

/// `own` with what its preset has beside it, and whether that is all there is: the preset may be unknown.
fn with_preset<'i>(
    path: &str,
    own: &DeTable<'i>,
    problems: &mut Problems<'_>,
) -> (DeTable<'i>, bool) {
    let Some(named) = own.get("preset") else {
        return (own.clone(), true);
    };
    let Some(name) = named.get_ref().as_str() else {
        return (own.clone(), false);
    };
    match preset::table(name) {
        Some(preset) => (merge::over(own, preset, &named.span()), true),
        None => {
            let similar = did_you_mean(name, preset::names());
            let message = format!("{path}.preset: there is no such preset{similar}");
            problems.add(&named.span(), message);
            (own.clone(), false)
        }
    }
}

/// What is wrong has been added to the problems.
struct Wrong;

/// A source whose table has been checked.
struct Reading<'r, 'i, 't> {
    context: &'r Context<'r>,
    /// The table's name, such as `sources.stripe`.
    path: String,
    /// Where the name is.
    span: Range<usize>,
    table: DeTable<'i>,
    problems: &'r mut Problems<'t>,
}

impl Reading<'_, '_, '_> {
    /// The source. `None` if anything is wrong with it.
    fn config(mut self, name: Kind, warnings: &mut Vec<String>) -> Option<SourceConfig> {
        let before = self.problems.count();
        let spec = spec(&self.path, &self.table, &self.span, self.problems);
        let mut spec = spec?;
        self.set_tolerance(&mut spec.scheme);
        if let Some(timeout) = spec.timeout.filter(|timeout| *timeout < ANSWER_TIME) {
            let wrong =
                format!("{timeout:?} is too short: the server may take {ANSWER_TIME:?} to answer");
            self.wrong("timeout", &wrong);
        }
        self.check_sizes();
        self.check_retention();
        let public_url = self.public_url(&name);
        let forward = self.forward(Some(&spec), warnings);
        let secrets = self.secrets(Some(&spec), warnings);
        let source = secrets.and_then(|(secrets, places)| {
            let source = self.source(spec, &secrets, public_url.clone())?;
            Some((source, secrets, places))
        });
        let (source, secrets, secret_places) = source?;
        let forward = forward.ok()?;
        let config = self.settings(name, source, secrets, secret_places, public_url, forward);
        (self.problems.count() == before).then_some(config)
    }

    /// Adds what is wrong with `key`.
    fn wrong(&mut self, key: &str, wrong: &str) {
        let span = self.table.get(key).map_or(self.span.clone(), Spanned::span);
        self.problems
            .add(&span, format!("{}.{key}: {wrong}", self.path));
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.table.get(key)?.get_ref().as_str()
    }

    fn age(&self, key: &str) -> Option<Duration> {
        values::age(self.text(key)?).ok()
    }

    fn number(&self, key: &str) -> Option<u64> {
        number_of(self.table.get(key)?.get_ref().as_integer()?)
    }

    fn count(&self, key: &str) -> Option<usize> {
        usize::try_from(self.number(key)?).ok()
    }

    fn count_u32(&self, key: &str) -> Option<NonZeroU32> {
        NonZeroU32::new(u32::try_from(self.number(key)?).ok()?)
    }

    fn bytes(&self, key: &str) -> Option<usize> {
        usize::try_from(bytes_of(self.table.get(key)?.get_ref())?).ok()
    }

    fn boolean(&self, key: &str) -> Option<bool> {
        self.table.get(key)?.get_ref().as_bool()
    }

    fn concurrency(&self) -> usize {
        self.count("concurrency").unwrap_or(CONCURRENCY)
    }

    fn max_body_bytes(&self) -> usize {
        self.bytes("max_body_bytes")
            .unwrap_or(self.context.config.max_body_bytes)
    }

    fn max_queued_bytes(&self) -> usize {
        let own = self.bytes("max_queued_bytes");
        own.unwrap_or(MAX_QUEUED_BYTES.max(self.max_body_bytes()))
    }

    fn keep(&self) -> Option<Duration> {
        self.age("keep").or(self.context.config.retention_days)
    }

    fn keep_keys(&self) -> Option<Duration> {
        self.age("keep_keys").or_else(|| {
            let longest = self.keep()?.max(KEEP_KEYS);
            let general = self.context.config.key_retention_days;
            Some(general.map_or(longest, |keys| keys.max(longest)))
        })
    }

    fn public_url(&self, name: &Kind) -> Option<String> {
        let own = self.text("public_url").map(str::to_owned);
        own.or_else(|| {
            let url = self.context.public_url?.trim_end_matches('/');
            Some(format!("{url}{WEBHOOKS_PATH}{name}"))
        })
    }

    /// What the table sets, and the defaults.
    fn settings(
        &self,
        name: Kind,
        source: Source,
        secrets: Secrets,
        secret_places: Vec<SecretPlace>,
        public_url: Option<String>,
        forward: Option<Forwarding>,
    ) -> SourceConfig {
        let config = self.context.config;
        let by_default = forward
            .as_ref()
            .map_or(config.max_attempts, |it| it.destination.schedule.attempts());
        SourceConfig {
            name,
            preset: self.text("preset").map(str::to_owned),
            source: Arc::new(source),
            secrets,
            secret_places,
            public_url,
            enabled: self.boolean("enabled").unwrap_or(true),
            retired: self.boolean("retired").unwrap_or(false),
            delay: self.age("delay").unwrap_or_default(),
            max_attempts: self.count_u32("max_attempts").unwrap_or(by_default),
            concurrency: self.concurrency(),
            forward,
            max_body_bytes: self.max_body_bytes(),
            requests_per_second: self.count_u32("requests_per_second"),
            max_queued: self.count("max_queued").unwrap_or(MAX_QUEUED),
            max_queued_bytes: self.max_queued_bytes(),
            max_stored: self.number("max_stored").and_then(NonZeroU64::new),
            keep: self.keep(),
            keep_keys: self.keep_keys(),
            reads_need_token: self.boolean("reads_need_token").unwrap_or(true),
            expect_every: self.age("expect_every"),
            keep_refused_bodies: self.boolean("keep_refused_bodies").unwrap_or(false),
        }
    }

    /// Sets the tolerance of the scheme to that of the source, if it has one.
    fn set_tolerance(&mut self, scheme: &mut Scheme) {
        let within = match self.text("tolerance") {
            Some("off") => Tolerance::Off,
            Some(text) => match fields::duration(text) {
                Some(duration) => Tolerance::Within(duration),
                None => return,
            },
            None => return,
        };
        let mut times = 0;
        scheme.each_time(&mut |time| {
            time.tolerance = within;
            times += 1;
        });
        if times == 0 {
            self.wrong("tolerance", "the scheme has no time; remove the key");
        }
    }

    fn check_sizes(&mut self) {
        let most = self.max_body_bytes();
        if self.max_queued_bytes() < most {
            let wrong = format!(
                "less than max_body_bytes ({most}), so the longest bodies could never be stored"
            );
            self.wrong("max_queued_bytes", &wrong);
        }
    }

    fn check_retention(&mut self) {
        match (self.keep(), self.keep_keys()) {
            (None, Some(_)) => {
                self.wrong("keep_keys", "needs keep, after which bodies are deleted")
            }
            (Some(bodies), Some(keys)) if keys < bodies => self.wrong(
                "keep_keys",
                "must not be less than keep: a body is deleted with its key",
            ),
            _ => {}
        }
    }

    /// Reads where the events go; `None` if this server processes them itself.
    fn forward(
        &mut self,
        spec: Option<&SourceSpec>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Forwarding>, Wrong> {
        let Some(value) = self.table.get("forward") else {
            return Ok(None);
        };
        let kept = spec.map(SourceSpec::kept_headers);
        let source = OfSource {
            path: &self.path,
            kept_headers: kept.as_deref(),
            max_attempts: self.count_u32("max_attempts"),
            concurrency: self.concurrency(),
        };
        let read = self
            .context
            .forwarding(value, &source, self.problems, warnings);
        read.map(Some).ok_or(Wrong)
    }

    /// Reads the secrets, as far as the table names them. `None` if that is wrong.
    fn secrets(
        &mut self,
        spec: Option<&SourceSpec>,
        warnings: &mut Vec<String>,
    ) -> Option<(Secrets, Vec<SecretPlace>)> {
        let (mut all, mut read) = (Secrets::new(), Vec::new());
        let Some(places) = self.table.get("secrets") else {
            return Some((all, read));
        };
        let before = self.problems.count();
        let Context {
            folder, variable, ..
        } = *self.context;
        let path = format!("{}.secrets", self.path);
        let problems = &mut *self.problems;
        let mut add = |name: &str, place: &Spanned<DeValue<'_>>| {
            let place_of = place.get_ref().as_str().and_then(PlaceOfSecret::parse);
            let Some(place_of) = place_of else {
                return; // The checker has found this.
            };
            match place_of.read(&path, folder, variable) {
                Ok((secrets, exposure)) => {
                    warnings.extend(exposure);
                    for secret in &secrets {
                        all = std::mem::take(&mut all).with(name, secret.as_str());
                    }
                    read.push(SecretPlace {
                        name: name.to_owned(),
                        place: place_of,
                        count: secrets.len(),
                    });
                }
                Err(wrong) => problems.add(&place.span(), wrong),
            }
        };
        if let DeValue::Table(by_name) = places.get_ref() {
            for (name, places) in by_name {
                each(places, &mut |place| add(name.get_ref(), place));
            }
        } else {
            // Most senders of presets with several names sign with the one that is called `secret`.
            let names = spec.map(SourceSpec::secret_names).unwrap_or_default();
            let is_clear = names.len() < 2 || names.contains(&"secret");
            let name = match names.first() {
                Some(name) if !names.contains(&"secret") => name,
                _ => "secret",
            };
            each(places, &mut |place| add(name, place));
            if !is_clear {
                let table: Vec<_> = names.iter().map(|name| format!("{name} = […]")).collect();
                let message = format!(
                    "{path}: this source takes several secrets; say which is which: \
                     secrets = {{ {} }}",
                    table.join(", ")
                );
                problems.add(&places.span(), message);
            }
        }
        (self.problems.count() == before).then_some((all, read))
    }

    /// Makes the source of what is read.
    fn source(
        &mut self,
        spec: SourceSpec,
        secrets: &Secrets,
        public_url: Option<String>,
    ) -> Option<Source> {
        let secret_length = if self.context.config.insecure {
            SecretLength::Unchecked
        } else {
            SecretLength::Checked
        };
        let options = SourceOptions {
            public_url,
            secret_length,
            keys: self.context.keys.clone(),
        };
        let names = spec.scheme.secret_names();
        let of_scheme: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let problems = match Source::new(spec, secrets, options) {
            Ok(source) => return Some(source),
            Err(problems) => problems,
        };
        for problem in problems {
            let (key, wrong) = match &problem {
                // It also quotes the value, which may be anything.
                InvalidSource::Setting {
                    setting, expected, ..
                } => {
                    let end = setting.find(['.', '[']).unwrap_or(setting.len());
                    let (key, rest) = setting.split_at(end);
                    let rest = rest.trim_start_matches('.');
                    let of = if rest.is_empty() {
                        String::new()
                    } else {
                        format!("{rest}: ")
                    };
                    (key, format!("{of}expected {expected}"))
                }
                // The scheme works without it.
                InvalidSource::NoSecret { names }
                    if !names.iter().any(|name| of_scheme.contains(name)) =>
                {
                    let hint = "a handshake takes it. If the sender has checked the address already, write \
                                handshakes = [] instead";
                    ("secrets", format!("{problem}; {hint}"))
                }
                InvalidSource::NoSecret { .. }
                | InvalidSource::Secret { .. }
                | InvalidSource::UnknownSecret { .. }
                | InvalidSource::TooManyKeys { .. } => ("secrets", problem.to_string()),
                InvalidSource::NoSetting { .. } | InvalidSource::UnknownSetting { .. } => {
                    ("settings", problem.to_string())
                }
                InvalidSource::NoPublicUrl => ("public_url", problem.to_string()),
                InvalidSource::SameId => ("id", problem.to_string()),
                InvalidSource::KeptSecret { .. } => ("keep_headers", problem.to_string()),
                InvalidSource::ShownSecret { .. } => ("handshakes", problem.to_string()),
                _ => ("scheme", problem.to_string()),
            };
            self.wrong(key, &wrong);
        }
        None
    }
}

/// Calls `add` with each of `places`, which may be one or a list.
fn each<'a, 'i>(places: &'a Spanned<DeValue<'i>>, add: &mut dyn FnMut(&'a Spanned<DeValue<'i>>)) {
    match places.get_ref() {
        DeValue::Array(places) => places.iter().for_each(add),
        _ => add(places),
    }
}

/// What `table` says about the sender. The checker has found nothing wrong with it.
pub(super) fn spec(
    path: &str,
    table: &DeTable<'_>,
    span: &Range<usize>,
    problems: &mut Problems<'_>,
) -> Option<SourceSpec> {
    let of_sender = table
        .iter()
        .filter(|(key, _)| describes_sender(key.get_ref()));
    let of_sender: DeTable<'_> = of_sender
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let value = Spanned::new(span.clone(), DeValue::Table(of_sender));
    match SourceSpec::deserialize(ValueDeserializer::from(value)) {
        Ok(spec) => Some(spec),
        Err(error) => {
            let message = format!("{path}: {}", without_quotes(error.message()));
            problems.add(&error.span().unwrap_or_else(|| span.clone()), message);
            None
        }
    }
}

/// `message` without the texts that it quotes, which may be secrets.
fn without_quotes(message: &str) -> String {
    let parts = message.split('"').enumerate();
    let shown = parts.map(|(index, part)| if index % 2 == 0 { part } else { "\"…\"" });
    shown.collect()
}
