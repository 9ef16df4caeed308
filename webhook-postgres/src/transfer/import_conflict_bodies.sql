-- $1 ids, $2 numbers, $3 times in microseconds since 1970, $4 fingerprints, $5 first bytes of the bodies,
-- $6 lengths of the bodies, $7 how many bodies of an event are kept.
INSERT INTO webhook.conflict_bodies (id, slot, number, received_at, fingerprint, body, body_bytes)
SELECT id, number % $7::integer, number, timestamptz 'epoch' + received_us / 1000000 * interval '1 second'
         + received_us % 1000000 * interval '1 microsecond',
       fingerprint, body, body_bytes
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bigint[])
  AS kept (id, number, received_us, fingerprint, body, body_bytes)
