-- $1 kinds, $2 keys. Deletes events with all their records. Returns a row for each event that exists, with its place in
-- the parameters. If an event is named several times, its first place applies.
--
-- Leased events stay, and so do events that another transaction changes, which are not waited for.
WITH wanted AS MATERIALIZED (
  SELECT event.id, wanted.place
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (kind, key, place)
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.events
    WHERE kind = wanted.kind AND key = wanted.key
    LIMIT 1
  ) AS event
),
-- Locked in order of ids, as in all statements.
queued AS MATERIALIZED (
  SELECT item.*
  FROM (SELECT DISTINCT id FROM wanted ORDER BY id) AS once
  CROSS JOIN LATERAL (
    SELECT id, coalesce(leased_until > clock_timestamp(), false) AS leased
    FROM webhook.queue WHERE id = once.id FOR UPDATE SKIP LOCKED
  ) AS item
),
ended AS MATERIALIZED (
  SELECT outcome.id
  FROM (SELECT DISTINCT id FROM wanted ORDER BY id) AS once
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.outcomes WHERE id = once.id FOR UPDATE SKIP LOCKED
  ) AS outcome
),
free AS MATERIALIZED (
  SELECT event.id
  FROM (SELECT id FROM queued WHERE NOT leased UNION ALL SELECT id FROM ended) AS old
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
no_items AS (
  DELETE FROM webhook.queue WHERE id = ANY (ARRAY(SELECT id FROM free))
),
no_outcomes AS (
  DELETE FROM webhook.outcomes WHERE id = ANY (ARRAY(SELECT id FROM free))
),
no_events AS (
  DELETE FROM webhook.events WHERE id = ANY (ARRAY(SELECT id FROM free))
)
SELECT wanted.place,
       wanted.id IN (SELECT id FROM free) AS deleted,
       wanted.place = min(wanted.place) OVER (PARTITION BY wanted.id) AS is_first
FROM wanted
