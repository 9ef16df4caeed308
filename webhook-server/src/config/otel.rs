//! The variables `OTEL_*` of OpenTelemetry, as far as they are about traces.
//!
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>. As that page asks for,
//! a value that cannot be used counts as unset, with a warning. Only where nothing could be exported is it an
//! error: the URL and the protocol.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::destination_url::DestinationUrl;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";

/// What is appended to the URL of all signals.
const TRACES_PATH: &str = "/v1/traces";

/// The only protocol there is.
const PROTOCOL: &str = "http/protobuf";

/// The name of the service where nothing else is set.
const SERVICE_NAME: &str = "webhook-server";

/// The most spans that wait to be exported.
const MAX_QUEUE: usize = 65_536;

/// The most headers and attributes that are taken from a variable.
const MAX_PAIRS: usize = 64;

/// Where traces are exported to, and which of them.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "otel"),
    expect(dead_code, reason = "it only says that traces are wanted")
)]
pub struct Otel {
    /// The URL that gets the spans.
    pub(crate) endpoint: DestinationUrl,
    /// The headers of each request. Their values may be secrets, and are not shown.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// How long a request may take.
    pub(crate) timeout: Duration,
    /// What every span is said to come from, with `service.name` among it.
    pub(crate) resource: Vec<(String, String)>,
    /// Which traces are recorded.
    pub(crate) sampling: Sampling,
    /// The most spans that wait.
    pub(crate) queue: usize,
    /// The most spans of a request.
    pub(crate) batch: usize,
    /// How long spans wait for others.
    pub(crate) delay: Duration,
    /// How long the export of a batch may take, with its repetitions.
    pub(crate) export_timeout: Duration,
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sampling {
    All,
    None,
    /// This part of them.
    Ratio(f64),
}

impl Otel {
    /// Reads the variables, of which `variable` has the values. Adds to `warnings` what is ignored. `None` if
    /// no traces are exported.
    ///
    /// # Errors
    ///
    /// When the URL or the protocol cannot be used. No error quotes the URL, which may hold a secret.
    pub(crate) fn read(
        variable: impl Fn(&str) -> Option<String>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>, String> {
        let mut read = Reader { variable, warnings };
        if read.boolean("OTEL_SDK_DISABLED") {
            return Ok(None);
        }
        let Some(endpoint) = read.endpoint()? else {
            return Ok(None);
        };
        match read.text("OTEL_TRACES_EXPORTER") {
            Some((_, text)) if text == "none" => return Ok(None),
            Some((name, text)) if text != "otlp" => read.ignore(name, "expected otlp or none"),
            _ => {}
        }
        read.check_protocol()?;
        let queue = read.number("OTEL_BSP_MAX_QUEUE_SIZE", 2_048, 1, MAX_QUEUE);
        let batch = read.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512.min(queue), 1, queue);
        let timeouts = [
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_TIMEOUT",
        ];
        let set = timeouts.into_iter().find(|it| read.text(it).is_some());
        Ok(Some(Self {
            endpoint,
            headers: read.headers(),
            timeout: read.millis(set.unwrap_or(timeouts[1]), 10_000),
            resource: read.resource(),
            sampling: read.sampling(),
            queue,
            batch,
            delay: read.millis("OTEL_BSP_SCHEDULE_DELAY", 5_000),
            export_timeout: read.millis("OTEL_BSP_EXPORT_TIMEOUT", 30_000),
        }))
    }
}

struct Reader<'a, V> {
    variable: V,
    warnings: &'a mut Vec<String>,
}

impl<V: Fn(&str) -> Option<String>> Reader<'_, V> {
    /// The value of a variable; an empty one is unset.
    fn text<'n>(&self, name: &'n str) -> Option<(&'n str, String)> {
        let text = (self.variable)(name)?;
        let text = text.trim();
        (!text.is_empty()).then(|| (name, text.to_owned()))
    }

    fn ignore(&mut self, name: &str, expected: &str) {
        self.warnings.push(format!("{name} is ignored: {expected}"));
    }

    /// The value of a variable that parses as `T` and `is_right`.
    fn value<T: FromStr>(
        &mut self,
        name: &str,
        is_right: impl Fn(&T) -> bool,
        expected: &impl Display,
    ) -> Option<T> {
        let (name, text) = self.text(name)?;
        let value = text.parse().ok().filter(is_right);
        if value.is_none() {
            self.ignore(name, &format!("expected {expected}"));
        }
        value
    }

    fn number(&mut self, name: &str, default: usize, least: usize, most: usize) -> usize {
        let expected = format_args!("a whole number from {least} to {most}").to_string();
        let is_right = |number: &usize| (least..=most).contains(number);
        self.value(name, is_right, &expected).unwrap_or(default)
    }

    fn millis(&mut self, name: &str, default: usize) -> Duration {
        const DAY_MS: usize = 24 * 60 * 60 * 1_000;
        let millis = self.number(name, default, 1, DAY_MS);
        Duration::from_millis(millis.try_into().unwrap_or(u64::MAX))
    }

    /// Everything but `true` is false.
    fn boolean(&mut self, name: &str) -> bool {
        match self.text(name) {
            Some((_, text)) if text.eq_ignore_ascii_case("true") => true,
            Some((name, text)) if !text.eq_ignore_ascii_case("false") => {
                self.ignore(name, "expected true or false");
                false
            }
            _ => false,
        }
    }

    fn endpoint(&self) -> Result<Option<DestinationUrl>, String> {
        let (name, url) = match (self.text(TRACES_ENDPOINT), self.text(ENDPOINT)) {
            (Some((name, url)), _) => (name, url),
            (None, Some((name, base))) => {
                let base = base.trim_end_matches('/');
                (name, format!("{base}{TRACES_PATH}"))
            }
            (None, None) => return Ok(None),
        };
        let url: Result<DestinationUrl, _> = url.parse();
        url.map(Some).map_err(|_| {
            format!(
                "invalid {name}: expected a URL such as http://127.0.0.1:4318, without a user and without a \
                 fragment"
            )
        })
    }

    fn check_protocol(&self) -> Result<(), String> {
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
        ];
        match names.iter().find_map(|name| self.text(name)) {
            Some((name, text)) if text != PROTOCOL => Err(format!(
                "invalid {name}: the server exports traces by {PROTOCOL} only; set it to {PROTOCOL}, and use \
                 the port of the collector for it, which mostly is 4318"
            )),
            _ => Ok(()),
        }
    }

    fn headers(&mut self) -> Vec<(HeaderName, HeaderValue)> {
        let names = [
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "OTEL_EXPORTER_OTLP_HEADERS",
        ];
        let Some(set) = names.into_iter().find(|name| self.text(name).is_some()) else {
            return Vec::new();
        };
        let pairs = self.pairs(set);
        let headers: Vec<_> = pairs
            .iter()
            .filter_map(|(name, value)| {
                let name = HeaderName::try_from(name).ok()?;
                let mut value = HeaderValue::try_from(value).ok()?;
                value.set_sensitive(true);
                Some((name, value))
            })
            .collect();
        if headers.len() < pairs.len() {
            self.ignore(
                &format!("a part of {set}"),
                "a name or a value is not one of a header",
            );
        }
        headers
    }

    /// `name=value` pairs, separated by commas, with percent-encoded values. Others are left out.
    fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        let Some((name, text)) = self.text(name) else {
            return Vec::new();
        };
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let name = name.trim();
            (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
        };
        let parts = text.split(',').filter(|part| !part.trim().is_empty());
        let read: Vec<_> = parts.take(MAX_PAIRS + 1).map(pair).collect();
        let right: Vec<_> = read.iter().flatten().take(MAX_PAIRS).cloned().collect();
        if right.len() < read.len() {
            let expected = format!(
                "expected name=value,name=value, percent-encoded, at most {MAX_PAIRS} of them"
            );
            self.ignore(&format!("a part of {name}"), &expected);
        }
        right
    }

    fn resource(&mut self) -> Vec<(String, String)> {
        let mut resource = self.pairs("OTEL_RESOURCE_ATTRIBUTES");
        let mut put = |name: &str, value: String, replaces: bool| match resource
            .iter_mut()
            .find(|(other, _)| other == name)
        {
            Some((_, other)) if replaces => *other = value,
            Some(_) => {}
            None => resource.push((name.to_owned(), value)),
        };
        put(
            "service.version",
            env!("CARGO_PKG_VERSION").to_owned(),
            false,
        );
        put("service.name", SERVICE_NAME.to_owned(), false);
        if let Some((_, name)) = self.text("OTEL_SERVICE_NAME") {
            put("service.name", name, true);
        }
        resource
    }

    /// No span of the server has a parent of somebody else, so that the samplers `parentbased_…` do what those
    /// without it do.
    fn sampling(&mut self) -> Sampling {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        let sampler = self.text(NAME).map(|(_, text)| text);
        let sampler = sampler.as_deref().unwrap_or("always_on");
        match sampler.strip_prefix("parentbased_").unwrap_or(sampler) {
            "always_on" => Sampling::All,
            "always_off" => Sampling::None,
            "traceidratio" => {
                let is_right = |ratio: &f64| (0.0..=1.0).contains(ratio);
                let expected = "a number from 0 to 1, such as 0.1";
                let ratio = self.value("OTEL_TRACES_SAMPLER_ARG", is_right, &expected);
                Sampling::Ratio(ratio.unwrap_or(1.0))
            }
            _ => {
                self.ignore(
                    NAME,
                    "expected always_on, always_off or traceidratio, or one of them after parentbased_",
                );
                Sampling::All
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = Result<Option<Otel>, String>;

    fn read(variables: &[(&str, &str)]) -> (Read, Vec<String>) {
        let mut warnings = Vec::new();
        let variable = |name: &str| {
            let set = variables.iter().find(|(other, _)| *other == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        let read = Otel::read(variable, &mut warnings);
        (read, warnings)
    }

    fn with(variables: &[(&str, &str)]) -> (Otel, Vec<String>) {
        let endpoint = (ENDPOINT, "http://127.0.0.1:4318");
        let variables: Vec<_> = variables.iter().copied().chain([endpoint]).collect();
        let (read, warnings) = read(&variables);
        (read.unwrap().unwrap(), warnings)
    }

    #[test]
    fn nothing_is_exported_without_a_url() {
        for variables in [
            &[][..],
            &[(ENDPOINT, "")],
            &[(ENDPOINT, " "), ("OTEL_SERVICE_NAME", "a")],
            &[(ENDPOINT, "http://a"), ("OTEL_SDK_DISABLED", "TRUE")],
            &[(ENDPOINT, "http://a"), ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            let (read, warnings) = read(variables);
            assert!(read.unwrap().is_none(), "{variables:?}");
            assert_eq!(warnings, [""; 0]);
        }
    }

    #[test]
    fn path_is_appended_to_the_url_of_all_signals_only() {
        for (variables, url) in [
            (
                &[(ENDPOINT, "http://a:4318")][..],
                "http://a:4318/v1/traces",
            ),
            (&[(ENDPOINT, "http://a:4318/")], "http://a:4318/v1/traces"),
            (&[(ENDPOINT, "https://a/otlp/")], "https://a/otlp/v1/traces"),
            (
                &[(TRACES_ENDPOINT, "http://a/b"), (ENDPOINT, "http://c")],
                "http://a/b",
            ),
            (&[(TRACES_ENDPOINT, "http://a")], "http://a/"),
        ] {
            let (read, _) = read(variables);
            assert_eq!(read.unwrap().unwrap().endpoint.to_string(), url);
        }
    }

    #[test]
    fn url_or_protocol_that_cannot_be_used_is_an_error() {
        for (name, value) in [
            (ENDPOINT, "127.0.0.1:4318"),
            (ENDPOINT, "ftp://a"),
            (ENDPOINT, "http://user:hunter2@a"),
            (TRACES_ENDPOINT, "hunter2"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ] {
            let (read, _) = read(&[(name, value), (ENDPOINT, "http://a")]);
            let error = read.unwrap_err();
            assert!(error.starts_with(&format!("invalid {name}: ")), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_specification() {
        let (otel, warnings) = with(&[]);
        assert_eq!(warnings, [""; 0]);
        assert_eq!((otel.queue, otel.batch), (2_048, 512));
        let seconds = [otel.delay, otel.timeout, otel.export_timeout].map(|it| it.as_secs());
        assert_eq!(seconds, [5, 10, 30]);
        assert_eq!(otel.sampling, Sampling::All);
        assert!(otel.headers.is_empty());
        let name = ("service.name".to_owned(), "webhook-server".to_owned());
        assert!(otel.resource.contains(&name));
    }

    #[test]
    fn values_are_read() {
        let (otel, warnings) = with(&[
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "x-key=a%20b, authorization = Bearer c,",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1500"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=test,service.name=b",
            ),
            ("OTEL_SERVICE_NAME", "inbox"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ]);
        assert_eq!(warnings, [""; 0]);
        let headers: Vec<_> = otel
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(headers, [("x-key", "a b"), ("authorization", "Bearer c")]);
        assert!(!format!("{otel:?}").contains("Bearer"));
        assert_eq!(otel.timeout, Duration::from_millis(1_500));
        let resource = |name: &str| {
            let mut values = otel.resource.iter().filter(|(other, _)| other == name);
            (
                values.next().map(|(_, value)| value.as_str()),
                values.count(),
            )
        };
        assert_eq!(resource("service.name"), (Some("inbox"), 0));
        assert_eq!(resource("deployment.environment.name"), (Some("test"), 0));
        assert_eq!(otel.sampling, Sampling::Ratio(0.25));
        assert_eq!((otel.queue, otel.batch), (100, 100));
    }

    #[test]
    fn other_wrong_values_are_ignored_with_a_warning() {
        for (name, value) in [
            ("OTEL_SDK_DISABLED", "maybe"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "1s"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "ten"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0d%0a"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=a"),
        ] {
            let (otel, warnings) = with(&[(name, value)]);
            assert!(
                warnings.len() == 1 && warnings[0].contains(name),
                "{warnings:?}"
            );
            assert!(!warnings[0].contains("hunter2"), "{warnings:?}");
            assert_eq!((otel.queue, otel.batch), (2_048, 512), "{name}");
        }
        let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
        for ratio in ["2", "-0.1", "NaN", "a"] {
            let (otel, warnings) = with(&[sampler, ("OTEL_TRACES_SAMPLER_ARG", ratio)]);
            assert_eq!(otel.sampling, Sampling::Ratio(1.0));
            assert_eq!(warnings.len(), 1, "{ratio}");
        }
    }
}
