//! Work on many events, in short statements.

/// How many events one statement changes, so that each is short and the next may begin anew.
const STATEMENT: usize = 1_000;

/// Statements that change events until a limit is reached or there are no more.
pub(super) struct Batches {
    left: usize,
    changed: usize,
}

impl Batches {
    pub(super) fn up_to(limit: usize) -> Self {
        Self {
            left: limit,
            changed: 0,
        }
    }

    /// The most that the next statement may change; `None` where none is to follow.
    pub(super) fn next(&self) -> Option<i64> {
        let most = STATEMENT.min(self.left);
        (most > 0).then(|| i64::try_from(most).unwrap_or(i64::MAX))
    }

    /// Notes how many events a statement has changed that was allowed `most`.
    pub(super) fn note(&mut self, count: i64, most: i64) {
        let changed = usize::try_from(count).unwrap_or(0);
        self.changed += changed;
        self.left = if count < most {
            0
        } else {
            self.left.saturating_sub(changed)
        };
    }

    /// How many events were changed.
    pub(super) fn changed(&self) -> usize {
        self.changed
    }
}
