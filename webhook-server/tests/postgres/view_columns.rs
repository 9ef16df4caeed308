//! The columns of the view `webhook.transactions`, for all sorts of bodies.

use std::time::Duration;

use webhook_core::{
    Envelope, Fingerprint, Key, NewEvent, Outcome, Reason, Scheduler, Settlement, Store, payload,
};
use webhook_postgres::sqlx::{self, AssertSqlSafe, PgConnection, Row};
use webhook_server::transaction::{Transaction, VIEW};

use crate::inbox::{self, Inbox};

/// A database with the view.
async fn inbox_with_view() -> Inbox {
    let inbox = Inbox::direct().await;
    inbox.store.migrate_with(&[VIEW]).await.unwrap();
    inbox
}

fn transaction(key: &str, body: &str) -> NewEvent {
    NewEvent::new(
        Envelope::new(
            payload::kind_of::<Transaction>(),
            Key::new(key).unwrap(),
            Fingerprint::of([body]),
            body.to_owned().into(),
        ),
        Duration::ZERO,
    )
}

/// The columns of a transaction as text, nulls as `-`.
async fn row(connection: &mut PgConnection, key: &str, columns: &str) -> String {
    let sql = format!(
        "SELECT concat_ws('|', {}) FROM webhook.transactions WHERE transaction_id = $1",
        columns
            .split(' ')
            .map(|column| format!("coalesce(({column})::text, '-')"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    let found = sqlx::query(AssertSqlSafe(sql))
        .bind(key)
        .fetch_one(connection)
        .await;
    found.unwrap().get(0)
}

const FIELDS: &str = "source_account destination_account amount currency";

#[tokio::test]
async fn fields_are_read_out_of_the_body() {
    let inbox = inbox_with_view().await;
    let deep = format!("{}1{}", "[".repeat(120), "]".repeat(120));
    let odd = [
        r#""x":"\u0000""#,
        r#""x":"\ud800""#,
        r#""x":"\udc00\ud800\ud83d\ude00""#,
        r#""x":"\\u0000\\\u0000""#,
        r#""\u0000":{"\ud800":[null,"\udfff"]}"#,
        r#""x":1e999999999"#,
        r#""x":-0.0e-999999999"#,
        r#""x":"\\""#,
        r#""x":{},"x":[]"#,
        &format!(r#""x":{deep}"#),
    ];
    let mut expected = Vec::new();
    let mut events = Vec::new();
    let mut case = |body: String, fields: &str| {
        let key = format!("t-{}", expected.len());
        events.push(transaction(&key, &body));
        expected.push((key, body, fields.to_owned()));
    };
    let body = |amount: &str, more: &str| {
        format!(
            r#"{{"transaction_id":"t","source_account":"acc_1","destination_account":"acc_2",
               "amount":{amount},"currency":"usd"{more}}}"#
        )
    };
    for (amount, kept) in [
        ("1500.50", "1500.50"),
        ("0.1", "0.1"),
        (r#""1500.50""#, "1500.50"),
        (r#"" \u00a0 12.30\u2003\t""#, "12.30"),
        ("1.5e3", "1500"),
        (
            "1234567890123456789012345678",
            "1234567890123456789012345678",
        ),
        (r#""no amount""#, "-"),
    ] {
        let fields = match kept {
            "-" => "acc_1|acc_2|-|USD".to_owned(),
            kept => format!("acc_1|acc_2|{kept}|USD"),
        };
        case(body(amount, ""), &fields);
    }
    for member in odd {
        case(body("7.00", &format!(",{member}")), "acc_1|acc_2|7.00|USD");
    }
    case(
        r#"{"source_account":"\u3000\u00e9 \\u0041\ud83d\ude00\u2028","destination_account":"\f b\r\n",
            "amount":1,"currency":" eUr ","note":"\u0000"}"#
            .to_owned(),
        "\u{e9} \\u0041\u{1f600}|b|1|EUR",
    );
    for other in ["[]", "7", "null", r#""text""#, "{}"] {
        case(other.to_owned(), "-|-|-|-");
    }
    case("not JSON".to_owned(), "-|-|-|-");
    let mut bytes = transaction("bytes", "");
    bytes.envelope.body = vec![0xff, 0, 0xfe].into();
    events.push(bytes);
    inbox.store.accept(&events).await.unwrap();
    let mut connection = inbox.database.connection().await;
    for (key, body, fields) in expected {
        assert_eq!(row(&mut connection, &key, FIELDS).await, fields, "{body}");
    }
    assert_eq!(row(&mut connection, "bytes", FIELDS).await, "-|-|-|-");
    // All of them at once, and sums over them.
    let all = sqlx::query("SELECT count(*), sum(amount)::text FROM webhook.transactions");
    let all = all.fetch_one(&mut connection).await.unwrap();
    assert_eq!(all.get::<i64, _>(0), i64::try_from(events.len()).unwrap());
    assert!(all.get::<Option<&str>, _>(1).is_some());
    drop(connection);
    inbox.close().await;
}

#[tokio::test]
async fn view_shows_the_state_of_each_event() {
    let inbox = inbox_with_view().await;
    let mut connection = inbox.database.connection().await;
    let body = r#"{"source_account":"a","destination_account":"b","amount":1,"currency":"EUR"}"#;
    let keys = ["good", "bad", "again"];
    for key in keys {
        inbox.store.accept(&[transaction(key, body)]).await.unwrap();
    }
    inbox
        .store
        .accept(&[transaction("good", "other")])
        .await
        .unwrap();
    let columns = "status error_message duplicate_conflict_count processed_at";
    assert_eq!(
        row(&mut connection, "bad", columns).await,
        "PROCESSING|-|0|-"
    );
    let claim = inbox::claim(3).with_kind(payload::kind_of::<Transaction>());
    let claimed = inbox
        .store
        .claim(std::slice::from_ref(&claim))
        .await
        .unwrap()
        .remove(0)
        .events;
    let settlements: Vec<_> = claimed
        .iter()
        .map(|event| {
            Settlement::new(
                event.lease,
                match event.key.as_str() {
                    "good" => Outcome::Processed,
                    "bad" => Outcome::Failed {
                        reason: Reason::new("broken"),
                    },
                    _ => Outcome::Retry {
                        after: Duration::from_secs(60),
                        reason: Reason::new("busy"),
                    },
                },
            )
        })
        .collect();
    inbox.store.settle(&settlements).await.unwrap();
    assert_eq!(
        row(&mut connection, "bad", columns).await,
        "FAILED|broken|0|-"
    );
    assert_eq!(
        row(&mut connection, "again", columns).await,
        "PROCESSING|busy|0|-"
    );
    let good = "status error_message duplicate_conflict_count
                processed_at=updated_at created_at<updated_at last_conflict_at<updated_at";
    let good = good.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        row(&mut connection, "good", &good).await,
        "PROCESSED|-|1|true|true|true"
    );
    drop(connection);
    inbox.close().await;
}

/// Other kinds are no transactions, and looking one up reads one row.
#[tokio::test]
async fn view_has_no_events_of_other_kinds() {
    let inbox = inbox_with_view().await;
    inbox.accept("a").await;
    inbox.store.accept(&[transaction("t", "{}")]).await.unwrap();
    let mut connection = inbox.database.connection().await;
    let row = sqlx::query("SELECT count(*), min(transaction_id) FROM webhook.transactions");
    let row = row.fetch_one(&mut connection).await.unwrap();
    assert_eq!((row.get::<i64, _>(0), row.get::<&str, _>(1)), (1, "t"));
    let plan = sqlx::raw_sql(
        "SET enable_seqscan = off;
         EXPLAIN SELECT * FROM webhook.transactions WHERE transaction_id = 't'",
    );
    let plan = plan.fetch_all(&mut connection).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.join("\n").contains("events_once"), "{plan:#?}");
    drop(connection);
    inbox.close().await;
}
