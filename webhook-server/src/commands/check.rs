//! `check`: says everything that is wrong with the configuration, and what each source does.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use tokio::time::timeout;
use webhook_core::with_causes;
use webhook_forward::{Resolve, SystemResolver, UrlError, check_url};
use webhook_sources::spec::{Compare, Guard};
use webhook_sources::{MAX_KEPT_HEADERS, preset};

use super::{CommandError, Output, blocking};
use crate::backend::check_parameters;
use crate::config::{Config, Forwarding, SourceConfig, SourcesFile};
use crate::logging::{escaped, print_to_stderr};
use crate::server::check_tokens;
use crate::views::{counted, duration, handshake_text, id_text, plural, scheme_text};

/// How long looking up a host may take.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(3);

/// The options of `check`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Check {}

/// What all files say.
pub(super) struct Checked {
    pub(super) errors: Vec<String>,
    pub(super) sources: SourcesFile,
    /// Where transactions go.
    pub(super) forwarding: Option<Forwarding>,
}

impl Check {
    /// Reads all files, and looks up the hosts of destinations.
    pub(super) async fn run(config: &Config) -> Result<(), CommandError> {
        let Checked {
            mut errors,
            sources,
            forwarding,
        } = blocking(config, |config| Ok(Checked::read(config))).await?;
        let of_transactions = forwarding.iter().map(|it| ("FORWARD_URL".to_owned(), it));
        let of_sources = sources.sources.iter().filter_map(|source| {
            let forward = source.forward.as_ref()?;
            Some((format!("sources.{}.forward", source.name), forward))
        });
        let mut warnings = config.warnings();
        warnings.extend_from_slice(&sources.warnings);
        for (name, looked_up) in
            look_up(of_transactions.chain(of_sources), &SystemResolver::new()).await
        {
            match looked_up {
                Err(LookUpError::Wrong(error)) => {
                    errors.push(format!("{name}: {}", with_causes(&error)));
                }
                Err(LookUpError::Unknown(problem)) => warnings.push(format!(
                    "{name}: {problem}; its events wait until the host is found"
                )),
                Ok(()) => {}
            }
        }
        if !errors.is_empty() {
            for error in &errors {
                print_to_stderr(&format!("error: {}", escaped(error)));
            }
            return Err(CommandError::Invalid {
                errors: errors.len(),
            });
        }
        for warning in &warnings {
            print_to_stderr(&format!("warning: {}", escaped(warning)));
        }
        let mut output = Output::new(false);
        output.write(&(), |out| {
            if let Some(forwarding) = &forwarding {
                writeln!(out, "transactions")?;
                describe_destination(forwarding, &mut Lines(out))?;
                writeln!(out)?;
            }
            for source in &sources.sources {
                describe(source, out)?;
                writeln!(out)?;
            }
            writeln!(
                out,
                "The configuration is valid. Sources: transactions{}",
                sources
                    .sources
                    .iter()
                    .map(|source| format!(", {}", source.name))
                    .collect::<String>()
            )
        })?;
        Ok(())
    }
}

impl Checked {
    /// Reads all files. Blocks.
    pub(super) fn read(config: &Config) -> Self {
        let mut errors = config.errors();
        let of_file = errors.len();
        let sources = SourcesFile::read(config).unwrap_or_else(|wrong| {
            errors.extend(wrong.lines());
            SourcesFile::default()
        });
        let forwarding = config.forwarding().unwrap_or_else(|wrong| {
            let wrong = with_causes(&wrong);
            // A source that needs the same keys has the same error.
            if !errors[of_file..].iter().any(|line| line.ends_with(&wrong)) {
                errors.push(wrong);
            }
            None
        });
        Self {
            errors,
            sources,
            forwarding,
        }
    }
}

/// What is wrong with the host of a destination.
#[derive(Debug)]
enum LookUpError {
    /// Nothing would be forwarded there.
    Wrong(UrlError),
    /// Its name does not resolve at the moment, which may be different where the server runs.
    Unknown(String),
}

/// Looks up the hosts of all destinations, at the same time.
async fn look_up<'f>(
    destinations: impl Iterator<Item = (String, &'f Forwarding)>,
    resolver: &dyn Resolve,
) -> Vec<(String, Result<(), LookUpError>)> {
    let looks = destinations.map(async |(name, forwarding)| {
        let destination = &forwarding.destination;
        let checked = check_url(&destination.url, destination.reach, resolver);
        let looked_up = match timeout(LOOK_UP_TIMEOUT, checked).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error @ (UrlError::Resolve { .. } | UrlError::NoAddresses { .. }))) => {
                Err(LookUpError::Unknown(with_causes(&error)))
            }
            Ok(Err(error)) => Err(LookUpError::Wrong(error)),
            Err(_) => Err(LookUpError::Unknown(format!(
                "the host name {} was not found within {LOOK_UP_TIMEOUT:?}",
                forwarding.url.host()
            ))),
        };
        (name, looked_up)
    });
    join_all(looks).await
}

impl Config {
    /// Everything for which the server would not start, except for sources, addresses in use, and the database
    /// itself. Blocks while it reads files.
    fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        errors.extend(self.check().err().map(str::to_owned));
        errors.extend(self.check_key_retention().err());
        errors.extend(self.check_anonymous_access().err());
        match self.read_database_url() {
            Err(error) => errors.push(with_causes(&error)),
            Ok(url) => match self.backend(url.as_ref()) {
                Err(error) => errors.push(with_causes(&error)),
                Ok(backend) => {
                    errors.extend(self.check_role(&backend).err().map(str::to_owned));
                    let checked = check_parameters(&backend, self);
                    errors.extend(checked.err().map(|error| with_causes(&error)));
                }
            },
        }
        match self.auth_config() {
            Err(error) => errors.push(with_causes(&error)),
            Ok(auth) => {
                let checked = check_tokens(self, &auth);
                errors.extend(checked.err().map(|error| with_causes(&error)));
            }
        }
        errors.extend(self.tls.read().err().map(|error| with_causes(&error)));
        errors
    }
}

/// Writes what `source` does.
fn describe(source: &SourceConfig, out: &mut dyn Write) -> io::Result<()> {
    let spec = source.spec();
    match &source.preset {
        Some(preset) => writeln!(out, "{} (preset {preset})", source.name)?,
        None => writeln!(out, "{}", source.name)?,
    }
    let mut lines = Lines(out);
    let mut line = |name: &str, text: &str| lines.write(name, text);
    if source.retired {
        line("state", "retired: deliveries get 410")?;
    } else if !source.enabled {
        line("state", "disabled: deliveries get 503")?;
    }
    line(
        "path",
        &format!("{} {}", spec.methods.join(" or "), source.path()),
    )?;
    if let Some(url) = &source.public_url {
        line("public URL", url)?;
    }
    line("scheme", &scheme_text(&spec.scheme))?;
    for place in &source.secret_places {
        let count = match place.count {
            1 => String::new(),
            count => format!(", {count} secrets"),
        };
        line(
            "secrets",
            &format!("{} from {}{count}", place.name, place.place),
        )?;
    }
    line("id", &id_text(&spec.id))?;
    if let Some(pointer) = &spec.split {
        line("events", &format!("each value at {pointer} is an event"))?;
    }
    if !spec.event_type.is_empty() {
        let places: Vec<_> = spec.event_type.iter().map(ToString::to_string).collect();
        line("event type", &places.join(", or "))?;
    }
    line("comparison", &comparison(&spec.compare))?;
    match spec.guard {
        Guard::Body => line(
            "guard",
            "an event with a known body and a new id is a duplicate",
        )?,
        Guard::BodyAndType => line(
            "guard",
            "an event with a known type and body and a new id is a duplicate",
        )?,
        _ => {}
    }
    for handshake in &spec.handshakes {
        line("handshake", &handshake_text(handshake))?;
    }
    let preset = source.preset.as_deref().and_then(preset::get);
    if spec.handshakes.is_empty() && preset.is_some_and(|it| !it.spec.handshakes.is_empty()) {
        line(
            "handshake",
            "none: the sender cannot check the address again, as when it is changed",
        )?;
    }
    let body = if spec.answer.body.is_empty() {
        "an empty body".to_owned()
    } else {
        counted(spec.answer.body.len(), "byte", "bytes")
    };
    line(
        "answer",
        &format!(
            "{} with {body}; {} to requests that are refused",
            spec.answer.status, spec.refused_status
        ),
    )?;
    line(
        "processing",
        &format!(
            "after {}, up to {}, {} at the same time",
            duration(source.delay),
            counted(source.max_attempts.get(), "attempt", "attempts"),
            counted(source.concurrency, "event", "events")
        ),
    )?;
    if let Some(forward) = &source.forward {
        describe_destination(forward, &mut lines)?;
    }
    let mut line = |name: &str, text: &str| lines.write(name, text);
    line("limits", &limits(source))?;
    line(
        "retention",
        &match (source.keep, source.keep_keys) {
            (Some(keep), Some(keys)) => {
                format!("bodies {}, keys {}", duration(keep), duration(keys))
            }
            _ => "for ever".to_owned(),
        },
    )?;
    line(
        "reads",
        if source.reads_need_token {
            "as those of transactions"
        } else {
            "by everybody, without a token"
        },
    )?;
    if let Some(every) = source.expect_every {
        line(
            "silence",
            &format!("reported after {} without a delivery", duration(every)),
        )?;
    }
    Ok(())
}

/// Lines of a description, with a name each.
struct Lines<'a>(&'a mut dyn Write);

impl Lines<'_> {
    fn write(&mut self, name: &str, text: &str) -> io::Result<()> {
        writeln!(self.0, "  {name:<12} {}", escaped(text))
    }
}

/// Writes where events go, and how.
fn describe_destination(forwarding: &Forwarding, lines: &mut Lines<'_>) -> io::Result<()> {
    let destination = &forwarding.destination;
    lines.write("forwarded to", &forwarding.url.to_string())?;
    let keys = forwarding.keys.iter();
    let keys =
        keys.map(|(place, count)| format!("{} from {place}", counted(*count, "key", "keys")));
    let keys: Vec<_> = keys.collect();
    if keys.is_empty() {
        lines.write("signed with", "nothing: there is no key")?;
    } else {
        lines.write("signed with", &keys.join(", "))?;
    }
    lines.write("attempts", &attempts(forwarding))?;
    let mut limits = vec![
        format!("{} at the same time", destination.concurrency),
        format!(
            "{} for each, of which {} to connect",
            duration(destination.timeout),
            duration(destination.connect_timeout)
        ),
    ];
    if let Some(rate) = &destination.rate {
        limits.push(format!("{rate} with a burst of {}", rate.burst));
    }
    lines.write("requests", &limits.join(", "))?;
    if !destination.fail_on.is_empty() {
        lines.write("fails on", &destination.fail_on.to_string())?;
    }
    let names = |names: Vec<&str>| names.join(", ");
    if !destination.pass_headers.is_empty() {
        let passed = destination.pass_headers.iter().map(|it| it.as_str());
        lines.write("passes on", &names(passed.collect()))?;
    }
    let json = HeaderValue::from_static("application/json");
    let (types, added): (Vec<_>, Vec<_>) = destination
        .headers
        .iter()
        .partition(|(name, value)| (name, value) == (&CONTENT_TYPE, &json));
    if !types.is_empty() {
        lines.write("content type", "application/json")?;
    }
    if !added.is_empty() {
        let added = added.iter().map(|(name, _)| name.as_str());
        lines.write("adds headers", &names(added.collect()))?;
    }
    Ok(())
}

/// How often, and for how long, an event is tried.
fn attempts(forwarding: &Forwarding) -> String {
    let destination = &forwarding.destination;
    let attempts = destination.schedule.attempts().get();
    let mut text = match attempts {
        1 => "1, without another one".to_owned(),
        _ => format!(
            "{attempts} over {}; the first delay is {}, the last one {}, each ±20 %",
            time_span(destination.schedule.span()),
            duration(destination.schedule.nominal(1)),
            duration(destination.schedule.nominal(attempts - 1)),
        ),
    };
    if let Some(age) = destination.give_up_after {
        text.push_str(&format!("; none after {}", duration(age)));
    }
    text
}

/// A time span in hours and minutes, if it is that long: `76h 43m`.
fn time_span(span: Duration) -> String {
    let minutes = (span.as_secs() + 30) / 60;
    match (minutes / 60, minutes % 60) {
        (0, _) => duration(span),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h {minutes}m"),
    }
}

fn limits(source: &SourceConfig) -> String {
    let mut limits = vec![
        format!(
            "bodies of {}",
            counted(source.max_body_bytes, "byte", "bytes")
        ),
        format!(
            "{} and {} waiting",
            counted(source.max_queued, "delivery", "deliveries"),
            counted(source.max_queued_bytes, "byte", "bytes")
        ),
        format!("{MAX_KEPT_HEADERS} kept headers"),
    ];
    if let Some(rate) = source.requests_per_second {
        limits.push(format!("{rate} requests a second"));
    }
    if let Some(stored) = source.max_stored {
        limits.push(format!(
            "{} that {} not settled",
            counted(stored.get(), "event", "events"),
            plural(&stored.get(), "is", "are")
        ));
    }
    limits.join(", ")
}

fn comparison(compare: &Compare) -> String {
    match compare {
        Compare::Bytes => "all bytes".to_owned(),
        Compare::Json => "the JSON value".to_owned(),
        Compare::Ignore(pointers) => {
            let pointers: Vec<_> = pointers.iter().map(ToString::to_string).collect();
            format!("the JSON value without {}", pointers.join(", "))
        }
        Compare::Only(pointer) => format!("the JSON value at {pointer}"),
        Compare::None => "nothing: the same id is always a duplicate".to_owned(),
        _ => "by a rule that this command does not know".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;

    struct Names;

    #[async_trait]
    impl Resolve for Names {
        async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            match host {
                "private" => Ok(vec![([10, 0, 0, 7], port).into()]),
                "metadata" => Ok(vec![([169, 254, 169, 254], port).into()]),
                "silent" | "silent-too" => std::future::pending().await,
                _ => Err(io::Error::other("no such name")),
            }
        }
    }

    fn forwarding(host: &str) -> Forwarding {
        let config = Config {
            forward_url: Some(format!("http://{host}/").parse().unwrap()),
            forward_secrets: Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned().into()),
            ..Config::default()
        };
        config.forwarding().unwrap().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_are_looked_up_together_within_a_limit() {
        let hosts = ["private", "metadata", "unknown", "silent", "silent-too"];
        let destinations = hosts.map(|host| (host.to_owned(), forwarding(host)));
        let begun = Instant::now();
        let of_hosts = destinations.iter().map(|(name, it)| (name.clone(), it));
        let found = look_up(of_hosts, &Names).await;
        assert_eq!(begun.elapsed(), LOOK_UP_TIMEOUT);
        let found: Vec<_> = found.into_iter().map(|(_, found)| found).collect();
        let [private, metadata, others @ ..] = &found[..] else {
            panic!("{found:?}");
        };
        assert!(private.is_ok(), "{private:?}");
        assert!(
            matches!(metadata, Err(LookUpError::Wrong(_))),
            "{metadata:?}"
        );
        for other in others {
            assert!(matches!(other, Err(LookUpError::Unknown(_))), "{other:?}");
        }
        let wrong = format!("{:?}", others[1]);
        assert!(wrong.contains("silent was not found within 3s"), "{wrong}");
    }

    #[test]
    fn time_spans_have_hours_and_minutes() {
        for (seconds, text) in [
            (276_155, "76h 43m"),
            (7_200, "2h"),
            (90, "90s"),
            (300, "5m"),
        ] {
            assert_eq!(time_span(Duration::from_secs(seconds)), text);
        }
    }
}
