//! Durations, written as `5m` or `90 seconds`.

use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};

use crate::verification::DEFAULT_TOLERANCE;

/// How far a time may be from now, in both directions: a duration such as `5m`, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tolerance {
    /// At most this far.
    Within(Duration),
    /// However far.
    Off,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self::Within(DEFAULT_TOLERANCE)
    }
}

fn parse<E: de::Error>(text: &str) -> Result<Duration, E> {
    let wrong = || {
        E::custom(format_args!(
            "{text:?} is no duration: expected one such as 30s, 5m or 1h"
        ))
    };
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

impl<'de> Deserialize<'de> for Tolerance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "off" => Ok(Self::Off),
            text => parse(text).map(Self::Within),
        }
    }
}

/// Reads a duration.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?)
}

/// Reads a duration that may be missing.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Duration, parse};

    pub(in crate::spec) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.as_deref().map(parse).transpose()
    }
}
