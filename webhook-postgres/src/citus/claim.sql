-- $1 to $5 are those of claim.sql, which says why the statement is as it is.
--
-- Leases events that nobody holds and that have attempts left. The others are left to claim.sql: the row with
-- `next_due_us` says in `left_out` how many there are among those that were looked at. Without INSERT, Citus runs the
-- statement as a whole.
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
  SELECT item.*, item.leased_until IS NULL AND item.attempts < request.max_attempts AS is_simple,
         request.place, request.max_events, request.lease
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
leased AS (
  UPDATE webhook.queue
  SET leased_until = statement_timestamp() + interval '1 microsecond' * CASE
        WHEN leased_until IS NULL THEN ($3::bigint[])[width_bucket(kind, $1::text[] COLLATE "C")]
      END,
      attempts = attempts + 1,
      fence = fence + 1
  WHERE id = ANY (ARRAY(SELECT id FROM due WHERE is_simple))
),
found AS MATERIALIZED (
  SELECT place, kind, max_events, lease, count(*) AS events, max(due_at) AS last_due_at,
         bool_or(is_simple) AS is_leased, count(*) FILTER (WHERE NOT is_simple) AS left_out
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
  END AS due_at, asked.left_out
  FROM (
    SELECT place, kind, max_events, lease, events, last_due_at, is_leased, left_out FROM found
    UNION ALL
    SELECT place, kind, max_events, lease, 0, NULL, false, 0 FROM request
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
  false AS spent,
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
  SELECT key, event_type, headers, accepted_at, body
  FROM webhook.events WHERE id = due.id LIMIT 1
) AS event
WHERE due.is_simple
UNION ALL
SELECT
  place,
  (date_part('epoch', due_at - statement_timestamp()) * 1000000)::bigint AS next_due_us,
  left_out,
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
