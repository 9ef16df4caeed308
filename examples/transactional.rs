//! Accepts and settles in the app's own transactions on PostgreSQL: an order and its event are
//! durable together or not at all, and so are a shipment and the settlement of its event.
//!
//! ```text
//! terminal 1:  export DATABASE_URL=postgres://…
//!              cargo run -p examples --example transactional
//! ```
//!
//! It prints the following, with a different number each time, and ends:
//!
//! ```text
//! order 17-a is placed
//! order 17-b is rolled back, and so is its event
//! attempt 1 at shipping 17-a fails after its insert
//! attempt 2 at shipping 17-a is committed
//! order 17-a: event PROCESSED after 2 attempts, 1 shipment
//! order 17-b: no event, 0 shipments
//! ```

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use webhook_core::{
    Event, EventRecord, Handled, Handler, HandlerError, Headers, Identity, Inbox, InboxOptions,
    InvalidPayload, Key, Payload, State, Worker, WorkerOptions,
};
use webhook_postgres::PgStore;
use webhook_postgres::sqlx::{self, PgConnection, PgPool};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// The app's own tables, in the app's usual schema.
const APP_TABLES: &str = "
    SELECT pg_advisory_xact_lock(hashtext('transactional'));
    CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS shipments (order_id text NOT NULL REFERENCES orders)";

/// The event: an order was placed.
#[derive(Serialize, Deserialize)]
struct OrderPlaced {
    order_id: String,
}

impl Payload for OrderPlaced {
    const KIND: &'static str = "order_placed";

    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        Identity::of_json(body, "/order_id", &["/order_id"])
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        Ok(serde_json::from_slice(body)?)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL must name a database")?;
    let app = PgPool::connect(&url).await?;
    sqlx::raw_sql(APP_TABLES).execute(&app).await?;
    let store = PgStore::connect(&url).await?;
    store.migrate().await?;

    let run = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let (good, bad) = (format!("{run}-a"), format!("{run}-b"));
    place(&app, &store, &good, Payment::Taken).await?;
    place(&app, &store, &bad, Payment::Refused).await?;

    let handler = Ship {
        app: app.clone(),
        store: store.clone(),
    };
    let worker = Worker::start(Arc::new(store.clone()), WorkerOptions::default(), handler);
    let inbox = Inbox::new(Arc::new(store.clone()), InboxOptions::default());
    ended(&inbox, &good).await?;
    // The handler may not have printed yet that it has committed.
    worker.shutdown(Duration::from_secs(10)).await;
    report(&app, &inbox, &good).await?;
    report(&app, &inbox, &bad).await?;
    Ok(())
}

/// Whether the order is committed after its event is accepted.
enum Payment {
    Taken,
    Refused,
}

/// Accepts: writes the order and its event in one transaction.
async fn place(app: &PgPool, store: &PgStore, order: &str, payment: Payment) -> Result<()> {
    let event = OrderPlaced {
        order_id: order.to_owned(),
    };
    let mut transaction = app.begin().await?;
    sqlx::query("INSERT INTO orders (id) VALUES ($1)")
        .bind(order)
        .execute(&mut *transaction)
        .await?;
    store.accept_in(&mut transaction, &event).await?;
    match payment {
        Payment::Taken => {
            transaction.commit().await?;
            // Wakes the worker, which would otherwise find the event at its next poll.
            store.notify_kind::<OrderPlaced>();
            println!("order {order} is placed");
        }
        Payment::Refused => {
            transaction.rollback().await?;
            println!("order {order} is rolled back, and so is its event");
        }
    }
    Ok(())
}

/// Settles: writes the shipment and the settlement in one transaction.
struct Ship {
    app: PgPool,
    store: PgStore,
}

impl Handler<OrderPlaced> for Ship {
    async fn handle(&self, event: Event<OrderPlaced>) -> Result<Handled, HandlerError> {
        let order = &event.payload.order_id;
        let attempt = event.attempt();
        let ship = async |transaction: &mut PgConnection| {
            sqlx::query("INSERT INTO shipments (order_id) VALUES ($1)")
                .bind(order)
                .execute(transaction)
                .await?;
            if attempt.number() == 1 {
                println!("attempt {attempt} at shipping {order} fails after its insert");
                return Err(HandlerError::retry_after(Duration::ZERO, "out of boxes"));
            }
            Ok(())
        };
        let handled = self.store.settle_with(&self.app, event.lease, ship).await?;
        println!("attempt {attempt} at shipping {order} is committed");
        Ok(handled)
    }
}

async fn report(app: &PgPool, inbox: &Inbox, order: &str) -> Result<()> {
    let event = match ended(inbox, order).await? {
        Some(event) => format!("event {} after {} attempts", event.state, event.attempts),
        None => "no event".to_owned(),
    };
    let shipments: i64 = sqlx::query_scalar("SELECT count(*) FROM shipments WHERE order_id = $1")
        .bind(order)
        .fetch_one(app)
        .await?;
    let plural = if shipments == 1 { "" } else { "s" };
    println!("order {order}: {event}, {shipments} shipment{plural}");
    Ok(())
}

/// Returns the record of an order's event once it has ended, or `None` if there is no event.
async fn ended(inbox: &Inbox, order: &str) -> Result<Option<EventRecord>> {
    let key = Key::new(order)?;
    loop {
        match inbox.find::<OrderPlaced>(&key).await? {
            Some(event) if event.state == State::Processing => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            ended => return Ok(ended),
        }
    }
}
