-- $1 kind, $2 whether failed, $3 age in microseconds, $4 limit. Returns the number of deleted events.
--
-- Events that another transaction deletes, requeues or records a conflict of are skipped, not waited for.
-- Bodies are deleted in the same order as events: events without bodies (`stripped`) are the oldest.
WITH stripped AS MATERIALIZED (
  SELECT id FROM webhook.outcomes
  WHERE kind = $1
    AND failed = $2::boolean
    AND stripped
    AND settled_at <= statement_timestamp() - $3::bigint * interval '1 microsecond'
  ORDER BY settled_at
  LIMIT $4::bigint
  FOR UPDATE SKIP LOCKED
),
whole AS MATERIALIZED (
  SELECT id FROM webhook.outcomes
  WHERE kind = $1
    AND failed = $2::boolean
    AND NOT stripped
    AND settled_at <= statement_timestamp() - $3::bigint * interval '1 microsecond'
  ORDER BY settled_at
  LIMIT $4::bigint - (SELECT count(*) FROM stripped)
  FOR UPDATE SKIP LOCKED
),
old AS (
  SELECT id FROM stripped UNION ALL SELECT id FROM whole
),
free AS MATERIALIZED (
  SELECT event.id FROM old
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.events WHERE id = old.id FOR UPDATE SKIP LOCKED
  ) AS event
),
no_attempts AS (
  DELETE FROM webhook.failed_attempts WHERE id = ANY (ARRAY(SELECT id FROM free))
),
no_bodies AS (
  DELETE FROM webhook.conflict_bodies WHERE id = ANY (ARRAY(SELECT id FROM free))
),
no_conflicts AS (
  DELETE FROM webhook.conflicts WHERE id = ANY (ARRAY(SELECT id FROM free))
),
no_guards AS (
  DELETE FROM webhook.guards WHERE id = ANY (ARRAY(SELECT id FROM free))
),
no_outcomes AS (
  DELETE FROM webhook.outcomes WHERE id = ANY (ARRAY(SELECT id FROM free))
),
no_events AS (
  DELETE FROM webhook.events WHERE id = ANY (ARRAY(SELECT id FROM free)) RETURNING id
)
SELECT count(*) AS deleted FROM no_events
