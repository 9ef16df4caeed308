//! The end of a run: waits for recovery and compares the records.

use std::time::Duration;

use anyhow::Context as _;
use testkit::wait::Limit;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::behaviour::Behaviour;
use crate::ledger;
use crate::reconcile::{Evidence, Tally, reconcile};
use crate::senders::{self, Senders};

use super::{DELAY, RECOVERY_LIMIT, Rig};

/// The time limit after the load until every event is settled.
const DRAIN_LIMIT: Duration = Duration::from_secs(90);

impl<B: Backend> Rig<B> {
    /// Ends the fault: measures how long it takes until every node has accepted a new event, and
    /// all of these are processed.
    pub(crate) async fn healed(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        let first = self.probes;
        let accepting: Vec<_> = self.nodes.iter().filter(|node| node.accepts).collect();
        self.probes += u64::try_from(accepting.len())?;
        let keys: Vec<_> = (first..self.probes)
            .map(|number| senders::key(Behaviour::Well, number))
            .collect();
        let deliveries = accepting
            .iter()
            .zip(&keys)
            .map(|(node, key)| senders::deliver_to(node.addr, &self.book, key));
        futures_util::future::try_join_all(deliveries)
            .await
            .with_context(|| format!("not every node accepts: {}", self.last_words()))?;
        let mut connection = self.database.connect().await?;
        let limit = Limit::of(RECOVERY_LIMIT);
        loop {
            let ended = B::ended(&mut connection, &keys).await?;
            if usize::try_from(ended)? == keys.len() {
                break;
            }
            let last_words = || format!("new events are processed: {}", self.last_words());
            limit.pause(last_words).await?;
        }
        let recovery = began.elapsed().saturating_sub(DELAY);
        self.recovery = self.recovery.max(recovery);
        self.violations.extend(B::damage(&mut connection).await?);
        Ok(())
    }

    /// Records that the fault ended at `healed`, and the recovery now.
    pub(crate) fn recovered_since(&mut self, healed: Instant) {
        self.recovery = self.recovery.max(healed.elapsed());
    }

    /// Adds a violation if senders noticed more than connections that were closed while idle.
    pub(crate) fn must_not_be_noticed(&mut self) {
        let entries = self.book.entries();
        let (unavailable, unanswered) = (entries.unavailable, entries.unanswered);
        // A connection was not idle if a delivery that was sent over it has been accepted.
        let swallowed = entries.sent.values();
        let swallowed = swallowed.filter(|it| it.accepted == 0 && it.duplicates > 0);
        let swallowed = swallowed.count();
        drop(entries);
        for (count, what) in [
            (unavailable, "requests answered 503"),
            (unanswered, "requests cut off"),
            (swallowed as u64, "events accepted without an answer"),
        ] {
            if count > 0 {
                self.violations.push(format!("{count} {what}"));
            }
        }
    }

    /// Ends the load, waits until all events are settled, stops the nodes and compares the records.
    pub(crate) async fn finish(self, load: Senders) -> anyhow::Result<Tally> {
        load.finish().await?;
        self.finish_idle().await
    }

    /// Does the same after the load.
    pub(crate) async fn finish_idle(mut self) -> anyhow::Result<Tally> {
        let drained = self.drained().await;
        for node in &mut self.nodes {
            if let Err(error) = node.stop().await {
                self.violations.push(format!("{error:#}"));
            }
        }
        if let Err(error) = drained {
            self.violations.push(format!("STUCK: {error:#}"));
        }
        let tally = self.tally().await?;
        if !tally.violations.is_empty() && !self.expects_violations {
            let kept = self.folder.keep();
            eprintln!("what was left behind is kept in {}", kept.display());
        }
        Ok(tally)
    }

    async fn tally(&self) -> anyhow::Result<Tally> {
        let mut connection = self.database.connect().await?;
        let stored = B::stored(&mut connection).await?;
        let strays = B::strays(&mut connection).await?;
        let effects = B::effects(&mut connection).await?;
        let damage = B::damage(&mut connection).await?;
        let lines = ledger::read(&self.ledger).context("the ledger is damaged")?;
        let mut tally = reconcile(&Evidence {
            entries: &self.book.entries(),
            stored: &stored,
            effects: &effects,
            lines: &lines,
            delay: DELAY,
            lease: self.lease,
            max_attempts: self.max_attempts,
            spoilt: self.spoilt,
            spends_no_attempt: self.spends_no_attempt,
            keeps_ledger: self.keeps_ledger,
            is_over: true,
        });
        tally.recovery_seconds = self.recovery.as_secs_f64();
        tally.notes.clone_from(&self.notes);
        tally.violations.extend(self.violations.iter().cloned());
        tally.violations.extend(damage);
        if strays > 0 {
            let stray = format!("{strays} rows that belong to no event");
            tally.violations.push(stray);
        }
        for node in &self.nodes {
            // A handler's panic is caught and logged by design; any other panic is a bug.
            let panicked = node
                .log()
                .lines()
                .filter(|line| line.contains("panicked at") && !line.contains("handler.rs"))
                .map(|line| format!("{} panicked: {line}", node.name))
                .next();
            tally.violations.extend(panicked);
        }
        Ok(tally)
    }

    /// Waits until no event is queued any more.
    pub(crate) async fn drained(&self) -> anyhow::Result<()> {
        self.drained_within(DRAIN_LIMIT).await
    }

    /// Does the same with another time limit.
    pub(crate) async fn drained_within(&self, limit: Duration) -> anyhow::Result<()> {
        let mut connection = self.database.connect().await?;
        let limit = Limit::of(limit);
        loop {
            let queued = B::queued(&mut connection).await?;
            if queued == 0 {
                return Ok(());
            }
            limit
                .pause(|| format!("{queued} events are settled: {}", self.last_words()))
                .await?;
        }
    }
}
