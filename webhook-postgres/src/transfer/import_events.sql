-- $1 kinds, $2 keys, $3 fingerprints, $4 headers, $5 bodies, $6 times of acceptance and $7 due times, in
-- microseconds since 1970, $8 event types. Returns the ids, kinds and keys of the events whose keys were free. Ids are in the
-- order of the parameters.
INSERT INTO webhook.events (kind, key, fingerprint, event_type, headers, body, accepted_at, due_at)
SELECT kind, key, fingerprint, event_type, headers, body,
       timestamptz 'epoch' + accepted_us / 1000000 * interval '1 second'
         + accepted_us % 1000000 * interval '1 microsecond',
       timestamptz 'epoch' + due_us / 1000000 * interval '1 second'
         + due_us % 1000000 * interval '1 microsecond'
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bigint[], $7::bigint[],
            $8::text[])
  WITH ORDINALITY AS event (kind, key, fingerprint, headers, body, accepted_us, due_us, event_type, place)
ORDER BY place
ON CONFLICT (kind, key) DO NOTHING
RETURNING id, kind, key
