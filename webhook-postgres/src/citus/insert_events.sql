-- The parameters are those of accept/insert.sql. Returns the ids, kinds and keys of the new events.
INSERT INTO webhook.events (kind, key, fingerprint, event_type, headers, body, accepted_at, due_at)
SELECT kind, key, fingerprint, event_type, headers, body, statement_timestamp(),
       statement_timestamp() + delay_us * interval '1 microsecond'
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[], $5::bigint[], $6::bytea[],
            $7::text[])
  AS event (kind, key, fingerprint, body, delay_us, headers, event_type)
ON CONFLICT (kind, key) DO NOTHING
RETURNING id, kind, key
