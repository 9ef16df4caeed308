//! `check`: says everything that is wrong with the configuration, and what each source does.

use std::io::{self, Write};

use clap::Args;
use webhook_core::with_causes;
use webhook_sources::spec::{Compare, Guard};
use webhook_sources::{MAX_KEPT_HEADERS, preset};

use super::{CommandError, Output};
use crate::config::{BackendUrl, Config, SourceConfig, SourcesFile};
use crate::logging::{escaped, print_to_stderr};
use crate::views::{duration, handshake_text, id_text, scheme_text};

/// The options of `check`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Check {}

impl Check {
    /// Reads all files. Blocks.
    pub(super) fn run(config: &Config) -> Result<(), CommandError> {
        let mut errors = config.errors();
        let sources = SourcesFile::read(config).unwrap_or_else(|wrong| {
            errors.extend(wrong.lines());
            SourcesFile::default()
        });
        if !errors.is_empty() {
            for error in &errors {
                print_to_stderr(&format!("error: {}", escaped(error)));
            }
            return Err(CommandError::Invalid {
                errors: errors.len(),
            });
        }
        for warning in config.warnings().iter().chain(&sources.warnings) {
            print_to_stderr(&format!("warning: {}", escaped(warning)));
        }
        let mut output = Output::new(false);
        output.write(&(), |out| {
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
            Ok(url) => {
                let backend = url.map_or_else(|| Ok(BackendUrl::default_file()), |it| it.backend());
                match backend {
                    Err(error) => errors.push(with_causes(&error)),
                    Ok(backend) => {
                        errors.extend(self.check_role(&backend).err().map(str::to_owned))
                    }
                }
            }
        }
        errors.extend(self.auth_config().err().map(|error| with_causes(&error)));
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
    let mut line = |name: &str, text: &str| writeln!(out, "  {name:<12} {}", escaped(text));
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
        format!("{} bytes", spec.answer.body.len())
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
            "after {}, up to {} attempts, {} events at the same time",
            duration(source.delay),
            source.max_attempts,
            source.concurrency
        ),
    )?;
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

fn limits(source: &SourceConfig) -> String {
    let mut limits = vec![
        format!("bodies of {} bytes", source.max_body_bytes),
        format!(
            "{} deliveries and {} bytes waiting",
            source.max_queued, source.max_queued_bytes
        ),
        format!("{MAX_KEPT_HEADERS} kept headers"),
    ];
    if let Some(rate) = source.requests_per_second {
        limits.push(format!("{rate} requests a second"));
    }
    if let Some(stored) = source.max_stored {
        limits.push(format!("{stored} events that are not settled"));
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
