//! Replay protection: keys must outlive the signatures of captured deliveries.

use std::time::Duration;

use super::{Config, Role, SignatureScheme};

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
                 (--key-retention-days) to that or more",
                too_early(least)
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
         which must be at least {:.4} days",
        in_days(least)
    )
}

fn early_deletion_warning(keys: Duration) -> Option<String> {
    (keys < LEAST_WITHOUT_TIMESTAMP).then(|| {
        format!(
            "keys are deleted after {:.4} days: a captured delivery whose signature has no timestamp \
             is then accepted as new. Keep keys for at least 30 days, unless the scheme signs a \
             timestamp (standard-webhooks, stripe, cashfree)",
            in_days(keys)
        )
    })
}

fn in_days(time: Duration) -> f64 {
    time.as_secs_f64() / DAY.as_secs_f64()
}
