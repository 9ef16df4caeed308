-- $1 kinds, in ascending order and without duplicates. For each kind: $2 limit, $3 lease in microseconds,
-- $4 attempts per event, $5 the due time at which to begin, in microseconds since 1970. For all kinds: $6 the
-- reason of events that have spent their attempts and whose lease expired, $7 the reason of attempts whose lease
-- expired, $8 how many failed attempts of an event are kept.
--
-- Returns for each kind, with its place in $1, one row per event that is leased or failed, in order of due
-- times, and one row of nulls with `next_due_us`; no row for a paused kind. No event is `left_out`, as it may be
-- by citus/claim.sql. The rows are produced nearly in order, so that there is little to sort. `date_part` returns a
-- double, which can represent microseconds for another 200 years; `extract` returns a numeric, which takes
-- longer. No join is between kinds and events: the planner expects one row of each, and would compare each row
-- with each.
WITH request AS MATERIALIZED (
  SELECT place, kind COLLATE "C" AS kind, max_events, max_attempts,
         lease_us * interval '1 microsecond' AS lease,
         timestamptz 'epoch' + from_us * interval '1 microsecond' AS from_at
  FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::integer[], $5::bigint[])
    WITH ORDINALITY AS request (kind, max_events, lease_us, max_attempts, from_us, place)
  -- One look-up for each kind: NOT EXISTS would become a join, whose plan might be a scan.
  WHERE (SELECT paused.kind FROM webhook.paused_kinds AS paused
         WHERE paused.kind = request.kind COLLATE "C" LIMIT 1) IS NULL
),
due AS MATERIALIZED (
  SELECT item.*, request.place, request.max_events, request.max_attempts, request.lease
  FROM request
  CROSS JOIN LATERAL (
    SELECT id, kind, due_at, leased_until, attempts, fence FROM webhook.queue
    WHERE kind = request.kind
      AND due_at <= statement_timestamp()
      AND due_at >= request.from_at
      AND (leased_until IS NULL OR leased_until <= statement_timestamp())
    ORDER BY due_at
    LIMIT request.max_events
    FOR NO KEY UPDATE SKIP LOCKED
  ) AS item
),
-- Deleting takes a stronger lock. An event that is being extended is skipped, and stays leased.
exhausted AS MATERIALIZED (
  SELECT item.id
  FROM due
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.queue WHERE id = due.id FOR UPDATE SKIP LOCKED
  ) AS item
  WHERE due.attempts >= due.max_attempts
),
-- When a process crashes, all its leases expire together, and another process claims all its events
-- together. An event that kills its process would do this to the same other events each time, until all of
-- them have spent their attempts. So a lease that follows an expired one lasts for up to twice as long, by a
-- hash of the event and its fencing token: after the next crash, the events are due again at different times,
-- and the differences are others each time. Citus refuses random() in an UPDATE.
--
-- The kinds are sorted, so the lease of an event's kind is found without a join, whose plan might be a
-- scan. It is found within the CASE, since Citus refuses to add an interval to a time if the interval depends on
-- a column that it can see.
leased AS (
  UPDATE webhook.queue
  SET leased_until = statement_timestamp() + interval '1 microsecond' * CASE
        WHEN leased_until IS NULL THEN ($3::bigint[])[width_bucket(kind, $1::text[] COLLATE "C")]
        ELSE ($3::bigint[])[width_bucket(kind, $1::text[] COLLATE "C")]
               * (1 + (hashint8extended(id, fence) & 65535) / float8 '65536')
      END,
      attempts = attempts + 1,
      fence = fence + 1
  WHERE id = ANY (ARRAY(SELECT id FROM due WHERE attempts < max_attempts))
),
spent AS (
  DELETE FROM webhook.queue
  WHERE id = ANY (ARRAY(SELECT id FROM exhausted))
),
failed AS (
  INSERT INTO webhook.outcomes (id, kind, failed, attempts, fence, settled_at, reason)
  SELECT id, kind, true, attempts, fence, statement_timestamp(),
         -- The first reason is that of FailureReason::no_attempts_left.
         CASE WHEN leased_until IS NULL
              THEN concat('no attempts left: ', attempts, ' made, ', max_attempts, ' allowed')
              ELSE $6::text END
  FROM due WHERE id IN (SELECT id FROM exhausted)
),
-- Records the earlier attempts whose leases expired.
lost AS (
  INSERT INTO webhook.failed_attempts (id, slot, fence, attempt, ended_at, reason)
  SELECT id, fence % $8::integer, fence, attempts, leased_until, $7::text
  FROM due
  WHERE leased_until IS NOT NULL
    AND (attempts < max_attempts OR id IN (SELECT id FROM exhausted))
  ON CONFLICT (id, slot) DO UPDATE
  SET fence = excluded.fence,
      attempt = excluded.attempt,
      ended_at = excluded.ended_at,
      reason = excluded.reason,
      details = excluded.details
),
found AS MATERIALIZED (
  SELECT place, kind, max_events, lease, count(*) AS events, max(due_at) AS last_due_at,
         bool_or(attempts < max_attempts) AS is_leased
  FROM due GROUP BY place, kind, max_events, lease
),
-- When the next event of a kind can be claimed: now if the limit is reached and another event is due;
-- otherwise when an event falls due, or when a lease expires, including the new ones.
next AS MATERIALIZED (
  SELECT asked.place, CASE
    WHEN asked.events = asked.max_events AND EXISTS (
      SELECT FROM webhook.queue
      WHERE kind = asked.kind
        AND due_at <= statement_timestamp()
        AND due_at >= asked.last_due_at
        AND (leased_until IS NULL OR leased_until <= statement_timestamp())
        AND id NOT IN (SELECT id FROM due)
      LIMIT 1
    ) THEN statement_timestamp()
    ELSE least(
      (SELECT min(due_at) FROM webhook.queue
       WHERE kind = asked.kind AND due_at > statement_timestamp()),
      (SELECT min(leased_until) FROM webhook.queue
       WHERE kind = asked.kind AND due_at <= statement_timestamp()
         AND leased_until > statement_timestamp()),
      CASE WHEN asked.is_leased THEN statement_timestamp() + asked.lease END
    )
  END AS due_at
  FROM (
    SELECT place, kind, max_events, lease, events, last_due_at, is_leased FROM found
    UNION ALL
    SELECT place, kind, max_events, lease, 0, NULL, false FROM request
    WHERE place <> ALL (ARRAY(SELECT place FROM found))
  ) AS asked
)
SELECT
  due.place,
  NULL::bigint AS next_due_us,
  NULL::bigint AS left_out,
  due.id,
  due.attempts + 1 AS attempt,
  due.fence + 1 AS fence,
  due.attempts >= due.max_attempts AS spent,
  event.key,
  event.event_type,
  event.headers,
  event.body,
  (date_part('epoch', event.accepted_at) * 1000000)::bigint AS accepted_at_us,
  (date_part('epoch', due.due_at) * 1000000)::bigint AS due_us,
  (date_part('epoch', statement_timestamp() - due.due_at) * 1000000)::bigint AS lag_us,
  (date_part('epoch', statement_timestamp() - event.accepted_at) * 1000000)::bigint AS age_us
FROM due
CROSS JOIN LATERAL (
  SELECT key, event_type, headers, accepted_at,
         CASE WHEN due.attempts < due.max_attempts THEN body END AS body
  FROM webhook.events WHERE id = due.id LIMIT 1
) AS event
WHERE due.attempts < due.max_attempts OR due.id IN (SELECT id FROM exhausted)
UNION ALL
SELECT
  place,
  (date_part('epoch', due_at - statement_timestamp()) * 1000000)::bigint AS next_due_us,
  0::bigint AS left_out,
  NULL::bigint AS id,
  NULL::integer AS attempt,
  NULL::bigint AS fence,
  NULL::boolean AS spent,
  NULL AS key,
  NULL AS event_type,
  NULL::bytea AS headers,
  NULL::bytea AS body,
  NULL::bigint AS accepted_at_us,
  NULL::bigint AS due_us,
  NULL::bigint AS lag_us,
  NULL::bigint AS age_us
FROM next
ORDER BY place, due_us, id
