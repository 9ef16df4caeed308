//! Connections: keep-alive, pipelining, disconnects, and the limit.

use crate::serve::{config, serve};
use crate::support::client::{Client, post, post_as};
use crate::support::process::webhook_server;
use crate::support::{transaction, until};

#[tokio::test]
async fn connections_are_kept_alive() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    for round in 0..50 {
        let reply = client.post(transaction(&format!("tx-{round}"))).await;
        reply.acknowledged("ACCEPTED");
        assert_eq!(reply.header("connection"), None);
    }
}

#[tokio::test]
async fn connections_are_closed_when_the_client_asks() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    let reply = client
        .ask("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("connection"), Some("close"));
    client.closed().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    let mut requests = Vec::new();
    for round in 0..40 {
        requests.extend(post(transaction(&format!("tx-{round}"))));
        requests.extend(b"GET /nope HTTP/1.1\r\nHost: localhost\r\n\r\n");
        requests.extend(post("not json"));
        requests.extend(post_as("", transaction("x")));
        requests.extend(
            format!("GET /v1/transactions/tx-{round} HTTP/1.1\r\nHost: localhost\r\n\r\n").bytes(),
        );
    }
    client.send(requests).await;
    for round in 0..40 {
        let id = format!("tx-{round}");
        let reply = client.reply().await;
        reply.acknowledged("ACCEPTED");
        assert_eq!(reply.json()["transaction_id"], *id);
        client.reply().await.problem(404);
        client.reply().await.problem(400);
        client.reply().await.problem(415);
        assert_eq!(client.reply().await.json()["transaction_id"], *id);
    }
}

#[tokio::test]
async fn http_1_0_works_with_and_without_keep_alive() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    let reply = client.ask("GET /readyz HTTP/1.0\r\n\r\n").await;
    assert_eq!((reply.version.as_str(), reply.status), ("HTTP/1.0", 200));
    client.closed().await;

    let mut client = Client::connect(server.addr()).await;
    let body = transaction("tx-1");
    for status in ["ACCEPTED", "DUPLICATE"] {
        let reply = client
            .ask(format!(
                "POST /v1/webhooks/transactions HTTP/1.0\r\nConnection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        reply.acknowledged(status);
    }
}

#[tokio::test]
async fn expect_100_gets_100_continue() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    let body = transaction("tx-1");
    for status in ["ACCEPTED", "DUPLICATE"] {
        client
            .send(format!(
                "POST /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            ))
            .await;
        assert_eq!(client.reply_head().await.status, 100);
        client.ask(&body).await.acknowledged(status);
    }
}

#[tokio::test]
async fn expect_100_is_rejected_without_reading_the_body() {
    let server = serve(&config());
    for (path, media_type, length, status) in [
        (
            "/v1/webhooks/transactions",
            "application/json",
            10 << 20,
            413,
        ),
        ("/v1/webhooks/transactions", "text/plain", 100, 415),
        ("/nope", "application/json", 100, 404),
        ("/", "application/json", 100, 405),
    ] {
        let mut client = Client::connect(server.addr()).await;
        let reply = client
            .ask(format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n"
            ))
            .await;
        reply.problem(status);
        assert_eq!(reply.header("connection"), Some("close"));
        client.closed().await;
    }
}

#[tokio::test]
async fn an_early_answer_leaves_the_connection_usable() {
    let server = serve(&config());
    let mut client = Client::connect(server.addr()).await;
    for _ in 0..3 {
        let reply = client
            .ask(post_as("Content-Type: text/plain\r\n", vec![b'x'; 60_000]))
            .await;
        reply.problem(415);
        assert_eq!(reply.header("connection"), None);
    }
    let reply = client
        .ask(post_as("Content-Type: text/plain\r\n", vec![b'x'; 100_000]))
        .await;
    reply.problem(415);
    assert_eq!(reply.header("connection"), Some("close"));
    client.closed().await;
}

#[tokio::test]
async fn delivery_survives_a_client_that_disconnects_after_sending() {
    let server = serve(&config());
    for round in 0..50 {
        let mut client = Client::connect(server.addr()).await;
        client.send(post(transaction(&format!("tx-{round}")))).await;
        drop(client);
    }
    let mut client = Client::connect(server.addr()).await;
    for round in 0..50 {
        let path = format!("/v1/transactions/tx-{round}");
        until("the event is there", async || {
            Client::connect(server.addr()).await.get(&path).await.status == 200
        })
        .await;
        client
            .post(transaction(&format!("tx-{round}")))
            .await
            .acknowledged("DUPLICATE");
    }
}

#[tokio::test]
async fn connections_over_the_limit_get_503() {
    let mut config = config();
    config.max_connections = 2;
    let server = serve(&config);
    let mut first = Client::connect(server.addr()).await;
    let mut second = Client::connect(server.addr()).await;
    assert_eq!(first.get("/").await.status, 200);
    assert_eq!(second.get("/").await.status, 200);
    let mut third = Client::connect(server.addr()).await;
    // Refused, unless the machine is so slow that the others count as idle by now.
    third
        .send_some("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let reply = third.reply().await;
    if reply.status != 200 {
        assert_eq!(reply.unavailable(), "Too many connections; try again");
        third.closed().await;
        drop(first);
        until("there is room again", async || {
            let mut fourth = Client::connect(server.addr()).await;
            fourth
                .send_some("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await;
            fourth.reply().await.status == 200
        })
        .await;
    }
}

#[tokio::test]
async fn idle_connections_are_evicted_for_new_ones() {
    let mut config = config();
    config.max_connections = 3;
    let server = serve(&config);
    let mut idle = Vec::new();
    for partial in [
        "",
        "GET / HTTP/1.1\r\nHo",
        "POST /v1/webhooks/transactions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let mut client = Client::connect(server.addr()).await;
        client.send(partial).await;
        idle.push(client);
    }
    until("one is closed for it", async || {
        let mut client = Client::connect(server.addr()).await;
        client.send_some(post(transaction("tx-1"))).await;
        client.reply().await.status == 202
    })
    .await;
    // No more are closed than must be: the one that has waited longest comes first.
    idle.remove(0).closed().await;
}

/// A browser that goes from page to page of the dashboard leaves a stream behind on each.
#[tokio::test]
async fn streams_of_clients_that_are_gone_make_room_for_others() {
    let mut process = webhook_server(&[]).start();
    let addr = process.listens().await;
    let open = async || {
        let mut client = Client::connect(addr).await;
        client
            .send("GET /dashboard/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        let status = client.reply_head().await.status;
        (client, status)
    };
    let mut clients = Vec::new();
    loop {
        let (client, status) = open().await;
        clients.push(client);
        if status == 503 {
            break;
        }
        assert_eq!(status, 200);
        assert!(clients.len() < 1_000, "streams are not bounded");
    }
    drop(clients);
    until("a place is free", async || open().await.1 == 200).await;
}
