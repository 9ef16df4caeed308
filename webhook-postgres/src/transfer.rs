//! Reads and writes whole events, for moves from and to other backends.

mod lock;

use std::collections::HashMap;
use std::num::NonZeroUsize;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::postgres::{PgBindIterExt, PgRow};
use sqlx::{Connection, Row};
use webhook_core::transfer::{MoveMark, StoredEvent, Transfer};
use webhook_core::{
    ConflictRecord, EventId, EventRef, EventType, FailedAttempt, FailureReason, Fence,
    MAX_CONFLICT_BODIES, State, StoreError,
};

use crate::accept::fingerprint;
use crate::error::PgError;
use crate::microseconds;
use crate::record;
use crate::session::Session;
use crate::store::PgStore;

pub use lock::{WaitingSession, WriteLock};

#[async_trait]
impl Transfer for PgStore {
    async fn export(
        &self,
        after: Option<EventId>,
        limit: NonZeroUsize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(export(&mut self.session(), after, limit, max_bytes).await?)
    }

    async fn import(&self, events: &[StoredEvent]) -> Result<usize, StoreError> {
        Ok(self.import_all(events).await?)
    }

    async fn newest(&self) -> Result<Option<EventRef>, StoreError> {
        let mut session = self.session();
        let rows = session.rows(include_str!("transfer/newest.sql"), |query| query);
        let rows = rows.await?;
        Ok(rows.first().map(event_ref).transpose()?)
    }

    async fn mark(&self) -> Result<Option<MoveMark>, StoreError> {
        Ok(move_mark(&mut self.session()).await?)
    }

    async fn set_mark(&self, mark: Option<&MoveMark>) -> Result<(), StoreError> {
        let mut session = self.session();
        match mark.map(MoveMark::as_stored) {
            None => {
                session
                    .rows(include_str!("transfer/remove_mark.sql"), |query| query)
                    .await?
            }
            Some((part, other)) => {
                session
                    .rows(include_str!("transfer/set_mark.sql"), |query| {
                        query.bind(part).bind(other.to_owned())
                    })
                    .await?
            }
        };
        Ok(())
    }
}

pub(crate) async fn move_mark(session: &mut Session<'_>) -> Result<Option<MoveMark>, PgError> {
    let rows = session.rows(include_str!("transfer/mark.sql"), |query| query);
    rows.await?.first().map(mark).transpose()
}

fn mark(row: &PgRow) -> Result<MoveMark, PgError> {
    let part: &str = row.try_get("part")?;
    MoveMark::from_stored(part, row.try_get("other")?).ok_or_else(|| PgError::Damaged {
        detail: format!("its part in a move is {part}"),
    })
}

fn event_ref(row: &PgRow) -> Result<EventRef, PgError> {
    Ok(EventRef {
        kind: record::kind(row.try_get("kind")?)?,
        key: record::key(row.try_get("key")?)?,
    })
}

async fn export(
    session: &mut Session<'_>,
    after: Option<EventId>,
    limit: NonZeroUsize,
    max_bytes: usize,
) -> Result<Vec<StoredEvent>, PgError> {
    let after = after.map_or(0, EventId::get);
    let limit = i64::try_from(limit.get()).unwrap_or(i64::MAX);
    let max_bytes = i64::try_from(max_bytes).unwrap_or(i64::MAX);
    let rows = session
        .rows(include_str!("transfer/export.sql"), |query| {
            query.bind(after).bind(limit).bind(max_bytes)
        })
        .await?;
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        let record = record::record(row, event_ref(row)?)?;
        let guard = row.try_get::<Option<&[u8]>, _>("guard")?;
        events.push(
            StoredEvent::new(record)
                .with_fence(Fence::new(row.try_get("fence")?))
                .with_guard(guard.map(fingerprint).transpose()?),
        );
    }
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return Ok(events);
    };
    let (first, last) = (first.record.id.get(), last.record.id.get());
    let conflicts = session
        .rows(include_str!("transfer/export_conflicts.sql"), |query| {
            query.bind(first).bind(last)
        })
        .await?;
    for row in &conflicts {
        if let Some(event) = of_row(&mut events, row)? {
            event.conflicts.push(conflict(row)?);
        }
    }
    let failed = session
        .rows(
            include_str!("transfer/export_failed_attempts.sql"),
            |query| query.bind(first).bind(last),
        )
        .await?;
    for row in &failed {
        if let Some(event) = of_row(&mut events, row)? {
            let fence = Fence::new(row.try_get("fence")?);
            let failed = record::failed_attempt(row)?;
            event.failed_attempts.push((fence, failed));
        }
    }
    Ok(events)
}

/// The event that a row belongs to. `events` are in order of their ids.
fn of_row<'e>(
    events: &'e mut [StoredEvent],
    row: &PgRow,
) -> Result<Option<&'e mut StoredEvent>, PgError> {
    let id = EventId::new(row.try_get("id")?);
    let place = events.binary_search_by_key(&id, |event| event.record.id);
    Ok(place.ok().map(|place| &mut events[place]))
}

fn conflict(row: &PgRow) -> Result<(u64, ConflictRecord), PgError> {
    let conflict = ConflictRecord::new(
        microseconds::time(row.try_get("received_at_us")?),
        fingerprint(row.try_get("fingerprint")?)?,
        Bytes::copy_from_slice(row.try_get("body")?),
        row.try_get::<i64, _>("body_bytes")?.unsigned_abs(),
    );
    Ok((row.try_get::<i64, _>("number")?.unsigned_abs(), conflict))
}

/// A new event with its id.
type New<'e> = (i64, &'e StoredEvent);

impl PgStore {
    async fn import_all(&self, events: &[StoredEvent]) -> Result<usize, PgError> {
        if events.is_empty() {
            return Ok(0);
        }
        let database = &self.inner.database;
        let mut checkout = database.acquire(false).await?;
        checkout
            .during(database.answer_timeout(), async |connection| {
                let mut transaction = connection
                    .begin_with(database.begin_on_any_session())
                    .await?;
                let mut session = Session::App(&mut transaction, database.schema());
                let new = import(&mut session, events).await?;
                transaction.commit().await?;
                Ok(new)
            })
            .await
    }
}

/// Runs one statement per table that has rows, in the transaction of `session`.
async fn import(session: &mut Session<'_>, events: &[StoredEvent]) -> Result<usize, PgError> {
    let new = import_events(session, events).await?;
    let (queued, settled): (Vec<New<'_>>, Vec<New<'_>>) = new
        .iter()
        .partition(|(_, event)| event.record.state == State::Processing);
    import_queue(session, &queued).await?;
    import_outcomes(session, &settled).await?;
    import_conflicts(session, &new).await?;
    import_failed_attempts(session, &new).await?;
    import_guards(session, &new).await?;
    Ok(new.len())
}

/// Returns the events whose keys were free.
async fn import_events<'e>(
    session: &mut Session<'_>,
    events: &'e [StoredEvent],
) -> Result<Vec<New<'e>>, PgError> {
    let envelopes = || events.iter().map(|event| &event.record.envelope);
    let accepted_us = |event: &StoredEvent| microseconds::of_time(event.record.accepted_at);
    let due_us = |event: &StoredEvent| {
        let due_at = event.record.due_at;
        due_at.map_or_else(|| accepted_us(event), microseconds::of_time)
    };
    let rows = session
        .rows(include_str!("transfer/import_events.sql"), |query| {
            query
                .bind(envelopes().map(|it| it.kind.as_str()).bind_iter())
                .bind(envelopes().map(|it| it.key.as_str()).bind_iter())
                .bind(
                    envelopes()
                        .map(|it| it.fingerprint.as_bytes().as_slice())
                        .bind_iter(),
                )
                .bind(
                    envelopes()
                        .map(|it| {
                            (!it.headers.is_empty()).then(|| it.headers.as_encoded().as_ref())
                        })
                        .bind_iter(),
                )
                .bind(envelopes().map(|it| it.body.as_ref()).bind_iter())
                .bind(events.iter().map(accepted_us).bind_iter())
                .bind(events.iter().map(due_us).bind_iter())
                .bind(
                    envelopes()
                        .map(|it| it.event_type.as_ref().map(EventType::as_str))
                        .bind_iter(),
                )
        })
        .await?;
    let places: HashMap<(&str, &str), &StoredEvent> = events
        .iter()
        .map(|event| {
            let envelope = &event.record.envelope;
            ((envelope.kind.as_str(), envelope.key.as_str()), event)
        })
        .collect();
    let mut new = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(event) = places.get(&(row.try_get("kind")?, row.try_get("key")?)) {
            new.push((row.try_get("id")?, *event));
        }
    }
    Ok(new)
}

async fn import_queue(session: &mut Session<'_>, queued: &[New<'_>]) -> Result<(), PgError> {
    if queued.is_empty() {
        return Ok(());
    }
    let records = || queued.iter().map(|(_, event)| &event.record);
    session
        .rows(include_str!("transfer/import_queue.sql"), |query| {
            let query = query
                .bind(queued.iter().map(|(id, _)| *id).bind_iter())
                .bind(records().map(|it| it.envelope.kind.as_str()).bind_iter())
                .bind(
                    records()
                        .map(|it| microseconds::of_time(it.due_at.unwrap_or(it.accepted_at)))
                        .bind_iter(),
                )
                .bind(
                    records()
                        .map(|it| it.leased_until.map(microseconds::of_time))
                        .bind_iter(),
                );
            query
                .bind(records().map(|it| stored_attempts(it.attempts)).bind_iter())
                .bind(queued.iter().map(|(_, it)| it.fence.get()).bind_iter())
                .bind(
                    records()
                        .map(|it| it.reason.as_ref().map(FailureReason::as_str))
                        .bind_iter(),
                )
        })
        .await?;
    Ok(())
}

async fn import_outcomes(session: &mut Session<'_>, settled: &[New<'_>]) -> Result<(), PgError> {
    if settled.is_empty() {
        return Ok(());
    }
    let records = || settled.iter().map(|(_, event)| &event.record);
    session
        .rows(include_str!("transfer/import_outcomes.sql"), |query| {
            query
                .bind(settled.iter().map(|(id, _)| *id).bind_iter())
                .bind(records().map(|it| it.envelope.kind.as_str()).bind_iter())
                .bind(records().map(|it| it.state == State::Failed).bind_iter())
                .bind(records().map(|it| it.body_deleted).bind_iter())
                .bind(records().map(|it| stored_attempts(it.attempts)).bind_iter())
                .bind(settled.iter().map(|(_, it)| it.fence.get()).bind_iter())
                .bind(
                    records()
                        .map(|it| microseconds::of_time(it.settled_at.unwrap_or(it.accepted_at)))
                        .bind_iter(),
                )
                .bind(
                    records()
                        .map(|it| it.reason.as_ref().map(FailureReason::as_str))
                        .bind_iter(),
                )
        })
        .await?;
    Ok(())
}

async fn import_conflicts(session: &mut Session<'_>, new: &[New<'_>]) -> Result<(), PgError> {
    let counted = || {
        new.iter()
            .filter(|(_, event)| event.record.conflict_count > 0)
    };
    if counted().next().is_none() {
        return Ok(());
    }
    let last_us = |event: &StoredEvent| {
        let record = &event.record;
        microseconds::of_time(record.last_conflict_at.unwrap_or(record.accepted_at))
    };
    session
        .rows(include_str!("transfer/import_conflicts.sql"), |query| {
            query
                .bind(counted().map(|(id, _)| *id).bind_iter())
                .bind(
                    counted()
                        .map(|(_, it)| bigint(it.record.conflict_count))
                        .bind_iter(),
                )
                .bind(counted().map(|(_, it)| last_us(it)).bind_iter())
        })
        .await?;
    let kept: Vec<(i64, i64, &ConflictRecord)> = new
        .iter()
        .flat_map(|(id, event)| event.conflicts.iter().map(move |kept| (*id, kept)))
        .map(|(id, (number, conflict))| (id, bigint(*number), conflict))
        .collect();
    let kept = || kept.iter().copied();
    let slots = i32::try_from(MAX_CONFLICT_BODIES).expect("a handful");
    session
        .rows(
            include_str!("transfer/import_conflict_bodies.sql"),
            |query| {
                query
                    .bind(kept().map(|(id, ..)| id).bind_iter())
                    .bind(kept().map(|(_, number, _)| number).bind_iter())
                    .bind(
                        kept()
                            .map(|(.., it)| microseconds::of_time(it.received_at))
                            .bind_iter(),
                    )
                    .bind(
                        kept()
                            .map(|(.., it)| it.fingerprint.as_bytes().as_slice())
                            .bind_iter(),
                    )
                    .bind(kept().map(|(.., it)| it.body.as_ref()).bind_iter())
                    .bind(kept().map(|(.., it)| bigint(it.body_bytes)).bind_iter())
                    .bind(slots)
            },
        )
        .await?;
    Ok(())
}

async fn import_failed_attempts(session: &mut Session<'_>, new: &[New<'_>]) -> Result<(), PgError> {
    let kept: Vec<(i64, i64, &FailedAttempt)> = new
        .iter()
        .flat_map(|(id, event)| event.failed_attempts.iter().map(move |kept| (*id, kept)))
        .map(|(id, (fence, failed))| (id, fence.get(), failed))
        .collect();
    let kept = || kept.iter().copied();
    if kept().next().is_none() {
        return Ok(());
    }
    session
        .rows(
            include_str!("transfer/import_failed_attempts.sql"),
            |query| {
                query
                    .bind(kept().map(|(id, ..)| id).bind_iter())
                    .bind(kept().map(|(_, fence, _)| fence).bind_iter())
                    .bind(
                        kept()
                            .map(|(.., it)| stored_attempts(it.attempt.number()))
                            .bind_iter(),
                    )
                    .bind(
                        kept()
                            .map(|(.., it)| microseconds::of_time(it.ended_at))
                            .bind_iter(),
                    )
                    .bind(kept().map(|(.., it)| it.reason.as_str()).bind_iter())
                    .bind(record::FAILED_ATTEMPT_SLOTS)
                    .bind(
                        kept()
                            .map(|(.., it)| it.reason.details().map(AsRef::<[u8]>::as_ref))
                            .bind_iter(),
                    )
            },
        )
        .await?;
    Ok(())
}

async fn import_guards(session: &mut Session<'_>, new: &[New<'_>]) -> Result<(), PgError> {
    let guarded = || {
        new.iter()
            .filter_map(|(id, event)| Some((*id, *event, event.guard.as_ref()?)))
    };
    if guarded().next().is_none() {
        return Ok(());
    }
    session
        .rows(include_str!("transfer/import_guards.sql"), |query| {
            query
                .bind(guarded().map(|(id, ..)| id).bind_iter())
                .bind(
                    guarded()
                        .map(|(_, event, _)| event.record.envelope.kind.as_str())
                        .bind_iter(),
                )
                .bind(
                    guarded()
                        .map(|(.., guard)| guard.as_bytes().as_slice())
                        .bind_iter(),
                )
        })
        .await?;
    Ok(())
}

/// PostgreSQL has no unsigned integers.
fn bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn stored_attempts(attempts: u32) -> i32 {
    i32::try_from(attempts).unwrap_or(i32::MAX)
}
