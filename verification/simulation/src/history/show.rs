//! Formats a history as text.

use std::fmt::{self, Write as _};

use webhook_core::{Accepted, EventRef, Extended, Kind, Lease, Outcome, Settled};

use super::{Answer, Call, CallId, Fact, Life, Part, Record};

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3}  {}", self.at.as_secs_f64(), self.fact)
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "life {}", self.0)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            life,
            part,
            partition,
            verb,
            number,
        } = self;
        match part {
            Part::Inbox => write!(f, "{life} inbox {verb:?} {number}")?,
            Part::Worker(kinds) => {
                let kinds: Vec<&str> = kinds.iter().map(Kind::as_str).collect();
                write!(f, "{life} worker {} {verb:?} {number}", kinds.join("+"))?;
            }
            Part::Handler(kind, event) => {
                write!(f, "{life} handler {kind} #{event} {verb:?} {number}")?;
            }
        }
        match partition {
            Some(partition) => write!(f, " in partition {partition}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { node, life } => write!(f, "{life} starts on node {node}"),
            Self::Crashed { life } => write!(f, "{life} CRASHES"),
            Self::Stopping { life, drain } => write!(f, "{life} is to stop within {drain:?}"),
            Self::Stopped { life } => write!(f, "{life} has stopped"),
            Self::Stalled { life, ticks } => write!(f, "{life} stalls for {ticks} ticks"),
            Self::Jumped { ticks } => write!(f, "the clock jumps by {ticks} ticks"),
            Self::Outage {
                partition,
                hangs,
                ticks,
            } => {
                let what = if *hangs { "does not answer" } else { "is down" };
                write!(f, "partition {partition} {what} for {ticks} ticks")
            }
            Self::Nudged => write!(f, "spurious wake-ups"),
            Self::Calm => write!(f, "FAULTS END"),
            Self::Sent {
                delivery,
                life,
                envelope,
                delay,
            } => {
                let body = String::from_utf8_lossy(&envelope.body);
                let kind = &envelope.kind;
                write!(
                    f,
                    "delivery {delivery} of {kind} {body:?} to {life}, delay {delay:?}"
                )
            }
            Self::Told { delivery, told } => {
                write!(f, "delivery {delivery} is told {}", result(told))
            }
            Self::Gone { delivery } => write!(f, "delivery {delivery} goes away"),
            Self::Read { event, asked, read } => {
                let state = read.as_ref().map(|it| it.as_ref().map(|it| it.state));
                let event = name(event);
                write!(f, "{event} is read as {state:?}, asked at line {asked}")
            }
            Self::Called { call, what } => write!(f, "{call}: calls {what}"),
            Self::Effect { call, what, answer } => write!(f, "{call}: EFFECT {what} -> {answer}"),
            Self::Replied {
                call,
                reply: Ok(answer),
            } => write!(f, "{call}: replied {answer}"),
            Self::Replied {
                call,
                reply: Err(error),
            } => write!(f, "{call}: FAILS, {error}"),
            Self::Dropped { call } => write!(f, "{call}: nobody waits for it any more"),
            Self::Lost { call } => write!(f, "{call}: is lost on the way"),
            Self::Requeued { event } => write!(f, "an operator requeues {}", name(event)),
            Self::Paused { kind } => write!(f, "an operator pauses {kind}"),
            Self::Resumed { kind } => write!(f, "{kind} is resumed"),
            Self::Begun { life, event, lease } => {
                write!(f, "{life} handler begins {} {}", name(event), show(lease))
            }
            Self::Ended {
                life,
                event,
                lease,
                end,
            } => {
                let (event, lease) = (name(event), show(lease));
                write!(f, "{life} handler ends {event} {lease}: {end:?}")
            }
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept(events) => list(f, events, |event| {
                let body = String::from_utf8_lossy(&event.envelope.body);
                format!("{} {body:?}", event.envelope.kind)
            }),
            Self::Find(events) => list(f, events, name),
            Self::Ping => Ok(()),
            Self::Claim(claims) => list(f, claims, |it| format!("{} of {}", it.limit, it.kind)),
            Self::Extend(leases, _) => list(f, leases, show),
            Self::Settle(settlements) => list(f, settlements, |it| {
                let outcome = match &it.outcome {
                    Outcome::Processed => "processed".to_owned(),
                    Outcome::Retry { after, .. } => format!("retry after {after:?}"),
                    Outcome::Failed { reason } => format!("failed ({reason})"),
                    Outcome::Release => "release".to_owned(),
                    Outcome::Postpone { after } => format!("postpone by {after:?}"),
                };
                format!("{} {outcome}", show(&it.lease))
            }),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept(accepted) => list(f, accepted, |it: &Accepted| format!("{it:?}")),
            Self::Find(found) => list(f, found, |it| match it {
                Some(record) => record.state.to_string(),
                None => "none".to_owned(),
            }),
            Self::Ping => write!(f, "alive"),
            Self::Claim(claimed) => list(f, claimed, |it| {
                let events: Vec<String> = it
                    .events
                    .iter()
                    .map(|it| format!("{} {}", it.key, show(&it.lease)))
                    .collect();
                let mut words = format!("{} next {:?}", events.join(", "), it.next_due);
                if !it.exhausted.is_empty() {
                    let _ = write!(words, " exhausted {:?}", it.exhausted);
                }
                words
            }),
            Self::Extend(extended) => list(f, extended, |it: &Extended| format!("{it:?}")),
            Self::Settle(settled) => list(f, settled, |it: &Settled| format!("{it:?}")),
        }
    }
}

fn list<T>(f: &mut fmt::Formatter<'_>, items: &[T], show: impl Fn(&T) -> String) -> fmt::Result {
    let items: Vec<String> = items.iter().map(show).collect();
    write!(f, "[{}]", items.join(", "))
}

fn name(event: &EventRef) -> String {
    format!("{} {}", event.kind, event.key)
}

fn show(lease: &Lease) -> String {
    format!(
        "#{}.{}/{}",
        lease.event.get(),
        lease.attempt,
        lease.fence.get()
    )
}

fn result(told: &Result<Accepted, String>) -> String {
    match told {
        Ok(accepted) => format!("{accepted:?}"),
        Err(error) => format!("an error: {error}"),
    }
}
