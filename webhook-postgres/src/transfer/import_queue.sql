-- $1 ids, $2 kinds, $3 due times and $4 ends of leases, in microseconds since 1970, $5 attempts, $6 fencing
-- tokens, $7 reasons.
INSERT INTO webhook.queue (id, kind, due_at, leased_until, attempts, fence, reason)
SELECT id, kind,
       timestamptz 'epoch' + due_us / 1000000 * interval '1 second'
         + due_us % 1000000 * interval '1 microsecond',
       timestamptz 'epoch' + leased_until_us / 1000000 * interval '1 second'
         + leased_until_us % 1000000 * interval '1 microsecond',
       attempts, fence, reason
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::integer[], $6::bigint[], $7::text[])
  AS item (id, kind, due_us, leased_until_us, attempts, fence, reason)
