-- $1 the id after which to begin, $2 the largest number of events, $3 the largest size of their bodies and
-- details in bytes, which the last event may exceed. Returns the events in order of their ids.
WITH page AS MATERIALIZED (
  SELECT id, sum(bytes) OVER (ORDER BY id) - bytes AS bytes_before
  FROM (
    -- The length of stored bytes is known without reading them.
    SELECT id, octet_length(body) + (
      SELECT coalesce(sum(octet_length(details)), 0) FROM webhook.failed_attempts AS failed
      WHERE failed.id = event.id
    ) AS bytes
    FROM webhook.events AS event
    WHERE id > $1::bigint
    ORDER BY id
    LIMIT $2::bigint
  ) AS next
)
SELECT
  event.id,
  event.kind,
  event.key,
  event.fingerprint,
  event.event_type,
  event.headers,
  event.body,
  (extract(epoch FROM event.accepted_at) * 1000000)::bigint AS accepted_at_us,
  (extract(epoch FROM item.due_at) * 1000000)::bigint AS due_at_us,
  (extract(epoch FROM item.leased_until) * 1000000)::bigint AS leased_until_us,
  outcome.failed,
  coalesce(outcome.stripped, false) AS stripped,
  coalesce(outcome.attempts, item.attempts, 0) AS attempts,
  coalesce(outcome.fence, item.fence, 0) AS fence,
  coalesce(outcome.reason, item.reason) AS reason,
  (extract(epoch FROM outcome.settled_at) * 1000000)::bigint AS settled_at_us,
  coalesce(conflict.count, 0) AS conflict_count,
  (extract(epoch FROM conflict.last_at) * 1000000)::bigint AS last_conflict_at_us,
  kept.guard
FROM page
CROSS JOIN LATERAL (
  SELECT id, kind, key, fingerprint, event_type, headers, body, accepted_at FROM webhook.events
  WHERE id = page.id LIMIT 1
) AS event
LEFT JOIN LATERAL (
  SELECT attempts, fence, reason, due_at, leased_until FROM webhook.queue WHERE id = page.id LIMIT 1
) AS item ON true
LEFT JOIN LATERAL (
  SELECT failed, stripped, attempts, fence, reason, settled_at FROM webhook.outcomes
  WHERE id = page.id LIMIT 1
) AS outcome ON true
LEFT JOIN LATERAL (
  SELECT count, last_at FROM webhook.conflicts WHERE id = page.id LIMIT 1
) AS conflict ON true
LEFT JOIN LATERAL (
  SELECT guard FROM webhook.guards WHERE id = page.id LIMIT 1
) AS kept ON true
WHERE page.bytes_before <= $3::bigint
ORDER BY page.id
