-- $1 ids, $2 numbers of conflicts, $3 times of the last ones in microseconds since 1970.
INSERT INTO webhook.conflicts (id, count, last_at)
SELECT id, count, timestamptz 'epoch' + last_us / 1000000 * interval '1 second'
         + last_us % 1000000 * interval '1 microsecond'
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS conflict (id, count, last_us)
