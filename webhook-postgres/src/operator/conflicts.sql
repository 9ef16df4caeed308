-- $1 kind, $2 key. Answers the bodies kept, the latest first.
SELECT
  (extract(epoch FROM kept.received_at) * 1000000)::bigint AS received_at_us,
  kept.fingerprint,
  kept.body,
  kept.body_bytes
FROM webhook.events AS event
JOIN webhook.conflict_bodies AS kept ON kept.id = event.id
WHERE event.kind = $1 AND event.key = $2
ORDER BY kept.number DESC
