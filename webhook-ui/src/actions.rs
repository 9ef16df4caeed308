//! What operators do to events and sources: the API and the dashboard both call these functions, which check the rights
//! and leave audit records.

use http::StatusCode;
use serde_json::json;
use webhook_core::{
    Deleted, Erased, EventRecord, EventRef, Kind, MadeDue, Requeued, RunningLeases,
};

use crate::access::Caller;
use crate::audit::Action;
use crate::data;
use crate::model::{EventState, PausedSource, Scheduled, TestSent, Time};
use crate::{KnownKinds, Problem, Ui};

/// How to pause a source that nothing has yet.
const ADD_NEW: &str = ": to pause it before its first event, add ?new=true";

/// Requeues a FAILED event.
pub(crate) async fn requeue(
    ui: &Ui,
    caller: &Caller,
    event: &EventRef,
) -> Result<Scheduled, Problem> {
    check(caller, &event.kind, Problem::no_such_event)?;
    let action = Action::begin(ui, "requeue", caller, event_target(event));
    let requeued = ui.admin().requeue(std::slice::from_ref(event)).await;
    let result = match requeued.as_deref() {
        Ok([Requeued::Applied]) => Ok(scheduled(event)),
        Ok([Requeued::NotFailed]) => Err(Problem::conflict(
            "Only a FAILED event can be processed again",
        )),
        Ok([Requeued::Erased]) => Err(Problem::conflict(
            "The body of the event is erased: there is nothing to process again",
        )),
        Ok(_) => Err(Problem::no_such_event()),
        Err(_) => Err(requeued
            .map(drop)
            .map_or_else(Problem::from, |()| Problem::no_such_event())),
    };
    action.end(result).await
}

/// Makes a waiting event due now. With [`RunningLeases::End`] it also ends its lease.
pub(crate) async fn make_due(
    ui: &Ui,
    caller: &Caller,
    event: &EventRef,
    leases: RunningLeases,
) -> Result<Scheduled, Problem> {
    check(caller, &event.kind, Problem::no_such_event)?;
    let action = Action::begin(ui, "make_due", caller, event_target(event))
        .with(json!({ "leased": leases == RunningLeases::End }));
    let made_due = ui.admin().make_due(std::slice::from_ref(event), leases);
    let result = match made_due.await {
        Ok(answers) => match answers[..] {
            [MadeDue::Applied | MadeDue::AlreadyDue] => Ok(scheduled(event)),
            [MadeDue::Leased] => Err(Problem::conflict(
                "A worker holds the event; leased=true ends its lease, and a worker that is alive may then \
                 process it twice",
            )),
            [MadeDue::Settled] => Err(Problem::conflict("Only a PROCESSING event can be made due")),
            _ => Err(Problem::no_such_event()),
        },
        Err(error) => Err(error.into()),
    };
    action.end(result).await
}

/// Deletes an event with all that is stored about it.
pub(crate) async fn delete(ui: &Ui, caller: &Caller, event: &EventRef) -> Result<(), Problem> {
    check(caller, &event.kind, Problem::no_such_event)?;
    let action = Action::begin(ui, "delete", caller, event_target(event));
    let deleted = ui.admin().delete(std::slice::from_ref(event)).await;
    let result = match deleted.as_deref() {
        Ok([Deleted::Applied]) => Ok(()),
        Ok([Deleted::Leased]) => Err(Problem::conflict(
            "A worker holds the event; it can be deleted when its attempt has ended",
        )),
        Ok(_) => Err(Problem::no_such_event()),
        Err(_) => Err(deleted
            .map(drop)
            .map_or_else(Problem::from, |()| Problem::no_such_event())),
    };
    action.end(result).await
}

/// Deletes the headers and the body of a settled event, and those of its conflicts.
pub(crate) async fn erase(ui: &Ui, caller: &Caller, event: &EventRef) -> Result<(), Problem> {
    check(caller, &event.kind, Problem::no_such_event)?;
    let action = Action::begin(ui, "erase", caller, event_target(event));
    let erased = ui.admin().erase(std::slice::from_ref(event)).await;
    let result = match erased.as_deref() {
        Ok([Erased::Applied | Erased::AlreadyErased]) => Ok(()),
        Ok([Erased::Unsettled]) => Err(Problem::conflict(
            "The event is PROCESSING, and needs its body",
        )),
        Ok(_) => Err(Problem::no_such_event()),
        Err(_) => Err(erased
            .map(drop)
            .map_or_else(Problem::from, |()| Problem::no_such_event())),
    };
    action.end(result).await
}

/// What a replay sends, and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replay {
    /// The source whose destination gets the copy; `None` for that of the event.
    pub(crate) to: Option<Kind>,
    /// Another body than that of the event.
    pub(crate) body: Option<bytes::Bytes>,
}

/// Sends a copy of an event to a destination.
pub(crate) async fn replay(
    ui: &Ui,
    caller: &Caller,
    event: &EventRef,
    replay: Replay,
) -> Result<(), Problem> {
    check(caller, &event.kind, Problem::no_such_event)?;
    if let Some(to) = &replay.to {
        check(caller, to, || {
            Problem::bad_request("There is no such destination")
        })?;
    }
    let action = Action::begin(ui, "replay", caller, event_target(event)).with(json!({
        "to": replay.to.as_ref().map(Kind::as_str),
        "edited": replay.body.is_some(),
    }));
    let result = send_copy(ui, event, &replay).await;
    action.end(result).await
}

async fn send_copy(ui: &Ui, event: &EventRef, replay: &Replay) -> Result<(), Problem> {
    let mut record: EventRecord = data::record(ui, event).await?;
    if let Some(body) = &replay.body {
        let limit = ui.instance().max_body_bytes(&event.kind);
        if body.len() > limit {
            return Err(Problem::too_long(limit));
        }
        record.envelope.body = body.clone();
    } else if record.body_deleted {
        return Err(Problem::conflict("The body of the event was deleted"));
    }
    ui.instance().replay(&record, replay.to.as_ref()).await
}

/// Pauses a source that is known: that the process has, or that has events.
pub(crate) async fn pause(
    ui: &Ui,
    caller: &Caller,
    source: &Kind,
) -> Result<PausedSource, Problem> {
    check(caller, source, Problem::no_such_source)?;
    let action = Action::begin(ui, "pause", caller, source.to_string());
    let result = match check_known(ui, caller, source, ADD_NEW).await {
        Ok(()) => pause_now(ui, source).await,
        Err(problem) => Err(problem),
    };
    action.end(result).await
}

/// Pauses a source that nobody may know yet.
pub(crate) async fn pause_new(
    ui: &Ui,
    caller: &Caller,
    source: &Kind,
) -> Result<PausedSource, Problem> {
    check(caller, source, Problem::no_such_source)?;
    let action =
        Action::begin(ui, "pause", caller, source.to_string()).with(json!({ "new": true }));
    let result = pause_now(ui, source).await;
    action.end(result).await
}

async fn pause_now(ui: &Ui, source: &Kind) -> Result<PausedSource, Problem> {
    let changed = ui.admin().pause(source).await?;
    Ok(paused(ui, source, true, changed))
}

/// Rejects a source that nothing has. The answer suggests only names that the caller may see, and says in `advice` what
/// else can be done.
async fn check_known(
    ui: &Ui,
    caller: &Caller,
    source: &Kind,
    advice: &'static str,
) -> Result<(), Problem> {
    let known = KnownKinds::of(ui.admin(), ui.instance().source_names()).await?;
    let checked = known.visible_to(caller).check(source, advice);
    checked.map_err(|unknown| {
        Problem::new(
            StatusCode::NOT_FOUND,
            format!("Source not found: {unknown}"),
        )
    })
}

/// Resumes a source that is known.
pub(crate) async fn resume(
    ui: &Ui,
    caller: &Caller,
    source: &Kind,
) -> Result<PausedSource, Problem> {
    check(caller, source, Problem::no_such_source)?;
    let action = Action::begin(ui, "resume", caller, source.to_string());
    let result = match check_known(ui, caller, source, "").await {
        Ok(()) => resume_now(ui, source).await,
        Err(problem) => Err(problem),
    };
    action.end(result).await
}

async fn resume_now(ui: &Ui, source: &Kind) -> Result<PausedSource, Problem> {
    let changed = ui.admin().resume(source).await?;
    Ok(paused(ui, source, false, changed))
}

/// Sends a test event to a source.
pub(crate) async fn send_test(
    ui: &Ui,
    caller: &Caller,
    source: &Kind,
) -> Result<TestSent, Problem> {
    check(caller, source, Problem::no_such_source)?;
    let action = Action::begin(ui, "test_event", caller, source.to_string());
    let result = ui.instance().send_test(source).await;
    let result = result.map_err(|problem| data::without_names(caller, problem));
    action.end(result).await
}

/// Rejects callers who may not see the source, or may not act.
fn check(caller: &Caller, source: &Kind, hidden: fn() -> Problem) -> Result<(), Problem> {
    if !caller.sees(source) {
        return Err(hidden());
    }
    caller.check_operate()
}

/// How audit records name an event.
pub(crate) fn event_target(event: &EventRef) -> String {
    format!("{}/{}", event.kind, event.key)
}

fn scheduled(event: &EventRef) -> Scheduled {
    Scheduled {
        source: event.kind.to_string(),
        key: event.key.to_string(),
        state: EventState::Processing,
    }
}

fn paused(ui: &Ui, source: &Kind, paused: bool, changed: bool) -> PausedSource {
    ui.pauses()
        .insert(source.to_string(), (paused, Time::now()));
    let destinations = ui.instance().destinations();
    let destination = destinations
        .into_iter()
        .find(|it| it.source == source.as_str());
    PausedSource {
        source: source.to_string(),
        paused,
        changed,
        destination: destination.map(|it| it.url),
    }
}
