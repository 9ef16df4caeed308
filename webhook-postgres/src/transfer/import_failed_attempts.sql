-- $1 ids, $2 fencing tokens, $3 numbers of the attempts, $4 their ends in microseconds since 1970, $5 reasons,
-- $6 how many failed attempts of an event are kept.
INSERT INTO webhook.failed_attempts (id, slot, fence, attempt, ended_at, reason)
SELECT id, fence % $6::integer, fence, attempt,
       timestamptz 'epoch' + ended_us / 1000000 * interval '1 second'
         + ended_us % 1000000 * interval '1 microsecond', reason
FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::bigint[], $5::text[])
  AS kept (id, fence, attempt, ended_us, reason)
