//! Reads records of a log, such as a Kafka topic, and stores each as an event.
//!
//! ```text
//! cargo run -p examples --example consumer
//! ```
//!
//! It prints `1000 records: 990 new, 0 duplicates, 10 dead letters`, then reads the last 500 again,
//! as after a crash before their offset was committed: `500 records: 0 new, 495 duplicates, 5 dead
//! letters`, and at the end `990 measurements, sum 494010, and 10 dead letters are processed`. With
//! `DATABASE_URL=postgres://…` events outlive the process, and a second run finds only duplicates.
//!
//! The offset is committed once every record before it is durable, as an event or as a dead letter.
//! A record that is read twice is a duplicate by its key, so each record is processed once.

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use webhook_core::{
    Accepted, Envelope, Error, ErrorKind, Event, Fingerprint, HandlerError, Headers, Identity,
    Inbox, IntoEnvelope, InvalidPayload, Key, Kind, Payload, Pipeline, RawEvent, WorkerOptions,
    sharing,
};
use webhook_memory::MemoryStore;
use webhook_postgres::PgStore;

#[derive(Deserialize)]
struct Measurement {
    value: u64,
}

impl Payload for Measurement {
    const KIND: &'static str = "measurement";

    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        Identity::of_json(body, "/id", &["/value"])
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        Ok(serde_json::from_slice(body)?)
    }
}

/// Records that are not valid measurements, for somebody to inspect.
const DEAD_LETTER: Kind = Kind::from_static("dead-letter");

struct Record {
    offset: u64,
    body: Bytes,
}

/// An inbox accepts everything that can be put in an envelope.
impl IntoEnvelope for &Record {
    fn into_envelope(self) -> Result<Envelope, InvalidPayload> {
        Envelope::of::<Measurement>(self.body.clone(), Headers::new())
    }
}

/// Stores the records up to the end of the log. Returns how many were new, duplicates, and dead
/// letters.
async fn consume(inbox: &Inbox, log: &mut Log) -> Result<[usize; 3], Error> {
    let mut counts = [0; 3];
    loop {
        let mut records = log.poll(512).await;
        let Some(last) = records.last().map(|record| record.offset) else {
            return Ok(counts);
        };
        while !records.is_empty() {
            // A few large batches, which wait for room in the inbox instead of failing when it is
            // full.
            let answers = inbox.accept_all(&records).await;
            let mut again = Vec::new();
            for (record, answer) in records.into_iter().zip(answers) {
                match answer {
                    Ok(Accepted::New) => counts[0] += 1,
                    // A conflict is stored beside the first record of its key.
                    Ok(_) => counts[1] += 1,
                    Err(Error::Closed) => return Err(Error::Closed),
                    Err(error) if error.kind() == ErrorKind::Temporary => again.push(record),
                    Err(error) => {
                        bury(inbox, &record, &error).await?;
                        counts[2] += 1;
                    }
                }
            }
            records = again;
            if !records.is_empty() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        log.commit(last + 1);
    }
}

/// Stores a record that no retry can make valid, with the reason.
async fn bury(inbox: &Inbox, record: &Record, error: &Error) -> Result<(), Error> {
    let key = Key::new(record.offset.to_string()).expect("a number is a key");
    let fingerprint = Fingerprint::of([&record.body]);
    let reason = Headers::try_from_iter([("reason", error.to_string())]).unwrap_or_default();
    let letter = Envelope::new(DEAD_LETTER, key, fingerprint, record.body.clone());
    // Waits for a place in the queue. After that, the inbox's own deadline applies.
    let place = inbox.reserve().await?;
    place.accept(letter.with_headers(reason)).await?;
    Ok(())
}

#[derive(Default)]
struct Totals {
    measurements: AtomicU64,
    sum: AtomicU64,
    dead_letters: AtomicU64,
}

async fn measure(totals: Arc<Totals>, event: Event<Measurement>) -> Result<(), HandlerError> {
    totals.measurements.fetch_add(1, Ordering::Relaxed);
    totals.sum.fetch_add(event.payload.value, Ordering::Relaxed);
    Ok(())
}

/// Dead letters have no payload type: their readers use the body, and the reason in the headers.
async fn look_at(totals: Arc<Totals>, letter: RawEvent) -> Result<(), HandlerError> {
    letter.headers.get_str("reason").ok_or("no reason")?;
    totals.dead_letters.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let builder = match std::env::var("DATABASE_URL") {
        Ok(url) => {
            let store = PgStore::connect(&url).await?;
            store.migrate().await?;
            Pipeline::builder(store)
        }
        Err(_) => Pipeline::builder(MemoryStore::default()),
    };
    let totals = Arc::new(Totals::default());
    let look_at = sharing(totals.clone(), look_at);
    let pipeline = builder
        .handle(sharing(totals.clone(), measure))
        .handle_raw(DEAD_LETTER, WorkerOptions::default(), look_at)
        .start();

    let mut log = Log::default();
    for from in [0, 500] {
        log.seek(from);
        let [new, duplicates, dead] = consume(pipeline.inbox(), &mut log).await?;
        let read = log.committed - from;
        println!("{read} records: {new} new, {duplicates} duplicates, {dead} dead letters");
    }

    pipeline.idle().await;
    let [measurements, sum, dead] = [&totals.measurements, &totals.sum, &totals.dead_letters]
        .map(|total| total.load(Ordering::Relaxed));
    println!("{measurements} measurements, sum {sum}, and {dead} dead letters are processed");
    pipeline.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

/// Stands for one partition of a log: a thousand records, of which every hundredth is not JSON.
#[derive(Default)]
struct Log {
    records: Option<mpsc::Receiver<Record>>,
    committed: u64,
}

impl Log {
    /// Starts to read at `offset`.
    fn seek(&mut self, offset: u64) {
        let (sender, records) = mpsc::channel(1024);
        tokio::spawn(async move {
            for offset in offset..1000 {
                let body = if offset % 100 == 99 {
                    "not a measurement".to_owned()
                } else {
                    format!(r#"{{"id":"m-{offset}","value":{offset}}}"#)
                };
                let body = body.into();
                if sender.send(Record { offset, body }).await.is_err() {
                    break;
                }
            }
        });
        self.records = Some(records);
    }

    /// Returns at most `limit` records from here, or none at the end.
    async fn poll(&mut self, limit: usize) -> Vec<Record> {
        let mut records = Vec::new();
        if let Some(log) = &mut self.records {
            log.recv_many(&mut records, limit).await;
        }
        records
    }

    /// Records that nothing before `offset` has to be read again.
    fn commit(&mut self, offset: u64) {
        self.committed = offset;
    }
}
