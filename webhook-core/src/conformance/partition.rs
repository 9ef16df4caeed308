//! The mark of a partition: it is kept, and replaced only by those who know it.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Backend;
use crate::Partition;

/// A new backend has no mark, and none can be replaced.
pub async fn a_new_backend_has_no_mark(backend: Backend) {
    let partition = partition(&backend);
    assert_eq!(mark(&*partition).await, None);
    assert!(!replace(&*partition, Some(""), "mark").await);
    assert_eq!(mark(&*partition).await, None);
}

/// The mark is kept as it is until it is replaced.
pub async fn a_partition_mark_is_kept(backend: Backend) {
    let partition = partition(&backend);
    let marks = [
        "{\"index\": 0, \"kinds\": [\"it's\"]}".to_owned(),
        "\\ é \u{1f4a9} %".to_owned(),
        String::new(),
        "x".repeat(100_000),
    ];
    let mut before: Option<&str> = None;
    for after in &marks {
        assert!(replace(&*partition, before, after).await);
        assert_eq!(mark(&*partition).await.as_ref(), Some(after));
        before = Some(after);
    }
    assert!(replace(&*partition, before, &marks[3]).await, "unchanged");
}

/// A mark that is not the expected one stays.
pub async fn another_partition_mark_is_not_replaced(backend: Backend) {
    let partition = partition(&backend);
    assert!(replace(&*partition, None, "mark").await);
    for expected in [None, Some(""), Some("Mark"), Some("mark "), Some("mar_")] {
        assert!(!replace(&*partition, expected, "other").await);
        assert_eq!(mark(&*partition).await.as_deref(), Some("mark"));
    }
}

/// Of concurrent calls that expect the same, one replaces the mark.
pub async fn concurrent_calls_replace_a_partition_mark_once(backend: Backend) {
    let mut before: Option<String> = None;
    for round in 0..5 {
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let (partition, before) = (partition(&backend), before.clone());
            let after = format!("{round} {caller}");
            callers.spawn(async move {
                let replaced = replace(&*partition, before.as_deref(), &after).await;
                replaced.then_some(after)
            });
        }
        let replaced = callers.join_all().await;
        let replaced: Vec<_> = replaced.into_iter().flatten().collect();
        assert_eq!(replaced.len(), 1, "{replaced:?}");
        before = mark(&*partition(&backend)).await;
        assert_eq!(before.as_ref(), replaced.first());
    }
}

fn partition(backend: &Backend) -> Arc<dyn Partition> {
    let partition = backend.partition.clone();
    partition.expect("the subject gives its backend a `Partition`")
}

async fn mark(partition: &dyn Partition) -> Option<String> {
    partition.partition_mark().await.expect("partition mark")
}

async fn replace(partition: &dyn Partition, expected: Option<&str>, mark: &str) -> bool {
    let replaced = partition.replace_partition_mark(expected, mark).await;
    replaced.expect("replace partition mark")
}
