//! How many events a destination takes in a time.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// The largest rate per second, and the largest burst. Larger rates limit nothing.
const MOST: u32 = 1_000_000;

/// A limit on the events that a destination gets in a time.
///
/// It is written as a number of events per second (`s`), minute (`min`) or hour (`h`). Up to `burst` events may
/// come at once after a quiet time.
///
/// ```
/// use std::num::NonZeroU32;
/// use webhook_forward::Rate;
///
/// let rate: Rate = "100/s".parse()?;
/// assert_eq!(rate.burst.get(), 100);
/// let rate: Rate = "30/min".parse()?;
/// assert_eq!(rate.burst.get(), 1);
/// assert_eq!(rate.with_burst(NonZeroU32::MIN).to_string(), "30/min");
/// # Ok::<(), webhook_forward::InvalidRate>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// The time in which `events` may be forwarded: a second, a minute or an hour.
    pub per: Duration,
    /// The number of events.
    pub events: NonZeroU32,
    /// The largest number of events at once. Default: the events of one second, rounded up.
    pub burst: NonZeroU32,
}

impl Rate {
    /// Sets [`burst`](field@Self::burst).
    #[must_use]
    pub const fn with_burst(self, burst: NonZeroU32) -> Self {
        Self { burst, ..self }
    }
}

/// The units: name, length.
const UNITS: [(&str, Duration); 3] = [
    ("s", Duration::from_secs(1)),
    ("min", Duration::from_secs(60)),
    ("h", Duration::from_secs(3_600)),
];

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let read = || {
            let (events, unit) = text.split_once('/')?;
            let (_, per) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
            let events: u32 = digits(events.trim())?.parse().ok()?;
            let seconds = u32::try_from(per.as_secs()).ok()?;
            let burst = NonZeroU32::new(events.div_ceil(seconds))?;
            (burst.get() <= MOST).then_some(Self {
                per: *per,
                events: NonZeroU32::new(events)?,
                burst,
            })
        };
        read().ok_or_else(|| InvalidRate(text.chars().take(32).collect()))
    }
}

fn digits(text: &str) -> Option<&str> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(text)
}

/// Writes the rate as it is read, without its burst.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, per)| *per == self.per) {
            Some((unit, _)) => write!(f, "{}/{unit}", self.events),
            None => write!(f, "{} per {:?}", self.events, self.per),
        }
    }
}

/// The reason why a text is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a rate: expected a number of events per second, minute or hour, from one per hour to {MOST} \
     per second, such as \"100/s\", \"30/min\" or \"1000/h\""
)]
pub struct InvalidRate(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn rates_are_read_and_written() {
        for (text, events, seconds, burst) in [
            ("100/s", 100, 1, 100),
            ("5/min", 5, 60, 1),
            (" 90 / min", 90, 60, 2),
            ("1000/h", 1000, 3_600, 1),
            ("1000000/s", 1_000_000, 1, 1_000_000),
        ] {
            let rate = rate(text);
            assert_eq!(rate.per, Duration::from_secs(seconds), "{text}");
            assert_eq!(
                (rate.events.get(), rate.burst.get()),
                (events, burst),
                "{text}"
            );
            assert_eq!(rate.to_string().parse(), Ok(rate));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "100",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "1.5/s",
            "1/d",
            "1/sec",
            "1000001/s",
            "1/s/s",
            "99999999999/h",
        ] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains("is not a rate"), "{text}: {error}");
        }
    }
}
