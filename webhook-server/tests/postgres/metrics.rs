//! The metrics of databases.

use crate::commands::{Inbox, on_each_backend};
use crate::support::client::Client;
use crate::support::{transaction, until};

on_each_backend! {
    the_room_on_disk_and_the_connections_are_metrics,
}

async fn the_room_on_disk_and_the_connections_are_metrics(inbox: Inbox) {
    let mut server = inbox.server(&[]).start();
    let mut client = Client::connect(server.listens().await).await;
    let reply = client.post(transaction("tx-1")).await;
    reply.acknowledged("ACCEPTED");
    let value = async |client: &mut Client, name: &str| {
        let reply = client.get("/metrics").await;
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        let value = lines.find(|(found, _)| *found == name)?.1;
        Some(value.parse::<f64>().unwrap())
    };
    let table = if inbox.is_postgres() {
        "events"
    } else {
        "database"
    };
    let size = format!("webhook_store_size_bytes{{table=\"{table}\"}}");
    until(&size, async || {
        value(&mut client, &size)
            .await
            .is_some_and(|bytes| bytes > 0.0)
    })
    .await;
    let limit = value(&mut client, "webhook_store_connections_limit").await;
    assert_eq!(limit.is_some(), inbox.is_postgres());
    if inbox.is_postgres() {
        let mut open = 0.0;
        for state in ["in_use", "idle"] {
            let name = format!("webhook_store_connections{{state=\"{state}\"}}");
            open += value(&mut client, &name).await.unwrap();
        }
        assert!(open > 0.0 && Some(open) <= limit, "{open} of {limit:?}");
    }
    inbox.close().await;
}
