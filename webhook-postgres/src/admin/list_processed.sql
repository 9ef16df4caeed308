-- $1 kind, $2 the id after which the page begins, $3 the length of the page, $4 and $5 the same as in
-- list_processing.sql: settled events never match $4.
--
-- This file differs from list_failed.sql in one condition. It is no parameter, since the planner uses the
-- partial index of failed events only for a literal `failed`.
WITH page AS MATERIALIZED (
  (
    SELECT id, failed, stripped, attempts, reason, settled_at,
           NULL::timestamptz AS due_at, NULL::timestamptz AS leased_until
    FROM webhook.outcomes
    WHERE id > $2::bigint AND kind = $1 AND NOT failed AND $4::bigint IS NULL AND $5::text IS NULL
    ORDER BY id LIMIT $3::bigint
  )
  UNION ALL
  (
    SELECT outcome.id, failed, stripped, attempts, reason, settled_at, NULL, NULL
    FROM webhook.events AS event
    JOIN webhook.outcomes AS outcome ON outcome.id = event.id
    WHERE event.kind = $1 AND event.event_type = $5 AND event.id > $2
      AND outcome.id > $2 AND outcome.kind = $1 AND NOT failed AND $4 IS NULL
    ORDER BY event.id LIMIT $3
  )
)
SELECT
  page.id,
  event.key,
  event.fingerprint,
  event.event_type,
  event.headers,
  (extract(epoch FROM event.accepted_at) * 1000000)::bigint AS accepted_at_us,
  (extract(epoch FROM page.due_at) * 1000000)::bigint AS due_at_us,
  (extract(epoch FROM page.leased_until) * 1000000)::bigint AS leased_until_us,
  page.failed,
  page.stripped,
  page.attempts,
  page.reason,
  (extract(epoch FROM page.settled_at) * 1000000)::bigint AS settled_at_us,
  coalesce(conflict.count, 0) AS conflict_count,
  (extract(epoch FROM conflict.last_at) * 1000000)::bigint AS last_conflict_at_us
FROM page
CROSS JOIN LATERAL (
  SELECT key, fingerprint, event_type, headers, accepted_at FROM webhook.events
  WHERE id = page.id LIMIT 1
) AS event
LEFT JOIN LATERAL (
  SELECT count, last_at FROM webhook.conflicts WHERE id = page.id LIMIT 1
) AS conflict ON true
ORDER BY page.id
