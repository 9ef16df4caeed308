//! Replay protection: keys must outlive the signatures of captured deliveries.

use std::time::Duration;

use super::{Config, Role, SignatureScheme};
use crate::views::duration;

const DAY: Duration = Duration::from_secs(86_400);

/// How long keys must be kept if signatures do not expire.
const LEAST_WITHOUT_TIMESTAMP: Duration = Duration::from_secs(30 * DAY.as_secs());

impl Config {
    /// How long the key of a transaction must be kept, so that a captured delivery of it is recognised
    /// as a redelivery. `None` if deliveries are not signed.
    fn least_key_retention(&self) -> Option<Duration> {
        match self.webhook_signature_scheme {
            SignatureScheme::None => None,
            _ if self.has_timestamps() => Some(self.webhook_tolerance_seconds * 2),
            _ => Some(LEAST_WITHOUT_TIMESTAMP),
        }
    }

    /// Refuses a retention that deletes keys too early.
    pub(crate) fn check_key_retention(&self) -> Result<(), String> {
        let keys = self.retention().map(|retention| retention.keep_keys);
        match (self.least_key_retention(), keys) {
            (Some(least), Some(keys)) if keys < least => Err(format!(
                "RETENTION_DAYS or KEY_RETENTION_DAYS is too short: {}. Set KEY_RETENTION_DAYS \
                 (--key-retention-days) to {} or more",
                too_early(least),
                in_days(least)
            )),
            _ => Ok(()),
        }
    }

    /// Refuses to prune keys of transactions that are younger than replay protection needs.
    pub(crate) fn check_pruned_key_age(&self, age: Duration) -> Result<(), String> {
        match self.least_key_retention() {
            Some(least) if age < least => Err(format!(
                "this would delete keys too early: {}. Set --keep-keys to that or more, or say --force",
                too_early(least)
            )),
            _ => Ok(()),
        }
    }

    /// Warns of a short retention in a worker that does not know how senders sign: the receivers beside
    /// it may.
    pub(super) fn key_retention_warning(&self) -> Option<String> {
        let is_unknown =
            self.role == Role::Worker && self.webhook_signature_scheme == SignatureScheme::None;
        is_unknown
            .then(|| early_deletion_warning(self.retention()?.keep_keys))
            .flatten()
    }

    /// Warns of a command that prunes young keys and does not know how senders sign. The configuration
    /// tells only how transactions are signed, and nothing of the events of an embedding app.
    pub(crate) fn pruned_key_age_warning(
        &self,
        age: Duration,
        is_of_transactions: bool,
    ) -> Option<String> {
        let is_unknown =
            self.webhook_signature_scheme == SignatureScheme::None || !is_of_transactions;
        is_unknown.then(|| early_deletion_warning(age)).flatten()
    }
}

fn too_early(least: Duration) -> String {
    format!(
        "signatures of WEBHOOK_SIGNATURE_SCHEME protect from replays for as long as keys are kept, \
         which must be at least {}",
        duration(least)
    )
}

fn early_deletion_warning(keys: Duration) -> Option<String> {
    (keys < LEAST_WITHOUT_TIMESTAMP).then(|| {
        format!(
            "keys are deleted after {}: a captured delivery whose signature has no timestamp \
             is then accepted as new. Keep keys for at least 30 days, unless the scheme signs a \
             timestamp (standard-webhooks, stripe, cashfree)",
            duration(keys)
        )
    })
}

/// A number of days that is not less than `time`, with four decimals at most.
fn in_days(time: Duration) -> f64 {
    (time.as_secs_f64() / DAY.as_secs_f64() * 10_000.0).ceil() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_not_less_than_the_time() {
        for (seconds, days) in [
            (30 * 86_400, "30"),
            (86_400, "1"),
            (43_200, "0.5"),
            (600, "0.007"),
            (2, "0.0001"),
        ] {
            assert_eq!(in_days(Duration::from_secs(seconds)).to_string(), days);
        }
    }

    #[test]
    fn warnings_name_ages_as_options_do() {
        for (keys, age) in [
            (Duration::from_secs(1), "1s"),
            (Duration::from_secs(43_200), "12h"),
            (Duration::from_secs(86_400), "1d"),
        ] {
            let warning = early_deletion_warning(keys).unwrap();
            let expected = format!("keys are deleted after {age}: a captured delivery");
            assert!(warning.starts_with(&expected), "{warning}");
        }
        assert_eq!(early_deletion_warning(LEAST_WITHOUT_TIMESTAMP), None);
    }
}
