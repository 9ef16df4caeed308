//! Jobs: plan → run → progress → cancel, for actions on all events that match a filter.

use webhook_core::Kind;

use crate::access::Caller;
use crate::filter::Filter;
use crate::model::{Job, JobAction};
use crate::{Problem, Ui};

/// With more events than this, a job has to be confirmed by their number.
pub(crate) const MAX_UNCONFIRMED: u64 = 100;

/// The jobs of a [`Ui`], in memory.
#[derive(Debug, Default)]
pub(crate) struct Jobs(());

/// What a job is to do.
#[derive(Clone, Debug)]
pub(crate) struct JobPlan {
    pub(crate) action: JobAction,
    pub(crate) filter: Filter,
    /// The source whose destination gets copies; `None` for that of each event.
    pub(crate) to: Option<Kind>,
}

/// Counts the events that match, and keeps the plan for a minute.
pub(crate) async fn plan(_ui: &Ui, caller: &Caller, plan: JobPlan) -> Result<Job, Problem> {
    caller.check_operate()?;
    let JobPlan { .. } = plan;
    Err(Problem::not_offered("Jobs are not offered"))
}

/// Runs a planned job. `confirmed` is the number of events that the operator typed, which a job over more than
/// [`MAX_UNCONFIRMED`] needs.
pub(crate) async fn run(
    ui: &Ui,
    caller: &Caller,
    id: &str,
    _confirmed: Option<u64>,
) -> Result<Job, Problem> {
    caller.check_operate()?;
    find(ui, caller, id)
}

/// Cancels a job that runs, or drops a plan.
pub(crate) async fn cancel(ui: &Ui, caller: &Caller, id: &str) -> Result<Job, Problem> {
    caller.check_operate()?;
    find(ui, caller, id)
}

/// The jobs that the caller may see, the latest first.
pub(crate) fn list(_ui: &Ui, _caller: &Caller) -> Vec<Job> {
    Vec::new()
}

/// One job.
pub(crate) fn find(ui: &Ui, caller: &Caller, id: &str) -> Result<Job, Problem> {
    let jobs = list(ui, caller).into_iter();
    let mut jobs = jobs.filter(|job| job.id == id);
    jobs.next().ok_or_else(Problem::no_such_job)
}
