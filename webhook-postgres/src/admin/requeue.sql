-- $1 kinds, $2 keys. Returns a row for each event that exists, with its place in the parameters. If an
-- event is named several times, its first place applies.
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
failed AS MATERIALIZED (
  SELECT outcome.*
  FROM (SELECT DISTINCT id FROM wanted ORDER BY id) AS once
  CROSS JOIN LATERAL (
    SELECT id, kind, fence FROM webhook.outcomes WHERE id = once.id AND failed AND NOT stripped FOR UPDATE
  ) AS outcome
),
revoked AS (
  DELETE FROM webhook.outcomes WHERE id = ANY (ARRAY(SELECT id FROM failed))
),
queued AS (
  INSERT INTO webhook.queue (id, kind, due_at, fence)
  SELECT id, kind, statement_timestamp(), fence FROM failed
)
SELECT wanted.place,
       wanted.id IN (SELECT id FROM failed)
         AND wanted.place = min(wanted.place) OVER (PARTITION BY wanted.id) AS applied,
       coalesce(erased.is_so, false) AS erased
FROM wanted
LEFT JOIN LATERAL (
  SELECT failed AND stripped AS is_so FROM webhook.outcomes WHERE id = wanted.id LIMIT 1
) AS erased ON true
