//! [`Snapshot`]: the numbers that all pages show, read once for all tabs.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout};
use webhook_core::Kind;

use super::components;
use super::destinations::Condition;
use crate::access::Caller;
use crate::model::{Capped, Destination, Failures, Job, Outage, Overview, SourceOverview, Time};
use crate::{Problem, Ui, data, jobs};

/// How old the numbers of a page may be. Streams send them every two seconds.
const MAX_AGE: Duration = Duration::from_millis(1_500);

/// How old groups of failures may be, which the store is asked for.
const FAILURES_MAX_AGE: Duration = Duration::from_secs(10);

/// How long a page waits for them, and for others that wait for them; it is shown without them then.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// A sample that is older than this is not that of now.
const STALE_SECONDS: f64 = 120.0;

/// How many sources' groups of failures are kept: a caller of one source sees only those of it.
const MAX_KEPT_FAILURES: usize = 100;

/// When groups of failures were read, by the only source that they are of.
type KeptFailures = HashMap<Option<Kind>, (Instant, Arc<Failures>)>;

/// What all visitors of the dashboard share.
#[derive(Debug, Default)]
pub(crate) struct Dashboard {
    current: Mutex<Option<(Instant, Arc<Snapshot>)>>,
    failures: tokio::sync::Mutex<KeptFailures>,
}

impl Dashboard {
    /// The latest numbers. Whoever asks first reads them for the others, from memory.
    pub(crate) fn snapshot(&self, ui: &Ui) -> Arc<Snapshot> {
        let mut current = self.current();
        if let Some((at, snapshot)) = &*current
            && at.elapsed() < MAX_AGE
        {
            return snapshot.clone();
        }
        let snapshot = Arc::new(Snapshot::read(ui));
        *current = Some((Instant::now(), snapshot.clone()));
        snapshot
    }

    fn current(&self) -> MutexGuard<'_, Option<(Instant, Arc<Snapshot>)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next page read the numbers again: an action has changed them.
    pub(crate) async fn refresh(&self) {
        *self.current() = None;
        self.failures.lock().await.clear();
    }

    /// The groups of failures of `source`, or of all sources that the caller may see, read once for all tabs.
    pub(super) async fn failures(
        &self,
        ui: &Ui,
        caller: &Caller,
        source: Option<&Kind>,
    ) -> Result<Arc<Failures>, Problem> {
        let of = match source {
            Some(source) if !caller.sees(source) => return Err(Problem::no_such_source()),
            Some(source) => Some(source),
            None => caller.source.as_ref(),
        };
        let reading = async {
            let mut kept = self.failures.lock().await;
            if let Some((at, failures)) = kept.get(&of.cloned())
                && at.elapsed() < FAILURES_MAX_AGE
            {
                return Ok(failures.clone());
            }
            let failures = Arc::new(data::failures(ui, caller, of).await?);
            if kept.len() >= MAX_KEPT_FAILURES {
                kept.clear();
            }
            kept.insert(of.cloned(), (Instant::now(), failures.clone()));
            Ok(failures)
        };
        timeout(STORE_TIMEOUT, reading).await.unwrap_or_else(|_| {
            Err(Problem::unavailable(
                "The store does not answer in time; try again",
                2,
            ))
        })
    }
}

/// Which numbers a page shows, besides those of the frame. It is loaded again only if these have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Those of all sources and destinations, and each sample of the store.
    All,
    /// How many events have failed, and each sample of the store.
    Failed,
    /// How many requests were refused.
    Refused,
    /// Those of destinations.
    Destinations,
    /// Those of jobs.
    Jobs,
}

impl Numbers {
    pub(super) const ALL: [Self; 5] = [
        Self::All,
        Self::Failed,
        Self::Refused,
        Self::Destinations,
        Self::Jobs,
    ];

    /// The name in the pages and in their stream.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Destinations => "destinations",
            Self::Jobs => "jobs",
        }
    }
}

/// What the banners of each page show.
#[derive(Serialize)]
struct Banners<'a> {
    in_memory: bool,
    outages: &'a [Outage],
    /// When the numbers were read, if that is too long ago.
    stale_since: Option<Time>,
    warnings: &'a [String],
    silent: Vec<(&'a str, Time)>,
    open: Vec<&'a str>,
    gone: Vec<(&'a str, Option<Time>)>,
}

/// The numbers that all pages show.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Of all sources and destinations: what a caller may see of it, the methods return.
    pub(super) overview: Overview,
    /// The version of [`Numbers::All`] for callers who may see all sources: many pages need it.
    whole_version: OnceLock<u64>,
}

impl Snapshot {
    pub(super) fn read(ui: &Ui) -> Self {
        Self::of(data::overview(ui, &Caller::anonymous("the dashboard")))
    }

    pub(super) const fn of(overview: Overview) -> Self {
        Self {
            overview,
            whole_version: OnceLock::new(),
        }
    }

    /// The sources that a caller may see.
    pub(super) fn sources(&self, caller: &Caller) -> impl Iterator<Item = &SourceOverview> {
        let sources = self.overview.sources.iter();
        sources.filter(|it| caller.sees_name(&it.info.name))
    }

    /// The destinations that a caller may see.
    pub(super) fn destinations(&self, caller: &Caller) -> impl Iterator<Item = &Destination> {
        let destinations = self.overview.destinations.iter();
        destinations.filter(|it| caller.sees_name(&it.source))
    }

    /// What does not work now, which all callers may see.
    pub(super) fn outages(&self) -> &[Outage] {
        &self.overview.instance.outages
    }

    /// How old the numbers of events are, in seconds, if they are not those of now.
    pub(super) fn stale_seconds(&self) -> Option<f64> {
        let age = self.overview.sampled_at?.age_seconds();
        (age > STALE_SECONDS).then_some(age)
    }

    /// How many events have failed, as text, which is empty if none has; `None` if that is not known.
    pub(super) fn failed(&self, caller: &Caller) -> Option<String> {
        self.overview.sampled_at?;
        let samples = self.sources(caller).filter_map(|it| it.sample.as_ref());
        let failed = sum(samples.map(|it| it.failed));
        Some(match failed.count {
            0 => String::new(),
            _ => components::capped(failed),
        })
    }

    /// How many events the sources have stored since the process started.
    pub(super) fn events(&self, caller: &Caller) -> u64 {
        let counts = self.sources(caller).map(|it| it.info.counts.events);
        counts.fold(0, u64::saturating_add)
    }

    /// A text that changes when the banners change that the caller may see.
    pub(super) fn banners_version(&self, caller: &Caller) -> String {
        format!("{:016x}", digest(&self.banners(caller)))
    }

    /// A text that changes when one of these numbers or a banner changes, of those that the caller may see.
    pub(super) fn version(&self, ui: &Ui, caller: &Caller, numbers: Numbers) -> String {
        let digest = match (numbers, &caller.source) {
            (Numbers::All, None) => *self
                .whole_version
                .get_or_init(|| self.digest(ui, caller, numbers)),
            _ => self.digest(ui, caller, numbers),
        };
        format!("{digest:016x}")
    }

    fn digest(&self, ui: &Ui, caller: &Caller, numbers: Numbers) -> u64 {
        let banners = self.banners(caller);
        // With each sample, pages show the store anew: counts end at limits, and may stay as they are while events change.
        let sampled_at = self.overview.sampled_at;
        let sources = self.sources(caller);
        match numbers {
            Numbers::All => {
                let sources: Vec<_> = sources.collect();
                let destinations: Vec<_> = self.destinations(caller).collect();
                digest(&(banners, sampled_at, sources, destinations))
            }
            Numbers::Failed => {
                let failed = |it: &SourceOverview| it.sample.as_ref().map(|it| it.failed);
                let failed: Vec<_> = sources.map(failed).collect();
                digest(&(banners, sampled_at, failed))
            }
            Numbers::Refused => {
                let refused: Vec<_> = sources.map(|it| it.info.counts.refused).collect();
                digest(&(banners, refused))
            }
            Numbers::Destinations => {
                let destinations: Vec<_> = self.destinations(caller).collect();
                digest(&(banners, destinations))
            }
            Numbers::Jobs => {
                let jobs: Vec<Job> = jobs::list(ui, caller);
                digest(&(banners, jobs))
            }
        }
    }

    fn banners(&self, caller: &Caller) -> Banners<'_> {
        let warnings: &[String] = match caller.source {
            None => &self.overview.instance.warnings,
            Some(_) => &[],
        };
        let silent = self.sources(caller).filter_map(|it| {
            let since = it.info.silent_since?;
            Some((&*it.info.name, since))
        });
        let to = |condition: Condition| {
            let destinations = self.destinations(caller);
            destinations.filter(move |it| Condition::of(it) == condition)
        };
        let sampled_at = self.overview.sampled_at;
        Banners {
            in_memory: self.overview.instance.in_memory,
            outages: self.outages(),
            stale_since: sampled_at.filter(|_| self.stale_seconds().is_some()),
            warnings,
            silent: silent.collect(),
            open: to(Condition::Open).map(|it| &*it.source).collect(),
            gone: to(Condition::Gone)
                .map(|it| (&*it.source, it.paused_since))
                .collect(),
        }
    }
}

/// The sum of counts that end at limits.
pub(super) fn sum(counts: impl Iterator<Item = Capped>) -> Capped {
    counts.fold(Capped::default(), |sum, next| Capped {
        count: sum.count.saturating_add(next.count),
        at_least: sum.at_least || next.at_least,
    })
}

fn digest(document: &impl Serialize) -> u64 {
    struct Write(DefaultHasher);

    impl io::Write for Write {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut write = Write(DefaultHasher::new());
    // Nothing fails that is written to a hasher.
    let _ = serde_json::to_writer(&mut write, document);
    write.0.finish()
}
