//! Reads `forward`: where the events of a source go.

use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use webhook_core::with_causes;
use webhook_forward::{Destination, Rate, Schedule, SigningKeys, StatusSet, Tls};
use zeroize::Zeroizing;

use super::super::files::{self, Guard};
use super::super::forward::{
    DEFAULT_KEYS, DefaultKeys, Forwarding, Inputs, NO_KEY, signing_keys, with_attempts,
};
use super::super::pem::{self, PemError};
use super::super::{DestinationUrl, values};
use super::Context;
use super::checker::{float_of, join, number_of};
use super::fields::{delay, duration};
use super::problem::Problems;
use super::secrets::PlaceOfSecret;

/// How long the destination may take to answer.
const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(300);

/// The defaults of a schedule whose delays grow.
const FACTOR: f64 = 2.0;
const MAX_DELAY: Duration = Duration::from_secs(86_400);

/// Of a source, what its destination needs beside `forward`.
pub(super) struct OfSource<'a> {
    /// The table's name, such as `sources.stripe`.
    pub(super) path: &'a str,
    /// The names of the headers that the source keeps; `None` if it is not known.
    pub(super) kept_headers: Option<&'a [String]>,
    /// The most attempts, if the source sets them.
    pub(super) max_attempts: Option<NonZeroU32>,
    pub(super) concurrency: usize,
}

/// Secrets, the keys that they are, and where they are with their numbers.
type ReadKeys = (Vec<Zeroizing<String>>, SigningKeys, Vec<(String, usize)>);

impl Context<'_> {
    /// Reads the value of `forward`, and adds what is wrong with it to `problems`. `None` if anything is.
    pub(super) fn forwarding(
        &self,
        value: &Spanned<DeValue<'_>>,
        source: &OfSource<'_>,
        problems: &mut Problems<'_>,
        warnings: &mut Vec<String>,
    ) -> Option<Forwarding> {
        let mut inputs = Inputs::default();
        inputs.add_value(value.get_ref());
        let reading = Reading {
            context: self,
            path: format!("{}.forward", source.path),
            span: value.span(),
            url: match value.get_ref() {
                DeValue::Table(table) => table.get("url"),
                _ => Some(value),
            },
            table: value.get_ref().as_table(),
            problems,
            warnings,
            inputs,
        };
        reading.read(source)
    }
}

/// A `forward` that may be wrong: the checker has said so of its shape.
struct Reading<'r, 'i, 't> {
    context: &'r Context<'r>,
    path: String,
    span: Range<usize>,
    url: Option<&'r Spanned<DeValue<'i>>>,
    /// Everything, unless it is only a URL.
    table: Option<&'r DeTable<'i>>,
    problems: &'r mut Problems<'t>,
    warnings: &'r mut Vec<String>,
    inputs: Inputs,
}

impl<'r, 'i> Reading<'r, 'i, '_> {
    fn read(mut self, source: &OfSource<'_>) -> Option<Forwarding> {
        let before = self.problems.count();
        let url = self.url();
        let keys = self.keys(url.as_ref());
        let times = self.times();
        let rate = self.rate();
        let schedule = self.schedule();
        let schedule = match (schedule, source.max_attempts) {
            (Some(schedule), Some(attempts)) => with_attempts(&schedule, attempts)
                .map_err(|wrong| {
                    let message = format!("{}.max_attempts: {wrong}", source.path);
                    self.problems.add(&self.span, message);
                })
                .ok(),
            (schedule, _) => schedule,
        };
        let fail_on: StatusSet = self
            .texts("fail_on")
            .filter_map(|text| text.parse().ok())
            .collect();
        let pass_headers = self.pass_headers(source.kept_headers);
        let headers = self.headers();
        let tls = self.tls();
        let (url, (signing, keys)) = (url?, keys?);
        let attempts = source.max_attempts.map_or(0, NonZeroU32::get);
        self.inputs.add(source.concurrency.to_be_bytes());
        self.inputs.add(attempts.to_be_bytes());
        let mut destination = Destination::new(url.uri().clone())
            .with_keys(signing)
            .with_timeout(times.0)
            .with_connect_timeout(times.1)
            .with_concurrency(NonZeroUsize::new(source.concurrency)?)
            .with_schedule(schedule?)
            .with_fail_on(fail_on)
            .with_pass_headers(pass_headers)
            .with_headers(headers)
            .with_tls(tls?);
        if let Some(rate) = rate {
            destination = destination.with_rate(rate);
        }
        if let Some(age) = self.age("give_up_after") {
            destination = destination.with_give_up_after(age);
        }
        if self.problems.count() > before {
            return None;
        }
        if let Err(error) = destination.check() {
            let message = format!("{}: {}", self.path, with_causes(&error));
            self.problems.add(&self.span, message);
            return None;
        }
        Some(Forwarding {
            url,
            destination,
            keys,
            inputs: self.inputs.digest(),
        })
    }

    fn value(&self, key: &str) -> Option<&'r Spanned<DeValue<'i>>> {
        self.table?.get(key)
    }

    fn text(&self, key: &str) -> Option<&'r str> {
        self.value(key)?.get_ref().as_str()
    }

    /// The texts of a list.
    fn texts(&self, key: &str) -> impl Iterator<Item = &'r str> + use<'r, 'i> {
        let items = self.value(key).and_then(|it| it.get_ref().as_array());
        items
            .into_iter()
            .flatten()
            .filter_map(|it| it.get_ref().as_str())
    }

    fn age(&self, key: &str) -> Option<Duration> {
        values::age(self.text(key)?).ok()
    }

    /// Adds what is wrong with `key`.
    fn wrong(&mut self, key: &str, wrong: &str) {
        let span = self.value(key).map_or(self.span.clone(), Spanned::span);
        self.problems
            .add(&span, format!("{}.{key}: {wrong}", self.path));
    }

    /// The URL. Its form has been checked.
    fn url(&mut self) -> Option<DestinationUrl> {
        let value = self.url?;
        let url = DestinationUrl::parse(value.get_ref().as_str()?)?;
        if let Err(blocked) = url.check_address() {
            let key = if self.table.is_some() { ".url" } else { "" };
            let message = format!("{}{key}: {blocked}", self.path);
            self.problems.add(&value.span(), message);
            return None;
        }
        Some(url)
    }

    /// The keys that sign, and where they are with their numbers.
    fn keys(
        &mut self,
        url: Option<&DestinationUrl>,
    ) -> Option<(SigningKeys, Vec<(String, usize)>)> {
        let (secrets, keys, places) = match self.value("sign_with") {
            Some(value) => self.own_keys(value)?,
            None => self.default_keys()?,
        };
        for secret in &secrets {
            self.inputs.add(secret.as_bytes());
        }
        if keys.is_empty() && !url?.is_loopback() {
            let message = format!("{}: {NO_KEY} FORWARD_SECRETS or sign_with", self.path);
            self.problems.add(&self.span, message);
            return None;
        }
        Some((keys, places))
    }

    /// The keys at the places that `value` names.
    fn own_keys(&mut self, value: &Spanned<DeValue<'_>>) -> Option<ReadKeys> {
        let (mut all, mut places) = (Vec::new(), Vec::new());
        let mut is_read = true;
        let items: Vec<_> = match value.get_ref() {
            DeValue::Array(items) => items.iter().collect(),
            _ => vec![value],
        };
        for item in items {
            match self.secrets("sign_with", item) {
                Some((place, secrets)) => {
                    places.push((place.to_string(), secrets.len()));
                    all.extend(secrets);
                }
                None => is_read = false,
            }
        }
        match signing_keys(&is_read.then_some(&all)?[..]) {
            Ok(keys) => Some((all, keys, places)),
            Err(invalid) => {
                self.wrong("sign_with", &with_causes(&invalid));
                None
            }
        }
    }

    /// The keys of destinations that name none. What is wrong with them is a problem of the first destination only.
    fn default_keys(&mut self) -> Option<ReadKeys> {
        match (self.context.forward_keys)() {
            Ok(DefaultKeys { secrets, keys }) => {
                let places = match secrets.len() {
                    0 => Vec::new(),
                    count => vec![(DEFAULT_KEYS.to_owned(), count)],
                };
                Some((secrets, keys, places))
            }
            Err(wrong) => {
                if !self.context.are_keys_wrong.replace(true) {
                    let message = format!("{}: {wrong}", self.path);
                    self.problems.add(&self.span, message);
                }
                None
            }
        }
    }

    /// The secrets at the place that `value` names; `key` is for errors.
    fn secrets(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<(PlaceOfSecret, Vec<Zeroizing<String>>)> {
        let place = PlaceOfSecret::parse(value.get_ref().as_str()?)?;
        let Context {
            folder, variable, ..
        } = *self.context;
        match place.read(&format!("{}.{key}", self.path), folder, variable) {
            Ok((secrets, exposure)) => {
                self.warnings.extend(exposure);
                Some((place, secrets))
            }
            Err(wrong) => {
                self.problems.add(&value.span(), wrong);
                None
            }
        }
    }

    /// The only secret at such a place.
    fn secret(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Zeroizing<String>> {
        let (_, mut secrets) = self.secrets(key, value)?;
        if secrets.len() > 1 {
            let message = format!(
                "{}.{key}: the place has several lines; a header has one value",
                self.path
            );
            self.problems.add(&value.span(), message);
            return None;
        }
        let secret = secrets.pop()?;
        self.inputs.add(secret.as_bytes());
        Some(secret)
    }

    /// `timeout` and `connect_timeout`.
    fn times(&mut self) -> (Duration, Duration) {
        let time = |key: &str| duration(self.text(key)?);
        let (timeout, connect) = (time("timeout"), time("connect_timeout"));
        let defaults = Destination::new(hyper::Uri::from_static("http://localhost"));
        let whole = timeout.unwrap_or(defaults.timeout);
        if !TIMEOUTS.contains(&whole) {
            self.wrong("timeout", "expected a duration from 1s to 5m");
        }
        if connect.is_some_and(|connect| connect.is_zero() || connect > whole) {
            self.wrong(
                "connect_timeout",
                "expected more than 0, and not more than timeout",
            );
        }
        (
            whole,
            connect.unwrap_or(defaults.connect_timeout.min(whole)),
        )
    }

    fn rate(&mut self) -> Option<Rate> {
        let rate: Option<Rate> = self.text("rate").and_then(|text| text.parse().ok());
        let burst = self
            .value("burst")
            .and_then(|it| number_of(it.get_ref().as_integer()?));
        let burst = burst.and_then(|burst| NonZeroU32::new(u32::try_from(burst).ok()?));
        match (rate, burst) {
            (None, Some(_)) if self.value("rate").is_none() => {
                self.wrong("burst", "needs rate: without one, requests are not limited");
                None
            }
            (Some(rate), Some(burst)) => Some(rate.with_burst(burst)),
            (rate, _) => rate,
        }
    }

    fn schedule(&mut self) -> Option<Schedule> {
        let Some(value) = self.value("schedule") else {
            return Some(Schedule::default());
        };
        let made = match value.get_ref() {
            DeValue::Table(table) => {
                let delay = |key: &str| delay(table.get(key)?.get_ref().as_str()?);
                let factor = match table.get("factor") {
                    Some(factor) => float_of(factor.get_ref()).filter(|it| *it >= 1.0)?,
                    None => FACTOR,
                };
                let attempts = number_of(table.get("attempts")?.get_ref().as_integer()?)?;
                let attempts = NonZeroU32::new(u32::try_from(attempts).ok()?)?;
                let first = delay("first")?;
                let max = delay("max").unwrap_or(MAX_DELAY.max(first));
                Schedule::exponential(first, factor, max, attempts)
            }
            _ => {
                let delays: Option<Vec<_>> = value
                    .get_ref()
                    .as_array()?
                    .iter()
                    .map(|item| delay(item.get_ref().as_str()?))
                    .collect();
                Schedule::list(delays?)
            }
        };
        made.map_err(|wrong| self.wrong("schedule", &wrong.to_string()))
            .ok()
    }

    /// The headers of the sender that are passed on, which the source must keep.
    fn pass_headers(&mut self, kept: Option<&[String]>) -> Vec<HeaderName> {
        let items = self
            .value("pass_headers")
            .and_then(|it| it.get_ref().as_array());
        let mut passed = Vec::new();
        for (index, item) in items.into_iter().flatten().enumerate() {
            let name = item.get_ref().as_str().unwrap_or_default();
            let Ok(header) = HeaderName::from_bytes(name.as_bytes()) else {
                continue;
            };
            if kept.is_some_and(|kept| !kept.iter().any(|it| it == name)) {
                let message = format!(
                    "{}.pass_headers[{index}]: the source does not keep this header; add it to keep_headers of the \
                     source",
                    self.path
                );
                self.problems.add(&item.span(), message);
            }
            passed.push(header);
        }
        passed
    }

    /// The headers that every request has.
    fn headers(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::new();
        let table = self.value("headers").and_then(|it| it.get_ref().as_table());
        for (name, place) in table.into_iter().flatten() {
            let text: &str = name.get_ref();
            let header = HeaderName::from_bytes(text.as_bytes()).ok();
            let Some(header) = header.filter(|it| it.as_str() == text) else {
                let message = format!(
                    "{}.headers: expected names of headers in lower case",
                    self.path
                );
                self.problems.add(&name.span(), message);
                continue;
            };
            let key = join("headers", text);
            let value = self.secret(&key, place);
            headers.extend(self.header(&key, place, header, value));
        }
        if let Some(place) = self.value("bearer") {
            let token = self.secret("bearer", place);
            let value = token.map(|token| Zeroizing::new(format!("Bearer {}", *token)));
            headers.extend(self.header("bearer", place, AUTHORIZATION, value));
        }
        if let Some(place) = self.value("basic") {
            let pair = self.secret("basic", place);
            if pair.as_ref().is_some_and(|pair| !pair.contains(':')) {
                self.wrong("basic", "expected USER:PASSWORD at this place");
            }
            let value = pair.map(|pair| {
                let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
                Zeroizing::new(format!("Basic {}", *encoded))
            });
            headers.extend(self.header("basic", place, AUTHORIZATION, value));
        }
        if headers
            .iter()
            .filter(|(name, _)| name == AUTHORIZATION)
            .count()
            > 1
        {
            let key = ["basic", "bearer"]
                .into_iter()
                .find(|key| self.value(key).is_some());
            self.wrong(
                key.unwrap_or("headers"),
                "a request has one header authorization: set only one of bearer, basic and headers.authorization",
            );
        }
        headers
    }

    fn header(
        &mut self,
        key: &str,
        place: &Spanned<DeValue<'_>>,
        name: HeaderName,
        value: Option<Zeroizing<String>>,
    ) -> Option<(HeaderName, HeaderValue)> {
        match HeaderValue::from_bytes(value?.as_bytes()) {
            Ok(mut value) => {
                value.set_sensitive(true);
                Some((name, value))
            }
            Err(_) => {
                let message = format!(
                    "{}.{key}: the secret at this place cannot be the value of a header: it has control characters",
                    self.path
                );
                self.problems.add(&place.span(), message);
                None
            }
        }
    }

    fn tls(&mut self) -> Option<Tls> {
        let authorities = self.value("ca").map(|_| {
            let certificates = |text: &str| pem::certificates(text).map(drop);
            let pem = self.pem("ca", Guard::Trust, certificates)?;
            let tls = Tls::system().with_authorities(pem.as_bytes());
            tls.map_err(|wrong| self.wrong("ca", &with_causes(&wrong)))
                .ok()
        });
        let identity = self.identity();
        let tls = authorities.unwrap_or_else(|| Some(Tls::system()))?;
        let Some((certificate, key)) = identity? else {
            return Some(tls);
        };
        tls.with_identity(certificate.as_bytes(), key.as_bytes())
            .map_err(|wrong| self.wrong("client_key", &with_causes(&wrong)))
            .ok()
    }

    /// The certificate that the server shows, and its key, if there is one.
    fn identity(&mut self) -> Option<Option<(Zeroizing<String>, Zeroizing<String>)>> {
        let has = |key: &str| self.value(key).is_some();
        match (has("client_certificate"), has("client_key")) {
            (false, false) => Some(None),
            (true, false) => {
                self.wrong("client_certificate", "needs client_key, its private key");
                None
            }
            (false, true) => {
                let wrong = "needs client_certificate, the certificate of the key";
                self.wrong("client_key", wrong);
                None
            }
            (true, true) => {
                let certificates = |text: &str| pem::certificates(text).map(drop);
                let certificate = self.pem("client_certificate", Guard::Trust, certificates);
                let private_key = |text: &str| pem::private_key(text).map(drop);
                let key = self.pem("client_key", Guard::Secret, private_key);
                Some(Some((certificate?, key?)))
            }
        }
    }

    /// The PEM in the file that `key` names, if `check` finds in it what is needed.
    fn pem(
        &mut self,
        key: &str,
        guard: Guard,
        check: impl Fn(&str) -> Result<(), PemError>,
    ) -> Option<Zeroizing<String>> {
        let path = self.context.folder.join(Path::new(self.text(key)?));
        let name = format!("{}.{key}", self.path);
        let read = files::read_quietly(&name, &path, guard).map_err(|error| with_causes(&error));
        let read = read.and_then(|file| {
            let pem = check(&file.text).and_then(|()| pem::canonical(&file.text));
            let pem = pem.map_err(|wrong| format!("{name}: {wrong}"))?;
            Ok((pem, file.exposure))
        });
        match read {
            Ok((pem, exposure)) => {
                self.warnings.extend(exposure);
                self.inputs.add(pem.as_bytes());
                Some(pem)
            }
            Err(wrong) => {
                let span = self.value(key).map_or(self.span.clone(), Spanned::span);
                self.problems.add(&span, wrong);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
