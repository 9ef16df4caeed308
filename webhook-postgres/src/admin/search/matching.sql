-- The end of each search: of the events `seen`, those that match.
--
-- $1 the id before which events are looked at, $2 the least id, $3 how many are looked at, $4 how many of those that
-- match are returned. The others are null for all events: $5 kinds, $6 state, $7 key, $8 event type, $9 beginning of
-- the key, $10 beginning of the event type, $11 a part of the reason in lower case, $12 first and last time of
-- acceptance in microseconds since 1970, the last excluded.
--
-- Returns at least one row, with how many events were looked at and the least id of them; `id` is null if none matches.
, matching AS MATERIALIZED (
  SELECT
    seen.id,
    event.kind,
    event.key,
    event.fingerprint,
    event.event_type,
    event.headers,
    event.accepted_at,
    item.due_at,
    item.leased_until,
    outcome.failed,
    coalesce(outcome.stripped, false) AS stripped,
    coalesce(outcome.attempts, item.attempts, 0) AS attempts,
    coalesce(outcome.reason, item.reason) AS reason,
    outcome.settled_at
  FROM seen
  CROSS JOIN LATERAL (
    SELECT kind, key, fingerprint, event_type, headers, accepted_at FROM webhook.events
    WHERE id = seen.id LIMIT 1
  ) AS event
  LEFT JOIN LATERAL (
    SELECT attempts, reason, due_at,
           CASE WHEN leased_until > statement_timestamp() THEN leased_until END AS leased_until
    FROM webhook.queue WHERE id = seen.id LIMIT 1
  ) AS item ON true
  LEFT JOIN LATERAL (
    SELECT failed, stripped, attempts, reason, settled_at FROM webhook.outcomes
    WHERE id = seen.id LIMIT 1
  ) AS outcome ON true
  WHERE ($5::text[] IS NULL OR event.kind = ANY ($5))
    AND ($7::text IS NULL OR event.key = $7)
    AND ($8::text IS NULL OR event.event_type = $8)
    AND ($9::text IS NULL OR starts_with(event.key, $9))
    AND ($10::text IS NULL OR starts_with(event.event_type, $10))
    AND (($12::bigint[])[1] IS NULL
      OR event.accepted_at >= 'epoch'::timestamptz + ($12)[1] * interval '1 microsecond')
    AND (($12)[2] IS NULL
      OR event.accepted_at < 'epoch'::timestamptz + ($12)[2] * interval '1 microsecond')
    AND ($6::text IS NULL OR $6 = CASE outcome.failed
      WHEN true THEN 'FAILED' WHEN false THEN 'PROCESSED' ELSE 'PROCESSING' END)
    AND ($11::text IS NULL
      OR strpos(lower(coalesce(outcome.reason, item.reason) COLLATE "C"), $11) > 0)
  ORDER BY seen.id DESC
  LIMIT $4::bigint
)
SELECT
  looked_at.examined,
  looked_at.last_id,
  matching.id,
  matching.kind,
  matching.key,
  matching.fingerprint,
  matching.event_type,
  matching.headers,
  (extract(epoch FROM matching.accepted_at) * 1000000)::bigint AS accepted_at_us,
  (extract(epoch FROM matching.due_at) * 1000000)::bigint AS due_at_us,
  (extract(epoch FROM matching.leased_until) * 1000000)::bigint AS leased_until_us,
  matching.failed,
  matching.stripped,
  matching.attempts,
  matching.reason,
  (extract(epoch FROM matching.settled_at) * 1000000)::bigint AS settled_at_us,
  coalesce(conflict.count, 0) AS conflict_count,
  (extract(epoch FROM conflict.last_at) * 1000000)::bigint AS last_conflict_at_us
FROM (SELECT count(*) AS examined, min(id) AS last_id FROM seen) AS looked_at
LEFT JOIN matching ON true
LEFT JOIN LATERAL (
  SELECT count, last_at FROM webhook.conflicts WHERE id = matching.id LIMIT 1
) AS conflict ON true
ORDER BY matching.id DESC
