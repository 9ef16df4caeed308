//! Readers see the states of events.

use super::*;
use crate::support::signed::token;

#[tokio::test]
async fn reads_need_a_token_unless_the_source_says_otherwise() {
    let setup = Setup::new(
        r#"
        [sources.secret]
        preset = "github"
        secrets = "file:secret"

        [sources.open]
        preset = "github"
        secrets = "file:secret"
        reads_need_token = false
        "#,
    );
    let (token, digest) = token("read").await;
    let mut process = setup.server(&[]).env("API_TOKENS", &digest).start();
    let mut client = Client::connect(process.listens().await).await;
    let bearer = format!("Bearer {token}");
    for name in ["secret", "open"] {
        let sender = Sender::preset(name, "github", SECRET);
        assert_stored(&client.ask(sender.github("a/b c", "{}")).await);
        let with = request_of(
            "GET",
            &format!("/v1/events/{name}/a%2Fb%20c"),
            &[("authorization", &bearer)],
            "",
        );
        let event = client.ask(with).await.json();
        assert_eq!(
            (&event["id"], &event["source"]),
            (&"a/b c".into(), &name.into())
        );
        let other = request_of(
            "GET",
            &format!("/v1/events/{name}/other"),
            &[("authorization", &bearer)],
            "",
        );
        assert_eq!(client.ask(other).await.problem(404), "Event not found");
    }
    let without = client.get("/v1/events/secret/a%2Fb%20c").await;
    assert_eq!(without.problem(401), "Token missing or wrong");
    assert_eq!(client.get("/v1/events/open/a%2Fb%20c").await.status, 200);
    // Nobody without a token learns which sources there are.
    assert_eq!(
        client.get("/v1/events/unknown/a").await.problem(401),
        "Token missing or wrong"
    );
    let unknown = request_of(
        "GET",
        "/v1/events/unknown/a",
        &[("authorization", &bearer)],
        "",
    );
    client.ask(unknown).await.problem(404);
    for path in [
        "/v1/events/",
        "/v1/events/open",
        "/v1/events/open/",
        "/v1/events/open/a/b",
    ] {
        client.get(path).await.problem(404);
    }
    for id in ["%zz", "%ff", "%00"] {
        client
            .get(&format!("/v1/events/open/{id}"))
            .await
            .problem(404);
    }
    let none: [(&str, &str); 0] = [];
    let posted = client
        .ask(request_of("POST", "/v1/events/open/a", &none, ""))
        .await;
    posted.problem(405);
}
