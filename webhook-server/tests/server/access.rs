//! API tokens, and access without authentication.

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::files::Files;
use crate::support::process::webhook_server;
use crate::support::signed::token;
use crate::support::{transaction, until};

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

#[tokio::test]
async fn transactions_are_shown_to_those_with_a_token() {
    let (reader, reads) = token("read").await;
    let (operator, operates) = token("operate").await;
    let mut process = webhook_server(&[])
        .env("API_TOKENS", &format!("{reads}, {operates}"))
        .start();
    let mut client = Client::connect(process.listens().await).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    for token in [&reader, &operator] {
        let headers = format!("Authorization: Bearer {token}\r\n");
        let reply = client.ask(get("/v1/transactions/tx-1", &headers)).await;
        assert_eq!(reply.status, 200);
        client
            .ask(get("/v1/transactions/tx-2", &headers))
            .await
            .problem(404);
    }
    let digest = format!("Authorization: Bearer {reads}\r\n");
    for headers in [
        "",
        "Authorization: Bearer wht_00\r\n",
        "Authorization: Basic eDp5\r\n",
        &digest,
    ] {
        for id in ["tx-1", "tx-2", "%zz"] {
            let reply = client
                .ask(get(&format!("/v1/transactions/{id}"), headers))
                .await;
            assert_eq!(
                reply.problem(401),
                "Token missing or wrong",
                "{headers} {id}"
            );
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        }
    }
    for path in ["/", "/readyz"] {
        assert_eq!(client.get(path).await.status, 200);
    }
}

#[tokio::test]
async fn tokens_are_read_again_and_never_logged() {
    let (old, reads_old) = token("read").await;
    let (new, reads_new) = token("read").await;
    let files = Files::new();
    let file = files.write("tokens", &reads_old);
    let mut process = webhook_server(&["--log-level=trace"])
        .env("API_TOKENS_FILE", &file)
        .start();
    let mut client = Client::connect(process.listens().await).await;
    client
        .post(transaction("tx-1"))
        .await
        .acknowledged("ACCEPTED");
    let mut status = async |token: &str| {
        let headers = format!("Authorization: Bearer {token}\r\n");
        client
            .ask(get("/v1/transactions/tx-1", &headers))
            .await
            .status
    };
    assert_eq!((status(&old).await, status(&new).await), (200, 401));
    files.write("tokens", &reads_new);
    process.signal(Signal::HUP);
    until("the new token is known", async || status(&new).await == 200).await;
    assert_eq!(status(&old).await, 401);
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    let log = process.logged.join("\n");
    for secret in [&old, &new, &reads_old[5..], &reads_new[5..]] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// Headers of requests that a program on this machine does not make, and what their refusal names.
const NOT_LOCAL: [(&str, &str); 8] = [
    ("Host: inbox.example\r\n", "Host"),
    ("Host: 127.0.0.1.nip.io\r\n", "Host"),
    ("Host: 0.0.0.0\r\n", "Host"),
    (
        "Host: localhost\r\nOrigin: https://evil.example\r\n",
        "Origin",
    ),
    ("Host: localhost\r\nOrigin: null\r\n", "Origin"),
    (
        "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site",
    ),
    (
        "Host: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n",
        "x-forwarded-for",
    ),
    (
        "Host: localhost\r\nForwarded: for=192.0.2.1\r\n",
        "forwarded",
    ),
];

fn open_requests(headers: &str) -> [String; 2] {
    let body = transaction("tx-1");
    let length = body.len();
    [
        format!(
            "POST /v1/webhooks/transactions HTTP/1.1\r\n{headers}\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ),
        format!("GET /v1/transactions/tx-1 HTTP/1.1\r\n{headers}\r\n"),
    ]
}

#[tokio::test]
async fn server_without_authentication_answers_local_programs_only() {
    let mut process = webhook_server(&[])
        .env("TRUSTED_PROXIES", "127.0.0.1")
        .start();
    let mut client = Client::connect(process.listens().await).await;
    for (headers, named) in NOT_LOCAL {
        for request in open_requests(headers) {
            let detail = client.ask(request).await.problem(403);
            assert!(detail.contains(named), "{headers:?}: {detail}");
        }
        // Health routes reveal nothing, and load balancers request them by any name.
        let health = format!("GET / HTTP/1.1\r\n{headers}\r\n");
        assert_eq!(client.ask(health).await.status, 200, "{headers:?}");
    }
    assert_eq!(client.get("/v1/transactions/tx-1").await.status, 404);
    for headers in [
        "Host: 127.0.0.1:8000\r\n",
        "Host: [::1]:8000\r\nOrigin: http://[::1]:8000\r\nSec-Fetch-Site: same-origin\r\n",
    ] {
        let [delivery, read] = open_requests(headers);
        assert_eq!(client.ask(delivery).await.status, 202, "{headers:?}");
        assert_eq!(client.ask(read).await.status, 200, "{headers:?}");
    }
    process.signal(Signal::TERM);
    assert_eq!(process.ends().await.code(), Some(0));
    let log = process.logged.join("\n");
    assert!(log.contains("not from this machine: 16"), "{log}");
}

/// Authenticated requests are accepted whatever their origin and proxies.
#[tokio::test]
async fn authenticated_requests_may_come_from_anywhere() {
    let (reader, reads) = token("read").await;
    let sign = [
        "--webhook-signature-scheme=github",
        "--webhook-secrets=a-secret",
    ];
    let read = format!("--api-tokens={reads}");
    for (args, statuses) in [
        (vec![sign[0], sign[1]], [401, 403]),
        (vec![read.as_str()], [403, 404]),
        (vec!["--insecure"], [202, 200]),
    ] {
        let mut process = webhook_server(&args).start();
        let mut client = Client::connect(process.listens().await).await;
        for (headers, _) in NOT_LOCAL {
            let headers = format!("{headers}Authorization: Bearer {reader}\r\n");
            for (request, status) in open_requests(&headers).iter().zip(statuses) {
                assert_eq!(
                    client.ask(request).await.status,
                    status,
                    "{args:?} {headers:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn anonymous_access_from_other_machines_needs_the_insecure_flag() {
    let (_, reads) = token("read").await;
    let sign = [
        "--webhook-signature-scheme=github",
        "--webhook-secrets=a-secret",
    ];
    let read = format!("--api-tokens={reads}");
    for (args, missing) in [
        (
            &[][..],
            &["WEBHOOK_SIGNATURE_SCHEME", "API_TOKENS", "--insecure"][..],
        ),
        (&sign, &["API_TOKENS"]),
        (&[read.as_str()], &["WEBHOOK_SIGNATURE_SCHEME"]),
    ] {
        let args = [&["--bind-addr=0.0.0.0:0"][..], args].concat();
        let (code, _, log) = webhook_server(&args).output().await;
        assert_eq!(code, 2, "{log}");
        for missing in missing {
            assert!(log.contains(missing), "{missing}: {log}");
        }
    }
    for args in [
        &[sign[0], sign[1], &read][..],
        &["--insecure"],
        &["--insecure=true"],
    ] {
        let mut process = webhook_server(args).start_on("0.0.0.0:0");
        process.listens().await;
        process.signal(Signal::TERM);
        assert_eq!(process.ends().await.code(), Some(0));
    }
    let mut process = webhook_server(&[]).start();
    process.listens().await;
    let log = process.logged.join("\n");
    let warnings: Vec<_> = log
        .lines()
        .filter(|it| it.contains("every program"))
        .collect();
    let [warning] = warnings[..] else {
        panic!("{log}");
    };
    for part in [
        "may deliver transactions to 127.0.0.1:0, and read and change all events: ",
        "set WEBHOOK_SIGNATURE_SCHEME and WEBHOOK_SECRETS",
        "set API_TOKENS to the digest that `webhook-server token operate` prints",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
}

#[tokio::test]
async fn invalid_tokens_are_reported_and_not_shown() {
    for wrong in ["hunter2", "read:hunter2", "write:00"] {
        let mut process = webhook_server(&[]).env("API_TOKENS", wrong).start();
        assert_eq!(process.ends().await.code(), Some(1));
        let log = process.logged.join("\n");
        assert!(
            log.contains("as `webhook-server token` writes them"),
            "{log}"
        );
        assert!(!log.contains("hunter2"), "{log}");
    }
    let (code, ..) = webhook_server(&["token", "everything"]).output().await;
    assert_eq!(code, 2);
}
