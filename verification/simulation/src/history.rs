//! What happened, in its order.

mod show;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use webhook_core::{
    Accepted, Claim, Claimed, Envelope, EventRecord, EventRef, Extended, Kind, Lease, NewEvent,
    Settled, Settlement,
};

/// One life of a node, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(pub u64);

/// Which part of a node calls the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Its receiver.
    Inbox,
    /// Its worker for these kinds.
    Worker(Vec<Kind>),
    /// A handler, which settles its event itself.
    Handler(Kind, i64),
}

/// Names a call to the store, whenever it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId {
    /// Whose it is.
    pub life: Life,
    /// Whose in the node.
    pub part: Part,
    /// What was called.
    pub verb: Verb,
    /// Counted for each of the above, from 1.
    pub number: u64,
}

/// The methods of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "named after the methods")]
pub enum Verb {
    Accept,
    Find,
    Ping,
    Claim,
    Extend,
    Settle,
}

/// A call with its arguments.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named after the methods")]
pub enum Call {
    Accept(Vec<NewEvent>),
    Find(Vec<EventRef>),
    Ping,
    Claim(Vec<Claim>),
    Extend(Vec<Lease>, Duration),
    Settle(Vec<Settlement>),
}

impl Call {
    /// Which method it calls.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Accept(_) => Verb::Accept,
            Self::Find(_) => Verb::Find,
            Self::Ping => Verb::Ping,
            Self::Claim(_) => Verb::Claim,
            Self::Extend(..) => Verb::Extend,
            Self::Settle(_) => Verb::Settle,
        }
    }
}

/// What a store answered.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "named after the methods")]
pub enum Answer {
    Accept(Vec<Accepted>),
    Find(Vec<Option<EventRecord>>),
    Ping,
    Claim(Vec<Claimed>),
    Extend(Vec<Extended>),
    Settle(Vec<Settled>),
}

/// How a handler ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Well.
    Done,
    /// Well, its event settled by itself.
    Settled,
    /// It is to be tried again.
    Retry,
    /// It is to be tried again after this long.
    RetryAfter(Duration),
    /// It is not to be tried again.
    Reject,
    /// It panicked.
    Panic,
    /// It was dropped: its time was over, its lease lost, or its node stopped.
    Cut,
}

/// Something that happened.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are named for what they are")]
pub enum Fact {
    /// A node began a life.
    Started { node: usize, life: Life },
    /// A node died. It has no effect any more but that of calls under way.
    Crashed { life: Life },
    /// A node was told to stop.
    Stopping { life: Life, drain: Duration },
    /// It has stopped.
    Stopped { life: Life },
    /// A node's calls stand still.
    Stalled { life: Life, ticks: u64 },
    /// The clock jumped.
    Jumped { ticks: u64 },
    /// Waiting workers were woken for nothing.
    Nudged,
    /// Faults end here.
    Calm,

    /// A sender began a delivery.
    Sent {
        delivery: u64,
        life: Life,
        envelope: Envelope,
        delay: Duration,
    },
    /// It was answered.
    Told {
        delivery: u64,
        told: Result<Accepted, String>,
    },
    /// Its sender went away, or its connection broke, before an answer.
    Gone { delivery: u64 },
    /// A reader was answered.
    Read {
        event: EventRef,
        asked: usize,
        read: Result<Option<EventRecord>, String>,
    },

    /// A call came to the store.
    Called { call: CallId, what: Call },
    /// It took effect.
    Effect {
        call: CallId,
        what: Call,
        answer: Answer,
    },
    /// It was answered; an error may hide its effect.
    Replied {
        call: CallId,
        reply: Result<Answer, String>,
    },
    /// Its caller waits no longer. It may take effect yet.
    Dropped { call: CallId },
    /// It came to nothing: it never took effect, and nobody waits for it.
    Lost { call: CallId },
    /// An operator requeued a failed event.
    Requeued { event: EventRef },
    /// An operator paused a kind.
    Paused { kind: Kind },
    /// A kind was resumed: by an operator, or because faults end.
    Resumed { kind: Kind },

    /// A handler began.
    Begun {
        life: Life,
        event: EventRef,
        lease: Lease,
    },
    /// It ended.
    Ended {
        life: Life,
        event: EventRef,
        lease: Lease,
        end: End,
    },
}

/// A fact and its time.
#[derive(Clone, Debug)]
pub struct Record {
    /// Counted from the start, by the store's clock.
    pub at: Duration,
    /// What happened.
    pub fact: Fact,
}

/// Where facts are written down.
#[derive(Clone, Debug)]
pub(crate) struct History {
    started: Instant,
    records: Arc<Mutex<Vec<Record>>>,
}

impl History {
    pub(crate) fn begin() -> Self {
        Self {
            started: Instant::now(),
            records: Arc::default(),
        }
    }

    pub(crate) fn write(&self, fact: Fact) {
        let at = self.started.elapsed();
        self.lock().push(Record { at, fact });
    }

    /// How much has happened.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether any event came nearer to its end since `from`.
    pub(crate) fn progress(&self, from: usize) -> bool {
        let moved = |record: &Record| match &record.fact {
            Fact::Ended { .. } | Fact::Begun { .. } => true,
            Fact::Effect {
                answer: Answer::Settle(settled),
                ..
            } => settled.contains(&Settled::Applied),
            Fact::Effect {
                answer: Answer::Claim(claimed),
                ..
            } => claimed
                .iter()
                .any(|it| !(it.events.is_empty() && it.exhausted.is_empty())),
            _ => false,
        };
        self.lock()[from..].iter().any(moved)
    }

    pub(crate) fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.lock())
    }

    /// Puts handlers that were cut since `from`, and next to one another, in an order of their
    /// own: the core stops them in that of a hash map.
    pub(crate) fn tidy(&self, from: usize) {
        let mut records = self.lock();
        let cut = |record: &Record| match &record.fact {
            Fact::Ended {
                life,
                lease,
                end: End::Cut,
                ..
            } => Some((*life, lease.event, lease.fence)),
            _ => None,
        };
        let mut rest = &mut records[from..];
        while !rest.is_empty() {
            let length = rest.iter().take_while(|it| cut(it).is_some()).count();
            rest[..length].sort_by_key(cut);
            rest = &mut rest[length.max(1)..];
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Record>> {
        self.records
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}
