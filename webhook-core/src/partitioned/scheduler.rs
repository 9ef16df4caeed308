//! [`Scheduler`] over partitions.

use std::collections::{BTreeSet, HashSet};
use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::future::join_all;
use tracing::warn;

use crate::error::StoreError;
use crate::event::{Key, Kind};
use crate::panics::logging;
use crate::partitioned::Partitioned;
use crate::partitioned::member::Member;
use crate::partitioned::split::worse;
use crate::scheduler::{
    Claim, Claimed, ClaimedEvent, Extended, Lease, Scheduler, Settled, Settlement,
};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scheduler for Partitioned {
    /// Each partition gets a share of each limit, and those with more due events what others leave. If the limits are
    /// smaller than the number of partitions, the next due time may be zero although no more events are due.
    ///
    /// The call returns when all partitions have answered. If one of them takes longer than the lease, events of others
    /// may be claimed again meanwhile, also by this call, which then returns their latest leases only. A worker claims
    /// from each [partition](Self::partitions) by itself, and so does not wait for the others.
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<Claimed>, StoreError> {
        if let [only] = self.members() {
            return only.claim(claims).await;
        }
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let members: Vec<&Member> = self.in_turn().map(|member| &**member).collect();
        let mut round = Round::new(claims, members.len());
        while let Some(shares) = round.shares() {
            let members = &members;
            let calls = shares.iter().map(|share| async move {
                let claims: Vec<Claim> = share.claims.iter().map(|(_, it)| it.clone()).collect();
                members[share.member].claim(&claims).await
            });
            let answers = join_all(calls).await;
            for (share, answer) in shares.iter().zip(answers) {
                if let Err(error) = &answer {
                    logging(|| {
                        warn!(
                            error = error as &dyn std::error::Error,
                            "failed to claim events of a partition"
                        );
                    });
                }
                round.add(share, answer);
            }
        }
        round.claimed()
    }

    async fn extend(&self, leases: &[Lease], lease: Duration) -> Result<Vec<Extended>, StoreError> {
        let lost = Some(Extended::LeaseLost);
        let index_of = |lease: &Lease| self.index_of(*lease);
        self.split(leases, index_of, lost, |member, leases| {
            member.extend(leases, lease)
        })
        .await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>, StoreError> {
        let lost = Some(Settled::LeaseLost);
        let index_of = |settlement: &Settlement| self.index_of(settlement.lease);
        self.split(settlements, index_of, lost, |member, settlements| {
            member.settle(settlements)
        })
        .await
    }

    async fn wait_for_work(&self, kinds: &[Kind]) -> Vec<usize> {
        let waits = self.members().iter().map(|it| it.wait_for_work(kinds));
        let mut waits: Vec<_> = waits.collect();
        poll_fn(|context| {
            // Polls all of them, since a completed future may be a wake-up that does not repeat.
            let polled = waits.iter_mut().map(|wait| wait.as_mut().poll(context));
            let polled: Vec<_> = polled.collect();
            if polled.iter().all(Poll::is_pending) {
                return Poll::Pending;
            }
            let mut places = BTreeSet::new();
            for woken in polled {
                if let Poll::Ready(woken) = woken {
                    places.extend(woken);
                }
            }
            Poll::Ready(places.into_iter().collect())
        })
        .await
    }

    fn pause_before_claim(&self, kind: &Kind, accepted_per_claimed: Option<f64>) -> Duration {
        let pauses = self
            .members()
            .iter()
            .map(|it| it.pause_before_claim(kind, accepted_per_claimed));
        pauses.max().unwrap_or(Duration::ZERO)
    }

    fn partitions(&self) -> Vec<Arc<dyn Scheduler>> {
        let members = self.members().iter().cloned();
        members.map(|member| member as Arc<dyn Scheduler>).collect()
    }
}

/// A call of [`Scheduler::claim`] that asks partitions until the limits are reached or nothing more is due.
struct Round<'c> {
    claims: &'c [Claim],
    /// How many events each claim may still take.
    left: Vec<usize>,
    claimed: Vec<Claimed>,
    /// What is known of each partition, for each claim.
    known: Vec<Vec<Known>>,
    has_answer: bool,
    error: Option<StoreError>,
}

/// What is known of the due events of a kind in a partition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It was not asked.
    Nothing,
    /// It gave as many as it was asked for, and has more.
    More,
    /// It gave all that it could. More fall due after this time.
    Later(Option<Duration>),
}

/// What one partition is asked for.
struct Share {
    member: usize,
    /// With the numbers of the claims in the call.
    claims: Vec<(usize, Claim)>,
}

impl<'c> Round<'c> {
    fn new(claims: &'c [Claim], members: usize) -> Self {
        Self {
            claims,
            left: claims.iter().map(|claim| claim.limit.get()).collect(),
            claimed: vec![Claimed::default(); claims.len()],
            known: vec![vec![Known::Nothing; members]; claims.len()],
            has_answer: false,
            error: None,
        }
    }

    /// Divides what is left of each limit among the partitions that may have due events; the first ones get the rest.
    /// Returns `None` if nothing is left to ask for.
    fn shares(&self) -> Option<Vec<Share>> {
        let members = self.known.first()?.len();
        let mut shares: Vec<_> = (0..members)
            .map(|member| Share {
                member,
                claims: Vec::new(),
            })
            .collect();
        for (number, claim) in self.claims.iter().enumerate() {
            let known = &self.known[number];
            let may_have = |member: &usize| !matches!(known[*member], Known::Later(_));
            let candidates: Vec<usize> = (0..members).filter(may_have).collect();
            let Some(share) = self.left[number].checked_div(candidates.len()) else {
                continue;
            };
            let rest = self.left[number] % candidates.len();
            for (place, member) in candidates.into_iter().enumerate() {
                let limit = share + usize::from(place < rest);
                if let Some(limit) = NonZeroUsize::new(limit) {
                    let claim = claim.clone().with_limit(limit);
                    shares[member].claims.push((number, claim));
                }
            }
        }
        shares.retain(|share| !share.claims.is_empty());
        (!shares.is_empty()).then_some(shares)
    }

    fn add(&mut self, share: &Share, answer: Result<Vec<Claimed>, StoreError>) {
        let answer = match answer {
            Ok(answer) => {
                self.has_answer = true;
                answer
            }
            Err(error) => {
                self.error = Some(worse(self.error.take(), error));
                Vec::new()
            }
        };
        let mut answers = answer.into_iter();
        for (number, claim) in &share.claims {
            let answer = answers.next().unwrap_or_default();
            let taken = answer.events.len() + answer.exhausted.len();
            self.left[*number] = self.left[*number].saturating_sub(taken);
            let is_full = taken >= claim.limit.get();
            // One that says that more is due, and gives less than it may, has given others what is due.
            self.known[*number][share.member] = match answer.next_due {
                Some(Duration::ZERO) if is_full => Known::More,
                next_due => Known::Later(next_due),
            };
            let claimed = &mut self.claimed[*number];
            // While another partition was waited for, leases of an earlier answer may have run out.
            let again: HashSet<&Key> = answer.keys().collect();
            claimed.events.retain(|event| !again.contains(&event.key));
            claimed.events.extend(answer.events);
            claimed.exhausted.extend(answer.exhausted);
        }
    }

    fn claimed(self) -> Result<Vec<Claimed>, StoreError> {
        if let Some(error) = self.error
            && !self.has_answer
        {
            return Err(error);
        }
        let claimed = self.claimed.into_iter().zip(self.known);
        let claimed = claimed.map(|(mut claimed, known)| {
            claimed.events.sort_by_key(due_at);
            let next_due = known.iter().filter_map(|known| match known {
                Known::Nothing | Known::More => Some(Duration::ZERO),
                Known::Later(next_due) => *next_due,
            });
            claimed.next_due = next_due.min();
            claimed
        });
        Ok(claimed.collect())
    }
}

/// When an event fell due, by its partition's clock.
fn due_at(event: &ClaimedEvent) -> SystemTime {
    let claimed_at = event.accepted_at.checked_add(event.age);
    let due_at = claimed_at.and_then(|it| it.checked_sub(event.lag));
    due_at.unwrap_or(event.accepted_at)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::num::NonZeroU32;

    use super::*;
    use crate::event::EventId;
    use crate::scheduler::{Attempt, Fence};

    const KIND: Kind = Kind::from_static("order");

    fn claims(limits: &[usize]) -> Vec<Claim> {
        let claim = |limit: &usize| {
            let limit = NonZeroUsize::new(*limit).unwrap();
            Claim::new(KIND, limit, Duration::from_secs(60), NonZeroU32::MIN)
        };
        limits.iter().map(claim).collect()
    }

    /// An answer with events that fell due this many seconds after 1970.
    fn due(seconds: &[u64], next_due: Option<Duration>) -> Claimed {
        let events = seconds.iter().map(|seconds| {
            let lease = Lease::new(EventId::new(1), Attempt::FIRST, Fence::new(1));
            let key = Key::new(seconds.to_string()).unwrap();
            let accepted_at = SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds);
            ClaimedEvent::new(lease, key, "".into(), accepted_at)
                .with_age(Duration::from_secs(9))
                .with_lag(Duration::from_secs(9))
        });
        Claimed::default()
            .with_events(events.collect())
            .with_next_due(next_due)
    }

    fn limits(shares: &[Share]) -> Vec<(usize, Vec<usize>)> {
        let limits = |share: &Share| share.claims.iter().map(|(_, it)| it.limit.get()).collect();
        shares.iter().map(|it| (it.member, limits(it))).collect()
    }

    fn keys(claimed: &Claimed) -> Vec<&str> {
        claimed.events.iter().map(|it| it.key.as_str()).collect()
    }

    #[test]
    fn what_one_partition_leaves_goes_to_those_that_have_more() {
        let claims = claims(&[10]);
        let mut round = Round::new(&claims, 3);
        let shares = round.shares().unwrap();
        assert_eq!(limits(&shares), [(0, vec![4]), (1, vec![3]), (2, vec![3])]);
        let later = Some(Duration::from_secs(7));
        round.add(&shares[0], Ok(vec![due(&[5], later)]));
        round.add(&shares[1], Ok(vec![due(&[1, 2, 9], Some(Duration::ZERO))]));
        round.add(&shares[2], Ok(vec![due(&[3, 4, 8], None)]));
        let shares = round.shares().unwrap();
        assert_eq!(limits(&shares), [(1, vec![3])]);
        round.add(&shares[0], Ok(vec![due(&[10, 11], None)]));
        assert!(round.shares().is_none());
        let claimed = round.claimed().unwrap().remove(0);
        assert_eq!(
            keys(&claimed),
            ["1", "2", "3", "4", "5", "8", "9", "10", "11"]
        );
        assert_eq!(claimed.next_due, later);
    }

    #[test]
    fn a_small_limit_asks_one_partition_after_another() {
        let claims = claims(&[1, 2]);
        let mut round = Round::new(&claims, 3);
        let shares = round.shares().unwrap();
        assert_eq!(limits(&shares), [(0, vec![1, 1]), (1, vec![1])]);
        round.add(
            &shares[0],
            Ok(vec![due(&[], None), due(&[1], Some(Duration::ZERO))]),
        );
        round.add(&shares[1], Ok(vec![due(&[2], None)]));
        let shares = round.shares().unwrap();
        assert_eq!(limits(&shares), [(1, vec![1])]);
        round.add(&shares[0], Ok(vec![due(&[3], None)]));
        assert!(round.shares().is_none());
        // The third partition was not asked.
        let claimed = round.claimed().unwrap();
        assert_eq!(claimed[0].next_due, Some(Duration::ZERO));
        assert_eq!(
            (keys(&claimed[0]), keys(&claimed[1])),
            (vec!["3"], vec!["1", "2"])
        );
    }

    /// Others may have locked what is due.
    #[test]
    fn a_partition_that_gives_nothing_is_not_asked_again() {
        let claims = claims(&[4]);
        let mut round = Round::new(&claims, 2);
        let shares = round.shares().unwrap();
        for share in &shares {
            round.add(share, Ok(vec![due(&[], Some(Duration::ZERO))]));
        }
        assert!(round.shares().is_none());
        let claimed = round.claimed().unwrap().remove(0);
        assert_eq!(claimed.next_due, Some(Duration::ZERO));
    }

    #[test]
    fn an_event_that_is_claimed_again_has_only_its_latest_lease() {
        let claims = claims(&[6]);
        let mut round = Round::new(&claims, 2);
        let shares = round.shares().unwrap();
        assert_eq!(limits(&shares), [(0, vec![3]), (1, vec![3])]);
        round.add(&shares[0], Ok(vec![due(&[1, 2, 3], Some(Duration::ZERO))]));
        // The leases of the first answer run out while this one is waited for.
        round.add(&shares[1], Ok(vec![due(&[4], None)]));
        let shares = round.shares().unwrap();
        assert_eq!(limits(&shares), [(0, vec![2])]);
        let mut again = due(&[1], None);
        again.events[0].lease.attempt = Attempt::new(NonZeroU32::new(2).unwrap());
        again.exhausted.push(Key::new("2").unwrap());
        round.add(&shares[0], Ok(vec![again]));
        assert!(round.shares().is_none());
        let claimed = round.claimed().unwrap().remove(0);
        assert_eq!(keys(&claimed), ["1", "3", "4"]);
        assert_eq!(claimed.events[0].lease.attempt.number(), 2);
        assert_eq!(claimed.exhausted, [Key::new("2").unwrap()]);
    }

    #[test]
    fn only_a_call_that_no_partition_answers_fails() {
        let claims = claims(&[4]);
        let gone = || Err(StoreError::unavailable(io::Error::other("gone")));
        let mut round = Round::new(&claims, 2);
        let shares = round.shares().unwrap();
        round.add(&shares[0], gone());
        round.add(&shares[1], Ok(vec![due(&[1], None)]));
        assert!(round.shares().is_none());
        assert_eq!(keys(&round.claimed().unwrap()[0]), ["1"]);
        let mut round = Round::new(&claims, 2);
        for share in &round.shares().unwrap() {
            round.add(share, gone());
        }
        assert!(round.shares().is_none());
        round.claimed().unwrap_err();
    }
}
