//! Jobs: plan → run → progress → cancel, for actions on all events that match a filter.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use webhook_core::{
    Deleted, Erased, EventId, EventRef, EventSummary, Kind, MadeDue, Requeued, RunningLeases,
    State, StoreError,
};

use crate::access::Caller;
use crate::audit::Action;
use crate::data;
use crate::filter::Filter;
use crate::instance::Replayed;
use crate::model::{Capped, Job, JobAction, JobState, Time};
use crate::{Problem, Ui};

/// With more events than this, a job has to be confirmed by their number.
pub(crate) const MAX_UNCONFIRMED: u64 = 100;

/// How long a plan may be run.
const PLAN_VALID: Duration = Duration::from_secs(60);

/// How many events a plan counts; more are "at least" this many.
const MAX_COUNTED: u64 = 100_000;

/// How long a plan counts.
const COUNT_TIME: Duration = Duration::from_secs(2);

/// How many jobs are kept. The oldest ones that do not run are forgotten first.
const MAX_JOBS: usize = 100;

/// How many jobs may run at the same time.
const MAX_RUNNING: u32 = 2;

/// How many events a job changes together.
const BATCH: usize = 100;

/// How long a job waits between two batches, so that it leaves the store to others.
const PAUSE: Duration = Duration::from_millis(20);

/// How often in a row the store may fail.
const MAX_FAILURES: u32 = 5;

/// How long a job waits after the store failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// How many events a second a job is estimated to change, before it runs.
const EVENTS_PER_SECOND: u32 = 2_000;

/// The same for copies, each of which waits for an answer.
const COPIES_PER_SECOND: u32 = 20;

/// How long a job waits at least before it asks again whether a destination takes a copy.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);

/// The same, at most: then it sees that it was cancelled.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The jobs of a [`Ui`].
#[derive(Debug)]
pub(crate) struct Jobs {
    /// In memory, the latest last.
    all: Mutex<VecDeque<Arc<Mutex<Entry>>>>,
    /// A running job has a permit, until its audit record is written.
    room: Arc<Semaphore>,
    is_stopping: AtomicBool,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            all: Mutex::default(),
            room: Arc::new(Semaphore::new(MAX_RUNNING as usize)),
            is_stopping: AtomicBool::new(false),
        }
    }
}

#[derive(Debug)]
struct Entry {
    job: Job,
    filter: Filter,
    to: Option<Kind>,
    planned: Instant,
    began: Option<Instant>,
    /// The events of the plan are before this one: later ones are not touched. `None` if no event matched.
    before: Option<EventId>,
    is_cancelled: bool,
}

impl Entry {
    /// The job as it is shown now.
    fn shown(&self) -> Job {
        let mut job = self.job.clone();
        if job.state == JobState::Planned && self.planned.elapsed() >= PLAN_VALID {
            job.state = JobState::Expired;
        }
        if let Some(began) = self.began
            && job.ended_at.is_none()
        {
            job.events_per_second = rate(&job, began.elapsed());
        }
        job
    }
}

#[expect(clippy::cast_precision_loss, reason = "no job changes 2^52 events")]
fn rate(job: &Job, elapsed: Duration) -> f64 {
    let tried = job.changed + job.skipped + job.errors;
    tried as f64 / elapsed.as_secs_f64().max(0.001)
}

impl Jobs {
    fn all(&self) -> MutexGuard<'_, VecDeque<Arc<Mutex<Entry>>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no further job begins.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Begins no further job, and waits until those that run have ended, with their audit records.
    pub(crate) async fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        // Nobody closes it, so this is no error.
        let _ = self.room.acquire_many(MAX_RUNNING).await;
    }

    fn add(&self, entry: Entry) -> Result<(), Problem> {
        let mut all = self.all();
        if all.len() >= MAX_JOBS {
            let idle = all
                .iter()
                .position(|it| lock(it).job.state != JobState::Running);
            let idle = idle.ok_or_else(|| {
                Problem::unavailable("Too many jobs are running; wait until one has ended", 10)
            })?;
            all.remove(idle);
        }
        all.push_back(Arc::new(Mutex::new(entry)));
        Ok(())
    }

    fn find(&self, caller: &Caller, id: &str) -> Result<Arc<Mutex<Entry>>, Problem> {
        let all = self.all();
        let found = all.iter().find(|it| {
            let entry = lock(it);
            entry.job.id == id && is_visible(caller, &entry)
        });
        found.map(Arc::clone).ok_or_else(Problem::no_such_job)
    }
}

fn lock(entry: &Mutex<Entry>) -> MutexGuard<'_, Entry> {
    entry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A caller of one source sees only the jobs on its events.
fn is_visible(caller: &Caller, entry: &Entry) -> bool {
    match (&caller.source, &entry.filter.source) {
        (None, _) => true,
        (Some(own), source) => source.as_ref() == Some(own),
    }
}

/// What a job is to do.
#[derive(Clone, Debug)]
pub(crate) struct JobPlan {
    pub(crate) action: JobAction,
    pub(crate) filter: Filter,
    /// The source whose destination gets copies; `None` for that of each event.
    pub(crate) to: Option<Kind>,
}

/// Counts the events that match, and keeps the plan for a minute.
pub(crate) async fn plan(ui: &Ui, caller: &Caller, plan: JobPlan) -> Result<Job, Problem> {
    caller.check_operate()?;
    let JobPlan { action, filter, to } = plan;
    let mut filter = data::visible(caller, &filter)?.fixed(SystemTime::now());
    let only = match action {
        JobAction::Requeue => Some((State::Failed, "Only FAILED events can be requeued")),
        JobAction::MakeDue => Some((State::Processing, "Only PROCESSING events can be made due")),
        JobAction::Replay | JobAction::Delete | JobAction::Erase => None,
    };
    if let Some((state, otherwise)) = only
        && *filter.state.get_or_insert(state) != state
    {
        return Err(Problem::bad_request(otherwise));
    }
    match &to {
        Some(_) if action != JobAction::Replay => {
            return Err(Problem::bad_request("Only copies have a destination"));
        }
        Some(to) if !caller.sees(to) => {
            return Err(Problem::bad_request("There is no such destination"));
        }
        _ => {}
    }
    if action == JobAction::Replay {
        check_destination(ui, to.as_ref().or(filter.source.as_ref()))?;
    }
    let (matching, before) = count(ui, &filter).await?;
    let per_second = match action {
        JobAction::Replay => COPIES_PER_SECOND,
        _ => EVENTS_PER_SECOND,
    };
    #[expect(clippy::cast_precision_loss, reason = "counts are bounded")]
    let estimated_seconds = matching.count as f64 / f64::from(per_second);
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|error| {
        tracing::error!(%error, "failed to get random bytes");
        Problem::unavailable("Failed to get random bytes; try again", 1)
    })?;
    let job = Job {
        id: hex::encode(id),
        action,
        filter: filter.to_string(),
        to: to.as_ref().map(Kind::to_string),
        state: JobState::Planned,
        by: caller.name.clone(),
        planned_at: Time::now(),
        matching,
        estimated_seconds,
        needs_confirmation: needs_confirmation(matching),
        started_at: None,
        ended_at: None,
        changed: 0,
        skipped: 0,
        errors: 0,
        waits_because: None,
        last_error: None,
        events_per_second: 0.0,
    };
    ui.jobs().add(Entry {
        job: job.clone(),
        filter,
        to,
        planned: Instant::now(),
        began: None,
        before,
        is_cancelled: false,
    })?;
    Ok(job)
}

/// Rejects copies that this process cannot send. Without a source, each event has its own destination.
fn check_destination(ui: &Ui, source: Option<&Kind>) -> Result<(), Problem> {
    match source {
        Some(source) if !forwards(ui, source) => Err(Problem::conflict(format!(
            "This process forwards no events of {source}"
        ))),
        _ => Ok(()),
    }
}

fn forwards(ui: &Ui, source: &Kind) -> bool {
    let destinations = ui.instance().destinations();
    destinations.iter().any(|it| it.source == source.as_str())
}

/// Whether somebody must type the number of events. If the count ended early, there may be any number more.
const fn needs_confirmation(matching: Capped) -> bool {
    matching.at_least || matching.count > MAX_UNCONFIRMED
}

/// Counts the events that match, within bounds, and finds the end of the newest one: `None` if no event matches.
async fn count(ui: &Ui, filter: &Filter) -> Result<(Capped, Option<EventId>), Problem> {
    let end = Instant::now() + COUNT_TIME;
    let (mut count, mut first, mut before) = (0, None, None);
    loop {
        let page = data::scan(ui, filter, before, data::LARGEST_PAGE).await?;
        count += page.events.len() as u64;
        first = first.or_else(|| {
            let newest = page.events.first();
            newest.map(|it| EventId::new(it.id.get().saturating_add(1)))
        });
        let at_least = |at_least| Capped { count, at_least };
        match page.next {
            None => return Ok((at_least(false), first)),
            Some(next) if count >= MAX_COUNTED || Instant::now() >= end => {
                // If none was found so far, all that match are older than those that were examined.
                return Ok((at_least(true), first.or(Some(next))));
            }
            next => before = next,
        }
    }
}

/// Runs a planned job. `confirmed` is the number of events that the operator typed, which a job over more than
/// [`MAX_UNCONFIRMED`] needs.
pub(crate) async fn run(
    ui: &Ui,
    caller: &Caller,
    id: &str,
    confirmed: Option<u64>,
) -> Result<Job, Problem> {
    let entry = ui.jobs().find(caller, id)?;
    caller.check_operate()?;
    let permit = Arc::clone(&ui.jobs().room).try_acquire_owned();
    // After the permit, for which a process that stops waits.
    if ui.jobs().is_stopping() {
        return Err(Problem::unavailable("The process is stopping", 10));
    }
    let (shown, permit) = {
        let mut planned = lock(&entry);
        match planned.shown().state {
            JobState::Planned => {}
            JobState::Expired => {
                return Err(Problem::conflict(
                    "The plan is older than 60 s; plan it anew, since other events may match now",
                ));
            }
            _ => return Err(Problem::conflict("The job has been run already")),
        }
        let job = &planned.job;
        if job.needs_confirmation && confirmed != Some(job.matching.count) {
            return Err(Problem::conflict(format!(
                "The confirmed number of events has to be {}",
                job.matching.count
            )));
        }
        let permit = permit.map_err(|_| {
            Problem::unavailable(
                format!("{MAX_RUNNING} jobs are running; wait until one has ended"),
                10,
            )
        })?;
        planned.job.state = JobState::Running;
        planned.job.started_at = Some(Time::now());
        planned.began = Some(Instant::now());
        (planned.shown(), permit)
    };
    let action = |name| {
        Action::begin(ui, name, caller, shown.filter.clone()).with(json!({
            "job": shown.id,
            "action": shown.action.as_str(),
            "to": shown.to,
        }))
    };
    let (begun, action) = (action("start_job"), action("run_job"));
    let ui = ui.clone();
    tokio::spawn(async move {
        // The process may be killed before the end of the job.
        let _ = begun.end(Ok(())).await;
        let working = {
            let entry = Arc::clone(&entry);
            tokio::spawn(async move { work(&ui, &entry).await })
        };
        // A job whose backend panics leaves its room to others.
        let state = working.await.unwrap_or(JobState::Failed);
        let job = {
            let mut entry = lock(&entry);
            let elapsed = entry.began.map_or(Duration::ZERO, |it| it.elapsed());
            entry.job.events_per_second = rate(&entry.job, elapsed);
            entry.job.state = state;
            entry.job.waits_because = None;
            entry.job.ended_at = Some(Time::now());
            entry.job.clone()
        };
        let ended = match state {
            JobState::Done => Ok(()),
            JobState::Cancelled => Err(Problem::conflict("Cancelled")),
            JobState::Stopped => Err(Problem::unavailable("The process stopped", 1)),
            _ => Err(Problem::unavailable("The store failed too often", 1)),
        };
        // The result of the job is in its record.
        let _ = action.count(job.changed).end(ended).await;
        drop(permit);
    });
    Ok(shown)
}

/// Changes all events that match, newest first, and returns how the job ended.
async fn work(ui: &Ui, entry: &Arc<Mutex<Entry>>) -> JobState {
    let (action, filter, to, mut before) = {
        let entry = lock(entry);
        (
            entry.job.action,
            entry.filter.clone(),
            entry.to.clone(),
            entry.before,
        )
    };
    if before.is_none() {
        return JobState::Done;
    }
    let mut failures = 0;
    loop {
        // A page may have no event that matches, and there may be many such pages.
        if let Some(ended) = ended_early(ui, entry) {
            return ended;
        }
        let page = match data::scan(ui, &filter, before, data::LARGEST_PAGE).await {
            Ok(page) => page,
            Err(problem) => {
                failures += 1;
                lock(entry).job.last_error = Some(problem.detail().to_owned());
                if failures >= MAX_FAILURES {
                    return JobState::Failed;
                }
                sleep(FAILURE_PAUSE).await;
                continue;
            }
        };
        for batch in page.events.chunks(BATCH) {
            loop {
                if let Some(ended) = ended_early(ui, entry) {
                    return ended;
                }
                match change(ui, action, to.as_ref(), batch, entry).await {
                    Ok(()) => {
                        failures = 0;
                        break;
                    }
                    Err(error) => {
                        failures += 1;
                        let error = Problem::from(error);
                        lock(entry).job.last_error = Some(error.detail().to_owned());
                        if failures >= MAX_FAILURES {
                            return JobState::Failed;
                        }
                        sleep(FAILURE_PAUSE).await;
                    }
                }
            }
            sleep(PAUSE).await;
        }
        match page.next {
            // Copies end within a batch.
            None => return ended_early(ui, entry).unwrap_or(JobState::Done),
            next => before = next,
        }
        if page.events.is_empty() {
            sleep(PAUSE).await;
        }
    }
}

/// How a job ends whose work is not done: it is cancelled, or the process stops.
fn ended_early(ui: &Ui, entry: &Mutex<Entry>) -> Option<JobState> {
    if lock(entry).is_cancelled {
        Some(JobState::Cancelled)
    } else {
        ui.is_stopping().then_some(JobState::Stopped)
    }
}

/// Changes these events.
async fn change(
    ui: &Ui,
    action: JobAction,
    to: Option<&Kind>,
    events: &[EventSummary],
    entry: &Mutex<Entry>,
) -> Result<(), StoreError> {
    let refs: Vec<EventRef> = events.iter().map(|it| it.event.clone()).collect();
    let count = |changed: usize| {
        let mut entry = lock(entry);
        entry.job.changed += changed as u64;
        entry.job.skipped += (refs.len() - changed) as u64;
    };
    match action {
        JobAction::Requeue => {
            let answers = ui.admin().requeue(&refs).await?;
            let changed = answers.iter().filter(|it| **it == Requeued::Applied);
            count(changed.count());
        }
        JobAction::MakeDue => {
            let answers = ui.admin().make_due(&refs, RunningLeases::Keep).await?;
            let changed = answers.iter().filter(|it| **it == MadeDue::Applied);
            count(changed.count());
        }
        JobAction::Delete => {
            let answers = ui.admin().delete(&refs).await?;
            let changed = answers.iter().filter(|it| **it == Deleted::Applied);
            count(changed.count());
        }
        JobAction::Erase => {
            let answers = ui.admin().erase(&refs).await?;
            let changed = answers.iter().filter(|it| **it == Erased::Applied);
            count(changed.count());
        }
        JobAction::Replay => {
            for event in &refs {
                let sent = copy(ui, event, to, entry).await;
                let mut entry = lock(entry);
                match sent {
                    Ok(Copied::Sent) => entry.job.changed += 1,
                    Ok(Copied::Gone) => entry.job.skipped += 1,
                    Ok(Copied::EndedEarly) => return Ok(()),
                    Err(problem) => {
                        entry.job.errors += 1;
                        entry.job.last_error = Some(problem.detail().to_owned());
                    }
                }
            }
        }
    }
    Ok(())
}

/// What came of a copy.
enum Copied {
    Sent,
    /// There is no body to send any more.
    Gone,
    /// The job has to end before the destination takes the copy.
    EndedEarly,
}

/// Sends a copy of an event as soon as its destination takes one.
async fn copy(
    ui: &Ui,
    event: &EventRef,
    to: Option<&Kind>,
    entry: &Mutex<Entry>,
) -> Result<Copied, Problem> {
    loop {
        if ended_early(ui, entry).is_some() {
            return Ok(Copied::EndedEarly);
        }
        let record = data::record(ui, event).await?;
        if record.body_deleted {
            return Ok(Copied::Gone);
        }
        let destination = to.unwrap_or(&event.kind);
        // A pause is in the store, where workers see it. A forwarder would not.
        let is_paused = ui.admin().paused().await?.contains(destination);
        let replayed = match is_paused {
            true => Replayed::NotNow {
                reason: format!("the source {destination} is paused"),
                retry_in: LONGEST_WAIT,
            },
            false => ui.instance().replay_if_allowed(&record, to).await?,
        };
        let Replayed::NotNow { reason, retry_in } = replayed else {
            lock(entry).job.waits_because = None;
            return Ok(Copied::Sent);
        };
        lock(entry).job.waits_because = Some(reason);
        sleep(retry_in.clamp(SHORTEST_WAIT, LONGEST_WAIT)).await;
    }
}

/// Cancels a job that runs, or drops a plan.
pub(crate) async fn cancel(ui: &Ui, caller: &Caller, id: &str) -> Result<Job, Problem> {
    let entry = ui.jobs().find(caller, id)?;
    caller.check_operate()?;
    let action = Action::begin(ui, "cancel_job", caller, lock(&entry).job.filter.clone())
        .with(json!({ "job": id }));
    let result = {
        let mut entry = lock(&entry);
        match entry.shown().state {
            JobState::Planned | JobState::Expired => {
                entry.job.state = JobState::Cancelled;
                entry.job.ended_at = Some(Time::now());
                Ok(entry.shown())
            }
            JobState::Running => {
                entry.is_cancelled = true;
                Ok(entry.shown())
            }
            _ => Err(Problem::conflict("The job has ended already")),
        }
    };
    action.end(result).await
}

/// The jobs that the caller may see, the latest first.
pub(crate) fn list(ui: &Ui, caller: &Caller) -> Vec<Job> {
    let all = ui.jobs().all();
    let visible = all.iter().rev().filter_map(|it| {
        let entry = lock(it);
        is_visible(caller, &entry).then(|| entry.shown())
    });
    visible.collect()
}

/// One job.
pub(crate) fn find(ui: &Ui, caller: &Caller, id: &str) -> Result<Job, Problem> {
    let entry = ui.jobs().find(caller, id)?;
    let shown = lock(&entry).shown();
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use webhook_core::{ActionPage, Admin, Envelope, Fingerprint, Key, NewEvent, Store};
    use webhook_memory::MemoryStore;

    use super::*;

    /// A service with one PROCESSED event of the source `shop`, which is paused.
    async fn paused() -> Ui {
        let store = Arc::new(MemoryStore::default());
        let kind = Kind::from_static("shop");
        let key = Key::new("order-1").unwrap();
        let envelope = Envelope::new(kind.clone(), key, Fingerprint::of(["1"]), "1".into());
        let event = NewEvent::new(envelope, Duration::ZERO);
        store.accept(&[event]).await.unwrap();
        store.pause(&kind).await.unwrap();
        Ui::builder(store.clone(), store).build()
    }

    #[tokio::test(start_paused = true)]
    async fn copies_wait_for_a_paused_source_and_a_shutdown_ends_their_job_with_a_record() {
        let ui = paused().await;
        let caller = Caller::anonymous("test");
        let copies = JobPlan {
            action: JobAction::Replay,
            filter: Filter::default(),
            to: None,
        };
        let planned = plan(&ui, &caller, copies.clone()).await.unwrap();
        run(&ui, &caller, &planned.id, None).await.unwrap();
        sleep(10 * LONGEST_WAIT).await;
        let job = find(&ui, &caller, &planned.id).unwrap();
        assert_eq!((job.state, job.errors), (JobState::Running, 0));
        let why = job.waits_because.unwrap();
        assert_eq!(why, "the source shop is paused");
        let later = plan(&ui, &caller, copies).await.unwrap();

        ui.shutdown().await;
        let job = find(&ui, &caller, &planned.id).unwrap();
        assert_eq!((job.state, job.waits_because), (JobState::Stopped, None));
        let actions = ui
            .admin()
            .actions(&ActionPage::new(NonZeroUsize::MIN))
            .await;
        let actions = actions.unwrap();
        assert_eq!(actions[0].record.action.as_str(), "run_job");
        assert_eq!(actions[0].record.result.as_str(), "The process stopped");
        let refused = run(&ui, &caller, &later.id, None).await.unwrap_err();
        assert_eq!(refused.detail(), "The process is stopping");
        ui.shutdown().await;
    }

    #[tokio::test]
    async fn copies_to_a_destination_that_this_process_does_not_have_are_not_planned() {
        let ui = paused().await;
        let caller = Caller::anonymous("test");
        let shop = Some(Kind::from_static("shop"));
        let of_shop = Filter {
            source: shop.clone(),
            ..Filter::default()
        };
        for (filter, to) in [(of_shop.clone(), None), (Filter::default(), shop.clone())] {
            let copies = JobPlan {
                action: JobAction::Replay,
                filter,
                to,
            };
            let refused = plan(&ui, &caller, copies).await.unwrap_err();
            assert_eq!(refused.status(), http::StatusCode::CONFLICT);
            assert_eq!(refused.detail(), "This process forwards no events of shop");
        }
        let erased = JobPlan {
            action: JobAction::Erase,
            filter: of_shop,
            to: None,
        };
        assert!(plan(&ui, &caller, erased).await.is_ok());
    }

    #[test]
    fn counts_that_ended_early_are_confirmed() {
        for (count, at_least, confirmed) in [
            (0, false, false),
            (MAX_UNCONFIRMED, false, false),
            (MAX_UNCONFIRMED + 1, false, true),
            (0, true, true),
            (1, true, true),
        ] {
            let matching = Capped { count, at_least };
            assert_eq!(needs_confirmation(matching), confirmed, "{matching:?}");
        }
    }
}
