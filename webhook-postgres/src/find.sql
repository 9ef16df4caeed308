-- $1 kinds, $2 keys. Returns a row for each event that exists, with its place in the parameters.
SELECT
  wanted.place,
  event.id,
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
  coalesce(outcome.reason, item.reason) AS reason,
  (extract(epoch FROM outcome.settled_at) * 1000000)::bigint AS settled_at_us,
  coalesce(conflict.count, 0) AS conflict_count,
  (extract(epoch FROM conflict.last_at) * 1000000)::bigint AS last_conflict_at_us
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (kind, key, place)
CROSS JOIN LATERAL (
  SELECT id, fingerprint, event_type, headers, body, accepted_at FROM webhook.events
  WHERE kind = wanted.kind AND key = wanted.key
  LIMIT 1
) AS event
LEFT JOIN LATERAL (
  SELECT attempts, reason, due_at,
         CASE WHEN leased_until > statement_timestamp() THEN leased_until END AS leased_until
  FROM webhook.queue WHERE id = event.id LIMIT 1
) AS item ON true
LEFT JOIN LATERAL (
  SELECT failed, stripped, attempts, reason, settled_at FROM webhook.outcomes WHERE id = event.id LIMIT 1
) AS outcome ON true
LEFT JOIN LATERAL (
  SELECT count, last_at FROM webhook.conflicts WHERE id = event.id LIMIT 1
) AS conflict ON true
