//! A test suite for backends: one named test per case, for every implementation of the three traits.
//!
//! Implement [`Subject`] for a type in your tests and pass it to [`conformance!`](crate::conformance!). Every
//! case becomes a test with its own name:
//!
//! ```
//! # mod own { use webhook_core::*; use std::num::NonZeroUsize; use std::time::Duration; pub struct Own;
//! # impl Own { pub async fn open() -> Self { Self } pub async fn drop_schema(&self) {} }
//! # #[async_trait] impl Store for Own {
//! # async fn accept(&self, _: &[NewEvent]) -> Result<Vec<Accepted>, StoreError> { unreachable!() }
//! # async fn find(&self, _: &[EventRef]) -> Result<Vec<Option<EventRecord>>, StoreError> { unreachable!() }
//! # async fn ping(&self) -> Result<(), StoreError> { unreachable!() } }
//! # #[async_trait] impl Scheduler for Own {
//! # async fn claim(&self, _: &[Claim]) -> Result<Vec<Claimed>, StoreError> { unreachable!() }
//! # async fn extend(&self, _: &[Lease], _: Duration) -> Result<Vec<Extended>, StoreError> { unreachable!() }
//! # async fn settle(&self, _: &[Settlement]) -> Result<Vec<Settled>, StoreError> { unreachable!() }
//! # async fn wait_for_work(&self, _: &[Kind]) -> Vec<usize> { unreachable!() } }
//! # #[async_trait] impl Admin for Own {
//! # async fn kinds(&self) -> Result<Vec<Kind>, StoreError> { unreachable!() }
//! # async fn counts(&self, _: &Kind) -> Result<Counts, StoreError> { unreachable!() }
//! # async fn lag(&self, _: &Kind) -> Result<Option<Duration>, StoreError> { unreachable!() }
//! # async fn settled(&self, _: &Kind, _: Duration) -> Result<SettledCounts, StoreError> { unreachable!() }
//! # async fn list(&self, _: &Page) -> Result<Vec<EventSummary>, StoreError> { unreachable!() }
//! # async fn search(&self, _: &Search) -> Result<SearchPage, StoreError> { unreachable!() }
//! # async fn sample(&self, _: &[Kind], _: NonZeroUsize) -> Result<Vec<KindSample>, StoreError> { unreachable!() }
//! # async fn conflicts(&self, _: &EventRef) -> Result<Vec<ConflictRecord>, StoreError> { unreachable!() }
//! # async fn failed_attempts(&self, _: &EventRef) -> Result<Vec<FailedAttempt>, StoreError> { unreachable!() }
//! # async fn requeue(&self, _: &[EventRef]) -> Result<Vec<Requeued>, StoreError> { unreachable!() }
//! # async fn make_due(&self, _: &[EventRef], _: RunningLeases) -> Result<Vec<MadeDue>, StoreError> { unreachable!() }
//! # async fn delete(&self, _: &[EventRef]) -> Result<Vec<Deleted>, StoreError> { unreachable!() }
//! # async fn erase(&self, _: &[EventRef]) -> Result<Vec<Erased>, StoreError> { unreachable!() }
//! # async fn prune(&self, _: &Prune) -> Result<usize, StoreError> { unreachable!() }
//! # async fn delete_bodies(&self, _: &DeleteBodies) -> Result<usize, StoreError> { unreachable!() }
//! # async fn pause(&self, _: &Kind) -> Result<bool, StoreError> { unreachable!() }
//! # async fn resume(&self, _: &Kind) -> Result<bool, StoreError> { unreachable!() }
//! # async fn paused(&self) -> Result<Vec<Kind>, StoreError> { unreachable!() }
//! # async fn heartbeat(&self, _: &NodeReport) -> Result<Vec<NodeRecord>, StoreError> { unreachable!() }
//! # async fn nodes(&self) -> Result<Vec<NodeRecord>, StoreError> { unreachable!() }
//! # async fn retire(&self, _: &NodeId) -> Result<bool, StoreError> { unreachable!() }
//! # async fn record_action(&self, _: &ActionRecord) -> Result<ActionId, StoreError> { unreachable!() }
//! # async fn actions(&self, _: &ActionPage) -> Result<Vec<StoredAction>, StoreError> { unreachable!() } } }
//! # use own::Own;
//! use std::sync::Arc;
//! use webhook_core::conformance::{Backend, Subject};
//!
//! struct OwnBackend(Arc<Own>);
//!
//! impl Subject for OwnBackend {
//!     async fn set_up() -> Self { Self(Arc::new(Own::open().await)) }
//!     fn backend(&self) -> Backend { Backend::new(self.0.clone()) }
//!     async fn clean_up(self) { self.0.drop_schema().await }
//! }
//!
//! webhook_core::conformance!(OwnBackend, flavor = "multi_thread", worker_threads = 2);
//! ```
//!
//! A backend that implements [`Transfer`] has more cases in
//! [`conformance_transfer!`](crate::conformance_transfer!), and one that implements [`Partition`] in
//! [`conformance_partition!`](crate::conformance_partition!). A program without a test harness runs the same cases
//! by [`cases`], [`transfer_cases`] and [`partition_cases`].
//!
//! A backend whose [`placement`](Store::placement) says that it is partitioned is judged by what partitions promise:
//! the order of events within each partition, for example.
//!
//! The cases pass on slow machines as well. On a real clock, some of them wait a few hundred milliseconds. A
//! backend on Tokio's clock can run them in paused time (`start_paused = true`), where they do not wait.

pub mod accept;
pub mod actions;
pub mod admin;
pub mod budget;
pub mod claim;
pub mod conflict;
pub mod delete_bodies;
pub mod event_types;
pub mod failed_attempts;
pub mod guard;
pub mod headers;
pub mod kinds;
pub mod lease;
pub mod make_due;
pub mod names;
pub mod nodes;
pub mod partition;
pub mod pause;
pub mod pipeline;
pub mod prune;
pub mod redelivery;
pub mod remove;
pub mod requeue;
pub mod sample;
pub mod search;
pub mod settle;
mod steps;
pub mod together;
pub mod transfer;
pub mod wakeup;
mod watched;

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, LocalBoxFuture};

use crate::setters::setters;
use crate::transfer::Transfer;
use crate::{Admin, Kind, Partition, Scheduler, Store};
use watched::{Failure, Watched};

/// How long a case may take before it counts as hanging: far longer than any case takes on a slow machine.
pub const CASE_DEADLINE: Duration = Duration::from_secs(300);

/// Sets up a backend for one case, and removes it afterwards.
pub trait Subject: Sized {
    /// Creates a backend without events that no other case uses, for example in a schema of its own.
    fn set_up() -> impl Future<Output = Self>;

    /// The backend.
    fn backend(&self) -> Backend;

    /// Removes everything that [`set_up`](Subject::set_up) created. Called after failed cases as well.
    fn clean_up(self) -> impl Future<Output = ()>;
}

/// The kinds whose events have guards in the cases: a [`Partitioned`](crate::Partitioned) backend is opened with them
/// as whole kinds.
pub fn whole_kinds() -> [Kind; 2] {
    [steps::guarded_kind(), steps::other_guarded_kind()]
}

/// A backend under test: its implementations of the three traits, and its clock.
#[derive(Clone)]
#[non_exhaustive]
pub struct Backend {
    /// For senders and readers.
    pub store: Arc<dyn Store>,
    /// For workers.
    pub scheduler: Arc<dyn Scheduler>,
    /// For operators.
    pub admin: Arc<dyn Admin>,
    /// For moves; only [`conformance_transfer!`](crate::conformance_transfer!) needs it.
    pub transfer: Option<Arc<dyn Transfer>>,
    /// For marks; only [`conformance_partition!`](crate::conformance_partition!) needs it.
    pub partition: Option<Arc<dyn Partition>>,
    /// Waits until time has passed by the backend's clock.
    pub clock: Clock,
}

/// A function that waits until at least this much time has passed by a backend's clock.
pub type Clock = Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>;

impl Backend {
    /// A backend that implements all three traits, and whose clock is the system's or Tokio's. For any other
    /// clock, use [`with_clock`](Self::with_clock).
    pub fn new<B: Store + Scheduler + Admin>(backend: Arc<B>) -> Self {
        Self {
            store: backend.clone(),
            scheduler: backend.clone(),
            admin: backend,
            transfer: None,
            partition: None,
            clock: Arc::new(|duration| tokio::time::sleep(duration).boxed()),
        }
    }

    setters! {
        with_store store: Arc<dyn Store>;
        with_scheduler scheduler: Arc<dyn Scheduler>;
        with_admin admin: Arc<dyn Admin>;
        with_transfer transfer: Option<Arc<dyn Transfer>>;
        with_partition partition: Option<Arc<dyn Partition>>;
        with_clock clock: Clock;
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").finish_non_exhaustive()
    }
}

/// A case, for programs that run the suite without a test harness.
#[derive(Clone, Copy)]
pub struct Case {
    theme: &'static str,
    promise: &'static str,
    name: &'static str,
    run: fn(Backend) -> LocalBoxFuture<'static, ()>,
}

impl Case {
    /// A case of a theme and its promise.
    const fn new(
        (theme, promise): (&'static str, &'static str),
        name: &'static str,
        run: fn(Backend) -> LocalBoxFuture<'static, ()>,
    ) -> Self {
        Self {
            theme,
            promise,
            name,
            run,
        }
    }

    /// The module of the case, such as `claim`.
    pub const fn theme(&self) -> &'static str {
        self.theme
    }

    /// What all cases of the theme show together, as a sentence without a full stop.
    pub const fn promise(&self) -> &'static str {
        self.promise
    }

    /// The name of the case, such as `events_are_never_early`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the case on `backend`, which must have no events, and which no other case may use.
    ///
    /// The case may leave tasks behind that use the backend: run it in a runtime of its own, which is dropped
    /// afterwards.
    ///
    /// # Errors
    ///
    /// [`CaseFailure`] if the backend does not do what the case expects, if the case takes longer than
    /// [`CASE_DEADLINE`], or if the backend's scheduler returns errors from several calls in a row.
    pub async fn run(&self, backend: Backend) -> Result<(), CaseFailure> {
        let ended = attempt(backend, self.run).await;
        ended.map_err(|panic| CaseFailure {
            message: match panic.downcast::<String>() {
                Ok(message) => *message,
                Err(panic) => match panic.downcast::<&'static str>() {
                    Ok(message) => (*message).to_owned(),
                    Err(_) => "the case panicked without a message".to_owned(),
                },
            },
        })
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.theme, self.name)
    }
}

/// Why a case failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct CaseFailure {
    /// The message of the assertion that does not hold.
    pub message: String,
}

/// Returns the cases of [`conformance!`](crate::conformance!), which every backend must pass.
pub const fn cases() -> &'static [Case] {
    const CASES: &[Case] = crate::__conformance_cases! { slice };
    CASES
}

/// Returns the cases of [`conformance_transfer!`](crate::conformance_transfer!), for backends that implement
/// [`Transfer`].
pub const fn transfer_cases() -> &'static [Case] {
    const CASES: &[Case] = crate::__conformance_transfer_cases! { slice };
    CASES
}

/// Returns the cases of [`conformance_partition!`](crate::conformance_partition!), for backends that implement
/// [`Partition`].
pub const fn partition_cases() -> &'static [Case] {
    const CASES: &[Case] = crate::__conformance_partition_cases! { slice };
    CASES
}

/// Runs one case with a new `S`, and cleans up even if the case fails.
///
/// # Panics
///
/// Panics if the case fails or takes longer than [`CASE_DEADLINE`], or if the backend's scheduler returns
/// errors from several calls in a row.
pub async fn run<S, F>(case: impl FnOnce(Backend) -> F)
where
    S: Subject,
    F: Future<Output = ()>,
{
    let subject = S::set_up().await;
    let ended = attempt(subject.backend(), case).await;
    subject.clean_up().await;
    if let Err(failure) = ended {
        resume_unwind(failure);
    }
}

/// Runs a case, and returns its panic if it fails.
async fn attempt<F: Future<Output = ()>>(
    mut backend: Backend,
    case: impl FnOnce(Backend) -> F,
) -> std::thread::Result<()> {
    let (scheduler, mut failures) = Watched::new(backend.scheduler);
    backend.scheduler = scheduler;
    let case = async {
        let case = tokio::time::timeout(CASE_DEADLINE, case(backend));
        tokio::select! {
            biased;
            ended = case => assert!(
                ended.is_ok(),
                "the case hangs: it did not end within {CASE_DEADLINE:?}"
            ),
            Some(Failure { method, error }) = failures.recv() => {
                panic!("`Scheduler::{method}` keeps failing: {error:?}")
            }
        }
    };
    AssertUnwindSafe(case).catch_unwind().await
}

/// Defines a `#[tokio::test]` for every case, with a [`Subject`](crate::conformance::Subject), in the current
/// module.
///
/// Arguments after the subject are passed to `#[tokio::test]`: `flavor = "multi_thread"`, or
/// `start_paused = true` for a backend on Tokio's clock. The crate needs `tokio` with the features `macros` and
/// `rt` as a (dev-)dependency, and `test-util` for `start_paused`.
#[macro_export]
macro_rules! conformance {
    ($subject:ty $(, $($option:tt)*)?) => {
        $crate::__conformance_cases! { tests $subject, ($($($option)*)?) }
    };
}

/// Defines tests like [`conformance!`](crate::conformance!), for a backend that implements
/// [`Transfer`](crate::transfer::Transfer) as well: its subject gives the backend a
/// [`transfer`](crate::conformance::Backend::transfer).
#[macro_export]
macro_rules! conformance_transfer {
    ($subject:ty $(, $($option:tt)*)?) => {
        $crate::__conformance_transfer_cases! { tests $subject, ($($($option)*)?) }
    };
}

/// Defines tests like [`conformance!`](crate::conformance!), for a backend that implements
/// [`Partition`](crate::Partition) as well: its subject gives the backend a
/// [`partition`](crate::conformance::Backend::partition).
#[macro_export]
macro_rules! conformance_partition {
    ($subject:ty $(, $($option:tt)*)?) => {
        $crate::__conformance_partition_cases! { tests $subject, ($($($option)*)?) }
    };
}

/// The cases of [`conformance!`](crate::conformance!), by their themes: the only list of them. `$use` says
/// what is made of it.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ($($use:tt)*) => {
        $crate::__conformance_expand! { $($use)*;
            accept "each key is stored once, and its content is compared" {
                an_empty_batch_has_no_outcomes
                a_free_key_is_new
                the_same_content_is_a_duplicate
                other_content_is_a_conflict
                only_the_fingerprint_is_compared
                a_duplicate_does_not_reschedule
                settled_events_keep_their_keys
                leased_events_keep_their_keys
                repeats_within_a_batch_are_compared_in_order
                repeats_of_a_taken_key_are_compared_with_the_stored_event
                the_same_key_of_another_kind_is_another_event
                answers_are_in_the_order_of_events
                a_large_batch_is_accepted
                an_accepted_event_is_found_at_once
                an_unknown_event_is_not_found
                ids_grow
                times_of_acceptance_grow
                concurrent_batches_take_each_key_once
                concurrent_batches_compare_contents
                concurrent_batches_with_partial_overlap
                a_backend_at_work_answers_a_ping
            }
            together "events that are accepted in one call are stored together" {
                events_stored_together_are_answered_in_order
                five_thousand_events_are_stored_together
                a_dropped_call_stores_all_its_events_or_none
                calls_that_overlap_store_each_event_once
            }
            event_types "event types are kept unchanged and can be listed" {
                event_types_are_kept_unchanged
                event_types_are_not_compared
                event_types_outlive_bodies
                claims_have_event_types
                lists_select_events_of_a_type
                pages_of_a_type_list_each_event_once
            }
            guard "a guard is unique among the events of its kind" {
                a_known_guard_is_a_duplicate_and_stores_nothing
                a_known_key_is_judged_by_its_content
                only_stored_events_have_guards
                guards_are_of_one_kind
                guards_within_a_batch_are_judged_in_order
                a_key_whose_delivery_was_a_duplicate_is_free
                many_guards_within_a_batch
                concurrent_deliveries_with_one_guard_store_one_event
                concurrent_batches_with_guards_do_not_deadlock
                a_guard_lives_as_long_as_its_key
            }
            headers "headers are kept unchanged" {
                headers_are_kept_unchanged
                headers_are_not_compared
                later_attempts_have_the_same_headers
                headers_are_deleted_with_bodies
            }
            conflict "conflicting deliveries are kept within limits" {
                conflicts_are_listed_latest_first
                the_latest_conflict_bodies_are_kept
                many_conflicts_within_a_batch_are_bounded
                long_conflict_bodies_are_truncated
                events_without_conflicts_list_none
                conflicts_belong_to_one_event
            }
            redelivery "a redelivery requeues a FAILED event where that is asked for" {
                redelivery_requeues_a_failed_event
                a_redelivered_event_is_processed
                redelivery_of_other_content_is_a_conflict
                redelivery_requeues_nothing_else
                redelivery_may_keep_a_failed_event
                redeliveries_within_a_batch_requeue_once
                a_redelivered_event_waits_for_its_delay
            }
            claim "each due event is leased to one worker, in due order, and never early" {
                claiming_nothing_is_not_an_error
                a_claim_returns_the_delivered_event
                a_claim_counts_the_attempt
                events_are_claimed_in_due_order
                single_claims_are_in_due_order
                a_waiting_event_is_not_claimed
                events_are_never_early
                the_age_is_the_time_since_acceptance
                the_lag_is_the_time_since_due
                other_kinds_are_not_claimed
                a_claim_keeps_to_its_limit
                a_limit_may_exceed_all_events
                a_large_claim_returns_each_event_once
                a_leased_event_is_not_claimed_again
                concurrent_claimers_share_the_events
                claims_and_accepts_may_run_at_once
                next_due_is_that_of_the_earliest_event
                next_due_counts_leases
                next_due_ignores_settled_events
                after_next_due_the_event_is_due
            }
            kinds "one claim serves many kinds, and none starves another" {
                an_empty_claim_has_no_answers
                claims_are_answered_in_their_order
                no_kind_starves_another
                each_kind_has_its_own_lease_and_attempts
                each_kind_has_its_own_next_due
                two_hundred_kinds_are_claimed_in_one_call
                a_wait_for_many_kinds_returns_some_of_them
            }
            lease "a stale lease changes nothing" {
                an_expired_lease_is_taken_over
                a_running_lease_is_not_taken_over
                an_expired_lease_keeps_its_place
                a_stale_lease_changes_nothing
                a_stale_lease_does_not_undo_a_settlement
                an_unknown_lease_is_lost
                an_extended_lease_does_not_expire
                an_extension_counts_from_now
                an_expired_lease_is_renewed_unless_claimed_again
                an_expired_lease_settles_unless_claimed_again
                extend_answers_each_lease
                many_leases_are_extended_at_once
                concurrent_takeovers_share_the_events
                either_the_holder_or_the_next_claimer_wins
            }
            budget "crashes and failures spend attempts, and an event has no more than its attempts" {
                crashes_spend_the_attempts
                one_attempt_allows_one_crash
                the_last_attempt_may_settle_late
                the_last_attempt_may_be_extended
                retries_and_crashes_share_the_attempts
                a_retry_beyond_the_attempts_is_not_leased
                exhausted_events_count_towards_the_limit
                raising_max_attempts_gives_more_attempts
                attempts_are_counted_per_event
            }
            settle "a settled event stays settled" {
                a_processed_event_is_processed
                a_failed_event_keeps_its_reason
                reasons_of_any_length_are_kept
                a_second_settlement_changes_nothing
                of_two_settlements_in_a_call_the_first_applies
                settlements_in_a_batch_are_independent
                a_large_batch_is_settled
                concurrent_settlements_apply_once
                a_retry_waits_for_its_delay
                a_retry_is_the_next_attempt
                a_retry_takes_a_new_place
                a_retry_may_be_due_at_once
                a_release_gives_the_attempt_back
                releases_never_exhaust_an_event
                a_release_gives_one_attempt_back
                a_released_lease_is_stale
                a_release_keeps_its_place
                a_postponed_event_waits_and_keeps_its_attempts
                processed_is_terminal
                failed_stays_failed
            }
            admin "kinds, counts, lags and lists are those of the stored events" {
                kinds_are_sorted_without_duplicates
                kinds_include_those_of_settled_events
                pruned_kinds_are_not_listed
                counts_are_by_state
                counts_and_lists_are_of_one_kind
                the_lag_is_that_of_the_oldest_due_event
                an_expired_lease_counts_as_lag
                settled_events_have_no_lag
                lists_are_of_one_state
                pages_list_each_event_once
                pages_continue_after_any_id
                recent_settlements_are_counted
            }
            search "searches find each event that matches once" {
                a_search_lists_the_newest_events_first
                searches_select_by_kind_and_state
                searches_select_by_key_and_type
                searches_select_by_reason_and_header
                searches_select_by_time_of_acceptance
                pages_of_a_search_list_each_event_once
                a_bounded_search_continues_where_it_stopped
                exact_searches_examine_only_what_matches
            }
            sample "samples count within limits" {
                samples_count_by_kind_and_state
                samples_are_bounded
                samples_have_the_age_of_the_oldest_due_event
            }
            nodes "the processes of an inbox see each other" {
                nodes_are_listed_in_the_order_of_their_start
                the_latest_report_of_a_node_is_kept
                a_silent_node_expires
                a_retired_node_is_gone
                concurrent_reports_agree_on_the_first_node
            }
            actions "the actions of operators are recorded" {
                actions_are_kept_unchanged
                pages_list_each_action_once
            }
            requeue "only FAILED events are requeued, and they start again" {
                a_requeued_event_starts_again
                a_requeued_event_takes_a_new_place
                a_requeued_event_has_all_its_attempts
                leases_from_before_a_requeue_are_stale
                only_failed_events_are_requeued
                requeue_is_by_kind_and_key
                concurrent_requeues_apply_once
            }
            make_due "waiting events are made due on demand" {
                a_waiting_event_becomes_due_now
                made_due_events_keep_attempts_reason_and_fence
                events_that_do_not_wait_are_not_made_due
                running_leases_end_only_on_demand
                an_ended_lease_is_stale_once_its_event_is_claimed
                the_holder_of_an_ended_lease_may_settle_until_then
                an_ended_lease_counts_as_a_lost_attempt
                make_due_is_by_kind_and_key
                concurrent_calls_make_each_event_due_once
                lists_show_when_events_are_due
                lists_select_events_that_are_held_for_long
            }
            prune "old settled events are deleted, the oldest first" {
                a_pruned_key_is_free_again
                pruning_is_by_state
                pruning_is_by_age_of_the_settlement
                pruning_takes_the_oldest_first
                pruning_is_by_kind
                a_requeued_event_is_not_pruned
                leases_of_pruned_events_are_stale
                concurrent_prunes_share_the_events
            }
            delete_bodies "old bodies are deleted, and their keys are kept" {
                a_deleted_body_is_gone
                an_event_whose_body_is_deleted_keeps_its_key
                details_are_deleted_with_bodies
                only_processed_events_lose_their_bodies
                bodies_are_deleted_by_age
                events_without_bodies_are_pruned_first
                concurrent_calls_share_the_bodies
            }
            remove "single events are deleted or erased on demand" {
                deleted_events_are_gone
                leased_events_are_not_deleted
                leases_of_deleted_events_are_stale
                events_are_deleted_and_erased_by_kind_and_key
                concurrent_deletes_and_claims_share_the_events
                erased_events_keep_their_keys
                only_settled_events_are_erased
                erased_events_are_not_requeued
                retention_goes_on_after_single_removals
            }
            pause "a paused kind is accepted and not claimed" {
                a_paused_kind_accepts_and_is_not_claimed
                resumed_events_are_claimed_in_due_order
                running_attempts_end_as_usual_while_paused
                retries_of_a_paused_kind_wait
                nothing_is_exhausted_while_paused
                pause_and_resume_return_whether_they_changed_anything
                paused_kinds_are_sorted_and_need_no_events
                other_kinds_are_claimed_in_the_same_call
                requeued_events_of_a_paused_kind_wait
                events_made_due_of_a_paused_kind_wait
                claims_after_a_pause_return_no_events
                concurrent_pauses_apply_once
            }
            failed_attempts "failed attempts are kept with their reasons, within limits" {
                events_without_failures_have_no_failed_attempts
                failed_attempts_are_listed_latest_first
                a_processed_event_keeps_its_failed_attempts
                lost_attempts_are_failed_attempts
                a_late_settlement_is_kept_as_it_was
                stale_settlements_are_not_kept
                the_latest_failed_attempts_are_kept
                a_requeue_keeps_the_failed_attempts
                failed_attempts_belong_to_one_event
                details_are_kept_with_their_attempt
                details_of_the_latest_attempts_are_kept
            }
            names "keys, kinds and bodies are kept byte for byte" {
                similar_keys_are_different
                keys_are_never_interpreted
                keys_of_every_unicode_plane_are_kept
                the_longest_keys_are_kept
                unusual_kinds_are_kept
                an_empty_body_is_kept
                large_bodies_are_kept
                bodies_need_not_be_text
                bodies_of_every_unicode_plane_are_kept
                bodies_are_never_interpreted
            }
            wakeup "waiting workers find work, also when a wake-up is lost" {
                a_waiting_worker_gets_new_events
                a_waiting_worker_gets_earlier_events
                a_waiting_worker_gets_events_that_come_back
                a_waiting_worker_gets_an_event_made_due
                a_waiting_worker_gets_the_events_of_a_resumed_kind
                a_waiting_worker_takes_over_expired_leases
                several_workers_may_wait
                a_lost_wakeup_loses_no_event
                polling_alone_finds_every_event
                a_wait_may_be_dropped_and_repeated
                workers_of_other_kinds_do_not_interfere
            }
            pipeline "inbox and workers process each event once, whatever crashes" {
                a_delivery_is_processed_once_and_never_early
                concurrent_redeliveries_are_processed_once
                a_conflicting_delivery_changes_nothing
                a_failing_event_is_retried_until_it_succeeds
                a_poison_event_fails_and_others_are_processed
                workers_share_events_without_repeating_any
                a_dead_workers_event_is_taken_over
                an_event_that_kills_its_workers_fails
                events_released_by_a_drain_keep_their_attempts
                an_unreadable_payload_spends_its_attempts
                an_unreadable_payload_is_left_to_another_version
                a_raw_handler_gets_the_delivered_body
                handlers_may_accept_follow_up_events
                handlers_accept_events_until_they_end
                an_idle_pipeline_has_settled_all_events
                a_pipeline_deletes_old_events
            }
        }
    };
}

/// The cases of [`conformance_transfer!`](crate::conformance_transfer!).
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_transfer_cases {
    ($($use:tt)*) => {
        $crate::__conformance_expand! { $($use)*;
            transfer "events can be exported and imported unchanged" {
                an_empty_backend_exports_nothing
                exported_events_are_what_is_found
                imported_events_are_unchanged
                imported_guards_are_known
                imported_events_keep_their_order
                a_repeated_import_changes_nothing
                exports_are_bounded_in_bytes
                exports_are_bounded_in_bytes_of_details
                imported_events_are_claimed_with_the_next_fence
                imported_failures_are_requeued_with_the_next_fence
                leases_are_imported
                imported_events_go_on_counting
                imported_keys_are_taken
                a_mark_is_kept
            }
        }
    };
}

/// The cases of [`conformance_partition!`](crate::conformance_partition!).
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_partition_cases {
    ($($use:tt)*) => {
        $crate::__conformance_expand! { $($use)*;
            partition "the mark of a partition is replaced only by those who know it" {
                a_new_backend_has_no_mark
                a_partition_mark_is_kept
                another_partition_mark_is_not_replaced
                concurrent_calls_replace_a_partition_mark_once
            }
        }
    };
}

/// Makes tests of a list of cases, or a slice of [`Case`](crate::conformance::Case).
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_expand {
    (tests $subject:ty, $options:tt; $($theme:ident $promise:literal { $($case:ident)+ })+) => {
        $($($crate::__conformance_test!($subject, $options, $theme, $case);)+)+
    };
    (slice; $($theme:ident $promise:literal { $($case:ident)+ })+) => {
        &[$($($crate::conformance::Case::new(
            (stringify!($theme), $promise),
            stringify!($case),
            |backend| Box::pin($crate::conformance::$theme::$case(backend)),
        ),)+)+]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test {
    ($subject:ty, ($($option:tt)*), $theme:ident, $case:ident) => {
        #[::tokio::test($($option)*)]
        async fn $case() {
            $crate::conformance::run::<$subject, _>($crate::conformance::$theme::$case).await;
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::{cases, partition_cases, transfer_cases};

    /// A case that is not in the list would never run.
    #[test]
    fn every_case_is_listed_once() {
        let themes = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance");
        let mut written = BTreeSet::new();
        for theme in std::fs::read_dir(themes).unwrap() {
            let path = theme.unwrap().path();
            let theme = path.file_stem().unwrap().to_str().unwrap();
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                if let Some(case) = line.strip_prefix("pub async fn ") {
                    let (case, _) = case.split_once('(').unwrap();
                    written.insert(format!("{theme}::{case}"));
                }
            }
        }
        let more = || transfer_cases().iter().chain(partition_cases());
        let all = || cases().iter().chain(more());
        let listed: BTreeSet<_> = all().map(|case| format!("{case:?}")).collect();
        assert_eq!(listed, written);
        let names: BTreeSet<_> = all().map(|case| case.name()).collect();
        assert_eq!(names.len(), all().count(), "a name is there twice");
        assert!(names.len() > 100);
    }
}
