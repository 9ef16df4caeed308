//! Destinations that do badly in every way at the same time, and a server that dies before it knows
//! that an event was delivered.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use rustix::process::Signal;
use testkit::wait::Limit;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::behaviour::Behaviour;
use crate::book::{Book, Content, body};
use crate::destination::{Authority, Conduct, Destination, SIGNING_KEY};
use crate::http::{Client, post_to};
use crate::reconcile::Tally;
use crate::rig::{DELAY, Rig, Run};

/// The name of the destination that always does well.
const WELL: &str = "well";

/// The name of the destination that moves to another address.
const MOVED: &str = "moved";

/// The destinations, and what they do.
const DESTINATIONS: [(&str, Conduct); 11] = [
    (WELL, Conduct::Well),
    ("killed", Conduct::Killed),
    (MOVED, Conduct::Killed),
    ("stalled", Conduct::Stalled),
    ("slow", Conduct::Slow),
    ("reset", Conduct::Reset),
    ("huge", Conduct::Huge),
    ("many-headers", Conduct::ManyHeaders),
    ("garbage", Conduct::Garbage),
    ("expired", Conduct::Expired),
    ("vanishing", Conduct::Vanishing),
];

/// The number of attempts at an event. Every attempt while a destination does badly may fail.
const ATTEMPTS: u32 = 100;

/// From this length on, a run waits until circuit breakers close by themselves, for up to twice the
/// time that the destinations did badly, or for the first half-minute. In shorter runs, a reload
/// with other URLs closes them.
const LONG_SECONDS: f64 = 20.0;

/// The time limit until all events are delivered.
const DELIVERY_LIMIT: Duration = Duration::from_secs(300);

/// The time limit until a destination has shown how it does.
const NOTICE_LIMIT: Duration = Duration::from_secs(60);

/// The most memory that the server may ever use, in bytes. A debug build without load uses 60 MB;
/// one answer of 1 GiB is more than this.
const MAX_MEMORY_BYTES: u64 = 256 << 20;

/// How long a server takes to settle an event.
const SETTLED_WITHIN: Duration = Duration::from_millis(50);

/// How many keys there are for the events of one destination.
const KEYS: u64 = 100_000;

/// All destinations but one do badly at the same time. That one must get its events meanwhile, and
/// the others afterwards.
pub(super) async fn destinations<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    let authority = Authority::new()?;
    let mut destinations = Vec::new();
    for (name, conduct) in DESTINATIONS {
        let authority = (conduct == Conduct::Expired).then_some(&authority);
        destinations.push(Destination::start(name, authority)?);
    }
    let mut rig = forwarding::<B>(&run, &destinations, &authority).await?;
    let load = Load::start(&rig, &destinations);
    rig.about_during(0.2).await;
    for (destination, (_, conduct)) in destinations.iter().zip(DESTINATIONS) {
        destination.behave(conduct);
    }
    rig.during(0.6).await;
    for (destination, (_, conduct)) in destinations.iter().zip(DESTINATIONS) {
        shows(&rig, destination, conduct).await?;
    }
    others_go_on(&rig).await?;

    for (destination, (name, _)) in destinations.iter_mut().zip(DESTINATIONS) {
        if name == MOVED {
            destination.move_away()?;
        }
        destination.behave(Conduct::Well);
    }
    let healed = Instant::now();
    let is_long = run.seconds >= LONG_SECONDS;
    let version = |name: &str| u32::from(!is_long || name == MOVED);
    configure(&rig, &destinations, version)?;
    rig.nodes[0].signal(Signal::HUP);
    logs(&rig, &["sources reloaded"]).await?;
    rig.during(0.2).await;
    load.finish().await?;
    if !is_long {
        // After a time-out, an event waits for a minute.
        let late = ["make-due", "--all", "--due-in-more-than", "5s", "--kind"];
        let arguments = [&late[..], &["stalled"]].concat();
        let ended = rig.server(&arguments, &[]).await?;
        ensure!(ended.code == Some(0), "make-due failed: {}", ended.log);
    }
    judge(rig, &destinations, healed).await
}

/// The server is killed when its destination has answered, before the server can settle the event,
/// and in turns while it waits for an answer.
pub(super) async fn killed<B: Backend>(run: Run) -> anyhow::Result<Tally> {
    let destinations = [Destination::start(WELL, None)?];
    let [destination] = &destinations;
    let mut rig = forwarding::<B>(&run, &destinations, &Authority::new()?).await?;
    let load = Load::start(&rig, &destinations);
    let mut kills = 0;
    let end = Instant::now() + Duration::from_secs_f64(run.seconds);
    let limit = Limit::of(DELIVERY_LIMIT);
    // A server that settles faster than it is killed has lost nothing, which is no fault.
    while Instant::now() < end || kills < 2 || repeated(&destinations) == 0 {
        ensure!(
            !limit.is_reached(),
            "no event was delivered twice after {kills} kills: {}",
            rig.last_words()
        );
        let starts = rig.nodes[0].starts();
        if kills % 2 == 0 {
            let mut answered = destination.answered();
            timeout(NOTICE_LIMIT, answered.changed())
                .await
                .with_context(|| format!("nothing is delivered: {}", rig.last_words()))??;
        } else {
            destination.received().while_ill = 0;
            destination.behave(Conduct::Stalled);
            shows(&rig, destination, Conduct::Stalled).await?;
            // A server that settled the event already would have time for it.
            sleep(SETTLED_WITHIN).await;
        }
        rig.nodes[0].signal(Signal::KILL);
        kills += 1;
        rig.nodes[0].started(starts + 1).await?;
        destination.behave(Conduct::Well);
        rig.ready().await?;
        let pause = rig.random.random_range(100..700);
        sleep(Duration::from_millis(pause)).await;
    }
    rig.notes.push(format!("{kills} kills"));
    let healed = Instant::now();
    load.finish().await?;
    judge(rig, &destinations, healed).await
}

/// Starts `webhook-server` with a source for each destination.
async fn forwarding<B: Backend>(
    run: &Run,
    destinations: &[Destination],
    authority: &Authority,
) -> anyhow::Result<Rig<B>> {
    let mut rig = Rig::<B>::new(run).await?;
    rig.keeps_ledger = false;
    rig.max_attempts = ATTEMPTS;
    std::fs::write(rig.folder.path().join("ca.pem"), authority.pem())?;
    configure(&rig, destinations, |_| 0)?;
    let mut setup = rig.setup();
    setup.program.clone_from(&run.tools.server);
    let file = rig.folder.path().join("webhook.toml");
    setup.variables.extend([
        ("CONFIG_FILE", file.display().to_string()),
        ("FORWARD_SECRETS", SIGNING_KEY.to_owned()),
    ]);
    rig.start(setup)?;
    rig.ready().await?;
    Ok(rig)
}

/// Writes the configuration, with URLs of these versions.
fn configure<B: Backend>(
    rig: &Rig<B>,
    destinations: &[Destination],
    version: impl Fn(&str) -> u32,
) -> anyhow::Result<()> {
    let mut text = String::new();
    for destination in destinations {
        let Destination { name, .. } = destination;
        let url = destination.url(version(name));
        // A source does not say whether a delivery is new: to the senders' book, each is one more
        // of its event.
        write!(
            text,
            "[sources.{name}]\n\
             scheme = \"none\"\n\
             id = \"json:/transaction_id\"\n\
             delay = \"{} ms\"\n\
             concurrency = 8\n\
             answer = {{ status = 202, content_type = \"application/json\", \
             body = '{{\"status\":\"DUPLICATE\"}}' }}\n\
             [sources.{name}.forward]\n\
             url = \"{url}\"\n\
             timeout = \"2s\"\n\
             ca = \"ca.pem\"\n\
             schedule = {{ first = \"300ms\", factor = 1, attempts = {ATTEMPTS} }}\n\n",
            DELAY.as_millis(),
        )?;
    }
    std::fs::write(rig.folder.path().join("webhook.toml"), text)?;
    Ok(())
}

/// Senders of events to all sources.
struct Load {
    stop: CancellationToken,
    senders: JoinSet<()>,
}

impl Load {
    fn start<B: Backend>(rig: &Rig<B>, destinations: &[Destination]) -> Self {
        let stop = CancellationToken::new();
        let mut senders = JoinSet::new();
        let each = Duration::from_secs_f64(1.0 / rig.run.rate);
        let count = u32::try_from(destinations.len()).unwrap_or(u32::MAX);
        for (index, destination) in (0..).zip(destinations) {
            senders.spawn(send(
                rig.nodes[0].addr,
                Arc::clone(&rig.book),
                destination.name,
                keys_of(index),
                each * count,
                stop.clone(),
            ));
        }
        Self { stop, senders }
    }

    /// Lets every sender finish its current delivery.
    async fn finish(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.senders.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// The keys of the events of a destination.
fn keys_of(index: u64) -> impl Iterator<Item = String> + Send {
    let first = index * KEYS;
    (first..first + KEYS).map(|number| Behaviour::Well.key(number))
}

/// Delivers events to a source, one each `period`, each until it is acknowledged or the load ends.
async fn send(
    node: SocketAddr,
    book: Arc<Book>,
    source: &'static str,
    keys: impl Iterator<Item = String>,
    period: Duration,
    stop: CancellationToken,
) {
    let path = format!("/v1/webhooks/{source}");
    let mut turns = interval(period);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut client = None;
    for key in keys {
        let request = post_to(&path, &body(&key, Content::Own));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = turns.tick() => {}
            }
            let connected = match client.take().filter(Client::is_open) {
                Some(connected) => Some(connected),
                None => Client::connect(node).await,
            };
            let Some(mut connected) = connected else {
                continue;
            };
            let answer = connected.ask(&request).await;
            if matches!(&answer, Ok(answer) if !answer.is_last()) {
                client = Some(connected);
            }
            if book.note(&key, Content::Own, &answer) {
                break;
            }
        }
    }
}

/// Waits until a destination has shown that it does badly. A fault that nobody notices tests
/// nothing.
async fn shows<B: Backend>(
    rig: &Rig<B>,
    destination: &Destination,
    conduct: Conduct,
) -> anyhow::Result<()> {
    let name = destination.name;
    if !conduct.gets_requests() {
        let port = destination.port().to_string();
        return logs(rig, &["circuit breaker opened", &port]).await;
    }
    let limit = Limit::of(NOTICE_LIMIT);
    while conduct != Conduct::Well && destination.received().while_ill == 0 {
        let missing = || format!("{name} gets a request: {}", rig.last_words());
        limit.pause(missing).await?;
    }
    Ok(())
}

/// Waits until the server has logged a line with all of these words.
async fn logs<B: Backend>(rig: &Rig<B>, words: &[&str]) -> anyhow::Result<()> {
    let limit = Limit::of(NOTICE_LIMIT);
    let is_logged = || {
        let log = rig.nodes[0].log();
        log.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    };
    while !is_logged() {
        let missing = || format!("the server logs {words:?}: {}", rig.last_words());
        limit.pause(missing).await?;
    }
    Ok(())
}

/// Waits until the events of the destination that does well are processed, while the others do
/// badly.
async fn others_go_on<B: Backend>(rig: &Rig<B>) -> anyhow::Result<()> {
    let own: HashSet<String> = keys_of(0).collect();
    let keys: Vec<String> = {
        let entries = rig.book.entries();
        let sent = entries.sent.iter();
        sent.filter(|(key, sent)| sent.is_acknowledged() && own.contains(*key))
            .map(|(key, _)| key.clone())
            .collect()
    };
    ensure!(!keys.is_empty(), "nothing was sent to {WELL}");
    let mut connection = rig.database.connect().await?;
    let limit = Limit::of(NOTICE_LIMIT);
    while usize::try_from(B::ended(&mut connection, &keys).await?)? < keys.len() {
        let missing = || format!("{WELL} gets its events: {}", rig.last_words());
        limit.pause(missing).await?;
    }
    Ok(())
}

/// How many events were delivered more than once.
fn repeated(destinations: &[Destination]) -> usize {
    let of = |destination: &Destination| {
        let received = destination.received();
        received.events.values().filter(|it| it.taken > 1).count()
    };
    destinations.iter().map(of).sum()
}

/// Waits until all events are settled, and compares what is stored with what destinations have
/// received.
async fn judge<B: Backend>(
    mut rig: Rig<B>,
    destinations: &[Destination],
    healed: Instant,
) -> anyhow::Result<Tally> {
    if let Err(error) = rig.drained_within(DELIVERY_LIMIT).await {
        rig.violations.push(format!("STUCK: {error:#}"));
    }
    rig.recovered_since(healed);
    if let Some(bytes) = rig.nodes[0].peak_memory_bytes() {
        rig.notes
            .push(format!("the server used up to {} MiB", bytes >> 20));
        if bytes > MAX_MEMORY_BYTES {
            let used = format!("TOO MUCH MEMORY: the server used {bytes} bytes");
            rig.violations.push(used);
        }
    }
    let mut connection = rig.database.connect().await?;
    let stored = B::stored(&mut connection).await?;
    drop(connection);
    for destination in destinations {
        let received = destination.received();
        let (events, requests) = received.events.values().fold((0, 0), |(taken, all), it| {
            (
                taken + u64::from(it.taken > 0),
                all + u64::from(it.requests),
            )
        });
        rig.notes.push(format!(
            "{}: {events} events taken, of {requests} requests",
            destination.name
        ));
        rig.violations.extend(received.violations.iter().cloned());
        if received.wrong > 0 {
            let wrong = format!(
                "{} requests to {} are wrong",
                received.wrong, destination.name
            );
            rig.violations.push(wrong);
        }
    }
    for event in &stored {
        let key = &event.key;
        let mut taken = 0;
        let mut requests = 0;
        for destination in destinations {
            if let Some(event) = destination.received().events.get(key) {
                taken += event.taken;
                requests += event.requests;
            }
        }
        let outcome = event.outcome.as_ref();
        if outcome.is_some_and(|it| !it.failed) && taken == 0 {
            let never = format!("NEVER DELIVERED: {key} is processed, of {requests} requests");
            rig.violations.push(never);
        }
        let attempts = outcome.and_then(|it| u32::try_from(it.attempts).ok());
        if attempts.is_some_and(|attempts| requests > attempts) {
            let many = format!("{key}: {requests} requests in {attempts:?} attempts");
            rig.violations.push(many);
        }
    }
    let twice = repeated(destinations);
    let mut tally = rig.finish_idle().await?;
    tally.done_twice = twice;
    Ok(tally)
}
