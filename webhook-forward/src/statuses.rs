//! A set of HTTP statuses.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use http::StatusCode;

/// The statuses that a set may have: those of answers that are no success.
const ALLOWED: RangeInclusive<u16> = 300..=599;

/// A set of HTTP statuses from 300 to 599.
///
/// It is written as statuses and ranges, separated by commas.
///
/// ```
/// use http::StatusCode;
/// use webhook_forward::StatusSet;
///
/// let statuses: StatusSet = "400, 420-429".parse()?;
/// assert!(statuses.contains(StatusCode::TOO_MANY_REQUESTS));
/// assert!(!statuses.contains(StatusCode::NOT_FOUND));
/// # Ok::<(), webhook_forward::InvalidStatus>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusSet(Vec<RangeInclusive<u16>>);

impl StatusSet {
    /// Creates an empty set.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether `status` is in the set.
    pub fn contains(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }

    /// Whether the set has no status.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for StatusSet {
    type Err = InvalidStatus;

    fn from_str(text: &str) -> Result<Self, InvalidStatus> {
        let ranges = text.split(',').map(|item| range(item.trim()));
        Ok(Self(ranges.collect::<Result<_, _>>()?))
    }
}

/// The union of sets.
impl FromIterator<Self> for StatusSet {
    fn from_iter<I: IntoIterator<Item = Self>>(sets: I) -> Self {
        Self(sets.into_iter().flat_map(|set| set.0).collect())
    }
}

impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{separator}{first}")?,
                (first, last) => write!(f, "{separator}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn range(item: &str) -> Result<RangeInclusive<u16>, InvalidStatus> {
    let invalid = || InvalidStatus(item.chars().take(32).collect());
    let status = |text: &str| {
        let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let status = is_number.then(|| text.parse().ok()).flatten();
        status
            .filter(|status| ALLOWED.contains(status))
            .ok_or_else(invalid)
    };
    let (first, last) = item.split_once('-').unwrap_or((item, item));
    let range = status(first.trim_end())?..=status(last.trim_start())?;
    if range.is_empty() {
        return Err(invalid());
    }
    Ok(range)
}

/// The reason why a text is no set of statuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an HTTP status from 300 to 599 nor a range of them such as \"500-599\"")]
pub struct InvalidStatus(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_ranges_are_read() {
        let set: StatusSet = "400,  410 - 422 ,599".parse().unwrap();
        for (status, is_in) in [
            (399, false),
            (400, true),
            (401, false),
            (409, false),
            (410, true),
            (422, true),
            (423, false),
            (599, true),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(set.contains(status), is_in, "{status}");
        }
        assert_eq!(set.to_string(), "400, 410-422, 599");
        assert_eq!(set.to_string().parse(), Ok(set));
        assert!(StatusSet::new().is_empty());
        let union: StatusSet = ["300".parse().unwrap(), "500-501".parse().unwrap()]
            .into_iter()
            .collect();
        assert_eq!(union.to_string(), "300, 500-501");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            ",",
            "400,",
            "200",
            "299",
            "600",
            "0400",
            "+400",
            "4xx",
            "400-",
            "-400",
            "400-300",
            "400-600",
            "400-401-402",
            "40 0",
            "٤٠٠",
        ] {
            let error = text.parse::<StatusSet>().unwrap_err().to_string();
            assert!(
                error.contains("HTTP status from 300 to 599"),
                "{text}: {error}"
            );
        }
    }
}
