//! [`Admin`] over partitions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{BoxFuture, join_all, try_join_all};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};

use crate::admin::{
    ActionId, ActionPage, ActionRecord, Admin, ConflictRecord, Counts, DeleteBodies, Deleted,
    Erased, FailedAttempt, KindSample, MAX_NODES, MadeDue, NodeId, NodeRecord, NodeReport, Page,
    Prune, Requeued, RunningLeases, Search, SearchPage, SettledCounts, StoredAction,
};
use crate::error::StoreError;
use crate::event::{EventRef, EventSummary, Kind};
use crate::partitioned::Partitioned;
use crate::partitioned::member::Member;
use crate::partitioned::split::worse;

/// Calls a method of each partition at the same time. If one fails, the call fails.
macro_rules! all {
    ($partitioned:ident.$method:ident($($argument:expr),*)) => {
        try_join_all($partitioned.members().iter().map(|member| member.$method($($argument),*))).await?
    };
}

impl Partitioned {
    /// Calls the partitions that have `events`.
    pub(super) async fn split_refs<A: Clone>(
        &self,
        events: &[EventRef],
        call: impl for<'c> Fn(&'c Member, &'c [EventRef]) -> BoxFuture<'c, Result<Vec<A>, StoreError>>,
    ) -> Result<Vec<A>, StoreError> {
        let index_of = |event: &EventRef| {
            let placement = &self.inner.placement;
            Some(placement.partition_of(&event.kind, &event.key))
        };
        self.split(events, index_of, None, call).await
    }

    /// The partition that has `event`.
    fn member_of(&self, event: &EventRef) -> &Member {
        let index = self.inner.placement.partition_of(&event.kind, &event.key);
        &self.members()[index]
    }

    /// Changes all partitions at the same time, also if one fails: an error means that the others are changed. The answer
    /// is that of the first partition, so that one of several callers learns that the change is new.
    async fn change_all<'c>(
        &'c self,
        call: impl Fn(&'c Member) -> BoxFuture<'c, Result<bool, StoreError>>,
    ) -> Result<bool, StoreError> {
        let calls = self.members().iter().map(|member| call(member));
        let answers = join_all(calls).await.into_iter();
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        Ok(answers.first().copied().unwrap_or(false))
    }

    /// Calls one partition after another with what the others have left of `limit`, and returns the sum of the answers.
    async fn sweep<'c>(
        &'c self,
        limit: NonZeroUsize,
        call: impl Fn(&'c Member, NonZeroUsize) -> BoxFuture<'c, Result<usize, StoreError>>,
    ) -> Result<usize, StoreError> {
        let mut swept = 0;
        for member in self.in_turn() {
            let Some(left) = NonZeroUsize::new(limit.get().saturating_sub(swept)) else {
                break;
            };
            swept += call(member, left).await?;
        }
        Ok(swept)
    }
}

/// The kinds that any partition has, in ascending order.
fn union(lists: Vec<Vec<Kind>>) -> Vec<Kind> {
    let kinds: BTreeSet<Kind> = lists.into_iter().flatten().collect();
    kinds.into_iter().collect()
}

/// How long the other partitions may take once one has answered, where the answers of some are enough: callers of
/// [`Admin::retire`] wait for a second.
const LATER_ANSWERS: Duration = Duration::from_millis(500);

/// How long a partition may take to keep an audit record before the next one is asked.
const RECORD_TIMEOUT: Duration = Duration::from_secs(2);

/// The answers of the partitions that can be reached; an error if none can. One that does not answer soon after another
/// one counts as one that cannot, so that a partition that hangs does not keep the answers of the others from callers.
async fn answers<A>(
    calls: impl Iterator<Item = impl Future<Output = Result<A, StoreError>>>,
) -> Result<Vec<A>, StoreError> {
    let mut calls: FuturesUnordered<_> = calls.collect();
    let mut answers = Vec::with_capacity(calls.len());
    let mut failed = None;
    let mut deadline = None;
    loop {
        let next = match deadline {
            None => calls.next().await,
            Some(deadline) => timeout_at(deadline, calls.next()).await.unwrap_or(None),
        };
        match next {
            Some(Ok(answer)) => {
                answers.push(answer);
                deadline.get_or_insert_with(|| Instant::now() + LATER_ANSWERS);
            }
            Some(Err(error)) => failed = Some(worse(failed, error)),
            None => break,
        }
    }
    match failed {
        Some(error) if answers.is_empty() => Err(error),
        _ => Ok(answers),
    }
}

/// The live nodes of several partitions, each once: since its first report anywhere, with its latest one.
fn merged_nodes(lists: Vec<Vec<NodeRecord>>) -> Vec<NodeRecord> {
    let mut nodes: BTreeMap<NodeId, NodeRecord> = BTreeMap::new();
    for node in lists.into_iter().flatten() {
        let Some(known) = nodes.get_mut(&node.id) else {
            nodes.insert(node.id.clone(), node);
            continue;
        };
        let started_at = known.started_at.min(node.started_at);
        if node.last_seen_at > known.last_seen_at {
            *known = node;
        }
        known.started_at = started_at;
    }
    let mut nodes: Vec<_> = nodes.into_values().collect();
    nodes.sort_by_key(|node| node.started_at);
    nodes.truncate(MAX_NODES);
    nodes
}

/// Joins the pages of the partitions. Below the cursor of a page, its partition may have further events.
fn merged_page(pages: Vec<SearchPage>, limit: NonZeroUsize) -> SearchPage {
    let behind = pages
        .iter()
        .filter_map(|page| Some((page.next?, page.stopped_early)));
    let behind = behind.max_by_key(|(next, _)| *next);
    let mut events: Vec<EventSummary> = pages.into_iter().flat_map(|page| page.events).collect();
    events.sort_by_key(|event| Reverse(event.id));
    if let Some((next, _)) = behind {
        events.retain(|event| event.id >= next);
    }
    let is_cut = events.len() > limit.get();
    events.truncate(limit.get());
    let is_full = events.len() == limit.get();
    SearchPage {
        next: match events.last() {
            Some(last) if is_cut => Some(last.id),
            _ => behind.map(|(next, _)| next),
        },
        stopped_early: behind.and_then(|(_, stopped)| stopped).filter(|_| !is_full),
        events,
    }
}

/// Adds the counts of the partitions, which are for the same kinds.
fn merged_samples(
    samples: Vec<Vec<KindSample>>,
    kinds: &[Kind],
    cap: NonZeroUsize,
) -> Vec<KindSample> {
    let mut merged: Vec<_> = kinds.iter().cloned().map(KindSample::new).collect();
    for samples in samples {
        for (sum, sample) in merged.iter_mut().zip(samples) {
            sum.waiting += sample.waiting;
            sum.due += sample.due;
            sum.leased += sample.leased;
            sum.failed += sample.failed;
            sum.is_capped |= sample.is_capped;
            sum.oldest_due = sum.oldest_due.max(sample.oldest_due);
            sum.paused |= sample.paused;
        }
    }
    let most = u64::try_from(cap.get()).unwrap_or(u64::MAX);
    let merged = merged.into_iter().map(|sum| {
        let was_capped = sum.is_capped;
        let mut sum = sum.capped_at(cap);
        sum.is_capped |= was_capped;
        sum.waiting = sum.waiting.min(most);
        sum.due = sum.due.min(most);
        sum.leased = sum.leased.min(most - sum.due);
        sum.failed = sum.failed.min(most);
        sum
    });
    merged.collect()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Admin for Partitioned {
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        Ok(union(all!(self.kinds())))
    }

    async fn counts(&self, kind: &Kind) -> Result<Counts, StoreError> {
        let mut sum = Counts::default();
        for counts in all!(self.counts(kind)) {
            sum.waiting += counts.waiting;
            sum.due += counts.due;
            sum.leased += counts.leased;
            sum.processed += counts.processed;
            sum.failed += counts.failed;
        }
        Ok(sum)
    }

    async fn lag(&self, kind: &Kind) -> Result<Option<Duration>, StoreError> {
        Ok(all!(self.lag(kind)).into_iter().flatten().max())
    }

    async fn settled(&self, kind: &Kind, within: Duration) -> Result<SettledCounts, StoreError> {
        let mut sum = SettledCounts::default();
        for settled in all!(self.settled(kind, within)) {
            sum.processed += settled.processed;
            sum.failed += settled.failed;
        }
        Ok(sum)
    }

    async fn list(&self, page: &Page) -> Result<Vec<EventSummary>, StoreError> {
        let mut listed: Vec<EventSummary> = all!(self.list(page)).into_iter().flatten().collect();
        listed.sort_by_key(|event| event.id);
        listed.truncate(page.limit.get());
        Ok(listed)
    }

    async fn search(&self, search: &Search) -> Result<SearchPage, StoreError> {
        let share = search.max_examined.get() / self.members().len();
        let part = Search {
            max_examined: NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN),
            ..search.clone()
        };
        Ok(merged_page(all!(self.search(&part)), search.limit))
    }

    async fn sample(
        &self,
        kinds: &[Kind],
        cap: NonZeroUsize,
    ) -> Result<Vec<KindSample>, StoreError> {
        Ok(merged_samples(all!(self.sample(kinds, cap)), kinds, cap))
    }

    async fn conflicts(&self, event: &EventRef) -> Result<Vec<ConflictRecord>, StoreError> {
        self.member_of(event).conflicts(event).await
    }

    async fn failed_attempts(&self, event: &EventRef) -> Result<Vec<FailedAttempt>, StoreError> {
        self.member_of(event).failed_attempts(event).await
    }

    async fn requeue(&self, events: &[EventRef]) -> Result<Vec<Requeued>, StoreError> {
        self.split_refs(events, |member, events| member.requeue(events))
            .await
    }

    async fn make_due(
        &self,
        events: &[EventRef],
        leases: RunningLeases,
    ) -> Result<Vec<MadeDue>, StoreError> {
        self.split_refs(events, |member, events| member.make_due(events, leases))
            .await
    }

    async fn delete(&self, events: &[EventRef]) -> Result<Vec<Deleted>, StoreError> {
        self.split_refs(events, |member, events| member.delete(events))
            .await
    }

    async fn erase(&self, events: &[EventRef]) -> Result<Vec<Erased>, StoreError> {
        self.split_refs(events, |member, events| member.erase(events))
            .await
    }

    async fn prune(&self, prune: &Prune) -> Result<usize, StoreError> {
        self.sweep(prune.limit, |member, limit| {
            let prune = Prune {
                limit,
                ..prune.clone()
            };
            Box::pin(async move { member.prune(&prune).await })
        })
        .await
    }

    async fn delete_bodies(&self, delete: &DeleteBodies) -> Result<usize, StoreError> {
        self.sweep(delete.limit, |member, limit| {
            let delete = DeleteBodies {
                limit,
                ..delete.clone()
            };
            Box::pin(async move { member.delete_bodies(&delete).await })
        })
        .await
    }

    async fn pause(&self, kind: &Kind) -> Result<bool, StoreError> {
        self.change_all(|member| member.pause(kind)).await
    }

    async fn resume(&self, kind: &Kind) -> Result<bool, StoreError> {
        self.change_all(|member| member.resume(kind)).await
    }

    async fn paused(&self) -> Result<Vec<Kind>, StoreError> {
        Ok(union(all!(self.paused())))
    }

    /// Reports the node to all partitions that can be reached.
    async fn heartbeat(&self, report: &NodeReport) -> Result<Vec<NodeRecord>, StoreError> {
        let reports = self.members().iter().map(|member| member.heartbeat(report));
        Ok(merged_nodes(answers(reports).await?))
    }

    /// A node is live if any partition that can be reached says so.
    async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> {
        let nodes = self.members().iter().map(|member| member.nodes());
        Ok(merged_nodes(answers(nodes).await?))
    }

    async fn retire(&self, node: &NodeId) -> Result<bool, StoreError> {
        let retired = self.members().iter().map(|member| member.retire(node));
        Ok(answers(retired).await?.contains(&true))
    }

    /// Keeps the record in the first partition that can be reached. One that does not answer in time counts as one that
    /// cannot, and may have it as well.
    async fn record_action(&self, action: &ActionRecord) -> Result<ActionId, StoreError> {
        let [others @ .., last] = self.members() else {
            unreachable!("there is at least one partition");
        };
        for member in others {
            if let Ok(Ok(id)) = timeout(RECORD_TIMEOUT, member.record_action(action)).await {
                return Ok(id);
            }
        }
        last.record_action(action).await
    }

    /// Lists the records of all partitions that can be reached.
    async fn actions(&self, page: &ActionPage) -> Result<Vec<StoredAction>, StoreError> {
        let actions = self.members().iter().map(|member| member.actions(page));
        let actions = answers(actions).await?.into_iter();
        let mut actions: Vec<StoredAction> = actions.flatten().collect();
        actions.sort_by_key(|action| Reverse(action.id));
        actions.truncate(page.records());
        Ok(actions)
    }

    fn partitions(&self) -> Vec<Arc<dyn Admin>> {
        let members = self.members().iter().cloned();
        members.map(|member| member as Arc<dyn Admin>).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::admin::StoppedEarly;
    use crate::event::{EventId, Fingerprint, Key, State};

    fn event(id: i64) -> EventSummary {
        let event = EventRef {
            kind: Kind::from_static("order"),
            key: Key::new(id.to_string()).unwrap(),
        };
        let fingerprint = Fingerprint::of([""]);
        let accepted_at = SystemTime::UNIX_EPOCH;
        EventSummary::new(
            EventId::new(id),
            event,
            fingerprint,
            State::Processing,
            accepted_at,
        )
    }

    fn page(ids: &[i64], next: Option<i64>, stopped_early: Option<StoppedEarly>) -> SearchPage {
        SearchPage {
            events: ids.iter().copied().map(event).collect(),
            next: next.map(EventId::new),
            stopped_early,
        }
    }

    #[test]
    fn pages_of_a_search_end_where_one_of_the_partitions_ended() {
        let stopped = Some(StoppedEarly::Time);
        for (pages, limit, expected) in [
            // All of all, and more than fits.
            (
                [page(&[9, 5], None, None), page(&[8, 2], None, None)],
                9,
                page(&[9, 8, 5, 2], None, None),
            ),
            (
                [page(&[9, 5], None, None), page(&[8, 2], None, None)],
                4,
                page(&[9, 8, 5, 2], None, None),
            ),
            (
                [page(&[9, 5], None, None), page(&[8, 2], None, None)],
                3,
                page(&[9, 8, 5], Some(5), None),
            ),
            // Below its cursor, a partition may have further events.
            (
                [page(&[9, 7], Some(7), None), page(&[6, 4], Some(4), None)],
                2,
                page(&[9, 7], Some(7), None),
            ),
            (
                [page(&[9, 3], Some(3), None), page(&[8, 2], Some(2), None)],
                2,
                page(&[9, 8], Some(8), None),
            ),
            (
                [page(&[9], Some(6), stopped), page(&[8, 5, 2], None, None)],
                5,
                page(&[9, 8], Some(6), stopped),
            ),
            (
                [page(&[], Some(6), stopped), page(&[8, 7, 2], None, None)],
                2,
                page(&[8, 7], Some(6), None),
            ),
            (
                [page(&[], Some(6), stopped), page(&[], Some(4), stopped)],
                2,
                page(&[], Some(6), stopped),
            ),
            (
                [page(&[], None, None), page(&[], None, None)],
                2,
                page(&[], None, None),
            ),
        ] {
            let limit = NonZeroUsize::new(limit).unwrap();
            assert_eq!(merged_page(pages.to_vec(), limit), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_that_hangs_does_not_keep_the_answers_of_others() {
        let gone = || StoreError::unavailable(std::io::Error::other("gone"));
        let call = |seconds: f64, answer: Option<u32>| async move {
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            answer.ok_or_else(gone)
        };
        let began = Instant::now();
        // The first answer may take long; the others have some time after it.
        let calls = [
            (0.1, None),
            (7.0, Some(1)),
            (7.4, Some(2)),
            (9.0, Some(3)),
            (900.0, None),
        ];
        let answered = answers(calls.into_iter().map(|(after, it)| call(after, it))).await;
        assert_eq!(answered.unwrap(), [1, 2]);
        assert_eq!(began.elapsed(), Duration::from_millis(7_500));
        let failed = answers(
            [(0.1, None), (4.0, None)]
                .into_iter()
                .map(|(after, it)| call(after, it)),
        );
        assert!(failed.await.is_err());
        assert_eq!(began.elapsed(), Duration::from_millis(11_500));
    }

    #[test]
    fn nodes_of_several_partitions_are_listed_once() {
        let node = |id: &'static str, started, seen| {
            let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            let report = NodeReport::new(NodeId::new(id).unwrap(), format!("seen at {seen}"));
            NodeRecord::new(&report, at(started), at(seen))
        };
        let lists = vec![
            vec![node("a", 5, 20), node("b", 6, 30)],
            vec![],
            vec![node("b", 4, 10), node("c", 7, 10)],
        ];
        let mut b = node("b", 6, 30);
        b.started_at = node("b", 4, 10).started_at;
        assert_eq!(merged_nodes(lists), [b, node("a", 5, 20), node("c", 7, 10)]);
    }
}
