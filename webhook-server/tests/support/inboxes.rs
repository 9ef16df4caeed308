//! Inboxes with events of every sort, and what they contain.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use webhook_core::transfer::{Contents, MAX_EXPORT_BYTES, StoredEvent, Transfer};
use webhook_core::{
    Admin, Attempt, ConflictRecord, Envelope, EventId, EventRecord, FailedAttempt, FailureReason,
    Fence, Fingerprint, Headers, Key, Kind, Reason, State,
};

const BATCH: NonZeroUsize = NonZeroUsize::new(500).unwrap();

/// Stores `count` events of two kinds: waiting, leased, processed, emptied and failed ones. One more kind is
/// paused.
pub(crate) async fn fill(store: &(impl Transfer + Admin), count: u64) {
    let events: Vec<_> = (1..=count).map(event).collect();
    for batch in events.chunks(BATCH.get()) {
        store.import(batch).await.unwrap();
    }
    store.pause(&Kind::from_static("paused")).await.unwrap();
}

fn event(number: u64) -> StoredEvent {
    let at = |us| UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_000 + 7 * number + us);
    // Far ahead, so that no server processes them meanwhile.
    let later = SystemTime::now() + Duration::from_secs(86_400);
    let later = UNIX_EPOCH
        + Duration::from_micros(
            u64::try_from(later.duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap(),
        );
    let kind = Kind::from_static(["order", "refund"][usize::try_from(number % 2).unwrap()]);
    let fingerprint = Fingerprint::of([number.to_string()]);
    let key = Key::new(format!("key {number} \u{1f4a9}")).unwrap();
    let body = format!("{{\"number\": {number}}}").repeat(1 + usize::try_from(number % 5).unwrap());
    let mut envelope = Envelope::new(kind, key, fingerprint, body.into());
    if number.is_multiple_of(3) {
        let headers = Headers::try_from_iter([("X-Number", number.to_string())]).unwrap();
        envelope = envelope.with_headers(headers);
    }
    let state = match number % 5 {
        0 | 1 => State::Processing,
        2 | 3 => State::Processed,
        _ => State::Failed,
    };
    let mut record = EventRecord::new(EventId::new(0), envelope, state, at(0));
    let mut failed = Vec::new();
    match number % 5 {
        0 => record.due_at = Some(later),
        1 => {
            record.due_at = Some(at(1));
            record.leased_until = Some(later);
            record.attempts = 1;
        }
        2 => record.settled_at = Some(at(2)),
        3 => {
            record.settled_at = Some(at(2));
            record.body_deleted = true;
            record.envelope.body = "".into();
            record.envelope.headers = Headers::new();
        }
        _ => {
            let reason = FailureReason::from(Reason::new("it's broken"));
            let detailed =
                Reason::new("it's broken").with_details(number.to_be_bytes().to_vec().into());
            failed.push((
                Fence::new(2),
                FailedAttempt::new(Attempt::FIRST, at(3), detailed.into()),
            ));
            record.settled_at = Some(at(3));
            record.attempts = 1;
            record.reason = Some(reason);
        }
    }
    let mut conflicts = Vec::new();
    if number.is_multiple_of(7) {
        record.conflict_count = 1;
        record.last_conflict_at = Some(at(4));
        let other = Fingerprint::of(["other"]);
        conflicts.push((1, ConflictRecord::new(at(4), other, "other".into(), 5)));
    }
    StoredEvent::new(record)
        .with_fence(Fence::new(i64::try_from(number % 9).unwrap()))
        .with_conflicts(conflicts)
        .with_failed_attempts(failed)
}

/// What the inbox contains, and the kinds that are paused.
pub(crate) async fn contents(store: &(impl Transfer + Admin)) -> (Contents, Vec<Kind>) {
    let mut contents = Contents::default();
    let mut after = None;
    loop {
        let batch = store.export(after, BATCH, MAX_EXPORT_BYTES).await.unwrap();
        let Some(last) = batch.last() else {
            return (contents, store.paused().await.unwrap());
        };
        after = Some(last.record.id);
        batch.iter().for_each(|event| contents.add(event));
    }
}
