-- $1 and $2 the least and the greatest id. Returns the kept conflicts of these events, in order of ids and
-- numbers.
SELECT
  id,
  number,
  (extract(epoch FROM received_at) * 1000000)::bigint AS received_at_us,
  fingerprint,
  body,
  body_bytes
FROM webhook.conflict_bodies
WHERE id >= $1::bigint AND id <= $2::bigint
ORDER BY id, number
