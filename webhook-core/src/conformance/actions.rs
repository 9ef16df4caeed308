//! Audit records: they are kept as they were recorded, and listed latest first.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Backend;
use crate::{
    ActionId, ActionPage, ActionRecord, MAX_ACTION_DETAILS_BYTES, MAX_ACTOR_BYTES,
    MAX_TARGET_BYTES, StoredAction,
};

fn action(number: usize) -> ActionRecord {
    ActionRecord::new("operator", "requeue", format!("stripe/evt_{number}"))
}

async fn record(backend: &Backend, record: &ActionRecord) -> ActionId {
    let id = backend.admin.record_action(record).await;
    id.expect("record an action")
}

async fn page(backend: &Backend, before: Option<ActionId>, limit: usize) -> Vec<StoredAction> {
    let limit = NonZeroUsize::new(limit).expect("cases list something");
    let page = ActionPage::new(limit).before(before);
    let actions = backend.admin.actions(&page).await.expect("actions");
    assert!(actions.len() <= limit.get());
    assert!(actions.is_sorted_by(|one, next| one.id > next.id));
    actions
}

/// All fields, of any form.
pub async fn actions_are_kept_unchanged(backend: Backend) {
    assert_eq!(page(&backend, None, 9).await, []);
    let text = |bytes: usize| "\u{1f4a9}".repeat(bytes / 4);
    let records = [
        action(1),
        action(2)
            .with_details(r#"{"filter":"it's \"quoted\""}"#)
            .with_count(Some(12_431))
            .with_result("failed: 503"),
        ActionRecord::new(
            text(MAX_ACTOR_BYTES),
            text(MAX_ACTOR_BYTES),
            text(MAX_TARGET_BYTES),
        )
        .with_details(format!("\"{}\"", text(MAX_ACTION_DETAILS_BYTES - 4)))
        .with_count(Some(0))
        .with_result(text(MAX_TARGET_BYTES)),
        ActionRecord::new("", "", "").with_result(""),
    ];
    let mut ids = Vec::new();
    for action in &records {
        ids.push(record(&backend, action).await);
        backend.pass(Duration::from_millis(5)).await;
    }
    let kept = page(&backend, None, 9).await;
    let kept_records: Vec<_> = kept.iter().rev().map(|it| it.record.clone()).collect();
    assert_eq!(kept_records, records);
    let kept_ids: Vec<_> = kept.iter().rev().map(|it| it.id).collect();
    assert_eq!(kept_ids, ids);
    assert!(kept.is_sorted_by(|one, next| one.at > next.at));
}

/// Pages continue after any record.
pub async fn pages_list_each_action_once(backend: Backend) {
    let mut tasks = JoinSet::new();
    for number in 0..20 {
        let backend = backend.clone();
        tasks.spawn(async move { record(&backend, &action(number)).await });
    }
    tasks.join_all().await;
    let mut targets = Vec::new();
    let mut before = None;
    loop {
        let listed = page(&backend, before, 7).await;
        targets.extend(listed.iter().map(|it| it.record.target.to_string()));
        match listed.last() {
            Some(last) => before = Some(last.id),
            None => break,
        }
    }
    targets.sort();
    let mut expected: Vec<_> = (0..20).map(|it| action(it).target.to_string()).collect();
    expected.sort();
    assert_eq!(targets, expected);
    let newest = page(&backend, None, 1).await;
    let later = record(&backend, &action(20)).await;
    assert!(later > newest[0].id);
    // Records do not depend on events.
    assert_eq!(backend.admin.kinds().await.expect("kinds"), []);
    assert_eq!(page(&backend, Some(newest[0].id), 100).await.len(), 19);
}
