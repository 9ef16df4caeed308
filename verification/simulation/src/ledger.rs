//! The history of each event, and the state that it must have by the contract. The oracle derives
//! both from calls and their effects, not from what the store holds.

use std::collections::BTreeMap;
use std::time::Duration;

use webhook_core::{
    Accepted, Attempt, Envelope, EventId, EventRef, EventType, Extended, FailureReason, Fence,
    Lease, NewEvent, OnFailed, Outcome, Settled, State,
};

use crate::history::{Answer, Call, End, Fact, Part, Record};

/// One step of an event's history.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Its index in the history of the run.
    pub(crate) number: usize,
    pub(crate) at: Duration,
    pub(crate) step: Step,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Accepted {
        event: NewEvent,
        answer: Accepted,
    },
    Claimed {
        lease: Lease,
        length: Duration,
        lag: Duration,
        age: Duration,
        event_type: Option<EventType>,
    },
    Exhausted {
        max_attempts: u32,
    },
    Extended {
        lease: Lease,
        length: Duration,
        answer: Extended,
    },
    Settled {
        by: Part,
        lease: Lease,
        outcome: Outcome,
        answer: Settled,
    },
    Requeued,
    Found {
        state: Option<State>,
    },
    Begun {
        lease: Lease,
    },
    Ended {
        lease: Lease,
        end: End,
    },
}

/// The histories of all events.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) events: BTreeMap<EventRef, Vec<Line>>,
    names: BTreeMap<EventId, EventRef>,
}

impl Ledger {
    pub(crate) fn of(history: &[Record]) -> Self {
        let mut ledger = Self::default();
        for (number, record) in history.iter().enumerate() {
            ledger.enter(number, record);
        }
        ledger
    }

    fn enter(&mut self, number: usize, record: &Record) {
        let mut line = |event: &EventRef, step: Step| self.push(event, number, record.at, step);
        match &record.fact {
            Fact::Requeued { event } => line(event, Step::Requeued),
            Fact::Begun { event, lease, .. } => line(event, Step::Begun { lease: *lease }),
            Fact::Ended {
                event, lease, end, ..
            } => {
                let (lease, end) = (*lease, end.clone());
                line(event, Step::Ended { lease, end });
            }
            Fact::Effect { call, what, answer } => match (what, answer) {
                (Call::Accept(events), Answer::Accept(answers)) => {
                    for (event, answer) in events.iter().zip(answers) {
                        let (event, answer) = (event.clone(), *answer);
                        line(&named(&event.envelope), Step::Accepted { event, answer });
                    }
                }
                (Call::Find(events), Answer::Find(found)) => {
                    for (event, found) in events.iter().zip(found) {
                        let state = found.as_ref().map(|record| record.state);
                        line(event, Step::Found { state });
                    }
                }
                (Call::Claim(claims), Answer::Claim(answers)) => {
                    for (claim, claimed) in claims.iter().zip(answers) {
                        let named = |key: &webhook_core::Key| EventRef {
                            kind: claim.kind.clone(),
                            key: key.clone(),
                        };
                        for it in &claimed.events {
                            let step = Step::Claimed {
                                lease: it.lease,
                                length: claim.lease,
                                lag: it.lag,
                                age: it.age,
                                event_type: it.event_type.clone(),
                            };
                            line(&named(&it.key), step);
                        }
                        for key in &claimed.exhausted {
                            let max_attempts = claim.max_attempts.get();
                            line(&named(key), Step::Exhausted { max_attempts });
                        }
                    }
                    for (claim, claimed) in claims.iter().zip(answers) {
                        for it in &claimed.events {
                            let event = EventRef {
                                kind: claim.kind.clone(),
                                key: it.key.clone(),
                            };
                            self.names.insert(it.lease.event, event);
                        }
                    }
                }
                (Call::Extend(leases, length), Answer::Extend(answers)) => {
                    for (lease, answer) in leases.iter().zip(answers) {
                        if let Some(event) = self.names.get(&lease.event).cloned() {
                            let (lease, length, answer) = (*lease, *length, *answer);
                            let step = Step::Extended {
                                lease,
                                length,
                                answer,
                            };
                            self.push(&event, number, record.at, step);
                        }
                    }
                }
                (Call::Settle(settlements), Answer::Settle(answers)) => {
                    for (it, answer) in settlements.iter().zip(answers) {
                        if let Some(event) = self.names.get(&it.lease.event).cloned() {
                            let step = Step::Settled {
                                by: call.part.clone(),
                                lease: it.lease,
                                outcome: it.outcome.clone(),
                                answer: *answer,
                            };
                            self.push(&event, number, record.at, step);
                        }
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn push(&mut self, event: &EventRef, number: usize, at: Duration, step: Step) {
        let lines = self.events.entry(event.clone()).or_default();
        lines.push(Line { number, at, step });
    }
}

pub(crate) fn named(envelope: &Envelope) -> EventRef {
    EventRef {
        kind: envelope.kind.clone(),
        key: envelope.key.clone(),
    }
}

/// The state that an event must have, by the contract.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    /// The event as it was first accepted; `None` before.
    pub(crate) first: Option<Envelope>,
    pub(crate) conflicts: u64,
    pub(crate) state: Option<State>,
    /// The number of attempts that began and were not released.
    pub(crate) attempts: u32,
    pub(crate) accepted_at: Duration,
    pub(crate) due_at: Duration,
    /// The latest lease and its end; `None` once it was settled.
    pub(crate) lease: Option<(Lease, Duration)>,
    /// The attempts that failed, in order.
    pub(crate) failed_attempts: Vec<(Attempt, FailureReason)>,
    /// The greatest fence so far.
    pub(crate) fence: Option<Fence>,
    /// The number of released attempts in each round. A round begins when the event is accepted or
    /// requeued.
    pub(crate) released: Vec<u32>,
    /// For each fence, when the event had fallen due and the round.
    pub(crate) claims: BTreeMap<Fence, (Duration, usize)>,
}

impl Model {
    /// Returns what an accept must answer.
    pub(crate) fn accepts(&self, event: &NewEvent) -> Accepted {
        match &self.first {
            None => Accepted::New,
            Some(first) if first.fingerprint != event.envelope.fingerprint => Accepted::Conflict,
            Some(_) => match (self.state, event.on_failed) {
                (Some(State::Failed), OnFailed::Requeue) => Accepted::Requeued,
                _ => Accepted::Duplicate,
            },
        }
    }

    /// Returns whether an extend or a settle with `lease` must have an effect.
    pub(crate) fn holds(&self, lease: &Lease) -> bool {
        self.state == Some(State::Processing) && self.lease.is_some_and(|(it, _)| it == *lease)
    }

    /// Applies one step.
    pub(crate) fn step(&mut self, line: &Line) {
        let at = line.at;
        match &line.step {
            Step::Accepted { event, .. } => match self.accepts(event) {
                Accepted::New => {
                    self.first = Some(event.envelope.clone());
                    self.accepted_at = at;
                    self.schedule_afresh(at + event.delay);
                }
                Accepted::Requeued => self.schedule_afresh(at + event.delay),
                Accepted::Conflict => self.conflicts += 1,
                Accepted::Duplicate => {}
            },
            Step::Requeued => self.schedule_afresh(at),
            Step::Claimed { lease, length, .. } => {
                self.lose_lease();
                self.attempts += 1;
                self.lease = Some((*lease, at + *length));
                self.fence = Some(lease.fence);
                let round = self.released.len();
                self.claims.insert(lease.fence, (self.due_at, round));
            }
            Step::Exhausted { .. } => {
                self.lose_lease();
                self.state = Some(State::Failed);
            }
            Step::Extended { lease, length, .. } if self.holds(lease) => {
                self.lease = Some((*lease, at + *length));
            }
            Step::Settled { lease, outcome, .. } if self.holds(lease) => {
                self.lease = None;
                if let Outcome::Failed { reason } | Outcome::Retry { reason, .. } = outcome {
                    let failed = (lease.attempt, reason.clone().into());
                    self.failed_attempts.push(failed);
                }
                match outcome {
                    Outcome::Processed => self.state = Some(State::Processed),
                    Outcome::Failed { .. } => self.state = Some(State::Failed),
                    Outcome::Retry { after, .. } => self.due_at = at + *after,
                    Outcome::Release => {
                        self.attempts = self.attempts.saturating_sub(1);
                        self.released.last_mut().into_iter().for_each(|it| *it += 1);
                    }
                    Outcome::Postpone { after } => {
                        self.attempts = self.attempts.saturating_sub(1);
                        self.released.last_mut().into_iter().for_each(|it| *it += 1);
                        self.due_at = at + *after;
                    }
                }
            }
            Step::Extended { .. }
            | Step::Settled { .. }
            | Step::Found { .. }
            | Step::Begun { .. }
            | Step::Ended { .. } => {}
        }
    }

    /// An attempt whose lease was not settled is lost when its event is claimed again.
    fn lose_lease(&mut self) {
        if let Some((lease, _)) = self.lease.take() {
            self.failed_attempts
                .push((lease.attempt, FailureReason::Lost));
        }
    }

    fn schedule_afresh(&mut self, due_at: Duration) {
        self.state = Some(State::Processing);
        self.attempts = 0;
        self.released.push(0);
        self.due_at = due_at;
    }

    /// Returns the state after all of `lines`.
    pub(crate) fn after(lines: &[Line]) -> Self {
        let mut model = Self::default();
        lines.iter().for_each(|line| model.step(line));
        model
    }
}
