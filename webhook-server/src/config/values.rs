//! Parsers of the values of options. Every error says what is expected.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::Networks;
use hyper::Uri;
use jiff::{Span, SpanRelativeTo};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use webhook_core::MAX_PARTITIONS;
use webhook_ui::model::TRACE_ID;

/// The longest time of an option, in seconds: ten years.
const MAX_SECONDS: f64 = 315_360_000.0;

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| {
        "expected an IP address and a port, such as 127.0.0.1:8000, 0.0.0.0:8000 or [::1]:8000"
            .to_owned()
    })
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    at_least(text, 0.0)
}

pub(super) fn timeout_seconds(text: &str) -> Result<Duration, String> {
    at_least(text, 0.001)
}

/// A lease shorter than a second would run out between two heartbeats of a busy worker.
pub(super) fn lease_seconds(text: &str) -> Result<Duration, String> {
    at_least(text, 1.0)
}

fn at_least(text: &str, least: f64) -> Result<Duration, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|seconds| (least..=MAX_SECONDS).contains(seconds))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| {
            format!("expected a number of seconds from {least} to {MAX_SECONDS}, such as 30 or 2.5")
        })
}

/// A number of days, possibly fractional: 0.0625 days are an hour and a half.
pub(super) fn days(text: &str) -> Result<Duration, String> {
    const SECONDS_A_DAY: f64 = 86_400.0;
    let most = MAX_SECONDS / SECONDS_A_DAY;
    text.trim()
        .parse()
        .ok()
        .filter(|&days: &f64| days > 0.0 && days <= most)
        .and_then(|days| Duration::try_from_secs_f64(days * SECONDS_A_DAY).ok())
        // Less than half a nanosecond.
        .filter(|age| !age.is_zero())
        .ok_or_else(|| {
            format!("expected a number of days, more than 0 and at most {most}, such as 30 or 0.5")
        })
}

/// An age with its unit: `90s`, `12h`, `30d`, `1w 2d`. A day has 24 hours.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    let wrong = || "expected an age with its unit, such as 90m, 12h, 30d or 8w".to_owned();
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let age = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    Duration::try_from(age)
        .ok()
        .filter(|age| age.as_secs_f64() <= MAX_SECONDS)
        .ok_or_else(wrong)
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Networks, separated by commas or white space.
pub(super) fn networks(text: &str) -> Result<Networks, String> {
    words(text)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map(Networks)
}

/// The words in `text`, separated by commas or white space.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    words.filter(|word| !word.is_empty())
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|&count| count > 0)
        .ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

/// A size of a connection pool, at most PostgreSQL's `MAX_BACKENDS`: the pool allocates memory for each
/// connection.
pub(super) fn connections(text: &str) -> Result<NonZeroU32, String> {
    const MOST: u32 = 0x3_FFFF;
    count_u32(text)
        .ok()
        .filter(|count| count.get() <= MOST)
        .ok_or_else(|| format!("expected a whole number from 1 to {MOST}"))
}

pub(super) fn partitions(text: &str) -> Result<NonZeroUsize, String> {
    text.trim()
        .parse()
        .ok()
        .filter(|count: &NonZeroUsize| count.get() <= MAX_PARTITIONS)
        .ok_or_else(|| format!("expected a whole number from 1 to {MAX_PARTITIONS}"))
}

pub(super) fn count_u32(text: &str) -> Result<NonZeroU32, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("expected a whole number from 1 to {}", u32::MAX))
}

/// The longest name of an instance, in characters.
const MAX_INSTANCE_NAME: usize = 64;

/// The name of an instance, which pages show in their title.
pub(super) fn instance_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    let length = name.chars().count();
    if (1..=MAX_INSTANCE_NAME).contains(&length) && !name.contains(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(format!(
            "expected a name of 1 to {MAX_INSTANCE_NAME} characters in one line, such as production"
        ))
    }
}

/// The page of a trace, which the dashboard links to.
pub(super) fn trace_url(text: &str) -> Result<String, String> {
    let template = text.trim();
    // The braces are not allowed in a URL.
    let url = template.replace(TRACE_ID, "0").parse::<Uri>();
    let is_url = url.is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.authority().is_some()
    });
    if is_url && template.contains(TRACE_ID) {
        Ok(template.to_owned())
    } else {
        Err(format!(
            "expected a URL with {TRACE_ID}, such as https://jaeger.example.com/trace/{TRACE_ID}"
        ))
    }
}

/// The colours that have names: dark enough for white shapes on them.
const COLORS: [(&str, &str); 9] = [
    ("red", "#b3261e"),
    ("orange", "#b45309"),
    ("yellow", "#8a6d00"),
    ("green", "#1e7d34"),
    ("teal", "#0f766e"),
    ("blue", "#1f5fbf"),
    ("purple", "#7a3fb5"),
    ("pink", "#b0306a"),
    ("gray", "#5f6773"),
];

/// A colour, as `#` and six hexadecimal digits.
pub(super) fn color(text: &str) -> Result<String, String> {
    let color = text.trim().to_ascii_lowercase();
    if let Some((_, color)) = COLORS.iter().find(|(name, _)| *name == color) {
        return Ok((*color).to_owned());
    }
    let digits = color.strip_prefix('#');
    let is_right =
        |digits: &str| digits.len() == 6 && digits.bytes().all(|it| it.is_ascii_hexdigit());
    if digits.is_some_and(is_right) {
        return Ok(color);
    }
    let names = COLORS.map(|(name, _)| name).join(", ");
    Err(format!(
        "expected #rrggbb in hexadecimal digits, or one of {names}"
    ))
}

/// A filter of log lines that parses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// What commands log by default: warnings, and who ran the command.
    pub(crate) fn for_commands() -> Self {
        Self("warn,webhook_server::audit=info".to_owned())
    }

    /// What `conformance` logs by default: some of its cases make handlers and connections fail.
    pub(crate) fn for_conformance() -> Self {
        Self("off,webhook_server=warn".to_owned())
    }

    /// A new filter for a subscriber.
    pub fn to_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

/// Parses a filter. A bare word must be a level: [`EnvFilter`] would take a mistyped level as a target,
/// which would silence the log. Python's names of levels are accepted.
pub(super) fn log_filter(text: &str) -> Result<LogFilter, String> {
    let wrong = || {
        "expected off, error, warn, info, debug or trace, or a filter such as \
         info,webhook_server=debug"
            .to_owned()
    };
    let mut directives = Vec::new();
    for directive in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let is_bare = !directive.contains(['=', '[', ']', '{', '}']);
        directives.push(match directive.to_ascii_lowercase().as_str() {
            "warning" => "warn",
            "critical" | "fatal" => "error",
            lower if is_bare && lower.parse::<LevelFilter>().is_err() => return Err(wrong()),
            _ => directive,
        });
    }
    let filter = directives.join(",");
    if filter.is_empty() || EnvFilter::try_new(&filter).is_err() {
        return Err(wrong());
    }
    Ok(LogFilter(filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_fractions_within_bounds() {
        assert_eq!(seconds("30"), Ok(Duration::from_secs(30)));
        assert_eq!(seconds(" 0.25 "), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("0"), Ok(Duration::ZERO));
        for wrong in [
            "", "x", "-1", "30s", "nan", "inf", "-inf", "1e300", "1_000", "0x10",
        ] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert!(timeout_seconds("0").is_err());
        assert!(lease_seconds("0.5").is_err());
    }

    #[test]
    fn instances_have_short_names_and_colors() {
        assert_eq!(
            instance_name(" eu production "),
            Ok("eu production".to_owned())
        );
        assert!(instance_name(&"é".repeat(64)).is_ok());
        for wrong in ["", "  ", "a\nb", "a\u{7}", &"x".repeat(65)] {
            assert!(instance_name(wrong).is_err(), "{wrong}");
        }
        assert_eq!(color(" #B00020 "), Ok("#b00020".to_owned()));
        assert_eq!(color("Red"), color("#b3261e"));
        for wrong in ["", "#b0002", "b00020", "#b0002g", "#b00020ff", "infrared"] {
            assert!(color(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ages_have_units() {
        let hours = |hours: u64| Ok(Duration::from_secs(hours * 3_600));
        for (text, expected) in [
            ("90m", 1.5),
            ("12h", 12.0),
            ("30d", 720.0),
            ("1w 2d", 216.0),
        ] {
            assert_eq!(age(text), Ok(Duration::from_secs_f64(expected * 3_600.0)));
        }
        assert_eq!(age(" 0s "), hours(0));
        for wrong in [
            "",
            "30",
            "d",
            "-1d",
            "30x",
            "1y",
            "1mo",
            "9999999999d",
            "nan",
        ] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
        assert_eq!(days("0.5"), hours(12));
        for wrong in ["", "0", "-1", "30d", "nan", "inf", "1e9", "1e-300", "1e-15"] {
            assert!(days(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn booleans_have_several_spellings() {
        for yes in ["true", "TRUE", "1", "yes", " on "] {
            assert_eq!(boolean(yes), Ok(true));
        }
        for no in ["false", "0", "No", "off"] {
            assert_eq!(boolean(no), Ok(false));
        }
        assert!(boolean("maybe").is_err());
    }

    #[test]
    fn counts_are_whole_and_positive() {
        assert_eq!(count("8192"), Ok(8192));
        for wrong in ["", "0", "-1", "1.5", "1k", "99999999999999999999999"] {
            assert!(count(wrong).is_err(), "{wrong}");
            assert!(count_u32(wrong).is_err(), "{wrong}");
        }
        assert!(count_u32("4294967296").is_err());
        assert_eq!(partitions(" 8 ").map(NonZeroUsize::get), Ok(8));
        for wrong in ["", "0", "-1", "1025", "x"] {
            assert!(partitions(wrong).is_err(), "{wrong}");
        }
        assert_eq!(connections(" 8 ").map(NonZeroU32::get), Ok(8));
        for wrong in ["0", "262144", "4294967295", "x"] {
            assert!(connections(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_of_traces_have_a_place_for_the_id() {
        for good in [
            "https://jaeger.example.com/trace/{trace_id}",
            " http://127.0.0.1:3000/explore?id={trace_id}&a=b ",
        ] {
            assert_eq!(trace_url(good).as_deref(), Ok(good.trim()));
        }
        for wrong in [
            "",
            "https://jaeger.example.com/trace/",
            "/trace/{trace_id}",
            "javascript:alert({trace_id})",
            "https://a b/{trace_id}",
        ] {
            assert!(trace_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_have_a_port() {
        for good in ["127.0.0.1:0", "0.0.0.0:80", "[::1]:8000"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "localhost",
            "localhost:8000",
            "127.0.0.1",
            ":8000",
            "1.2.3.4:99999",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn levels_and_filters_are_understood_in_any_case() {
        for (text, filter) in [
            ("info", "info"),
            ("INFO", "INFO"),
            ("Warning", "warn"),
            ("CRITICAL", "error"),
            ("off", "off"),
            ("info, webhook_core=debug", "info,webhook_core=debug"),
            (
                "warn,webhook_server::http=trace",
                "warn,webhook_server::http=trace",
            ),
        ] {
            assert_eq!(log_filter(text), Ok(LogFilter(filter.to_owned())), "{text}");
        }
        for wrong in [
            "",
            ",",
            "verbose",
            "info,webhook_core",
            "webhook_core=loud",
            "info==",
        ] {
            assert!(log_filter(wrong).is_err(), "{wrong}");
        }
    }
}
