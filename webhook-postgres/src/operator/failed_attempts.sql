-- $1 kind, $2 key. Answers the attempts kept, the latest first.
SELECT
  kept.attempt,
  (extract(epoch FROM kept.ended_at) * 1000000)::bigint AS ended_at_us,
  kept.reason
FROM webhook.events AS event
JOIN webhook.failed_attempts AS kept ON kept.id = event.id
WHERE event.kind = $1 AND event.key = $2
ORDER BY kept.fence DESC
