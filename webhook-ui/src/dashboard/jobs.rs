//! Jobs: plans, progress, and what they have done.

use http::Response;
use maud::{Markup, html};
use webhook_core::Kind;

use super::Form;
use super::components::{
    Column, Row, Tone, action, ago, badge, capped, duration, empty, exact, number, rate, table,
};
use super::events::{action_word, cut, events_path};
use super::frame::{Live, Page, Screen, View};
use super::snapshot::Numbers;
use super::sources;
use crate::filter::Filter;
use crate::jobs::{self, JobPlan};
use crate::model::{Job, JobAction, JobState};
use crate::{Problem, UiBody, data};

/// How long a plan may be run, in seconds.
const PLAN_SECONDS: f64 = 60.0;

/// What an action does to each event, and what it leaves alone.
pub(super) const fn effect(action: JobAction) -> &'static str {
    match action {
        JobAction::Requeue => {
            "Each FAILED event is processed again, with all its attempts. Events in other states stay as they are."
        }
        JobAction::Replay => {
            "A copy of each event is sent to the destination. The events themselves do not change. The destination may \
             have processed them already."
        }
        JobAction::MakeDue => {
            "Each event that waits is processed as soon as a worker is free, even if its next attempt is later. Events \
             that a worker holds, or that are settled, stay as they are."
        }
        JobAction::Delete => {
            "Each event is deleted with its body, its attempts and its conflicts. If its sender delivers it again, it is \
             processed again. Events that a worker holds stay."
        }
        JobAction::Erase => {
            "The headers and the body of each settled event are deleted, and those of its conflicts. Its key stays, so that \
             redeliveries are still known."
        }
    }
}

/// Whether an action cannot be undone.
const fn is_destructive(action: JobAction) -> bool {
    matches!(action, JobAction::Delete | JobAction::Erase)
}

fn state_badge(job: &Job) -> Markup {
    match job.state {
        JobState::Planned => badge(Tone::Idle, "planned"),
        JobState::Expired => badge(Tone::Idle, "plan expired"),
        JobState::Running => badge(Tone::Info, "running"),
        JobState::Done if job.errors > 0 => badge(Tone::Warn, "done with errors"),
        JobState::Done => badge(Tone::Good, "done"),
        JobState::Cancelled => badge(Tone::Warn, "cancelled"),
        JobState::Stopped => badge(Tone::Warn, "stopped"),
        JobState::Failed => badge(Tone::Bad, "failed"),
    }
}

fn path(id: &str) -> String {
    format!("/jobs/{id}")
}

const COLUMNS: [Column; 8] = [
    Column::heading("Job"),
    Column::text("State"),
    Column::text("Events"),
    Column::number("Matching"),
    Column::number("Changed"),
    Column::number("Errors"),
    Column::text("By"),
    Column::text("Planned"),
];

/// The page with all jobs of this process.
pub(super) async fn list(view: &View<'_>) -> Response<UiBody> {
    let jobs = jobs::list(view.ui, &view.visitor.caller);
    let rows: Vec<Row> = jobs
        .iter()
        .map(|job| {
            let href = view.link(&path(&job.id));
            Row {
                id: Some(format!("job-{}", job.id)),
                href: Some(href.clone()),
                key: Some(job.id.clone()),
                cells: vec![
                    html! { a href=(href) { (action_word(job.action)) } },
                    state_badge(job),
                    html! { code { (filter_text(job)) } },
                    html! { (capped(job.matching)) },
                    html! { (number(job.changed)) },
                    html! { (number(job.errors)) },
                    html! { (job.by) },
                    ago(job.planned_at),
                ],
            }
        })
        .collect();
    let is_running = jobs.iter().any(|job| job.state == JobState::Running);
    let content = html! {
        h1 { "Jobs" }
        @if jobs.is_empty() {
            (empty("No job has been planned", html! {
                p { "A job acts on all events that match a filter: it requeues or replays them, makes them due, deletes or erases them. Search for "
                    a href=(view.link("/events")) { "events" } ", open “With all that match…”, and choose an action."
                }
            }))
        } @else {
            p.lead { "The jobs of this process, the latest first. They are kept in its memory; the "
                a href=(view.link("/audit")) { "audit records" } " of what they did are kept in the store."
            }
            (table("jobs", "Jobs, the latest first", &COLUMNS, &rows))
        }
    };
    view.page(Page {
        screen: Some(Screen::Jobs),
        title: "Jobs".to_owned(),
        live: if is_running {
            Live::Always
        } else {
            Live::Reload(Numbers::Jobs)
        },
        content,
    })
    .await
}

fn filter_text(job: &Job) -> &str {
    if job.filter.is_empty() {
        "all events"
    } else {
        &job.filter
    }
}

/// The page of one job: the plan, or its progress.
pub(super) async fn show(view: &View<'_>, id: &str) -> Result<Response<UiBody>, Problem> {
    let job = jobs::find(view.ui, &view.visitor.caller, id)?;
    let content = html! {
        div.title {
            h1 { (action_word(job.action)) }
            (state_badge(&job))
            @if job.state == JobState::Running && view.visitor.caller.may_operate() {
                div.actions {
                    (action(view, "cancel-job", &format!("{}/cancel", path(&job.id)), "Cancel", "Cancel the job"))
                }
            }
        }
        @match job.state {
            JobState::Planned => (plan(view, &job)),
            JobState::Expired => (expired(view, &job)),
            _ => (progress(view, &job)),
        }
        (facts(view, &job))
    };
    let live = if job.state == JobState::Running {
        Live::Always
    } else {
        Live::Off
    };
    let page = Page {
        screen: Some(Screen::Jobs),
        title: format!("{} job", action_word(job.action)),
        live,
        content,
    };
    Ok(view.page(page).await)
}

fn facts(view: &View<'_>, job: &Job) -> Markup {
    let filter = Filter::parse(&job.filter).ok();
    html! {
        dl.facts {
            div { dt { "Events" } dd {
                @match &filter {
                    Some(filter) => a #job-events href=(view.link(&events_path(filter))) { code { (filter_text(job)) } },
                    None => code { (filter_text(job)) },
                }
            } }
            @if job.action == JobAction::Replay {
                div { dt { "Sent to" } dd {
                    @match &job.to {
                        Some(to) => { "the destination of " (to) },
                        None => "the destination of each event's source",
                    }
                } }
            }
            div { dt { "Planned" } dd { (exact(job.planned_at)) ", " (ago(job.planned_at)) ", by " (job.by) } }
            @if let Some(at) = job.started_at { div { dt { "Started" } dd { (exact(at)) ", " (ago(at)) } } }
            @if let Some(at) = job.ended_at { div { dt { "Ended" } dd { (exact(at)) ", " (ago(at)) } } }
        }
    }
}

/// The number and the effect of a plan, and the button that runs it.
fn plan(view: &View<'_>, job: &Job) -> Markup {
    let count = job.matching.count;
    let seconds_left = (PLAN_SECONDS - job.planned_at.age_seconds()).max(0.0);
    html! {
        p.lead #plan {
            strong #plan-count {
                @if job.matching.at_least { "At least " }
                (number(count)) @if count == 1 { " event" } @else { " events" }
            }
            @if count == 1 { " matches" } @else { " match" } " now."
            @if job.estimated_seconds >= 1.0 { " That takes about " (duration(job.estimated_seconds)) "." }
        }
        p { (effect(job.action)) @if is_destructive(job.action) { " " strong { "This cannot be undone." } } }
        @if job.action == JobAction::Replay && view.visitor.caller.may_operate() {
            (destination_choice(view, job))
        }
        @if count == 0 && !job.matching.at_least {
            p #plan-empty { "There is nothing to do." }
        } @else if view.visitor.caller.may_operate() {
            form.stack #run-form method="post" action=(view.link(&format!("{}/run", path(&job.id)))) {
                (view.form_token())
                @if job.needs_confirmation {
                    label for="confirmed" { "Type the number of events, " strong { (count) } ", to confirm" }
                    input #confirmed name="confirmed" inputmode="numeric" autocomplete="off" required;
                }
                p {
                    button #run type="submit" class=[is_destructive(job.action).then_some("danger")] {
                        (action_word(job.action)) " "
                        @if job.matching.at_least { "all of them" } @else { (number(count)) }
                    }
                    " "
                    a.button.quiet href=(view.link("/jobs")) { "Do nothing" }
                }
            }
            p.note { "The plan can be run for another " (duration(seconds_left)) ". After that, the events are counted anew." }
        }
    }
}

/// The form that plans the same copies for another destination.
fn destination_choice(view: &View<'_>, job: &Job) -> Markup {
    let destinations = data::destinations(view.ui, &view.visitor.caller);
    html! {
        form.inline #destination-form method="post" action=(view.link("/jobs")) {
            (view.form_token())
            input type="hidden" name="action" value=(job.action.as_str());
            input type="hidden" name="filter" value=(job.filter);
            label for="job-to" { "Send to" }
            select #job-to name="job_to" {
                option value="" selected[job.to.is_none()] { "the destination of each event's source" }
                @for it in &destinations {
                    option value=(it.source) selected[job.to.as_deref() == Some(it.source.as_str())] {
                        "that of " (it.source) ": " (it.url)
                    }
                }
            }
            button.quiet #change-destination type="submit" { "Change" }
        }
    }
}

fn expired(view: &View<'_>, job: &Job) -> Markup {
    html! {
        p.lead { "This plan is more than " (duration(PLAN_SECONDS)) " old, and was not run. Other events may match by now." }
        @if view.visitor.caller.may_operate() {
            form.inline method="post" action=(view.link("/jobs")) {
                (view.form_token())
                input type="hidden" name="action" value=(job.action.as_str());
                input type="hidden" name="filter" value=(job.filter);
                @if let Some(to) = &job.to { input type="hidden" name="job_to" value=(to); }
                button #plan-again type="submit" { "Plan it again" }
            }
        }
    }
}

fn progress(view: &View<'_>, job: &Job) -> Markup {
    let tried = job
        .changed
        .saturating_add(job.skipped)
        .saturating_add(job.errors);
    let total = job.matching.count.max(tried);
    html! {
        label.unseen for="progress" { "Progress" }
        progress #progress max=(total.max(1)) value=(if job.state == JobState::Done { total.max(1) } else { tried }) {}
        p.lead #progress-text role="status" {
            (number(tried)) " of "
            @if job.matching.at_least { "at least " }
            (number(total)) " events tried"
            @if job.events_per_second > 0.0 { ", " (rate(job.events_per_second)) " per second" }
            "."
        }
        @let changed = if job.action == JobAction::Replay { "Delivered" } else { "Changed" };
        dl.tiles {
            (super::components::tile("changed", changed, &html! { (number(job.changed)) }))
            (super::components::tile("skipped", "Left as they were", &html! { (number(job.skipped)) }))
            (super::components::tile("errors", "Errors", &html! { (number(job.errors)) }))
        }
        @match job.state {
            JobState::Cancelled => p { "Somebody cancelled it. What it did until then stays done." },
            JobState::Stopped => p { "The process stopped. What it did until then stays done." },
            JobState::Failed => p { "The store failed too often. What it did until then stays done." },
            _ => {}
        }
        // The filter of the job does not match them any more.
        @if job.action == JobAction::Requeue && job.changed > 0 {
            p { "The changed events are due. See "
                @match Filter::parse(&job.filter).ok().and_then(|it| it.source) {
                    Some(source) => { a #what-now href=(view.link(&sources::path(source.as_str()))) { "the source " (source) } },
                    None => a #what-now href=(view.link("")) { "the overview" },
                }
                " for how many are processed or fail again."
            }
        }
        @if let Some(why) = &job.waits_because {
            p #waits-because { "It waits: " (why) "." }
        }
        @if let Some(error) = &job.last_error {
            p #last-error { "The last error: " code { (cut(error, 500)) } }
        }
    }
}

/// Plans a job, and shows the plan.
pub(super) async fn plan_job(view: &View<'_>, form: &Form) -> Result<Response<UiBody>, Problem> {
    let action = form.field("action").unwrap_or_default();
    let action = JobAction::ALL.into_iter().find(|it| it.as_str() == action);
    let action = action.ok_or_else(|| Problem::bad_request("No such action"))?;
    let filter = Filter::parse(form.field("filter").unwrap_or_default());
    let filter = filter.map_err(|error| Problem::bad_request(format!("Filter: {error}")))?;
    let to = form.field("job_to").filter(|to| !to.is_empty());
    let to = to.map(|to| Kind::new(to.to_owned())).transpose();
    let to = to.map_err(|_| Problem::bad_request("There is no such destination"))?;
    let plan = JobPlan { action, filter, to };
    match jobs::plan(view.ui, &view.visitor.caller, plan).await {
        Ok(job) => Ok(view.redirect_back(None, &path(&job.id))),
        // The action does not fit the filter.
        Err(problem) if problem.status().as_u16() == 400 => {
            let message = format!("Nothing was planned. {}.", problem.detail());
            Ok(view.redirect_back_with(form.field("to"), "/events", &message))
        }
        Err(problem) => Err(problem),
    }
}

/// Runs a plan. One that cannot be run, such as one that is too old, is shown again with the reason.
pub(super) async fn run(
    view: &View<'_>,
    id: &str,
    form: &Form,
) -> Result<Response<UiBody>, Problem> {
    // People type numbers as they are shown.
    let typed = form.field("confirmed").map(|it| it.replace([',', ' '], ""));
    let confirmed = typed.as_deref().and_then(|it| it.parse().ok());
    match jobs::run(view.ui, &view.visitor.caller, id, confirmed).await {
        Ok(job) => Ok(view.redirect_back(None, &path(&job.id))),
        Err(problem) if matches!(problem.status().as_u16(), 400 | 409 | 422) => {
            Ok(view.redirect(&path(id), &format!("It was not run. {}.", problem.detail())))
        }
        Err(problem) => Err(problem),
    }
}

/// Cancels a job.
pub(super) async fn cancel(view: &View<'_>, id: &str) -> Result<Response<UiBody>, Problem> {
    let job = jobs::cancel(view.ui, &view.visitor.caller, id).await?;
    Ok(view.redirect(
        &path(&job.id),
        "The job is cancelled. What it did until now stays done.",
    ))
}
