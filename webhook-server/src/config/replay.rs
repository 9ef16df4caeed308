//! Keys that are deleted too early let captured deliveries in again.

use std::time::Duration;

use super::{Config, Role, SignatureScheme, Task};
use crate::commands::OperatorCommand;

const DAY: Duration = Duration::from_secs(86_400);

/// How long keys are kept at least, where signatures do not expire.
const LEAST_WITHOUT_TIMESTAMP: Duration = Duration::from_secs(30 * DAY.as_secs());

impl Config {
    /// How long the key of an event must be known, so that a captured delivery of it is told from a
    /// new one; `None` where deliveries are not signed.
    fn least_key_retention(&self) -> Option<Duration> {
        match self.webhook_signature_scheme {
            SignatureScheme::None => None,
            _ if self.has_timestamps() => Some(self.webhook_tolerance_seconds * 2),
            _ => Some(LEAST_WITHOUT_TIMESTAMP),
        }
    }

    /// A warning where keys are deleted early by a process that does not know how senders sign: a
    /// worker beside receivers, or a command. No process knows it for an app's own events.
    pub(super) fn unknown_replay_warning(&self, task: Option<&Task>) -> Option<String> {
        let is_unset = self.webhook_signature_scheme == SignatureScheme::None;
        let (keys, is_unknown) = match task {
            Some(Task::Operator(OperatorCommand::Prune(prune))) if !prune.is_forced() => {
                (prune.key_age(), is_unset || !prune.is_of_transactions())
            }
            None if self.role == Role::Worker => (self.retention()?.keep_keys, is_unset),
            _ => return None,
        };
        (is_unknown && keys < LEAST_WITHOUT_TIMESTAMP).then(|| {
            format!(
                "keys are deleted after {:.4} days: a captured delivery that was signed without a \
                 time is then taken as new; keep keys for at least 30 days, unless senders sign the \
                 time (standard-webhooks, stripe, cashfree)",
                keys.as_secs_f64() / DAY.as_secs_f64()
            )
        })
    }

    /// Refuses to delete keys earlier than that.
    pub(super) fn check_replays(&self, task: Option<&Task>) -> Result<(), String> {
        let Some(least) = self.least_key_retention() else {
            return Ok(());
        };
        let days = least.as_secs_f64() / DAY.as_secs_f64();
        let reason = format!(
            "signatures of WEBHOOK_SIGNATURE_SCHEME protect from replays for as long as keys are \
             kept, which must be at least {days:.4} days"
        );
        match task {
            None => match self.retention() {
                Some(retention) if retention.keep_keys < least => Err(format!(
                    "RETENTION_DAYS or KEY_RETENTION_DAYS is too short: {reason}. Set \
                     KEY_RETENTION_DAYS (--key-retention-days) to that or more"
                )),
                _ => Ok(()),
            },
            Some(Task::Operator(OperatorCommand::Prune(prune)))
                if prune.is_of_transactions() && prune.key_age() < least && !prune.is_forced() =>
            {
                Err(format!(
                    "this would delete keys too early: {reason}. Set --keep-keys to that or more, \
                     or say --force"
                ))
            }
            Some(_) => Ok(()),
        }
    }
}
