//! Tests of the view `webhook.inbox`, which covers all kinds.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod inbox;

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use inbox::Inbox;
use sqlx::Row;
use webhook_core::{
    Accepted, Admin, DeleteBodies, Envelope, EventRef, EventType, FailureReason, Fingerprint, Key,
    Kind, NewEvent, Outcome, Reason, Scheduler, Settlement, Store,
};
use webhook_postgres::sqlx;

/// The body is not JSON, and not even text.
const BYTES: [u8; 4] = [0, 0xff, b'{', 0xfe];

fn event_of(kind: &'static str, key: &str, body: &'static [u8], delay: Duration) -> NewEvent {
    NewEvent::new(
        Envelope::new(
            Kind::from_static(kind),
            Key::new(key).unwrap(),
            Fingerprint::of([body]),
            body.into(),
        ),
        delay,
    )
}

/// Accepts an event that is due, and ends its first attempt with `outcome`.
async fn attempted(inbox: &Inbox, event: NewEvent, outcome: Outcome) {
    let claim = inbox::claim(1).with_kind(event.envelope.kind.clone());
    assert_eq!(inbox.store.accept(&[event]).await.unwrap(), [Accepted::New]);
    let lease = inbox.store.claim(&[claim]).await.unwrap()[0].events[0].lease;
    let settlement = Settlement::new(lease, outcome);
    inbox.store.settle(&[settlement]).await.unwrap();
}

/// The rows of `webhook.inbox` agree with what the store returns for the same events.
#[tokio::test]
async fn every_event_of_every_kind_is_in_the_inbox() {
    let inbox = Inbox::direct().await;
    let broken = || Outcome::Failed {
        reason: Reason::new("broken"),
    };
    let busy = Outcome::Retry {
        after: Duration::from_secs(60),
        reason: Reason::new("busy"),
    };
    let now = Duration::ZERO;
    attempted(&inbox, event_of("a.b-c", "1", &BYTES, now), broken()).await;
    attempted(
        &inbox,
        event_of("stripe", "1", b"{}", now),
        Outcome::Processed,
    )
    .await;
    attempted(&inbox, event_of("stripe", "2", b"", now), busy).await;
    attempted(
        &inbox,
        event_of("stripped", "1", b"body", now),
        Outcome::Processed,
    )
    .await;
    let later = Duration::from_secs(3_600);
    let waiting = [
        NewEvent::new(
            event_of("stripe", "later", b"{\"a\": 1}", later)
                .envelope
                .with_event_type(EventType::new("charge.late").unwrap()),
            later,
        ),
        event_of("transaction", "1", b"{}", now),
    ];
    inbox.store.accept(&waiting).await.unwrap();
    let other = [event_of("a.b-c", "1", b"other", now)];
    assert_eq!(
        inbox.store.accept(&other).await.unwrap(),
        [Accepted::Conflict]
    );
    let delete = DeleteBodies::new(Kind::from_static("stripped"), now, NonZeroUsize::MAX);
    assert_eq!(inbox.store.delete_bodies(&delete).await.unwrap(), 1);

    let mut connection = inbox.database.connection().await;
    let sql = "SELECT *, extract(epoch FROM accepted_at)::float8 AS accepted,
                      extract(epoch FROM due_at)::float8 AS due,
                      extract(epoch FROM settled_at)::float8 AS settled,
                      extract(epoch FROM last_conflict_at)::float8 AS last_conflict
               FROM webhook.inbox ORDER BY kind, key";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    let events = [
        ("a.b-c", "1"),
        ("stripe", "1"),
        ("stripe", "2"),
        ("stripe", "later"),
        ("stripped", "1"),
        ("transaction", "1"),
    ];
    assert_eq!(rows.len(), events.len());
    for (row, (kind, key)) in rows.iter().zip(events) {
        assert_eq!((row.get("kind"), row.get("key")), (kind, key));
        let event = EventRef {
            kind: Kind::new(kind).unwrap(),
            key: Key::new(key).unwrap(),
        };
        let record = inbox.store.find(&[event]).await.unwrap().remove(0).unwrap();
        assert_eq!(row.get::<i64, _>("id"), record.id.get());
        assert_eq!(
            row.get::<&str, _>("status"),
            record.state.as_str(),
            "{record:?}"
        );
        assert_eq!(
            i64::from(row.get::<i32, _>("attempts")),
            i64::from(record.attempts)
        );
        let reason = record.reason.as_ref().map(FailureReason::as_str);
        assert_eq!(row.get::<Option<&str>, _>("reason"), reason);
        let conflicts = row.get::<i64, _>("conflict_count");
        assert_eq!(u64::try_from(conflicts).unwrap(), record.conflict_count);
        let body = row.get::<Option<Vec<u8>>, _>("body");
        let event_type = record.envelope.event_type.as_ref().map(EventType::as_str);
        assert_eq!(row.get::<Option<&str>, _>("event_type"), event_type);
        let kept = (!record.body_deleted).then(|| record.envelope.body.to_vec());
        assert_eq!(body, kept, "{record:?}");
        for (column, expected) in [
            ("accepted", Some(record.accepted_at)),
            ("due", record.due_at),
            ("settled", record.settled_at),
            ("last_conflict", record.last_conflict_at),
        ] {
            let seconds = row.get::<Option<f64>, _>(column);
            let at = seconds.map(|it| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(it));
            assert_eq!(at.is_some(), expected.is_some(), "{column} of {record:?}");
            if let (Some(at), Some(expected)) = (at, expected) {
                let apart = at.duration_since(expected).or(expected.duration_since(at));
                assert!(
                    apart.unwrap() < Duration::from_micros(2),
                    "{column}: {at:?} {expected:?}"
                );
            }
        }
    }
    drop(connection);
    inbox.close().await;
}

#[tokio::test]
async fn one_event_of_the_inbox_is_found_by_index() {
    let inbox = Inbox::direct().await;
    let mut connection = inbox.database.connection().await;
    let plan = sqlx::raw_sql(
        "SET enable_seqscan = off;
         EXPLAIN SELECT * FROM webhook.inbox WHERE kind = 'stripe' AND key = 'evt_1'",
    );
    let plan = plan.fetch_all(&mut connection).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.join("\n").contains("events_once"), "{plan:#?}");
    drop(connection);
    inbox.close().await;
}
