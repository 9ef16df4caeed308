-- What the release before runs, whose schema has version 5: kept as it was, for the tests of an upgrade.
--
-- $1 kind, $2 limit, $3 lease in microseconds, $4 attempts an event has, $5 reason of those that
-- have spent them, $6 where to begin: due times from it on, in microseconds since 1970; $7 reason of
-- attempts whose lease ran out, $8 how many failed attempts of an event are kept.
--
-- Answers one row per event leased or failed, in order of due times, or a single row of nulls;
-- `next_due_us` is the same in each of them.
WITH due AS MATERIALIZED (
  SELECT id, kind, due_at, leased_until, attempts, fence FROM webhook.queue
  WHERE kind = $1
    AND due_at <= statement_timestamp()
    AND due_at >= timestamptz 'epoch' + $6::bigint * interval '1 microsecond'
    AND (leased_until IS NULL OR leased_until <= statement_timestamp())
  ORDER BY due_at
  LIMIT $2::bigint
  FOR NO KEY UPDATE SKIP LOCKED
),
-- Deleting takes a stronger lock, which may meet an extend: that one has won then.
exhausted AS MATERIALIZED (
  SELECT item.id
  FROM due
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.queue WHERE id = due.id FOR UPDATE SKIP LOCKED
  ) AS item
  WHERE due.attempts >= $4::integer
),
-- Events that were lost together, with their process, are taken over together, and one that kills
-- its process would take the same others with it each time, until all have spent their attempts. So
-- a lease that follows a lost one runs for up to twice as long: what is lost again comes back apart.
leased AS (
  UPDATE webhook.queue
  SET leased_until = statement_timestamp() + $3::bigint * interval '1 microsecond'
        * CASE WHEN leased_until IS NULL THEN 1 ELSE 1 + random() END,
      attempts = attempts + 1,
      fence = fence + 1
  WHERE id = ANY (ARRAY(SELECT id FROM due WHERE attempts < $4::integer))
),
spent AS (
  DELETE FROM webhook.queue
  WHERE id = ANY (ARRAY(SELECT id FROM exhausted))
),
failed AS (
  INSERT INTO webhook.outcomes (id, kind, failed, attempts, fence, settled_at, reason)
  SELECT id, kind, true, attempts, fence, statement_timestamp(), $5::text
  FROM due WHERE id IN (SELECT id FROM exhausted)
),
-- How the attempts before ended whose lease ran out.
lost AS (
  INSERT INTO webhook.failed_attempts (id, slot, fence, attempt, ended_at, reason)
  SELECT id, fence % $8::integer, fence, attempts, leased_until, $7::text
  FROM due
  WHERE leased_until IS NOT NULL
    AND (attempts < $4::integer OR id IN (SELECT id FROM exhausted))
  ON CONFLICT (id, slot) DO UPDATE
  SET fence = excluded.fence,
      attempt = excluded.attempt,
      ended_at = excluded.ended_at,
      reason = excluded.reason
),
-- When the next event is to be had: at once where this batch is full and another free one is
-- behind it; else when one falls due, or when a lease runs out: those of others, and these.
next AS MATERIALIZED (
  SELECT CASE
    WHEN (SELECT count(*) FROM due) = $2::bigint AND EXISTS (
      SELECT FROM webhook.queue
      WHERE kind = $1
        AND due_at <= statement_timestamp()
        AND due_at >= (SELECT max(due_at) FROM due)
        AND (leased_until IS NULL OR leased_until <= statement_timestamp())
        AND id NOT IN (SELECT id FROM due)
      LIMIT 1
    ) THEN statement_timestamp()
    ELSE least(
      (SELECT min(due_at) FROM webhook.queue WHERE kind = $1 AND due_at > statement_timestamp()),
      (SELECT min(leased_until) FROM webhook.queue
       WHERE kind = $1 AND due_at <= statement_timestamp()
         AND leased_until > statement_timestamp()),
      (SELECT statement_timestamp() + $3::bigint * interval '1 microsecond'
       FROM due WHERE attempts < $4::integer LIMIT 1)
    )
  END AS due_at
)
SELECT
  (extract(epoch FROM next.due_at - statement_timestamp()) * 1000000)::bigint AS next_due_us,
  due.id,
  due.attempts + 1 AS attempt,
  due.fence + 1 AS fence,
  due.attempts >= $4::integer AS spent,
  event.key,
  event.body,
  (extract(epoch FROM due.due_at) * 1000000)::bigint AS due_us,
  (extract(epoch FROM statement_timestamp() - due.due_at) * 1000000)::bigint AS lag_us
FROM next
LEFT JOIN due
  CROSS JOIN LATERAL (
    SELECT key, CASE WHEN due.attempts < $4::integer THEN body END AS body
    FROM webhook.events WHERE id = due.id LIMIT 1
  ) AS event
ON due.attempts < $4::integer OR due.id IN (SELECT id FROM exhausted)
ORDER BY due.due_at, due.id
