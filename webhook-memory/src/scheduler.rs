//! The operations of [`Scheduler`](webhook_core::Scheduler).

use std::time::Duration;

use webhook_core::{
    Attempt, Claim, Claimed, ClaimedEvent, Extended, FailureReason, Fence, Kind, Lease, Outcome,
    Settled, Settlement,
};

use crate::clock::Clock;
use crate::event::Stage;
use crate::state::State;

impl State {
    pub(crate) fn claim(&mut self, claim: &Claim, clock: &Clock, now: Duration) -> Claimed {
        let mut claimed = Claimed::default();
        let Some(number) = self.number(&claim.kind) else {
            return claimed;
        };
        if self.queues[number].is_paused() {
            return claimed;
        }
        self.expire(number, now);
        let queue = &mut self.queues[number];
        let until = now.saturating_add(claim.lease);
        for _ in 0..claim.limit.get() {
            let Some(&(due_at, id)) = queue.pending.first() else {
                break;
            };
            if due_at > now {
                break;
            }
            queue.pending.pop_first();
            let Some(event) = self.events.get_mut(&id) else {
                continue;
            };
            self.held.remove(event);
            let expired_at = match event.stage {
                Stage::Pending { expired_at } => expired_at,
                _ => None,
            };
            if let Some(expired_at) = expired_at {
                event.record_failure(expired_at, FailureReason::Lost);
            }
            if event.attempts >= claim.max_attempts.get() {
                event.reason = Some(match expired_at {
                    Some(_) => FailureReason::Exhausted,
                    None => FailureReason::no_attempts_left(event.attempts, claim.max_attempts),
                });
                event.stage = Stage::Failed {
                    at: now,
                    body_deleted: false,
                };
                claimed.exhausted.push(event.key.clone());
            } else {
                let attempt = Attempt::FIRST.get().saturating_add(event.attempts);
                event.attempts = attempt.get();
                event.fence += 1;
                event.stage = Stage::Leased { until };
                let lease = Lease::new(id, Attempt::new(attempt), Fence::new(event.fence));
                let accepted_at = clock.system_time(event.accepted_at);
                claimed.events.push(
                    ClaimedEvent::new(lease, event.key.clone(), event.body.clone(), accepted_at)
                        .with_event_type(event.event_type.clone())
                        .with_headers(event.headers.clone())
                        .with_lag(now - due_at)
                        .with_age(now.saturating_sub(event.accepted_at)),
                );
            }
            self.held.add(event);
            queue.enter(id, due_at, event.stage);
        }
        claimed.next_due = queue.next_due(now);
        claimed
    }

    pub(crate) fn extend(
        &mut self,
        leases: &[Lease],
        duration: Duration,
        now: Duration,
    ) -> Vec<Extended> {
        let until = now.saturating_add(duration);
        let answers = leases.iter().map(|lease| {
            if !self.holds(lease) {
                return Extended::LeaseLost;
            }
            self.shift(lease.event, |_| Stage::Leased { until });
            Extended::Renewed
        });
        answers.collect()
    }

    pub(crate) fn settle(&mut self, settlements: &[Settlement], now: Duration) -> Vec<Settled> {
        let answers = settlements.iter().map(|settlement| {
            if !self.holds(&settlement.lease) {
                return Settled::LeaseLost;
            }
            self.shift(settlement.lease.event, |event| match &settlement.outcome {
                Outcome::Processed => {
                    event.reason = None;
                    Stage::Processed {
                        at: now,
                        body_deleted: false,
                    }
                }
                Outcome::Retry { after, reason } => {
                    event.fail_attempt(reason, now);
                    event.due_at = now.saturating_add(*after);
                    Stage::Pending { expired_at: None }
                }
                Outcome::Failed { reason } => {
                    event.fail_attempt(reason, now);
                    Stage::Failed {
                        at: now,
                        body_deleted: false,
                    }
                }
                Outcome::Release => {
                    event.attempts -= 1;
                    Stage::Pending { expired_at: None }
                }
                Outcome::Postpone { after } => {
                    event.attempts -= 1;
                    event.due_at = now.saturating_add(*after);
                    Stage::Pending { expired_at: None }
                }
            });
            Settled::Applied
        });
        answers.collect()
    }

    /// A future that completes when a worker should claim `kind`; `None` if it should claim now.
    pub(crate) fn wakeup(
        &mut self,
        kind: &Kind,
        now: Duration,
    ) -> Option<impl Future<Output = ()> + use<>> {
        let number = self.number_or_new(kind);
        self.queues[number].wakeup(now)
    }

    fn holds(&self, lease: &Lease) -> bool {
        let event = self.events.get(&lease.event);
        event.is_some_and(|event| event.is_held_by(lease))
    }
}
