-- $1 kind, $2 the id after which the page begins, $3 the length of the page, $4 null, or microseconds:
-- then only events that cannot be claimed for longer than this. $5 null, or the type of the events: then the
-- planner decides whether to read the index of types or that of the state. It drops the other branch.
WITH page AS MATERIALIZED (
  (
    SELECT id, NULL::boolean AS failed, false AS stripped, attempts, reason,
           NULL::timestamptz AS settled_at, due_at,
           CASE WHEN leased_until > statement_timestamp() THEN leased_until END AS leased_until
    FROM webhook.queue
    WHERE id > $2::bigint AND kind = $1 AND $5::text IS NULL
      AND ($4::bigint IS NULL
        OR greatest(due_at, leased_until)
             > statement_timestamp() + $4::bigint * interval '1 microsecond')
    ORDER BY id LIMIT $3::bigint
  )
  UNION ALL
  (
    SELECT item.id, NULL, false, attempts, reason, NULL, item.due_at,
           CASE WHEN leased_until > statement_timestamp() THEN leased_until END
    FROM webhook.events AS event
    JOIN webhook.queue AS item ON item.id = event.id
    WHERE event.kind = $1 AND event.event_type = $5 AND event.id > $2
      AND item.id > $2 AND item.kind = $1
      AND ($4::bigint IS NULL
        OR greatest(item.due_at, leased_until)
             > statement_timestamp() + $4::bigint * interval '1 microsecond')
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
