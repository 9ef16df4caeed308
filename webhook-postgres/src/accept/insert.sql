-- $1 kinds, $2 keys, $3 fingerprints, $4 bodies, $5 delays in microseconds, $6 headers and $7 event types, or an
-- empty array if no event has any. The events have different keys, and are in order of (kind, key), so that concurrent
-- batches wait for each other in one order.
--
-- Returns no rows if every event is new. Otherwise: a row with place 0, the kinds and keys of the new events,
-- and the place, id and fingerprint of each event whose key was taken. A key that another transaction took
-- while this statement ran is in neither list, since the snapshot of the statement does not include it.
--
-- In PostgreSQL, the look-up does not see what this statement inserts. In Citus it does, since each part of a statement has
-- a snapshot of its own there, so new events are left out by their ids.
WITH new AS (
  INSERT INTO webhook.events (kind, key, fingerprint, event_type, headers, body, accepted_at, due_at)
  SELECT kind, key, fingerprint, event_type, headers, body, statement_timestamp(),
         statement_timestamp() + delay_us * interval '1 microsecond'
  FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[], $6::bytea[],
              $7::text[])
    AS event (kind, key, fingerprint, body, delay_us, headers, event_type)
  ON CONFLICT (kind, key) DO NOTHING
  RETURNING id, kind, key, due_at
),
queued AS (
  INSERT INTO webhook.queue (id, kind, due_at) SELECT id, kind, due_at FROM new
)
SELECT 0::bigint AS place, NULL AS kind, NULL AS key, NULL::bigint AS id, NULL::bytea AS fingerprint
WHERE (SELECT count(*) FROM new) < cardinality($2)
UNION ALL
SELECT NULL, kind, key, NULL, NULL
FROM new
WHERE (SELECT count(*) FROM new) < cardinality($2)
UNION ALL
SELECT event.place, NULL, NULL, taken.id, taken.fingerprint
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS event (kind, key, place)
CROSS JOIN LATERAL (
  SELECT id, fingerprint FROM webhook.events
  WHERE kind = event.kind AND key = event.key
  LIMIT 1
) AS taken
WHERE (SELECT count(*) FROM new) < cardinality($2)
  AND taken.id NOT IN (SELECT id FROM new)
