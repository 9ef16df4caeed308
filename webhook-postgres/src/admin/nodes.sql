-- $1 limit. Returns the live nodes, those that started first at the front.
SELECT
  id, role, version, host, slots, running,
  (extract(epoch FROM started_at) * 1000000)::bigint AS started_at_us,
  (extract(epoch FROM last_seen_at) * 1000000)::bigint AS last_seen_at_us
FROM webhook.nodes
WHERE expires_at > statement_timestamp()
ORDER BY started_at, id
LIMIT $1::bigint
