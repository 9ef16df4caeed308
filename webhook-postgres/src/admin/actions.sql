-- $1 the id before which the page begins, $2 the length of the page. Returns audit records, the latest first.
SELECT
  id, actor, action, target, details, count, result,
  (extract(epoch FROM at) * 1000000)::bigint AS at_us
FROM webhook.actions
WHERE id < $1::bigint
ORDER BY id DESC LIMIT $2::bigint
