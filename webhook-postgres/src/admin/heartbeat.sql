-- $1 node, $2 role, $3 version, $4 host, $5 slots, $6 running, $7 microseconds until it counts as gone, $8 limit. Returns
-- the live nodes, those that started first at the front. Nodes that are gone are deleted in passing.
WITH gone AS (
  DELETE FROM webhook.nodes
  WHERE id = ANY (ARRAY(
    SELECT id FROM webhook.nodes
    WHERE expires_at <= statement_timestamp() AND id <> $1
    FOR UPDATE SKIP LOCKED
  ))
),
reported AS (
  INSERT INTO webhook.nodes AS known
    (id, role, version, host, slots, running, started_at, last_seen_at, expires_at)
  VALUES ($1, $2, $3, $4, $5::bigint, $6::bigint, statement_timestamp(), statement_timestamp(),
          statement_timestamp() + $7::bigint * interval '1 microsecond')
  ON CONFLICT (id) DO UPDATE
  SET role = excluded.role,
      version = excluded.version,
      host = excluded.host,
      slots = excluded.slots,
      running = excluded.running,
      started_at = CASE WHEN known.expires_at <= excluded.last_seen_at THEN excluded.started_at
                        ELSE known.started_at END,
      last_seen_at = excluded.last_seen_at,
      expires_at = excluded.expires_at
  RETURNING *
)
SELECT
  id, role, version, host, slots, running,
  (extract(epoch FROM started_at) * 1000000)::bigint AS started_at_us,
  (extract(epoch FROM last_seen_at) * 1000000)::bigint AS last_seen_at_us
FROM (
  SELECT * FROM reported
  UNION ALL
  SELECT * FROM webhook.nodes WHERE expires_at > statement_timestamp() AND id <> $1
) AS node
ORDER BY started_at, id
LIMIT $8::bigint
