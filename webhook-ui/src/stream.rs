//! Streams of server-sent events: what changed, for pages that stay open.
//!
//! Each topic is computed at most once in two seconds for all streams with the same rights, however many there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::access::Caller;
use crate::{Problem, Ui, UiBody, data, jobs};

/// How often a topic is looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// After how long without news a comment shows that the stream is alive. A client that is gone is noticed when it is
/// sent something, so this is also how long it keeps its place.
const HEARTBEAT: Duration = Duration::from_secs(4);

/// How many streams may be open.
const MAX_STREAMS: usize = 256;

/// How many of them one token and its sessions may have, so that others can open some. A browser that goes from
/// page to page leaves a stream behind on each.
pub(crate) const MAX_STREAMS_OF_TOKEN: usize = 128;

/// How long a client may take to read what it was sent.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How many samples are kept: one for each topic and source that is streamed.
const MAX_SAMPLES: usize = 1_000;

/// What a stream is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    /// The document of `GET /v1/operator/overview`.
    Overview,
    /// The jobs, as in `GET /v1/operator/jobs`.
    Jobs,
    /// How many events the sources have accepted since the process started, to tell that there are new ones.
    Events,
    /// Whether the pages of the dashboard or their banners have to be loaded again, and the numbers of their frame.
    #[cfg(feature = "dashboard")]
    Page,
}

impl Topic {
    /// The topics of `GET /v1/operator/stream`.
    pub(crate) const ALL: [Self; 3] = [Self::Overview, Self::Jobs, Self::Events];

    /// The name of the topic, and of its events.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Jobs => "jobs",
            Self::Events => "events",
            #[cfg(feature = "dashboard")]
            Self::Page => "page",
        }
    }

    /// Parses names with commas between them.
    pub(crate) fn parse_list(text: &str) -> Option<Vec<Self>> {
        let mut topics = Vec::new();
        for name in text.split(',') {
            let topic = Self::ALL.into_iter().find(|it| it.as_str() == name)?;
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        Some(topics)
    }

    fn compute(self, ui: &Ui, caller: &Caller) -> String {
        let document = match self {
            Self::Overview => serde_json::to_string(&data::overview(ui, caller)),
            Self::Jobs => serde_json::to_string(&jobs::list(ui, caller)),
            Self::Events => serde_json::to_string(&Accepted::of(ui, caller)),
            #[cfg(feature = "dashboard")]
            Self::Page => serde_json::to_string(&crate::dashboard::page_document(ui, caller)),
        };
        document.unwrap_or_else(|_| "null".to_owned())
    }
}

/// How many events were accepted since the process started.
#[derive(Serialize)]
struct Accepted {
    accepted: u64,
    by_source: Vec<(String, u64)>,
}

impl Accepted {
    fn of(ui: &Ui, caller: &Caller) -> Self {
        let sources = ui.instance().sources().into_iter();
        let visible = sources.filter(|it| caller.sees_name(&it.name));
        let by_source: Vec<_> = visible.map(|it| (it.name, it.counts.events)).collect();
        Self {
            accepted: by_source.iter().map(|(_, events)| events).sum(),
            by_source,
        }
    }
}

/// How many events the sources have accepted that the caller may see, since the process started.
#[cfg(feature = "dashboard")]
pub(crate) fn accepted(ui: &Ui, caller: &Caller) -> u64 {
    Accepted::of(ui, caller).accepted
}

/// The open streams of a [`Ui`], and the latest samples.
#[derive(Debug)]
pub(crate) struct Streams {
    room: Arc<Semaphore>,
    /// How many streams each token has, by its digest; `None` for callers without one.
    by_token: Arc<Mutex<HashMap<Option<[u8; 32]>, usize>>>,
    samples: Mutex<Samples>,
}

/// The latest samples, by their topics and the only sources that they are of.
#[derive(Debug, Default)]
struct Samples {
    latest: HashMap<(Topic, Option<String>), Sample>,
    /// The number of the last text that differed from the one before. None is used again, also if samples are forgotten.
    number: u64,
}

#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    number: u64,
    text: Arc<str>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(MAX_STREAMS)),
            by_token: Arc::default(),
            samples: Mutex::default(),
        }
    }
}

impl Streams {
    /// Takes the place of a stream of `caller`.
    fn enter(&self, caller: &Caller) -> Result<Place, Problem> {
        let permit = Arc::clone(&self.room).try_acquire_owned();
        let permit =
            permit.map_err(|_| Problem::unavailable("Too many streams; close another tab", 15))?;
        let token = caller.token_digest;
        let mut by_token = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        let open = by_token.entry(token).or_default();
        if *open >= MAX_STREAMS_OF_TOKEN {
            return Err(Problem::unavailable(
                "Too many streams of this token; close another tab",
                15,
            ));
        }
        *open += 1;
        Ok(Place {
            token,
            by_token: Arc::clone(&self.by_token),
            _permit: permit,
        })
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of an open stream.
#[derive(Debug)]
struct Place {
    token: Option<[u8; 32]>,
    by_token: Arc<Mutex<HashMap<Option<[u8; 32]>, usize>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_token = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = by_token.get_mut(&self.token) {
            *open -= 1;
            if *open == 0 {
                by_token.remove(&self.token);
            }
        }
    }
}

/// The latest sample of a topic for callers with these rights, computed anew if it is old.
fn sample(ui: &Ui, caller: &Caller, topic: Topic) -> Sample {
    let source = caller.source.as_ref().map(ToString::to_string);
    let key = (topic, source);
    let now = Instant::now();
    // The lock is held meanwhile: others need the same sample. Nothing in it waits.
    let mut samples = ui.streams().samples();
    let former = samples.latest.get(&key);
    if let Some(sample) = former.filter(|it| now.duration_since(it.at) < INTERVAL / 2) {
        return sample.clone();
    }
    let text: Arc<str> = topic.compute(ui, caller).into();
    let number = match former {
        Some(sample) if sample.text == text => sample.number,
        _ => {
            samples.number += 1;
            samples.number
        }
    };
    let sample = Sample {
        at: now,
        number,
        text,
    };
    if samples.latest.len() >= MAX_SAMPLES {
        samples.latest.clear();
    }
    samples.latest.insert(key, sample.clone());
    sample
}

/// Begins a stream. It ends when the process stops, or when `is_allowed` says that its caller lost access.
pub(crate) fn open(
    ui: &Ui,
    caller: Caller,
    topics: Vec<Topic>,
    is_allowed: impl Fn(&Ui) -> bool + Send + 'static,
) -> Result<UiBody, Problem> {
    let place = ui.streams().enter(&caller)?;
    let (sender, body) = UiBody::streamed();
    tokio::spawn(run(ui.clone(), caller, topics, is_allowed, sender, place));
    Ok(body)
}

async fn run(
    ui: Ui,
    caller: Caller,
    topics: Vec<Topic>,
    is_allowed: impl Fn(&Ui) -> bool,
    sender: mpsc::Sender<Bytes>,
    _place: Place,
) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent: HashMap<Topic, u64> = HashMap::new();
    let mut last_sent = Instant::now();
    // How long a browser waits before it connects again.
    let mut text = String::from("retry: 3000\n\n");
    loop {
        tokio::select! {
            () = sender.closed() => return,
            _ = ticks.tick() => {}
        }
        if ui.is_stopping() || !is_allowed(&ui) {
            return;
        }
        for topic in &topics {
            let sample = sample(&ui, &caller, *topic);
            if sent.insert(*topic, sample.number) == Some(sample.number) {
                continue;
            }
            let name = topic.as_str();
            // JSON has no line breaks.
            text.push_str(&format!(
                "event: {name}\nid: {name}-{}\ndata: {}\n\n",
                sample.number, sample.text
            ));
        }
        if text.is_empty() && last_sent.elapsed() >= HEARTBEAT {
            text.push_str(": alive\n\n");
        }
        if text.is_empty() {
            continue;
        }
        let piece = Bytes::from(std::mem::take(&mut text));
        match timeout(READ_TIMEOUT, sender.send(piece)).await {
            Ok(Ok(())) => last_sent = Instant::now(),
            // The client is gone, or does not read.
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use webhook_memory::MemoryStore;

    use super::*;
    use crate::filter::Filter;
    use crate::jobs::JobPlan;
    use crate::model::JobAction;
    use crate::tokens::Scope;

    /// A stream sends what has another number than what it has sent.
    #[tokio::test(start_paused = true)]
    async fn a_change_has_another_number_although_samples_are_forgotten() {
        let store = Arc::new(MemoryStore::default());
        let ui = Ui::builder(store.clone(), store).build();
        let ana = Caller::with_token("ana", Scope::Operate, [1; 32]);
        let before = sample(&ui, &ana, Topic::Jobs);
        {
            let latest = &mut ui.streams().samples().latest;
            for number in 0..MAX_SAMPLES {
                latest.insert((Topic::Jobs, Some(number.to_string())), before.clone());
            }
        }
        sample(&ui, &ana, Topic::Events);
        let plan = JobPlan {
            action: JobAction::Requeue,
            filter: Filter::default(),
            to: None,
        };
        jobs::plan(&ui, &ana, plan).await.unwrap();
        tokio::time::advance(INTERVAL).await;
        let after = sample(&ui, &ana, Topic::Jobs);
        assert_ne!(after.text, before.text);
        assert_ne!(after.number, before.number);
    }

    #[test]
    fn one_token_cannot_take_the_streams_of_others() {
        let streams = Streams::default();
        let caller = |digest| Caller::with_token("ana", Scope::Read, [digest; 32]);
        let enter = |digest| streams.enter(&caller(digest));
        let open: Vec<_> = (0..MAX_STREAMS_OF_TOKEN)
            .map(|_| enter(1).unwrap())
            .collect();
        assert_eq!(enter(1).unwrap_err().status().as_u16(), 503);
        let others: Vec<_> = (0..MAX_STREAMS_OF_TOKEN)
            .map(|_| enter(2).unwrap())
            .collect();
        assert_eq!(enter(3).unwrap_err().status().as_u16(), 503, "in all");
        drop((open, others));
        assert!(enter(1).is_ok() && enter(3).is_ok());
        assert!(streams.by_token.lock().unwrap().is_empty());
    }
}
