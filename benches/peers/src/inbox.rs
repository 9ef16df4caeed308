//! This library, called in process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use sqlx::postgres::PgPool;
use webhook_core::{
    Accepted, Event, Fingerprint, HandlerError, Headers, Identity, Inbox, InboxOptions,
    InvalidPayload, Payload, Worker, WorkerOptions, payload,
};
use webhook_postgres::PgStore;

use crate::job::{Job, Watch};
use crate::measure::{Aim, Peer};

impl Payload for Job {
    const KIND: &'static str = "job";

    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        let job: Self = payload::from_json(body)?;
        let fingerprint = Fingerprint::of([&job.id, &job.note]);
        Identity::new(job.id, fingerprint)
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        Ok(payload::from_json(body)?)
    }
}

pub struct Queue {
    store: PgStore,
    inbox: Inbox,
}

impl Peer for Queue {
    const NAME: &'static str = "this inbox, in process";
    const CRATE: &'static str = "webhook-postgres";
    const SETTINGS: &'static str =
        "no delay; drain: concurrency 4,096 in batches of up to 2,048; pick-up: defaults";
    const UNFINISHED: &'static str = "SELECT count(*) FROM webhook.queue";

    type Sender = Inbox;
    type Worker = Worker;

    async fn open(url: &str, _: &PgPool) -> anyhow::Result<Self> {
        let store = PgStore::connect(url).await?;
        store.migrate().await?;
        let options = InboxOptions::default().with_delay(Duration::ZERO);
        let inbox = Inbox::new(Arc::new(store.clone()), options);
        Ok(Self { store, inbox })
    }

    fn sender(&self) -> Inbox {
        self.inbox.clone()
    }

    async fn enqueue(inbox: &mut Inbox, job: Job) -> anyhow::Result<()> {
        let receipt = inbox
            .receive::<Job>(Bytes::from(serde_json::to_vec(&job)?))
            .await?;
        ensure!(receipt.accepted == Accepted::New, "{receipt:?}");
        Ok(())
    }

    async fn start(&self, aim: Aim, watch: Arc<Watch>) -> anyhow::Result<Worker> {
        let handler = move |event: Event<Job>| {
            watch.begin(&event.payload);
            async { Ok::<(), HandlerError>(()) }
        };
        let scheduler = Arc::new(self.store.clone());
        let options = match aim {
            Aim::Throughput => WorkerOptions::default()
                .with_concurrency(4096)
                .with_max_batch(2048),
            Aim::Latency => WorkerOptions::default(),
        };
        Ok(Worker::start::<Job>(scheduler, options, handler))
    }

    async fn stop(&self, worker: Worker) -> anyhow::Result<()> {
        worker.shutdown(Duration::from_secs(10)).await;
        Ok(())
    }
}
