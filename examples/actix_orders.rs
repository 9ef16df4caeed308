//! An actix-web app with a payload of its own, on actix's own runtime.
//!
//! ```text
//! terminal 1:  cargo run -p examples --example actix_orders
//! terminal 2:  curl -i http://127.0.0.1:3000/orders -d '{"id":"o-1","total_cents":1050}'
//!              curl -i http://127.0.0.1:3000/orders/o-1
//! ```
//!
//! The first call returns `202` and `New`, the second `200` and `PROCESSED`; terminal 1 logs
//! `shipped o-1 for 1050 cents`. SIGTERM in terminal 1 drains the worker and ends the app.
//! `BIND_ADDR` sets another address. With `DATABASE_URL=postgres://…` in terminal 1, events outlive
//! the process. `WORK_MS` is how long shipping takes.
//!
//! No second runtime is needed. actix-web has a runtime on each of its threads; an inbox that is
//! called from there uses its store on the runtime of `main`, on which it was created. Handlers run
//! there, too, on one thread, so blocking code belongs into `actix_web::web::block`.

mod order;

use std::time::Duration;

use actix_web::web::{Bytes, Data, Path};
use actix_web::{App, HttpResponse, HttpServer, get, post};
use tracing::info;
use webhook_core::{Error, ErrorKind, Event, HandlerError, Inbox, Key, Pipeline, sharing};
use webhook_memory::MemoryStore;
use webhook_postgres::PgStore;

use order::Order;

async fn ship(work: Duration, order: Event<Order>) -> Result<(), HandlerError> {
    let Order { id, total_cents } = order.payload;
    tokio::time::sleep(work).await;
    info!("shipped {id} for {total_cents} cents");
    Ok(())
}

#[post("/orders")]
async fn deliver(inbox: Data<Inbox>, body: Bytes) -> HttpResponse {
    match inbox.receive::<Order>(body).await {
        Ok(receipt) => HttpResponse::Accepted().body(format!("{:?}\n", receipt.accepted)),
        Err(error) => refusal(&error),
    }
}

#[get("/orders/{id}")]
async fn status(inbox: Data<Inbox>, id: Path<String>) -> HttpResponse {
    let Ok(key) = Key::new(id.into_inner()) else {
        return HttpResponse::NotFound().finish();
    };
    match inbox.find::<Order>(&key).await {
        Ok(Some(record)) => HttpResponse::Ok().body(format!("{}\n", record.state)),
        Ok(None) => HttpResponse::NotFound().finish(),
        Err(error) => refusal(&error),
    }
}

fn refusal(error: &Error) -> HttpResponse {
    let mut response = match error.kind() {
        ErrorKind::Invalid => HttpResponse::UnprocessableEntity(),
        ErrorKind::Temporary => HttpResponse::ServiceUnavailable(),
        _ => HttpResponse::InternalServerError(),
    };
    response.body(format!("{error}\n"))
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_ansi(false).init();
    let builder = match std::env::var("DATABASE_URL") {
        Ok(url) => {
            let store = PgStore::connect(&url).await?;
            store.migrate().await?;
            Pipeline::builder(store)
        }
        Err(_) => Pipeline::builder(MemoryStore::default()),
    };
    let work_ms = std::env::var("WORK_MS").map_or(Ok(0), |ms| ms.parse())?;
    let ship = sharing(Duration::from_millis(work_ms), ship);
    let pipeline = builder.handle(ship).start();

    let inbox = Data::new(pipeline.inbox().clone());
    let app = move || {
        let app = App::new().app_data(inbox.clone());
        app.service(deliver).service(status)
    };
    let address = std::env::var("BIND_ADDR").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let server = HttpServer::new(app).shutdown_timeout(10).bind(address)?;
    for address in server.addrs() {
        info!("listening on http://{address}");
    }
    // Runs until SIGTERM, and until pending requests are answered.
    server.run().await?;
    let drained = pipeline.shutdown(Duration::from_secs(10)).await;
    info!("drained, {} released", drained.released);
    Ok(())
}
