//! Everything at once: the deliveries of all senders, copies, conflicts, forgeries and handshakes, in any order.

mod senders;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::DerefMut as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;
use webhook_sources::preset;
use webhook_sources::spec::Guard;

use self::senders::{Delivery, FETCHED, Ids, PUBLIC_URL, Ready, SENDERS};
use super::client::{Client, request_of};
use super::files::Files;
use super::operator::Operator;
use super::process::{Process, Starter};
use super::signed::token;
use super::{in_time, secrets, until};

/// Of the order of the requests.
const SEED: u64 = 14;
const CONNECTIONS: usize = 12;
/// How many events each source gets, or twice as many if another content is another event.
const EVENTS: u32 = 3;

/// Whether the server is killed meanwhile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    None,
    Kill,
}

/// Sends it all to the server that `start` starts with these arguments, and looks at what is stored.
pub(crate) async fn run(start: impl Fn(&[&str]) -> Starter, restart: Restart) {
    assert!(SENDERS.len() >= 40);
    let sent: BTreeSet<&str> = SENDERS.iter().map(|sender| sender.preset).collect();
    let known: BTreeSet<&str> = preset::names().filter(|it| !FETCHED.contains(it)).collect();
    assert_eq!(sent, known, "presets, and senders of the mixed test");

    let senders: Vec<Ready> = SENDERS.iter().map(|sender| sender.ready()).collect();
    let files = Files::new();
    let file = format!("--config-file={}", configuration(&files, &senders));
    let (token, digest) = token("operate").await;
    let lease = match restart {
        Restart::None => "120",
        // What the killed server had begun is taken over soon.
        Restart::Kill => "2",
    };
    let lease = format!("--processing-stale-timeout-seconds={lease}");
    let start = || {
        let starter = start(&[&file, "--log-level=info", &lease]);
        starter.env("API_TOKENS", &digest).start()
    };
    let jobs = Arc::new(jobs(&senders));

    let mut process = start();
    let (server, servers) = watch::channel(Server {
        addr: process.listens().await,
        is_last: restart == Restart::None,
    });
    let sending = Sending::start(Arc::clone(&jobs), servers);
    if restart == Restart::Kill {
        until("a third is answered", async || {
            sending.answered() >= jobs.len() / 3
        })
        .await;
        process = killed_and_restarted(process, start, &server).await;
    }
    let wrong = sending.finish().await;
    assert!(
        wrong.is_empty(),
        "{} wrong answers: {wrong:#?}",
        wrong.len()
    );

    let client = Client::connect(server.borrow().addr).await;
    let mut operator = Operator { client, token };
    let counters = operator.get("sources").await;
    for (source, ready) in senders.iter().enumerate() {
        let name = ready.sender.name;
        let of_source: Vec<&Job> = jobs
            .iter()
            .filter(|job| job.source == Some(source))
            .collect();
        let stored = stored(&mut operator, name, restart).await;
        check_stored(ready, &of_source, &stored);
        let is_retried = of_source.iter().any(|job| job.attempts() > 1);
        if restart == Restart::None && !is_retried {
            let all = counters["sources"].as_array().unwrap();
            let counted = all.iter().find(|counted| counted["name"] == name).unwrap();
            check_counters(ready, &of_source, &stored, counted);
        }
    }
    process.signal(Signal::TERM);
    assert!(process.ends().await.success());
}

async fn killed_and_restarted(
    mut process: Process,
    start: impl Fn() -> Process,
    server: &watch::Sender<Server>,
) -> Process {
    process.signal(Signal::KILL);
    process.ends().await;
    let mut restarted = start();
    server.send_replace(Server {
        addr: restarted.listens().await,
        is_last: true,
    });
    restarted
}

/// Writes a configuration with all of `senders`, and says where it is.
fn configuration(files: &Files, senders: &[Ready]) -> String {
    let mut toml = format!("public_url = \"{PUBLIC_URL}\"\n");
    for Ready {
        sender,
        secrets: named,
        ..
    } in senders
    {
        let name = sender.name;
        let places = named.iter().map(|(secret, value)| {
            if *secret != "public_key" {
                secrets::keep(value);
            }
            let file = format!("{name}.{secret}");
            files.write(&file, value);
            format!("{secret} = \"file:{file}\"")
        });
        let places = places.collect::<Vec<_>>().join(", ");
        toml += &format!(
            "\n[sources.{name}]\npreset = \"{}\"\nsecrets = {{ {places} }}\n",
            sender.preset
        );
    }
    files.write("webhook.toml", toml)
}

/// A request to send, and what has to be answered.
struct Job {
    what: &'static str,
    /// The index of the source, none for a source that there is not.
    source: Option<usize>,
    request: Vec<u8>,
    is_head: bool,
    status: u16,
    /// The body of the answer, none for a refusal.
    answer: Option<Vec<u8>>,
    /// The event, if there is one in it.
    event: Option<SentEvent>,
    attempts: AtomicU32,
}

/// What a delivery reports.
struct SentEvent {
    number: u32,
    content: u32,
    ids: Vec<String>,
    body: Vec<u8>,
}

impl Job {
    fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }
}

/// All requests in a random order. Copies of a delivery follow each other, so that they are sent at the same time.
fn jobs(senders: &[Ready]) -> Vec<Job> {
    let now = SystemTime::now();
    let mut together: Vec<Vec<Job>> = Vec::new();
    for (index, ready) in senders.iter().enumerate() {
        let of = SourceJobs { index, ready, now };
        for number in 0..EVENTS {
            together.push(vec![of.genuine(number, 0, 0), of.genuine(number, 0, 0)]);
            together.push(vec![of.genuine(number, 0, 1)]);
            together.push(vec![of.genuine(number, 1, 0)]);
        }
        if ready.sender.spec().guard != Guard::None {
            together.push(of.replayed(50));
        }
        together.extend(of.refused().into_iter().map(|job| vec![job]));
        together.extend(of.handshakes().into_iter().map(|job| vec![job]));
        let other = (index + 1) % senders.len();
        let mut astray = of.signed(60, 0, 0);
        astray.target = senders[other].sender.target();
        let status = senders[other].sender.spec().refused_status;
        together.push(vec![refused("for another source", other, status, &astray)]);
        let mut unknown = of.signed(61, 0, 0);
        unknown.target.push_str("-of-nobody");
        together.push(vec![Job {
            source: None,
            ..refused("for a source that there is not", index, 401, &unknown)
        }]);
    }
    together.shuffle(&mut StdRng::seed_from_u64(SEED));
    together.into_iter().flatten().collect()
}

/// A request that has to be refused with this status.
fn refused(what: &'static str, source: usize, status: u16, delivery: &Delivery) -> Job {
    Job {
        what,
        source: Some(source),
        request: delivery.request("POST"),
        is_head: false,
        status,
        answer: None,
        event: None,
        attempts: AtomicU32::new(0),
    }
}

impl Delivery {
    fn request(&self, method: &str) -> Vec<u8> {
        request_of(method, &self.target, &self.headers, &self.body)
    }
}

/// Makes the requests to a source.
struct SourceJobs<'a> {
    index: usize,
    ready: &'a Ready,
    now: SystemTime,
}

impl SourceJobs<'_> {
    /// The sender signs anew for each attempt: here, so many seconds later.
    fn signed(&self, number: u32, content: u32, seconds: u64) -> Delivery {
        let delivery = self.ready.sender.delivery(number, content);
        let at = self.now + Duration::from_secs(seconds);
        delivery.signed(&self.ready.genuine, &message_id(number), at)
    }

    fn genuine(&self, number: u32, content: u32, seconds: u64) -> Job {
        let ids = self.ready.sender.named_ids(number);
        self.accepted(
            "a delivery",
            number,
            content,
            ids,
            &self.signed(number, content, seconds),
        )
    }

    fn accepted(
        &self,
        what: &'static str,
        number: u32,
        content: u32,
        ids: Vec<String>,
        delivery: &Delivery,
    ) -> Job {
        let answer = &self.ready.sender.spec().answer;
        Job {
            status: answer.status,
            answer: Some(answer.body.clone().into_bytes()),
            event: Some(SentEvent {
                number,
                content,
                ids,
                body: delivery.body.clone(),
            }),
            ..self.refused_as(what, delivery)
        }
    }

    fn refused_as(&self, what: &'static str, delivery: &Delivery) -> Job {
        let status = self.ready.sender.spec().refused_status;
        refused(what, self.index, status, delivery)
    }

    /// A delivery, and what somebody makes of it who has seen it: the same with another id, which is not signed.
    fn replayed(&self, number: u32) -> Vec<Job> {
        let first = self.signed(number, 0, 0);
        let mut second = first.clone();
        let ids = [number, number + 1].map(message_id);
        for (_, value) in &mut second.headers {
            if *value == ids[0] {
                value.clone_from(&ids[1]);
            }
        }
        assert_ne!(first.headers, second.headers, "{}", self.ready.sender.name);
        let all = ids.to_vec();
        vec![
            self.accepted("a delivery to replay", number, 0, all.clone(), &first),
            self.accepted("a delivery with another id", number, 0, all, &second),
        ]
    }

    fn refused(&self) -> Vec<Job> {
        let sender = self.ready.sender;
        let mut jobs = vec![self.refused_as("not signed", &sender.delivery(62, 0))];
        if let Some(forger) = &self.ready.forger {
            for (number, content) in [(63, 0), (0, 2)] {
                let forged = sender.delivery(number, content);
                let forged = forged.signed(forger, &message_id(number), self.now);
                jobs.push(self.refused_as("signed by somebody else", &forged));
            }
        }
        if let Some((from, to)) = sender.altered {
            let mut altered = self.signed(64, 0, 0);
            let body = String::from_utf8(altered.body).unwrap();
            assert!(body.contains(from), "{}", sender.name);
            altered.body = body.replace(from, to).into_bytes();
            jobs.push(self.refused_as("altered", &altered));
        }
        jobs.extend(self.with_wrong_headers());
        jobs
    }

    /// Deliveries in which one of the headers that the signature consists of is wrong.
    fn with_wrong_headers(&self) -> Vec<Job> {
        let signed = self.signed(65, 0, 0);
        let own = self.ready.sender.delivery(65, 0).headers.len();
        let jobs = (own..signed.headers.len()).map(|header| {
            let mut wrong = signed.clone();
            let (name, value) = &mut wrong.headers[header];
            match (self.index + header) % 5 {
                0 => value.clear(),
                1 => *value = value.repeat(5_000 / value.len()),
                2 => value.insert(value.len() / 2, '\u{e9}'),
                3 => *name = format!("not-{name}"),
                _ => value.truncate(value.len() / 2),
            }
            self.refused_as("with a wrong header", &wrong)
        });
        jobs.collect()
    }

    fn handshakes(&self) -> Vec<Job> {
        let handshakes = self.ready.sender.handshakes.iter();
        let jobs = handshakes.map(|handshake| {
            let headers = handshake.headers.iter();
            let delivery = Delivery {
                target: self.ready.sender.target() + handshake.query,
                headers: headers
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                body: handshake.body.into(),
            };
            let delivery = match handshake.is_signed {
                true => delivery.signed(&self.ready.genuine, "id", self.now),
                false => delivery,
            };
            let is_refused = handshake.status >= 400;
            Job {
                request: delivery.request(handshake.method),
                is_head: handshake.method == "HEAD",
                status: handshake.status,
                answer: (!is_refused).then(|| handshake.answer.into()),
                ..self.refused_as("a handshake", &delivery)
            }
        });
        jobs.collect()
    }
}

fn message_id(number: u32) -> String {
    format!("id-{number}")
}

/// Where the server is.
struct Server {
    addr: SocketAddr,
    /// Whether it is not killed any more. The last half of the requests is kept for this server.
    is_last: bool,
}

/// Senders that repeat a request until it is answered, to whatever server there is by then.
struct Sending {
    state: Arc<SendingState>,
    senders: JoinSet<()>,
}

struct SendingState {
    jobs: Arc<Vec<Job>>,
    next: AtomicUsize,
    answered: AtomicUsize,
    wrong: std::sync::Mutex<Vec<String>>,
}

impl Sending {
    fn start(jobs: Arc<Vec<Job>>, servers: watch::Receiver<Server>) -> Self {
        let state = Arc::new(SendingState {
            jobs,
            next: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            wrong: std::sync::Mutex::default(),
        });
        let mut senders = JoinSet::new();
        for _ in 0..CONNECTIONS {
            senders.spawn(send(Arc::clone(&state), servers.clone()));
        }
        Self { state, senders }
    }

    fn answered(&self) -> usize {
        self.state.answered.load(Ordering::Relaxed)
    }

    /// Waits until all is answered; the answers that are wrong.
    async fn finish(self) -> Vec<String> {
        self.senders.join_all().await;
        std::mem::take(&mut self.state.wrong.lock().unwrap())
    }
}

async fn send(state: Arc<SendingState>, mut servers: watch::Receiver<Server>) {
    let mut client = None;
    loop {
        let next = state.next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = state.jobs.get(next) else {
            return;
        };
        if next > state.jobs.len() / 2 {
            servers.wait_for(|server| server.is_last).await.unwrap();
        }
        let (status, body) = in_time("a definite answer", async {
            loop {
                job.attempts.fetch_add(1, Ordering::Relaxed);
                match ask(&mut client, &servers, job).await {
                    Some((503, _)) => {}
                    Some(answer) => return answer,
                    None => client = None,
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let is_right = status == job.status && job.answer.as_ref().is_none_or(|it| *it == body);
        if !is_right {
            let request = String::from_utf8_lossy(&job.request);
            let body = String::from_utf8_lossy(&body);
            let wrong = format!("{}: {status} {body:?} to {request}", job.what);
            state.wrong.lock().unwrap().push(wrong);
        }
        state.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// The status and the body of the answer, none if the connection ended before.
async fn ask(
    client: &mut Option<Client>,
    servers: &watch::Receiver<Server>,
    job: &Job,
) -> Option<(u16, Vec<u8>)> {
    if client.is_none() {
        let addr = servers.borrow().addr;
        *client = Client::try_connect(addr).await.ok();
    }
    let client = client.as_mut()?;
    client.send_some(&job.request).await;
    if job.is_head {
        let reply = in_time("a reply", client.deref_mut().reply_head()).await;
        return Some((reply.ok()?.status, Vec::new()));
    }
    let reply = client.try_reply().await?;
    Some((reply.status, reply.body.clone()))
}

/// An event as it is stored.
struct Stored {
    key: String,
    body: Vec<u8>,
    conflicts: usize,
}

/// The events of a source, once all are processed.
async fn stored(operator: &mut Operator, source: &str, restart: Restart) -> Vec<Stored> {
    let status = format!("status?source={source}");
    until("all is processed", async || {
        let counts = operator.get(&status).await;
        ["waiting", "due", "leased"]
            .iter()
            .all(|state| counts["sources"][0][*state] == 0)
    })
    .await;
    let counts = operator.get(&status).await;
    assert_eq!(counts["sources"][0]["failed"], 0, "{source}");
    let list = format!("events?source={source}&state=processed&limit=1000");
    let mut page = operator.get(&list).await;
    let mut listed = page["events"].as_array().unwrap().clone();
    while let Some(before) = page["next_before"].as_i64() {
        page = operator.get(&format!("{list}&before={before}")).await;
        listed.extend_from_slice(page["events"].as_array().unwrap());
    }
    let mut stored = Vec::new();
    for listed in &listed {
        let key = listed["key"].as_str().unwrap();
        let id = utf8_percent_encode(key, NON_ALPHANUMERIC);
        let path = format!("/v1/operator/events/{source}/{id}/body");
        let body = operator.ask("GET", &path).await.body.clone();
        let event = operator
            .ask("GET", &format!("/v1/events/{source}/{id}"))
            .await;
        let event = event.json();
        assert_eq!(event["status"], "PROCESSED", "{event}");
        assert_eq!(event["flaw"], Value::Null, "{event}");
        // The server may have been killed between an attempt and its record.
        let attempts = event["attempts"].as_u64().unwrap();
        assert!(
            attempts == 1 || restart == Restart::Kill && attempts > 1,
            "{event}"
        );
        let bytes = usize::try_from(event["body_bytes"].as_u64().unwrap()).unwrap();
        assert_eq!(bytes, body.len(), "{event}");
        stored.push(Stored {
            key: key.to_owned(),
            body,
            conflicts: usize::try_from(event["duplicate_conflict_count"].as_u64().unwrap())
                .unwrap(),
        });
    }
    stored
}

/// Asserts that what is stored of a source is what its sender sent, each event once.
fn check_stored(ready: &Ready, jobs: &[&Job], stored: &[Stored]) {
    let name = ready.sender.name;
    let is_retried = jobs.iter().any(|job| job.attempts() > 1);
    let sent: Vec<&SentEvent> = jobs.iter().filter_map(|job| job.event.as_ref()).collect();
    let keys: BTreeSet<&str> = stored.iter().map(|event| event.key.as_str()).collect();
    assert_eq!(keys.len(), stored.len(), "{name}");
    let bodies: BTreeSet<&[u8]> = stored.iter().map(|event| event.body.as_slice()).collect();
    let hashes = || {
        let distinct: BTreeSet<&[u8]> = sent.iter().map(|sent| sent.body.as_slice()).collect();
        assert_eq!(
            (stored.len(), &bodies),
            (distinct.len(), &distinct),
            "{name}"
        );
        assert!(stored.iter().all(|event| event.conflicts == 0), "{name}");
    };
    match ready.sender.ids {
        Ids::Named(_) => check_named(ready, &sent, stored, is_retried),
        Ids::Hash(before) => {
            hashes();
            for event in stored {
                let expected = format!("{before}{}", hex::encode(Sha256::digest(&event.body)));
                assert_eq!(event.key, expected, "{name}");
            }
        }
        Ids::HashOfPart => hashes(),
        Ids::Generated => {
            let mut copies = BTreeMap::<&[u8], [usize; 2]>::new();
            for sent in &sent {
                copies.entry(&sent.body).or_default()[0] += 1;
            }
            for event in stored {
                copies.entry(&event.body).or_default()[1] += 1;
            }
            for (body, [sent, stored]) in copies {
                let is_right = sent > 0 && (stored == sent || is_retried && stored > sent);
                let body = String::from_utf8_lossy(body);
                assert!(is_right, "{name}: sent {sent}, stored {stored} of {body}");
            }
        }
    }
}

/// Asserts it for a sender whose events have ids.
fn check_named(ready: &Ready, sent: &[&SentEvent], stored: &[Stored], is_retried: bool) {
    let name = ready.sender.name;
    for event in stored {
        let key = &event.key;
        let shown = String::from_utf8_lossy(&event.body);
        let with_id: Vec<_> = sent.iter().filter(|sent| sent.ids.contains(key)).collect();
        let first = with_id.iter().find(|sent| is_of(ready, event, sent));
        let first = first.unwrap_or_else(|| panic!("{name}: nobody sent {key}: {shown}"));
        let others = with_id
            .iter()
            .filter(|sent| sent.content != first.content)
            .count();
        let is_right = event.conflicts == others || is_retried && event.conflicts > others;
        assert!(
            is_right,
            "{name}: {key} has {} conflicts, not {others}",
            event.conflicts
        );
    }
    let is_stored = |id: &&String| stored.iter().any(|event| event.key == **id);
    for sent in sent {
        let stored = sent.ids.iter().filter(is_stored).count();
        // Of a delivery that was replayed with another id, one is stored.
        let expected = if sent.number < EVENTS {
            sent.ids.len()
        } else {
            1
        };
        assert_eq!(stored, expected, "{name}: {:?}", sent.ids);
    }
}

/// Whether `event` is what was sent, or the part of it with this id.
fn is_of(ready: &Ready, event: &Stored, sent: &SentEvent) -> bool {
    if ready.sender.spec().split.is_none() {
        return sent.body == event.body;
    }
    let mut parts = sent.body.windows(event.body.len());
    let is_part = parts.any(|part| part == event.body);
    let is_object = serde_json::from_slice::<serde_json::Map<_, _>>(&event.body).is_ok();
    let content = format!("content-{}", sent.content);
    let shown = String::from_utf8_lossy(&event.body);
    // The parts of a joined id are in the event as well.
    let has_id = event.key.split(':').all(|part| shown.contains(part));
    is_part && is_object && has_id && shown.matches(&content).count() == 1
}

/// Asserts that the server has counted what was sent.
fn check_counters(ready: &Ready, jobs: &[&Job], stored: &[Stored], counted: &Value) {
    let accepted: Vec<_> = jobs.iter().filter_map(|job| job.event.as_ref()).collect();
    let events: usize = accepted
        .iter()
        .map(|sent| match sent.number < EVENTS {
            true => sent.ids.len().max(1),
            false => 1,
        })
        .sum();
    let conflicts: usize = stored.iter().map(|event| event.conflicts).sum();
    for (member, expected) in [
        ("received", accepted.len()),
        ("events", stored.len()),
        ("conflicts", conflicts),
        ("duplicates", events - stored.len() - conflicts),
        (
            "refused",
            jobs.iter().filter(|job| job.answer.is_none()).count(),
        ),
        ("unavailable", 0),
    ] {
        assert_eq!(
            counted[member], expected,
            "{member} of {}: {counted}",
            ready.sender.name
        );
    }
}
