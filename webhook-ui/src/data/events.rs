//! Events, and what operators did.

use std::num::NonZeroUsize;
use std::time::SystemTime;

use bytes::Bytes;
use serde_json::value::RawValue;
use webhook_core::{
    ActionId, ActionPage, ActionRecord, EventId, EventRecord, EventRef, FailureReason, Headers,
    Kind, SearchPage, StoredAction, TraceParent,
};

use super::body::{base64, body_of, json_object, masked_bytes, masked_header};
use crate::access::Caller;
use crate::actions::event_target;
use crate::audit::Action;
use crate::filter::Filter;
use crate::model::{
    Attempt, AuditPage, AuditRecord, Conflict, Event, EventPage, EventSummary, TRACE_ID, Time,
    Trace,
};
use crate::{Problem, Ui};

/// How many events a page has, unless the request says otherwise.
pub(crate) const DEFAULT_LIMIT: NonZeroUsize =
    NonZeroUsize::new(100).expect("a hundred is not zero");

/// The largest number of events on a page.
pub(crate) const MAX_LIMIT: usize = 1_000;

/// How many events are read together where all that match are read.
pub(crate) const LARGEST_PAGE: NonZeroUsize =
    NonZeroUsize::new(500).expect("five hundred is not zero");

/// The next events that match `filter`, for callers who were checked already.
pub(crate) async fn scan(
    ui: &Ui,
    filter: &Filter,
    before: Option<EventId>,
    limit: NonZeroUsize,
) -> Result<SearchPage, Problem> {
    let search = filter.to_search(limit, SystemTime::now()).before(before);
    Ok(ui.admin().search(&search).await?)
}

/// A page of the events that match `filter`, the newest first: those before the event with the id `before`.
pub(crate) async fn events(
    ui: &Ui,
    caller: &Caller,
    filter: &Filter,
    before: Option<i64>,
    limit: NonZeroUsize,
) -> Result<EventPage, Problem> {
    let filter = visible(caller, filter)?;
    let page = scan(ui, &filter, before.map(EventId::new), limit).await?;
    Ok(EventPage {
        next_before: page.next.map(EventId::get),
        events: page.events.iter().map(EventSummary::of).collect(),
        stopped_early: page.stopped_early.is_some(),
    })
}

/// The filter as far as the caller may see.
pub(crate) fn visible(caller: &Caller, filter: &Filter) -> Result<Filter, Problem> {
    let mut filter = filter.clone();
    match (&caller.source, &filter.source) {
        (Some(own), Some(asked)) if own != asked => return Err(Problem::no_such_source()),
        (Some(own), None) => filter.source = Some(own.clone()),
        _ => {}
    }
    Ok(filter)
}

/// One event with everything that is stored about it. Its body is unmasked with `unmask`, which leaves an audit record.
pub(crate) async fn event(
    ui: &Ui,
    caller: &Caller,
    event: &EventRef,
    unmask: bool,
) -> Result<Event, Problem> {
    if !caller.sees(&event.kind) {
        return Err(Problem::no_such_event());
    }
    if unmask {
        caller.check_operate()?;
    }
    let shown = async {
        let record = record(ui, event).await?;
        let attempts = ui.admin().failed_attempts(event).await?;
        let conflicts = match record.conflict_count {
            0 => Vec::new(),
            _ => ui.admin().conflicts(event).await?,
        };
        let envelope = &record.envelope;
        let headers = envelope.headers.iter();
        let body = &envelope.body;
        Ok(Event {
            summary: EventSummary::of(&record.summary()),
            fingerprint: format!("{:?}", envelope.fingerprint),
            headers: headers
                .map(|(name, value)| masked_header(name, value, !unmask))
                .collect(),
            trace: trace(ui, &envelope.headers),
            body: (!record.body_deleted).then(|| body_of(body, body.len() as u64, !unmask)),
            failed_attempts: attempts
                .iter()
                .map(|attempt| {
                    let details = attempt.reason.details();
                    // Destinations answer with secrets, too.
                    let details = details.map(|it| masked_bytes(it, !unmask));
                    let object = details.as_deref().and_then(json_object);
                    let other = details.as_deref().filter(|_| object.is_none());
                    Attempt {
                        attempt: attempt.attempt.number(),
                        ended_at: attempt.ended_at.into(),
                        reason: attempt.reason.as_str().to_owned(),
                        details: object.map(ToOwned::to_owned),
                        details_base64: other.map(|it| base64(it).into_owned()),
                    }
                })
                .collect(),
            conflicting_deliveries: conflicts
                .iter()
                .map(|conflict| Conflict {
                    received_at: conflict.received_at.into(),
                    fingerprint: format!("{:?}", conflict.fingerprint),
                    body: body_of(&conflict.body, conflict.body_bytes, !unmask),
                })
                .collect(),
        })
    };
    if !unmask {
        return shown.await;
    }
    let action = Action::begin(ui, "unmask", caller, event_target(event));
    let result = shown.await;
    action.end(result).await
}

/// The context that the process stored when it accepted the event.
fn trace(ui: &Ui, headers: &Headers) -> Option<Trace> {
    let context = TraceParent::stored_in(headers)?;
    let trace_id = hex::encode(context.trace_id());
    let template = ui.instance().info().trace_url;
    Some(Trace {
        url: template.map(|url| url.replace(TRACE_ID, &trace_id)),
        trace_id,
        span_id: hex::encode(context.span_id()),
    })
}

/// The body of an event as it was delivered, with the value of its header `content-type`. It leaves an audit record.
pub(crate) async fn raw_body(
    ui: &Ui,
    caller: &Caller,
    event: &EventRef,
) -> Result<(Bytes, Option<String>), Problem> {
    if !caller.sees(&event.kind) {
        return Err(Problem::no_such_event());
    }
    caller.check_operate()?;
    let action = Action::begin(ui, "read_body", caller, event_target(event));
    let result = record(ui, event).await.and_then(|record| {
        if record.body_deleted {
            return Err(Problem::conflict("The body of the event was deleted"));
        }
        let content_type = record.envelope.headers.get_str("content-type");
        let content_type = content_type.map(str::to_owned);
        Ok((record.envelope.body, content_type))
    });
    action.end(result).await
}

/// The record of an event, for callers who were checked already.
pub(crate) async fn record(ui: &Ui, event: &EventRef) -> Result<EventRecord, Problem> {
    let found = ui.store().find(std::slice::from_ref(event)).await?;
    let found = found.into_iter().flatten().next();
    found.ok_or_else(Problem::no_such_event)
}

/// How many audit records are read at a time, where not all of them match.
const ACTIONS_STEP: NonZeroUsize = NonZeroUsize::new(1_000).expect("a thousand is not zero");

/// How many audit records a page examines at most. One of a caller of one source, or with a text, may then have fewer
/// records than it could.
const MAX_ACTIONS_EXAMINED: usize = 5_000;

/// A page of audit records, the newest first. `text` restricts them to those with this text in the actor, action or
/// target, in letters of either case.
pub(crate) async fn audit(
    ui: &Ui,
    caller: &Caller,
    text: Option<&str>,
    before: Option<i64>,
    limit: NonZeroUsize,
) -> Result<AuditPage, Problem> {
    let text = text.unwrap_or_default().to_lowercase();
    let matches = |record: &ActionRecord| {
        let texts = [
            record.actor.as_str(),
            record.action.as_str(),
            record.target.as_str(),
        ];
        texts.iter().any(|it| it.to_lowercase().contains(&text))
            && caller
                .source
                .as_ref()
                .is_none_or(|own| is_about(&record.target, own))
    };
    let mut before = before.map(ActionId::new);
    let (mut records, mut examined) = (Vec::new(), 0);
    loop {
        // Any record may match, so that a page that is not restricted is read at once.
        let wanted = match text.is_empty() && caller.source.is_none() {
            true => limit,
            false => ACTIONS_STEP,
        };
        let page = ui
            .admin()
            .actions(&ActionPage::new(wanted).before(before))
            .await?;
        let is_last = page.len() < wanted.get();
        examined += page.len();
        for action in page {
            before = Some(action.id);
            if matches(&action.record) {
                records.push(AuditRecord::of(&action));
            }
            if records.len() == limit.get() {
                break;
            }
        }
        let is_full = records.len() == limit.get();
        if is_full || is_last || examined >= MAX_ACTIONS_EXAMINED {
            return Ok(AuditPage {
                next_before: before.filter(|_| is_full || !is_last).map(ActionId::get),
                records,
            });
        }
    }
}

/// Whether an audit record with this target is about the events of `source`: it is the source, an event of it, or a
/// filter that has it.
fn is_about(target: &str, source: &Kind) -> bool {
    let name = target.split('/').next().unwrap_or_default();
    name == source.as_str()
        || Filter::parse(target).is_ok_and(|filter| filter.source.as_ref() == Some(source))
}

impl AuditRecord {
    fn of(action: &StoredAction) -> Self {
        let record = &action.record;
        let details = RawValue::from_string(record.details.to_string());
        Self {
            id: action.id.get(),
            at: action.at.into(),
            actor: record.actor.to_string(),
            action: record.action.to_string(),
            target: record.target.to_string(),
            details: details.unwrap_or_else(|_| RawValue::NULL.to_owned()),
            count: record.count,
            result: record.result.to_string(),
        }
    }
}

impl EventSummary {
    pub(crate) fn of(event: &webhook_core::EventSummary) -> Self {
        Self {
            source: event.event.kind.to_string(),
            key: event.event.key.to_string(),
            id: event.id.get(),
            event_type: event.event_type.as_ref().map(ToString::to_string),
            state: event.state.into(),
            received_at: event.accepted_at.into(),
            due_at: event.due_at.map(Time::from),
            leased_until: event.leased_until.map(Time::from),
            settled_at: event.settled_at.map(Time::from),
            attempts: event.attempts,
            error: event
                .reason
                .as_ref()
                .map(FailureReason::as_str)
                .map(str::to_owned),
            conflicts: event.conflict_count,
            last_conflict_at: event.last_conflict_at.map(Time::from),
            body_deleted: event.body_deleted,
        }
    }
}
