-- $1 kind, $2 age in microseconds, $3 limit. Returns the number of events whose bodies were deleted.
--
-- Events that another transaction deletes or records a conflict of are skipped, not waited for.
WITH old AS MATERIALIZED (
  SELECT id FROM webhook.outcomes
  WHERE kind = $1 AND NOT failed AND NOT stripped
    AND settled_at <= statement_timestamp() - $2::bigint * interval '1 microsecond'
  ORDER BY settled_at
  LIMIT $3::bigint
  FOR UPDATE SKIP LOCKED
),
free AS MATERIALIZED (
  SELECT event.id FROM old
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.events WHERE id = old.id FOR UPDATE SKIP LOCKED
  ) AS event
),
no_bodies AS (
  DELETE FROM webhook.conflict_bodies WHERE id = ANY (ARRAY(SELECT id FROM free))
),
no_details AS (
  UPDATE webhook.failed_attempts SET details = NULL
  WHERE id = ANY (ARRAY(SELECT id FROM free)) AND details IS NOT NULL
),
marked AS (
  UPDATE webhook.outcomes SET stripped = true WHERE id = ANY (ARRAY(SELECT id FROM free))
),
emptied AS (
  UPDATE webhook.events SET headers = NULL, body = '' WHERE id = ANY (ARRAY(SELECT id FROM free)) RETURNING id
)
SELECT count(*) AS deleted FROM emptied
