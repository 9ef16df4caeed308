//! The same interface as with the feature `metrics`. Every method does nothing.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::error::{Error, StoreError};
use crate::event::Kind;
use crate::scheduler::{Attempt, Outcome};
use crate::store::{Accepted, NewEvent};

pub(crate) struct Timer;

impl Timer {
    pub(crate) const fn start() -> Self {
        Self
    }
}

pub(crate) struct StoreCalls;

impl StoreCalls {
    pub(crate) const fn ended<T>(&self, _: &Timer, _: &Result<T, StoreError>) {}

    pub(crate) const fn timed_out(&self, _: &Timer) {}
}

pub(crate) struct InboxMeasures {
    pub(crate) accept: StoreCalls,
    pub(crate) find: StoreCalls,
}

impl InboxMeasures {
    pub(crate) const fn new() -> Self {
        Self {
            accept: StoreCalls,
            find: StoreCalls,
        }
    }

    pub(crate) const fn of_kind(&self, _: &Kind) -> Received {
        Received
    }

    pub(crate) const fn flushed(&self, _: usize, _: &Timer) {}

    pub(crate) const fn stored(&self, _: &[NewEvent], _: &[Accepted]) {}
}

#[derive(Clone)]
pub(crate) struct Received;

impl Received {
    pub(crate) const fn refused(&self, _: &Error) {}
}

pub(crate) struct QueueMeasures;

impl QueueMeasures {
    pub(crate) const fn new(_: &'static str, _: Option<usize>, _: usize, _: usize) -> Self {
        Self
    }

    pub(crate) const fn queued(&self, _: u32) -> Queued {
        Queued
    }
}

pub(crate) struct Queued;

pub(crate) struct WorkerCalls {
    pub(crate) claim: StoreCalls,
    pub(crate) extend: StoreCalls,
    pub(crate) settle: StoreCalls,
}

impl WorkerCalls {
    pub(crate) const fn new() -> Self {
        Self {
            claim: StoreCalls,
            extend: StoreCalls,
            settle: StoreCalls,
        }
    }
}

pub(crate) struct WorkerMeasures;

impl WorkerMeasures {
    pub(crate) const fn new(_: &Kind, _: usize) -> Self {
        Self
    }

    pub(crate) const fn run(&self) -> Running {
        Running
    }

    pub(crate) const fn started(&self, _: Duration) {}

    pub(crate) const fn ended(&self, _: Duration) {}

    pub(crate) const fn settled(&self, _: &Outcome, _: Attempt, _: NonZeroU32, _: &Age) {}

    pub(crate) const fn lost(&self) {}

    pub(crate) const fn exhausted(&self, _: usize) {}
}

pub(crate) struct Running;

#[derive(Clone, Copy)]
pub(crate) struct Age;

impl Age {
    pub(crate) const fn at_claim(_: Duration) -> Self {
        Self
    }
}

pub(crate) struct PruneMeasures {
    pub(crate) calls: StoreCalls,
}

impl PruneMeasures {
    pub(crate) const fn new(_: &Kind) -> Self {
        Self { calls: StoreCalls }
    }

    pub(crate) const fn events(&self, _: usize) {}

    pub(crate) const fn bodies(&self, _: usize) {}
}
