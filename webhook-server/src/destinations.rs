//! The destinations of a running server: who forwards the events of which kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::error;
use webhook_core::{Admin, Envelope, EventRecord, Kind, RawEvent};
use webhook_forward::Forwarder;

use crate::config::{Forwarding, InputsDigest};
use crate::traces::Traces;

/// The forwarders, by the kinds of their events. Each keeps its breaker and its counts when its destination changes.
pub(crate) struct Destinations {
    /// Pauses a kind for all nodes, where its destination says that it is gone.
    admin: Option<Arc<dyn Admin>>,
    traces: Option<Arc<Traces>>,
    by_kind: Mutex<BTreeMap<Kind, Running>>,
}

struct Running {
    forwarder: Forwarder,
    /// What its destination was made of.
    inputs: InputsDigest,
}

impl Destinations {
    /// No destinations yet.
    pub(crate) fn new(admin: Option<Arc<dyn Admin>>, traces: Option<Arc<Traces>>) -> Self {
        Self {
            admin,
            traces,
            by_kind: Mutex::default(),
        }
    }

    /// The forwarder of `kind`, which forwards from now on as `forwarding` says. `None` where that is impossible, which
    /// the check of the configuration should have found.
    pub(crate) fn forwarder(&self, kind: &Kind, forwarding: &Forwarding) -> Option<Forwarder> {
        let mut by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        let destination = || forwarding.destination.clone();
        let used = match by_kind.get_mut(kind) {
            Some(running) if running.inputs == forwarding.inputs => Ok(running.forwarder.clone()),
            Some(running) => running.forwarder.replace(destination()).map(|()| {
                running.inputs = forwarding.inputs;
                running.forwarder.clone()
            }),
            None => Forwarder::new(destination()).map(|forwarder| {
                let forwarder = forwarder.with_name(kind);
                let forwarder = match &self.admin {
                    Some(admin) => forwarder.with_admin(Arc::clone(admin)),
                    None => forwarder,
                };
                let forwarder = match &self.traces {
                    Some(traces) => forwarder.with_tracer(Arc::<Traces>::clone(traces)),
                    None => forwarder,
                };
                let running = Running {
                    forwarder: forwarder.clone(),
                    inputs: forwarding.inputs,
                };
                by_kind.insert(kind.clone(), running);
                forwarder
            }),
        };
        used.inspect_err(|error| {
            let error: &(dyn std::error::Error + 'static) = error;
            error!(%kind, error, "failed to use a destination; its events wait");
        })
        .ok()
    }

    /// Forgets the destinations of other kinds than those that `is_kept` names.
    pub(crate) fn retain(&self, is_kept: impl Fn(&Kind) -> bool) {
        let mut by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        by_kind.retain(|kind, _| is_kept(kind));
    }

    /// The forwarder of `kind`, if its events are forwarded.
    pub(crate) fn of(&self, kind: &Kind) -> Option<Forwarder> {
        let by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        by_kind.get(kind).map(|running| running.forwarder.clone())
    }

    /// All forwarders, in the order of their kinds.
    pub(crate) fn all(&self) -> Vec<(Kind, Forwarder)> {
        let by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        let all = by_kind.iter();
        all.map(|(kind, running)| (kind.clone(), running.forwarder.clone()))
            .collect()
    }
}

impl fmt::Debug for Destinations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(by_kind.keys()).finish()
    }
}

/// The event of a record, as its handler would get it if it had one attempt.
pub(crate) fn raw_event(record: EventRecord) -> RawEvent {
    let Envelope {
        kind,
        key,
        event_type,
        headers,
        body,
        ..
    } = record.envelope;
    RawEvent::raw(kind, body)
        .with_key(key)
        .with_event_type(event_type)
        .with_headers(headers)
        .with_accepted_at(record.accepted_at)
        .of_attempts(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn forwarding(url: &str) -> Forwarding {
        let config = Config {
            forward_url: Some(url.parse().unwrap()),
            ..Config::default()
        };
        config.forwarding().unwrap().unwrap()
    }

    #[tokio::test]
    async fn running_forwarder_takes_the_new_destination() {
        let destinations = Destinations::new(None, None);
        let kind = Kind::from_static("stripe");
        let running = destinations
            .forwarder(&kind, &forwarding("http://localhost:1/a"))
            .unwrap();
        assert_eq!(running.status().url, "http://localhost:1/a");
        destinations.forwarder(&kind, &forwarding("http://localhost:1/b"));
        assert_eq!(running.status().url, "http://localhost:1/b");
        assert_eq!(destinations.all().len(), 1);
        destinations.retain(|it| *it != kind);
        assert!(destinations.of(&kind).is_none());
    }
}
