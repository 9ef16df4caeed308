//! Once faults end, every event ends without help.

use webhook_core::State;

use super::{Wrong, wrong_in_the_end};
use crate::Run;
use crate::ledger::Ledger;

pub(super) fn check(run: &Run, _: &Ledger) -> Result<(), Wrong> {
    let open = run.listed.iter().find(|it| it.state == State::Processing);
    if let Some(record) = open {
        let key = &record.event.key;
        return wrong_in_the_end(format!("{key} of {} is stuck", record.event.kind));
    }
    if !run.finished {
        return wrong_in_the_end("calls or senders are stuck");
    }
    Ok(())
}
