-- $1 and $2 the least and the greatest id. Returns the kept failed attempts of these events, in order of ids
-- and fencing tokens.
SELECT
  id,
  fence,
  attempt,
  (extract(epoch FROM ended_at) * 1000000)::bigint AS ended_at_us,
  reason,
  details
FROM webhook.failed_attempts
WHERE id >= $1::bigint AND id <= $2::bigint
ORDER BY id, fence
