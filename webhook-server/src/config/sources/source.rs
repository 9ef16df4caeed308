//! Reads one source.

use std::borrow::Cow;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use webhook_core::Kind;
use webhook_sources::spec::{Scheme, SourceSpec, Tolerance};
use webhook_sources::{InvalidSource, SecretLength, Secrets, Verification, VerificationOptions};

use super::super::secret::looks_secret;
use super::super::values;
use super::checker::{Checker, bytes_of, number_of};
use super::fields::{self, SOURCE, describes_sender};
use super::problem::{Problems, did_you_mean};
use super::secrets::PlaceOfSecret;
use super::{Context, SecretPlace, SourceConfig, merge, preset, wrong_name};

/// How long the server may take to answer a delivery once its body has arrived.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// How long keys are kept at least, unless the source says otherwise: senders replay deliveries for up to this long.
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
        let (table, is_partial) = match own.get("preset") {
            None => (own.clone(), false),
            Some(named) => {
                let named_text = named.get_ref().as_str().unwrap_or_default();
                match preset::table(named_text) {
                    Some(preset) => (merge::over(own, preset, &named.span()), false),
                    None => {
                        if named.get_ref().is_str() {
                            let similar = did_you_mean(named_text, preset::names());
                            let message =
                                format!("{path}.preset: there is no such preset{similar}");
                            problems.add(&named.span(), message);
                        }
                        (own.clone(), true)
                    }
                }
            }
        };
        let span = name.span();
        let whole = Spanned::new(span.clone(), DeValue::Table(table));
        let mut checker = Checker {
            problems,
            is_partial: is_partial || self.is_damaged,
        };
        checker.check(&path, &SOURCE, &whole);
        let DeValue::Table(table) = whole.into_inner() else {
            return None;
        };
        if is_partial || self.is_damaged || problems.count() > before {
            // What is wrong with the secrets does not depend on the rest.
            self.secrets(&path, &table, None, problems, warnings);
            return None;
        }
        let mut spec = spec(&path, &table, &span, problems)?;
        self.set_tolerance(&path, &table, &mut spec.scheme, problems);
        let without_secrets = problems.count();
        let (secrets, secret_places) = self.secrets(&path, &table, Some(&spec), problems, warnings);
        let are_secrets_read = problems.count() == without_secrets;
        let kind = Kind::new(name.get_ref().clone().into_owned()).ok()?;
        let source = self.settings(kind, &table, spec, secrets, secret_places);
        self.check(&path, &table, &span, &source, problems);
        if are_secrets_read {
            self.check_scheme(&path, &table, &span, &source, problems);
        }
        (problems.count() == before).then_some(source)
    }

    /// What the checked `table` sets, and the defaults.
    fn settings(
        &self,
        name: Kind,
        table: &DeTable<'_>,
        spec: SourceSpec,
        secrets: Secrets,
        secret_places: Vec<SecretPlace>,
    ) -> SourceConfig {
        let config = self.config;
        let text = |key: &str| table.get(key)?.get_ref().as_str();
        let age = |key: &str| values::age(text(key)?).ok();
        let number = |key: &str| number_of(table.get(key)?.get_ref().as_integer()?);
        let size = |key: &str| usize::try_from(bytes_of(table.get(key)?.get_ref())?).ok();
        let count = |key: &str| usize::try_from(number(key)?).ok();
        let count_u32 = |key: &str| u32::try_from(number(key)?).ok().and_then(NonZeroU32::new);
        let is = |key: &str| table.get(key)?.get_ref().as_bool();
        let public_url = text("public_url").map(str::to_owned).or_else(|| {
            let url = self.public_url?.trim_end_matches('/');
            Some(format!("{url}{}{name}", super::WEBHOOKS_PATH))
        });
        let keep = age("keep").or(config.retention_days);
        let keep_keys = age("keep_keys").or_else(|| {
            let longest = keep?.max(KEEP_KEYS);
            Some(
                config
                    .key_retention_days
                    .map_or(longest, |keys| keys.max(longest)),
            )
        });
        SourceConfig {
            preset: text("preset").map(str::to_owned),
            public_url,
            enabled: is("enabled").unwrap_or(true),
            retired: is("retired").unwrap_or(false),
            delay: age("delay").unwrap_or_default(),
            max_attempts: count_u32("max_attempts").unwrap_or(config.max_attempts),
            concurrency: count("concurrency").unwrap_or(CONCURRENCY),
            max_body_bytes: size("max_body_bytes").unwrap_or(config.max_body_bytes),
            requests_per_second: count_u32("requests_per_second"),
            max_queued: count("max_queued").unwrap_or(MAX_QUEUED),
            max_queued_bytes: size("max_queued_bytes").unwrap_or(MAX_QUEUED_BYTES),
            max_stored: number("max_stored").and_then(NonZeroU64::new),
            keep,
            keep_keys,
            reads_need_token: is("reads_need_token").unwrap_or(true),
            expect_every: age("expect_every"),
            keep_refused_bodies: is("keep_refused_bodies").unwrap_or(false),
            name,
            spec,
            secrets,
            secret_places,
        }
    }

    /// Sets the tolerance of the scheme to that of the source, if it has one.
    fn set_tolerance(
        &self,
        path: &str,
        table: &DeTable<'_>,
        scheme: &mut Scheme,
        problems: &mut Problems<'_>,
    ) {
        let Some(tolerance) = table.get("tolerance") else {
            return;
        };
        let within = match tolerance.get_ref().as_str() {
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
            let message = format!("{path}.tolerance: the scheme has no time; remove the key");
            problems.add(&tolerance.span(), message);
        }
    }

    /// Reads the secrets of the source, as far as `table` names them.
    fn secrets(
        &self,
        path: &str,
        table: &DeTable<'_>,
        spec: Option<&SourceSpec>,
        problems: &mut Problems<'_>,
        warnings: &mut Vec<String>,
    ) -> (Secrets, Vec<SecretPlace>) {
        let mut read = (Secrets::new(), Vec::new());
        let Some(places) = table.get("secrets") else {
            return read;
        };
        let path = format!("{path}.secrets");
        let mut add = |name: &str, place: &Spanned<DeValue<'_>>| {
            let place_of = place.get_ref().as_str().and_then(PlaceOfSecret::parse);
            let Some(place_of) = place_of else {
                return; // The checker has found this.
            };
            match place_of.read(&path, self.folder, self.variable) {
                Ok((secrets, exposure)) => {
                    warnings.extend(exposure);
                    let all = std::mem::take(&mut read.0);
                    read.0 = secrets
                        .iter()
                        .fold(all, |all, secret| all.with(name, secret.as_str()));
                    read.1.push(SecretPlace {
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
            return read;
        }
        let names = spec.map(SourceSpec::secret_names).unwrap_or_default();
        each(places, &mut |place| {
            add(names.first().unwrap_or(&"secret"), place)
        });
        if names.len() > 1 {
            let table: Vec<String> = names.iter().map(|name| format!("{name} = […]")).collect();
            let message = format!(
                "{path}: this source takes several secrets; say which is which: \
                 secrets = {{ {} }}",
                table.join(", ")
            );
            problems.add(&places.span(), message);
        }
        read
    }

    /// Checks what several keys say together.
    fn check(
        &self,
        path: &str,
        table: &DeTable<'_>,
        span: &Range<usize>,
        source: &SourceConfig,
        problems: &mut Problems<'_>,
    ) {
        let span_of = |key: &str| table.get(key).map_or_else(|| span.clone(), Spanned::span);
        if let Some(timeout) = source.spec.timeout.filter(|timeout| *timeout < ANSWER_TIME) {
            let message = format!(
                "{path}.timeout: {timeout:?} is too short: the server may take {ANSWER_TIME:?} to answer"
            );
            problems.add(&span_of("timeout"), message);
        }
        if source.max_queued_bytes < source.max_body_bytes {
            let message = format!(
                "{path}.max_queued_bytes is less than max_body_bytes ({}), so the longest bodies could \
                 never be stored",
                source.max_body_bytes
            );
            problems.add(&span_of("max_queued_bytes"), message);
        }
        match (source.keep, source.keep_keys) {
            (None, Some(_)) => problems.add(
                &span_of("keep_keys"),
                format!("{path}.keep_keys needs keep, after which bodies are deleted"),
            ),
            (Some(bodies), Some(keys)) if keys < bodies => problems.add(
                &span_of("keep_keys"),
                format!(
                    "{path}.keep_keys must not be less than keep: a body is deleted with its key"
                ),
            ),
            _ => {}
        }
    }
}

impl Context<'_> {
    /// Checks what the scheme needs: secrets of its form, and the public URL.
    fn check_scheme(
        &self,
        path: &str,
        table: &DeTable<'_>,
        span: &Range<usize>,
        source: &SourceConfig,
        problems: &mut Problems<'_>,
    ) {
        let options = VerificationOptions {
            public_url: source.public_url.clone(),
            secret_length: if self.config.insecure {
                SecretLength::Unchecked
            } else {
                SecretLength::Checked
            },
        };
        let made = Verification::new(&source.spec.scheme, &source.secrets, options);
        for wrong in made.err().unwrap_or_default() {
            let key = match wrong {
                InvalidSource::NoSecret { .. }
                | InvalidSource::Secret { .. }
                | InvalidSource::TooManyKeys { .. } => "secrets",
                InvalidSource::NoPublicUrl => "public_url",
                _ => "scheme",
            };
            let span = table.get(key).map_or_else(|| span.clone(), Spanned::span);
            problems.add(&span, format!("{path}.{key}: {wrong}"));
        }
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
