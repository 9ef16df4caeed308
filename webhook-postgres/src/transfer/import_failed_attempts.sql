-- $1 ids, $2 fencing tokens, $3 numbers of the attempts, $4 their ends in microseconds since 1970, $5 reasons,
-- $6 how many failed attempts of an event are kept, $7 details.
INSERT INTO webhook.failed_attempts (id, slot, fence, attempt, ended_at, reason, details)
SELECT id, fence % $6::integer, fence, attempt,
       timestamptz 'epoch' + ended_us / 1000000 * interval '1 second'
         + ended_us % 1000000 * interval '1 microsecond', reason, details
FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::bigint[], $5::text[], $7::bytea[])
  AS kept (id, fence, attempt, ended_us, reason, details)
