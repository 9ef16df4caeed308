//! Receives what webhook-server forwards, and has each effect once.
//!
//! ```text
//! terminal 1:  WEBHOOK_SECRET=whsec_… cargo run -p examples --example receiver
//! terminal 2:  the server, with forward = "http://127.0.0.1:3000/hooks": see README.md
//! ```
//!
//! `PORT` sets another port, and `DATABASE` another file than `receiver.db`.

#![expect(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::env::var;
use std::sync::Arc;

use axum::http::{HeaderMap, StatusCode};
use axum::{Router, body::Bytes, extract::State, routing::post};
use serde::Deserialize;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Payment {
    order: String,
    cents: i64,
}

type Shared = State<(Arc<Webhook>, SqlitePool)>;

async fn receive(
    State((webhook, database)): Shared,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(), StatusCode> {
    let is_signed = webhook.verify(&body, &headers);
    is_signed.map_err(|_| StatusCode::UNAUTHORIZED)?;
    let payment: Payment = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let id = headers["webhook-id"].to_str().unwrap_or_default();
    let stored = store(&database, id, &payment).await;
    stored.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

/// One database transaction: the id and the effect are both there, or neither is.
async fn store(database: &SqlitePool, id: &str, payment: &Payment) -> sqlx::Result<()> {
    let mut transaction = database.begin_with("BEGIN IMMEDIATE").await?;
    let sql = "INSERT INTO received (id) VALUES (?) ON CONFLICT DO NOTHING";
    let inserted = sqlx::query(sql).bind(id).execute(&mut *transaction).await?;
    if inserted.rows_affected() == 1 {
        let sql = "INSERT INTO payments (order_id, cents) VALUES (?, ?)";
        let insert = sqlx::query(sql).bind(&payment.order).bind(payment.cents);
        insert.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let webhook = Arc::new(Webhook::new(&var("WEBHOOK_SECRET")?)?);
    let file = var("DATABASE").unwrap_or("receiver.db".to_owned());
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true);
    let database = SqlitePool::connect_with(options).await?;
    for sql in [
        "CREATE TABLE IF NOT EXISTS received (id TEXT PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS payments (order_id TEXT, cents INTEGER)",
    ] {
        sqlx::query(sql).execute(&database).await?;
    }
    let port = var("PORT").unwrap_or("3000".to_owned());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://127.0.0.1:{port}/hooks");
    let app = Router::new()
        .route("/hooks", post(receive))
        .with_state((webhook, database));
    Ok(axum::serve(listener, app).await?)
}
