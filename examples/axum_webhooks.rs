//! An axum app that receives webhooks of Stripe and GitHub, and has endpoints for operators.
//!
//! ```text
//! terminal 1:  export STRIPE_SECRET=whsec_0123456789abcdef0123456789abcdef
//!              export GITHUB_SECRET=0123456789abcdef0123456789abcdef
//!              cargo run -p examples --example axum_webhooks
//! terminal 2:  body='{"action":"opened","pull_request":{"title":"Fix a typo"}}'
//!              mac=$(printf %s "$body" | openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef)
//!              curl -i http://127.0.0.1:3000/webhooks/github -d "$body" -H 'X-GitHub-Delivery: d-1' \
//!                   -H 'X-GitHub-Event: pull_request' -H "X-Hub-Signature-256: sha256=${mac##* }"
//!              curl http://127.0.0.1:3000/operator/stripe/failed
//!              curl -X POST http://127.0.0.1:3000/operator/stripe/evt_1/requeue
//! ```
//!
//! Terminal 1 prints `pull request opened: Fix a typo`. Ctrl-C or SIGTERM in terminal 1 drains the
//! worker and ends the app. With `DATABASE_URL=postgres://…` the events and the table `orders` are
//! in PostgreSQL, and each payment changes an order exactly once; without it, both are in memory.
//! `BIND_ADDR` sets another address.
//!
//! A real app must authenticate operators before it serves the paths below `/operator`.

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use webhook_core::{
    Admin, Error, ErrorKind, Event, EventRef, FailureReason, Fingerprint, Handled, Handler,
    HandlerError, Headers, Identity, Inbox, InvalidPayload, Key, Kind, Page, Payload, Pipeline,
    Requeued,
};
use webhook_memory::MemoryStore;
use webhook_postgres::PgStore;
use webhook_postgres::sqlx::{self, PgConnection, PgPool};
use webhook_sources::{Request, Secrets, Verification, VerificationOptions, preset};

// ---- Stripe: payments change orders, exactly once ----

enum StripeEvent {
    /// A payment for an order. A refund has negative cents.
    Payment { order: String, cents: i64 },
    /// Types that this app ignores, and those that Stripe adds later.
    Other,
}

impl Payload for StripeEvent {
    const KIND: &'static str = "stripe";

    // Only these fields are compared, because `pending_webhooks` differs between deliveries of one
    // event.
    fn identify(body: &[u8], _: &Headers) -> Result<Identity, InvalidPayload> {
        Identity::of_json(body, "/id", &["/type", "/data"])
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        let event: Value = serde_json::from_slice(body)?;
        let object = &event["data"]["object"];
        let (field, sign) = match event["type"].as_str() {
            Some("payment_intent.succeeded") => ("amount_received", 1),
            Some("refund.created") => ("amount", -1),
            _ => return Ok(Self::Other),
        };
        // An event without them is retried; a later version of the app may be able to read it.
        let order = object["metadata"]["order"].as_str().ok_or("no order")?;
        Ok(Self::Payment {
            order: order.to_owned(),
            cents: sign * object[field].as_i64().ok_or("no amount")?,
        })
    }
}

enum Orders {
    Postgres { app: PgPool, store: PgStore },
    Memory(Mutex<HashMap<String, i64>>),
}

impl Handler<StripeEvent> for Orders {
    async fn handle(&self, event: Event<StripeEvent>) -> Result<Handled, HandlerError> {
        let StripeEvent::Payment { order, cents } = event.payload else {
            return Ok(Handled::Done);
        };
        let unknown = || HandlerError::reject(format!("no order {order}"));
        match self {
            Self::Postgres { app, store } => {
                let pay = async |transaction: &mut PgConnection| {
                    let paid = sqlx::query("UPDATE orders SET cents = cents + $2 WHERE id = $1")
                        .bind(&order)
                        .bind(cents)
                        .execute(transaction)
                        .await?;
                    if paid.rows_affected() == 0 {
                        return Err(unknown());
                    }
                    Ok(())
                };
                store.settle_with(app, event.lease, pay).await
            }
            Self::Memory(orders) => {
                let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
                *orders.get_mut(&order).ok_or_else(unknown)? += cents;
                Ok(Handled::Done)
            }
        }
    }
}

// ---- GitHub: the headers say which event it is, and of which type ----

struct GithubEvent(Value);

const GITHUB_HEADERS: [&str; 2] = ["x-github-delivery", "x-github-event"];

impl Payload for GithubEvent {
    const KIND: &'static str = "github";

    fn identify(body: &[u8], headers: &Headers) -> Result<Identity, InvalidPayload> {
        let delivery = headers.get_str("x-github-delivery").unwrap_or_default();
        Identity::new(delivery, Fingerprint::of([body]))
    }

    fn decode(body: &[u8], _: &Headers) -> Result<Self, HandlerError> {
        Ok(Self(serde_json::from_slice(body)?))
    }
}

async fn on_github(event: Event<GithubEvent>) -> Result<(), HandlerError> {
    if event.headers.get_str("x-github-event") == Some("pull_request") {
        review(&event.payload.0)?;
    }
    Ok(())
}

fn review(event: &Value) -> anyhow::Result<()> {
    let action = event["action"].as_str().context("no action")?;
    let title = &event["pull_request"]["title"];
    let title = title.as_str().context("no title")?;
    println!("pull request {action}: {title}");
    Ok(())
}

// ---- HTTP ----

struct App {
    inbox: Inbox,
    operator: Arc<dyn Admin>,
    stripe: Verification,
    github: Verification,
}

type Shared = State<Arc<App>>;
type Refusal = (StatusCode, String);
type Answer<T> = Result<T, Refusal>;

async fn stripe(State(app): Shared, headers: HeaderMap, body: Bytes) -> Answer<StatusCode> {
    verify(&app.stripe, &headers, &body)?;
    let received = app.inbox.receive::<StripeEvent>(body).await;
    received.map_err(refusal).map(|_| StatusCode::ACCEPTED)
}

async fn github(State(app): Shared, headers: HeaderMap, body: Bytes) -> Answer<StatusCode> {
    verify(&app.github, &headers, &body)?;
    let kept = GITHUB_HEADERS.map(|name| headers.get(name).map(|value| (name, value)));
    let kept = Headers::try_from_iter(kept.into_iter().flatten())
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let received = app.inbox.receive_with::<GithubEvent>(body, kept).await;
    received.map_err(refusal).map(|_| StatusCode::ACCEPTED)
}

fn verify(sender: &Verification, headers: &HeaderMap, body: &[u8]) -> Answer<()> {
    let headers = headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let request = Request {
        method: "POST",
        target: "/", // neither Stripe nor GitHub signs it
        headers: &headers,
        body,
    };
    // The log shows the reason; the sender does not need it.
    sender
        .verify(&request, SystemTime::now())
        .map_err(|reason| {
            println!("refused: {reason}");
            (StatusCode::UNAUTHORIZED, "invalid signature".to_owned())
        })?;
    Ok(())
}

async fn failed(State(app): Shared, Path(kind): Path<String>) -> Answer<Json<Vec<Value>>> {
    let kind = Kind::new(kind).map_err(not_found)?;
    let limit = NonZeroUsize::new(100).expect("100 is not zero");
    let page = Page::new(kind, webhook_core::State::Failed, limit);
    let events = app.operator.list(&page).await.map_err(refusal)?;
    let shown = events.iter().map(|event| {
        json!({
            "key": event.event.key.as_str(),
            "attempts": event.attempts,
            "reason": event.reason.as_ref().map(FailureReason::as_str),
        })
    });
    Ok(Json(shown.collect()))
}

async fn requeue(
    State(app): Shared,
    Path((kind, key)): Path<(String, String)>,
) -> Answer<StatusCode> {
    let event = EventRef {
        kind: Kind::new(kind).map_err(not_found)?,
        key: Key::new(key).map_err(not_found)?,
    };
    let answers = app.operator.requeue(&[event]).await.map_err(refusal)?;
    match answers.first() {
        Some(Requeued::Applied) => Ok(StatusCode::NO_CONTENT),
        _ => Err((StatusCode::CONFLICT, "no such failed event".to_owned())),
    }
}

/// Converts errors of the inbox, and of the store in the operator's endpoints.
fn refusal(error: impl Into<Error>) -> Refusal {
    let error = error.into();
    let status = match error.kind() {
        ErrorKind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::Temporary => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, error.to_string())
}

fn not_found(error: webhook_core::InvalidName) -> Refusal {
    (StatusCode::NOT_FOUND, error.to_string())
}

/// Verifies by the scheme of a preset, with the secret in a variable.
fn verification(preset: &str, variable: &'static str) -> anyhow::Result<Verification> {
    let secret = std::env::var(variable).context(variable)?;
    let preset = preset::get(preset).context("no such preset")?;
    let secrets = Secrets::of([secret]);
    Verification::new(
        &preset.spec.scheme,
        &secrets,
        VerificationOptions::default(),
    )
    .context(variable)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stripe_verification = verification("stripe", "STRIPE_SECRET")?;
    let github_verification = verification("github", "GITHUB_SECRET")?;

    let (builder, operator, orders): (_, Arc<dyn Admin>, _) = match std::env::var("DATABASE_URL") {
        Ok(url) => {
            let store = PgStore::connect(&url).await?;
            store.migrate().await?;
            let app = PgPool::connect(&url).await?;
            sqlx::raw_sql(
                "CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, cents bigint NOT NULL);
                 INSERT INTO orders VALUES ('o-1', 0) ON CONFLICT DO NOTHING",
            )
            .execute(&app)
            .await?;
            let builder = Pipeline::builder(store.clone());
            let operator = Arc::new(store.clone());
            (builder, operator, Orders::Postgres { app, store })
        }
        Err(_) => {
            let store = Arc::new(MemoryStore::default());
            let orders = HashMap::from([("o-1".to_owned(), 0)]);
            let builder = Pipeline::builder(store.clone());
            (builder, store, Orders::Memory(Mutex::new(orders)))
        }
    };
    let pipeline = builder.handle(orders).handle(on_github).start();

    let app = App {
        inbox: pipeline.inbox().clone(),
        operator,
        stripe: stripe_verification,
        github: github_verification,
    };
    let router = Router::new()
        .route("/webhooks/stripe", post(stripe))
        .route("/webhooks/github", post(github))
        .route("/operator/{kind}/failed", get(failed))
        .route("/operator/{kind}/{key}/requeue", post(requeue))
        .with_state(Arc::new(app));
    let address = std::env::var("BIND_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await?;
    // No request is pending any more; handlers get ten seconds to finish.
    pipeline.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(order: &str) -> Event<StripeEvent> {
        let order = order.to_owned();
        Event::new(StripeEvent::Payment { order, cents: 995 })
    }

    #[tokio::test]
    async fn payments_are_added_to_their_order() {
        let orders = HashMap::from([("o-1".to_owned(), 5)]);
        let orders = Orders::Memory(Mutex::new(orders));
        assert_eq!(orders.handle(paid("o-1")).await, Ok(Handled::Done));
        let other = Event::new(StripeEvent::Other);
        assert_eq!(orders.handle(other).await, Ok(Handled::Done));
        let unknown = orders.handle(paid("o-2")).await;
        assert_eq!(unknown, Err(HandlerError::reject("no order o-2")));
        let Orders::Memory(orders) = orders else {
            unreachable!()
        };
        assert_eq!(orders.into_inner().unwrap()["o-1"], 1000);
    }

    #[tokio::test]
    async fn reviews_without_a_title_are_retried() {
        let headers = |event| Headers::try_from_iter([("X-GitHub-Event", event)]).unwrap();
        let event = || Event::new(GithubEvent(json!({"action": "opened"})));
        let review = event().with_headers(headers("pull_request"));
        assert_eq!(
            on_github(review).await,
            Err(HandlerError::retry("no title"))
        );
        let ping = event().with_headers(headers("ping"));
        assert_eq!(on_github(ping).await, Ok(()));
    }

    #[test]
    fn stripe_events_of_unknown_types_are_accepted() {
        let body = br#"{"id": "evt_1", "type": "a.new.type", "data": {}}"#;
        let identity = StripeEvent::identify(body, &Headers::new()).unwrap();
        assert_eq!(identity.key.as_str(), "evt_1");
        let decoded = StripeEvent::decode(body, &Headers::new());
        assert!(matches!(decoded, Ok(StripeEvent::Other)));
    }
}
