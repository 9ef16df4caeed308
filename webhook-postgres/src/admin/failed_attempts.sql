-- $1 kind, $2 key. Returns the failed attempts that are kept, the latest first.
SELECT
  kept.attempt,
  (extract(epoch FROM kept.ended_at) * 1000000)::bigint AS ended_at_us,
  kept.reason,
  kept.details
FROM webhook.failed_attempts AS kept
WHERE kept.id = (SELECT id FROM webhook.events WHERE kind = $1 AND key = $2)
ORDER BY kept.fence DESC
