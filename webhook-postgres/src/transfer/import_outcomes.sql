-- $1 ids, $2 kinds, $3 whether they failed, $4 whether their bodies are deleted, $5 attempts, $6 fencing
-- tokens, $7 times of the settlements in microseconds since 1970, $8 reasons.
INSERT INTO webhook.outcomes (id, kind, failed, stripped, attempts, fence, settled_at, reason)
SELECT id, kind, failed, stripped, attempts, fence,
       timestamptz 'epoch' + settled_us / 1000000 * interval '1 second'
         + settled_us % 1000000 * interval '1 microsecond', reason
FROM unnest($1::bigint[], $2::text[], $3::boolean[], $4::boolean[], $5::integer[], $6::bigint[],
            $7::bigint[], $8::text[])
  AS outcome (id, kind, failed, stripped, attempts, fence, settled_us, reason)
