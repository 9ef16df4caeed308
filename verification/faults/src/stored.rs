//! What a database holds.

/// A stored event.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: i64,
    pub(crate) key: String,
    pub(crate) body: Vec<u8>,
    pub(crate) accepted_at_us: i64,
    pub(crate) due_at_us: i64,
    pub(crate) is_queued: bool,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) conflicts: i64,
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
