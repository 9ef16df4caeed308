//! A source at one of its limits takes nothing from another.

use std::sync::Arc;

use webhook_memory::MemoryStore;

use super::operator::Operator;
use super::*;
use crate::faulty::{FaultyStore, Mode};
use crate::serve::serve_on;
use crate::support::until;

fn two(limit: &str) -> String {
    format!(
        "[sources.flooded]\npreset = \"github\"\nsecrets = \"file:secret\"\n{limit}\n\
         [sources.quiet]\npreset = \"github\"\nsecrets = \"file:secret\"\n"
    )
}

fn senders() -> (Sender, Sender) {
    let sender = |name| Sender::preset(name, "github", SECRET);
    (sender("flooded"), sender("quiet"))
}

#[tokio::test]
async fn rate_of_one_source_does_not_limit_another() {
    let setup = Setup::new(&two("requests_per_second = 1"));
    let server = serve(&setup);
    let mut client = Client::connect(server.addr()).await;
    let (flooded, quiet) = senders();
    let forger = Sender::preset("flooded", "github", OTHER_SECRET);
    let mut limited = 0;
    for round in 0..100 {
        // Whoever cannot sign cannot use up the limit.
        assert_refused(&client.ask(forger.github("a", "{}")).await);
        let id = round.to_string();
        let reply = client.ask(flooded.github(&id, "{}")).await;
        if round == 0 {
            assert_stored(&reply);
        } else if reply.status != 200 {
            assert_eq!(reply.unavailable(), "Too many deliveries");
            limited += 1;
        }
        assert_stored(&client.ask(quiet.github(&id, "{}")).await);
    }
    assert!(limited > 0);
}

#[tokio::test]
async fn queue_of_one_source_leaves_room_to_another() {
    for limit in ["max_queued = 2", "max_body_bytes = 6\nmax_queued_bytes = 6"] {
        let setup = Setup::new(&two(limit));
        let store = FaultyStore::new(Mode::Hanging);
        let scheduler = Arc::new(MemoryStore::default());
        let server = serve_on(Arc::clone(&store) as _, scheduler, &setup.config());
        let (flooded, quiet) = senders();
        let mut waiting = Vec::new();
        for id in ["a", "b"] {
            let mut client = Client::connect(server.addr()).await;
            // When one has waited for the store in vain, the next one takes its place.
            client.send(flooded.github(id, "[ ]").repeat(5)).await;
            waiting.push(client);
        }
        store.keeps_a_call().await;
        let mut client = Client::connect(server.addr()).await;
        until("the limit is reached", async || {
            let reply = client.ask(flooded.github("c", "[ ]")).await;
            reply.unavailable() == "Too many deliveries"
        })
        .await;
        // The other source is admitted, and waits for the store.
        let reply = client.ask(quiet.github("d", "[ ]")).await;
        assert_eq!(reply.unavailable(), "Store too slow");
        store.set(Mode::Up);
        until("the limit is free again", async || {
            client.ask(flooded.github("c", "[ ]")).await.status == 200
        })
        .await;
        assert_stored(&client.ask(quiet.github("d", "[ ]")).await);
    }
}

#[tokio::test]
async fn source_with_too_many_unsettled_events_waits_until_some_are_settled() {
    let setup = Setup::new(&two("max_stored = 2\ndelay = \"1h\""));
    let (mut operator, mut process) = Operator::start(&setup, &[]).await;
    let (flooded, quiet) = senders();
    for id in ["a", "b", "b"] {
        let reply = operator
            .client
            .ask(flooded.github(id, format!("\"{id}\"")))
            .await;
        if id == "a" {
            assert_stored(&reply);
        }
    }
    let reply = operator.client.ask(flooded.github("c", "\"c\"")).await;
    assert_eq!(reply.unavailable(), "Too many deliveries");
    assert_stored(&operator.client.ask(quiet.github("c", "{}")).await);
    let line = process.logs("request rejected").await;
    assert_eq!(
        (&line["kind"], &line["source"]),
        (&"limit of a source".into(), &"flooded".into())
    );
    operator.post("events/flooded/a/make-due").await;
    until("there is room again", async || {
        operator
            .client
            .ask(flooded.github("c", "\"c\""))
            .await
            .status
            == 200
    })
    .await;
    let source = &operator.get("sources").await["sources"][0];
    assert_eq!(source["events"], 3, "{source}");
    assert!(source["unavailable"].as_u64() >= Some(1), "{source}");
}

#[tokio::test]
async fn rate_limit_of_all_clients_gives_verified_deliveries_503() {
    let setup = Setup::new(&two(""));
    let mut process = setup.server(&["--rate-limit=1"]).start();
    let mut client = Client::connect(process.listens().await).await;
    let (sender, _) = senders();
    let mut statuses = Vec::new();
    for round in 0..50 {
        let reply = client.ask(sender.github(&round.to_string(), "{}")).await;
        if reply.status != 200 {
            assert_eq!(reply.unavailable(), "Too many deliveries");
        }
        statuses.push(reply.status);
    }
    assert!(
        statuses.contains(&200) && statuses.contains(&503),
        "{statuses:?}"
    );
}

#[tokio::test]
async fn only_refused_requests_count_towards_the_limit_of_a_client() {
    let setup = Setup::new(&two(""));
    let mut process = setup.server(&["--rate-limit-per-sender=1"]).start();
    let mut client = Client::connect(process.listens().await).await;
    let (sender, _) = senders();
    let forger = Sender::preset("flooded", "github", OTHER_SECRET);
    let mut statuses = Vec::new();
    for round in 0..50 {
        assert_stored(&client.ask(sender.github(&round.to_string(), "{}")).await);
        let reply = client.ask(forger.github("a", "{}")).await;
        if reply.status == 429 {
            assert_eq!(reply.header("retry-after"), Some("1"));
        }
        statuses.push(reply.status);
    }
    assert!(
        statuses.contains(&401) && statuses.contains(&429),
        "{statuses:?}"
    );
    assert!(statuses.iter().all(|status| [401, 429].contains(status)));
}
