//! What a database holds.

/// A stored event.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) body: Vec<u8>,
    pub(crate) accepted_at_us: i64,
    /// When it first fell due, if the database keeps that.
    pub(crate) first_due_at_us: Option<i64>,
    pub(crate) is_queued: bool,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) conflicts: i64,
}

impl Stored {
    /// When it first fell due, if it did so `delay_us` after it was accepted.
    pub(crate) fn due_at_us(&self, delay_us: i64) -> i64 {
        let promised = self.accepted_at_us + delay_us;
        self.first_due_at_us.unwrap_or(promised)
    }
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) failed: bool,
    pub(crate) attempts: i32,
    pub(crate) fence: i64,
    pub(crate) settled_at_us: i64,
    pub(crate) reason: Option<String>,
}
