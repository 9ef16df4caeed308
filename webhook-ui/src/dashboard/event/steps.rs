//! What has happened to an event, as a line of steps.

use maud::{Markup, html};

use super::HeldBy;
use crate::dashboard::components::{Shape, Tone, ago, duration, exact, icon};
use crate::dashboard::events::cut;
use crate::model::{Event, EventState, Time};

/// What has happened, and what will: each step with its time, and the time since the step before.
pub(super) fn state_line(event: &Event, held_by: Option<HeldBy>) -> Markup {
    let summary = &event.summary;
    let mut steps: Vec<Step> = vec![Step::done("Received and durable", summary.received_at)];
    // The store keeps the latest ones only.
    let earlier = event.failed_attempts.last();
    let earlier = earlier.map_or(0, |it| it.attempt.saturating_sub(1));
    if earlier > 0 {
        steps.push(Step {
            name: match earlier {
                1 => "Attempt 1".to_owned(),
                _ => format!("Attempts 1 to {earlier}"),
            },
            tone: Tone::Idle,
            at: None,
            note: Some("failed; no longer kept".to_owned()),
        });
    }
    let attempts = event.failed_attempts.iter().rev();
    let mut latest = 0;
    for attempt in attempts {
        let reason = cut(&attempt.reason, 100);
        // A requeue counts the attempts anew.
        let note = match attempt.attempt <= latest {
            true => format!("after a requeue: {reason}"),
            false => reason,
        };
        steps.push(Step {
            name: format!("Attempt {} failed", attempt.attempt),
            tone: Tone::Bad,
            at: Some(attempt.ended_at),
            note: Some(note),
        });
        latest = attempt.attempt;
    }
    let after_requeue = match latest > 0 && summary.attempts <= latest {
        true => " after a requeue",
        false => "",
    };
    match summary.state {
        EventState::Processing => {
            let next = summary.attempts.saturating_add(1);
            let is_leased = summary
                .leased_until
                .is_some_and(|it| it.age_seconds() < 0.0);
            if is_leased {
                steps.push(Step {
                    name: format!("Attempt {} runs", summary.attempts),
                    tone: Tone::Info,
                    at: None,
                    note: Some("a worker holds it".to_owned()),
                });
            } else if let Some(due) = summary.due_at {
                let is_due = due.age_seconds() >= 0.0;
                steps.push(Step {
                    name: if is_due {
                        "Due".to_owned()
                    } else {
                        format!("Attempt {next}")
                    },
                    tone: Tone::Idle,
                    at: Some(due),
                    note: is_due.then(|| waits(held_by).to_owned()),
                });
            }
            steps.push(Step {
                name: "Processed".to_owned(),
                tone: Tone::Idle,
                at: None,
                note: Some("not yet".to_owned()),
            });
        }
        EventState::Processed => {
            let note = match summary.attempts {
                0 | 1 => format!("at the first attempt{after_requeue}"),
                attempts => format!("at attempt {attempts}{after_requeue}"),
            };
            steps.push(Step {
                name: "Processed".to_owned(),
                tone: Tone::Good,
                at: summary.settled_at,
                note: Some(note),
            });
        }
        EventState::Failed => steps.push(Step {
            name: "Failed".to_owned(),
            tone: Tone::Bad,
            at: summary.settled_at,
            note: Some("until it is requeued".to_owned()),
        }),
    }
    let mut before: Option<Time> = None;
    html! {
        ol.steps #steps aria-label="What has happened" {
            @for step in &steps {
                li class=(step.class()) {
                    div.step-name { (icon(step.shape())) " " (step.name) }
                    @if let Some(at) = step.at {
                        div { (exact(at)) }
                        div.faint { (ago(at)) (gap(before, at)) }
                    }
                    @if let Some(note) = &step.note { div.step-note { (note) } }
                }
                @let () = before = step.at.or(before);
            }
        }
    }
}

/// Why a due event has not been claimed.
const fn waits(held_by: Option<HeldBy>) -> &'static str {
    match held_by {
        Some(HeldBy::Pause) => "waits: the source is paused",
        Some(HeldBy::Breaker) => "waits: the circuit breaker of its destination is open",
        Some(HeldBy::Throttle) => "waits: its destination asked for fewer requests",
        None => "waits for a worker",
    }
}

fn gap(before: Option<Time>, at: Time) -> Markup {
    html! {
        @if let Some(before) = before {
            @let seconds = before.age_seconds() - at.age_seconds();
            @if seconds >= 0.001 { ", " (duration(seconds)) " later" }
        }
    }
}

/// A step of the state line.
struct Step {
    name: String,
    tone: Tone,
    at: Option<Time>,
    note: Option<String>,
}

impl Step {
    fn done(name: &str, at: Time) -> Self {
        Self {
            name: name.to_owned(),
            tone: Tone::Good,
            at: Some(at),
            note: None,
        }
    }

    const fn class(&self) -> &'static str {
        match self.tone {
            Tone::Good => "good",
            Tone::Warn => "warn",
            Tone::Bad => "bad",
            Tone::Idle => "idle",
            Tone::Info => "info",
        }
    }

    const fn shape(&self) -> Shape {
        match self.tone {
            Tone::Good => Shape::Circle,
            Tone::Warn => Shape::Triangle,
            Tone::Bad => Shape::Cross,
            Tone::Idle => Shape::Ring,
            Tone::Info => Shape::Arrow,
        }
    }
}
