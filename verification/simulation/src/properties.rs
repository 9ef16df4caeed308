//! The promises, each as a property of the history and of the store's final state.

mod answered;
mod bounded;
mod conflict;
mod drained;
mod durable;
mod early;
mod fenced;
mod honest;
mod kept;
mod limits;
mod once;
mod paused;
mod seen;
mod stopped;
mod stuck;
mod terminal;

use std::fmt;

use webhook_core::EventRef;

use crate::Run;
use crate::ledger::{Ledger, Line, Model};

/// A property that does not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Its name, which is that of its file.
    pub property: &'static str,
    /// The index of the fact that violates it.
    pub line: Option<usize>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.what)?;
        match self.line {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}

/// A violation that a check has found.
struct Wrong {
    line: Option<usize>,
    what: String,
}

type Check = fn(&Run, &Ledger) -> Result<(), Wrong>;

const ALL: [(&str, Check); 16] = [
    ("durable", durable::check),
    ("answered", answered::check),
    ("once", once::check),
    ("conflict", conflict::check),
    ("seen", seen::check),
    ("early", early::check),
    ("paused", paused::check),
    ("fenced", fenced::check),
    ("stopped", stopped::check),
    ("drained", drained::check),
    ("honest", honest::check),
    ("bounded", bounded::check),
    ("kept", kept::check),
    ("terminal", terminal::check),
    ("limits", limits::check),
    ("stuck", stuck::check),
];

/// Returns every property that does not hold.
pub(crate) fn violations(run: &Run) -> Vec<Violation> {
    let ledger = Ledger::of(&run.history);
    let broken = ALL.iter().filter_map(|(property, check)| {
        let Wrong { line, what } = check(run, &ledger).err()?;
        Some(Violation {
            property,
            line,
            what,
        })
    });
    broken.collect()
}

fn wrong(line: usize, what: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong {
        line: Some(line),
        what: what.into(),
    })
}

fn wrong_in_the_end(what: impl Into<String>) -> Result<(), Wrong> {
    Err(Wrong {
        line: None,
        what: what.into(),
    })
}

/// Checks each step of every event against the state that the event had to have before it.
fn each(
    ledger: &Ledger,
    mut check: impl FnMut(&EventRef, &Model, &Line) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    for (event, lines) in &ledger.events {
        let mut model = Model::default();
        for line in lines {
            check(event, &model, line)?;
            model.step(line);
        }
    }
    Ok(())
}
