//! The history of a run: what happened, in order.

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
    /// The inbox.
    Inbox,
    /// The worker of these kinds.
    Worker(Vec<Kind>),
    /// A handler of this kind and event that settles the event itself.
    Handler(Kind, i64),
}

/// Identifies a call to the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId {
    /// The life of the node that called.
    pub life: Life,
    /// The part of the node that called.
    pub part: Part,
    /// The partition that it called; `None` if there are none, or if the call is for several.
    pub partition: Option<usize>,
    /// The method that was called.
    pub verb: Verb,
    /// The number of the call among those of the same life, part, partition and method, from 1.
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
    /// Returns the method that it calls.
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

/// The answer of a store.
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
    /// The handler succeeded.
    Done,
    /// The handler succeeded, and settled its event itself.
    Settled,
    /// The handler asked for a retry.
    Retry,
    /// The handler asked for a retry after this time.
    RetryAfter(Duration),
    /// The handler rejected the event.
    Reject,
    /// The handler panicked.
    Panic,
    /// The handler was dropped: it timed out, its lease was lost, or its node stopped.
    Cut,
}

/// Something that happened.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are named for what they are")]
pub enum Fact {
    /// A node began a life.
    Started { node: usize, life: Life },
    /// A node crashed. Only its pending calls may still have an effect.
    Crashed { life: Life },
    /// A node was told to stop.
    Stopping { life: Life, drain: Duration },
    /// The node has stopped.
    Stopped { life: Life },
    /// The calls of a node make no progress for some ticks.
    Stalled { life: Life, ticks: u64 },
    /// The clock jumped.
    Jumped { ticks: u64 },
    /// A partition is down, or does not answer, for some ticks.
    Outage {
        partition: usize,
        hangs: bool,
        ticks: u64,
    },
    /// All waiting workers were woken without a reason.
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
    /// The delivery was answered.
    Told {
        delivery: u64,
        told: Result<Accepted, String>,
    },
    /// The sender disconnected before it got an answer.
    Gone { delivery: u64 },
    /// A reader was answered.
    Read {
        event: EventRef,
        asked: usize,
        read: Result<Option<EventRecord>, String>,
    },

    /// A call reached the store.
    Called { call: CallId, what: Call },
    /// The call took effect.
    Effect {
        call: CallId,
        what: Call,
        answer: Answer,
    },
    /// The call was answered. An error does not mean that it had no effect.
    Replied {
        call: CallId,
        reply: Result<Answer, String>,
    },
    /// The caller no longer waits. The call may still take effect.
    Dropped { call: CallId },
    /// The call was lost: it has no effect, and nobody waits for it.
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
    /// The handler ended.
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
    /// The time since the start, by the store's clock.
    pub at: Duration,
    /// What happened.
    pub fact: Fact,
}

/// Records facts.
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

    /// Returns the number of facts.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns whether any event has made progress since `from`.
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

    /// Sorts adjacent handlers that were dropped since `from`: the core drops them in the order of
    /// a hash map, which differs from run to run.
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
