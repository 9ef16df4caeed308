//! Jobs that send copies.

use serde_json::{Value, json};

use super::*;
use crate::support::client::request_of;

async fn ask(client: &mut Client, method: &str, path: &str, body: &str) -> Value {
    let path = format!("/v1/operator/{path}");
    let headers = [("content-type", "application/json")];
    let reply = client.ask(request_of(method, &path, &headers, body)).await;
    assert!(reply.status < 300, "{path}: {}", reply.text());
    reply.json()
}

#[tokio::test]
async fn copies_obey_the_rate_and_their_job_ends_with_a_record_when_the_server_stops() {
    let mut app = Receiver::start().await;
    let table = format!(
        "[sources.github.forward]\nurl = \"{}\"\nrate = \"1/h\"",
        app.url("/hooks")
    );
    let setup = Setup::new(&source(&table));
    let file = setup.files.path("events.db");
    let start = || {
        let server = setup.server(&[]).on_file(&file);
        server.env("FORWARD_SECRETS", KEY).start()
    };
    let mut process = start();
    let mut client = Client::connect(process.listens().await).await;
    deliver(&mut client, "id-1", "{}").await;
    app.next().await;
    until_processed(&mut client, "/v1/events/github/id-1").await;

    let plan = json!({"action": "replay", "filter": "source:github"});
    let job = ask(&mut client, "POST", "jobs", &plan.to_string()).await;
    let job = format!("jobs/{}", job["id"].as_str().unwrap());
    ask(&mut client, "POST", &format!("{job}/run"), "{}").await;
    until("the job waits for the rate", async || {
        let shown = ask(&mut client, "GET", &job, "").await;
        shown["waits_because"] == "the rate of the destination is used up for now"
    })
    .await;
    assert!(app.is_unused());
    process.signal(Signal::TERM);
    assert!(process.ends().await.success());

    let mut process = start();
    let mut client = Client::connect(process.listens().await).await;
    let audit = ask(&mut client, "GET", "audit", "").await;
    let record = &audit["records"][0];
    assert_eq!(
        (&record["action"], &record["result"], &record["count"]),
        (&json!("run_job"), &json!("The process stopped"), &json!(0)),
        "{audit}"
    );
}
