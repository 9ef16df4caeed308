//! What is done to both backends.

use proptest::collection::vec;
use proptest::prelude::*;

/// One operation, on names that both backends know.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Accept(Vec<Delivery>),
    Claim {
        kind: usize,
        limit: usize,
        lease: Length,
        max_attempts: u32,
    },
    Extend {
        leases: Vec<usize>,
        lease: Length,
    },
    Settle(Vec<(usize, End)>),
    Requeue(Name),
    Delete(Name),
    Erase(Name),
    /// One event, so that nothing falls due at the same instant as anything else.
    MakeDue {
        name: Name,
        times: usize,
        ends_leases: bool,
    },
    Prune {
        kind: usize,
        failed: bool,
        older_than: Length,
    },
    DeleteBodies {
        kind: usize,
        older_than: Length,
    },
    Pause(usize),
    Resume(usize),
}

#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) name: Name,
    pub(crate) content: u8,
    pub(crate) delay: Length,
    pub(crate) requeues: bool,
    pub(crate) guard: Option<u8>,
    pub(crate) event_type: Option<u8>,
}

/// A kind and a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) kind: usize,
    pub(crate) key: usize,
}

/// How many kinds there are, and how many keys of each.
pub(crate) const KINDS: usize = 2;
pub(crate) const KEYS: usize = 4;

/// How many event types there are, and how many guards.
pub(crate) const TYPES: u8 = 3;

/// How long something lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// It is over at once.
    Moment,
    Hour,
}

/// How an attempt is settled.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Processed,
    Failed,
    Retry(Length),
    Release,
    Postpone(Length),
}

pub(crate) fn sequences() -> impl Strategy<Value = Vec<Operation>> {
    vec(operation(), 1..40)
}

fn operation() -> impl Strategy<Value = Operation> {
    // A lease is named by its place among all that were ever given out, the latest first.
    let lease = 0..6_usize;
    prop_oneof![
        4 => vec(delivery(), 1..6).prop_map(Operation::Accept),
        5 => (kind(), 1..5_usize, length(), 1..4_u32).prop_map(|(kind, limit, lease, max_attempts)| {
            Operation::Claim { kind, limit, lease, max_attempts }
        }),
        2 => (vec(lease.clone(), 1..4), length())
            .prop_map(|(leases, lease)| Operation::Extend { leases, lease }),
        5 => vec((lease, end()), 1..4).prop_map(Operation::Settle),
        1 => name().prop_map(Operation::Requeue),
        1 => name().prop_map(Operation::Delete),
        1 => name().prop_map(Operation::Erase),
        2 => (name(), 1..3_usize, any::<bool>())
            .prop_map(|(name, times, ends_leases)| Operation::MakeDue { name, times, ends_leases }),
        1 => (kind(), any::<bool>(), length())
            .prop_map(|(kind, failed, older_than)| Operation::Prune { kind, failed, older_than }),
        1 => (kind(), length()).prop_map(|(kind, older_than)| Operation::DeleteBodies { kind, older_than }),
        1 => kind().prop_map(Operation::Pause),
        2 => kind().prop_map(Operation::Resume),
    ]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let one_of_few = || prop_oneof![2 => Just(None), 1 => (0..TYPES).prop_map(Some)];
    let delivery = (
        name(),
        0..3_u8,
        length(),
        any::<bool>(),
        one_of_few(),
        one_of_few(),
    );
    delivery.prop_map(
        |(name, content, delay, requeues, guard, event_type)| Delivery {
            name,
            content,
            delay,
            requeues,
            guard,
            event_type,
        },
    )
}

fn name() -> impl Strategy<Value = Name> {
    (kind(), 0..KEYS).prop_map(|(kind, key)| Name { kind, key })
}

fn kind() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0), 1 => Just(1)]
}

fn length() -> impl Strategy<Value = Length> {
    prop_oneof![3 => Just(Length::Moment), 1 => Just(Length::Hour)]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        2 => Just(End::Processed),
        2 => Just(End::Failed),
        2 => length().prop_map(End::Retry),
        1 => Just(End::Release),
        1 => length().prop_map(End::Postpone),
    ]
}
