//! The examples of commands in docs/operating.md are what the commands write.

use std::time::Duration;

use webhook_core::{Outcome, Reason, payload};
use webhook_server::transaction::Transaction;

use crate::commands::{Inbox, failed};

/// The lines that docs/operating.md shows for `command`.
fn documented(command: &str) -> Vec<&'static str> {
    let text = include_str!("../../../docs/operating.md");
    let (_, rest) = text
        .split_once(&format!("$ webhook-server {command}\n"))
        .unwrap();
    let (shown, _) = rest.split_once("```").unwrap();
    let lines = shown.lines();
    lines.take_while(|line| !line.is_empty()).collect()
}

/// `line` with 0 for each number, and one space for several.
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for c in line.chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        if !(shape.ends_with(c) && "0 ".contains(c)) {
            shape.push(c);
        }
    }
    shape.trim().to_owned()
}

fn body(id: &str, amount: &str) -> String {
    format!(
        r#"{{"transaction_id": "{id}", "source_account": "acc_user_789", "destination_account": "acc_merchant_456", "amount": {amount}, "currency": "USD"}}"#
    )
}

#[tokio::test]
async fn operating_guide_shows_what_commands_write() {
    let inbox = Inbox::on_postgres().await;
    let id = "txn_0815";
    inbox.accept(body(id, "1500.50"), Duration::ZERO).await;
    inbox.accept(body(id, "400"), Duration::ZERO).await;
    let reason = "timeout at the bank";
    let retry = Outcome::Retry {
        after: Duration::ZERO,
        reason: Reason::new(reason),
    };
    let kind = payload::kind_of::<Transaction>();
    inbox.settle(&kind, id, [retry, failed(reason)]).await;
    inbox.accept(body("txn_8812", "1"), Duration::ZERO).await;
    for command in ["status", "list --state failed", "show txn_0815"] {
        let args: Vec<&str> = command.split(' ').collect();
        let written = inbox.lines(&args).await;
        let shapes = |lines: &[&str]| lines.iter().map(|it| shape(it)).collect::<Vec<_>>();
        let written: Vec<&str> = written.iter().map(String::as_str).collect();
        assert_eq!(
            shapes(&written),
            shapes(&documented(command)),
            "{command} writes:\n{}",
            written.join("\n")
        );
    }
    inbox.close().await;
}
