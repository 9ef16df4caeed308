-- $1 kind, $2 the id after which the page begins, $3 the length of the page, $4 null, or microseconds:
-- then only events that cannot be claimed for longer than this.
WITH page AS MATERIALIZED (
  SELECT id, NULL::boolean AS failed, false AS stripped, attempts, reason,
         NULL::timestamptz AS settled_at, due_at,
         CASE WHEN leased_until > statement_timestamp() THEN leased_until END AS leased_until
  FROM webhook.queue
  WHERE id > $2::bigint AND kind = $1
    AND ($4::bigint IS NULL
      OR greatest(due_at, leased_until)
           > statement_timestamp() + $4::bigint * interval '1 microsecond')
  ORDER BY id LIMIT $3::bigint
)
SELECT
  page.id,
  event.key,
  event.fingerprint,
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
  SELECT key, fingerprint, headers, accepted_at FROM webhook.events WHERE id = page.id LIMIT 1
) AS event
LEFT JOIN LATERAL (
  SELECT count, last_at FROM webhook.conflicts WHERE id = page.id LIMIT 1
) AS conflict ON true
ORDER BY page.id
