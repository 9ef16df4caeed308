-- $1 kinds, $2 keys, $3 fingerprints, $4 bodies, $5 delays in microseconds, $6 headers, $7 event types, $8 guards;
-- null for an event without them. The events have different keys and different guards, and are in order of (kind,
-- key). Returns how many events and how many guards were inserted.
--
-- Every key is inserted before the first guard, and guards are inserted in order of (kind, guard), so that
-- concurrent batches do not wait for each other in a circle. The caller rolls back if an event or a guard was not
-- inserted.
WITH event AS MATERIALIZED (
  SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[], $6::bytea[],
                       $7::text[], $8::bytea[]) WITH ORDINALITY
    AS event (kind, key, fingerprint, body, delay_us, headers, event_type, guard, place)
),
new AS (
  INSERT INTO webhook.events (kind, key, fingerprint, event_type, headers, body, accepted_at, due_at)
  SELECT kind, key, fingerprint, event_type, headers, body, statement_timestamp(),
         statement_timestamp() + delay_us * interval '1 microsecond'
  FROM event
  ORDER BY place
  ON CONFLICT (kind, key) DO NOTHING
  RETURNING id, kind, key, due_at
),
queued AS (
  INSERT INTO webhook.queue (id, kind, due_at) SELECT id, kind, due_at FROM new
),
guarded AS (
  INSERT INTO webhook.guards (id, kind, guard)
  SELECT new.id, kind, event.guard
  FROM new JOIN event USING (kind, key)
  WHERE event.guard IS NOT NULL
  ORDER BY kind, event.guard
  ON CONFLICT (guard, kind) DO NOTHING
  RETURNING id
)
SELECT (SELECT count(*) FROM new) AS events, (SELECT count(*) FROM guarded) AS guards
