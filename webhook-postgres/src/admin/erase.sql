-- $1 kinds, $2 keys. Deletes the headers and bodies of settled events, as delete_bodies.sql does. Returns a row for each
-- event that exists, with its place in the parameters. If an event is named several times, its first place applies.
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
ended AS MATERIALIZED (
  SELECT outcome.*
  FROM (SELECT DISTINCT id FROM wanted ORDER BY id) AS once
  CROSS JOIN LATERAL (
    SELECT id, stripped FROM webhook.outcomes WHERE id = once.id FOR UPDATE
  ) AS outcome
),
whole AS MATERIALIZED (
  SELECT event.id
  FROM (SELECT id FROM ended WHERE NOT stripped ORDER BY id) AS old
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.events WHERE id = old.id FOR UPDATE
  ) AS event
),
no_bodies AS (
  DELETE FROM webhook.conflict_bodies WHERE id = ANY (ARRAY(SELECT id FROM whole))
),
no_details AS (
  UPDATE webhook.failed_attempts SET details = NULL
  WHERE id = ANY (ARRAY(SELECT id FROM whole)) AND details IS NOT NULL
),
marked AS (
  UPDATE webhook.outcomes SET stripped = true WHERE id = ANY (ARRAY(SELECT id FROM whole))
),
emptied AS (
  UPDATE webhook.events SET headers = NULL, body = '' WHERE id = ANY (ARRAY(SELECT id FROM whole))
)
SELECT wanted.place,
       ended.id IS NULL AS unsettled,
       wanted.id IN (SELECT id FROM whole)
         AND wanted.place = min(wanted.place) OVER (PARTITION BY wanted.id) AS applied
FROM wanted
LEFT JOIN ended ON ended.id = wanted.id
