-- $1 kind, $2 key. Returns the conflicting bodies that are kept, the latest first.
SELECT
  (extract(epoch FROM kept.received_at) * 1000000)::bigint AS received_at_us,
  kept.fingerprint,
  kept.body,
  kept.body_bytes
FROM webhook.conflict_bodies AS kept
WHERE kept.id = (SELECT id FROM webhook.events WHERE kind = $1 AND key = $2)
ORDER BY kept.number DESC
