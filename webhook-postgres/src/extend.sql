-- $1 ids in ascending order, $2 fences, $3 lease in microseconds. Answers the places of the leases
-- that run on.
--
-- A row that somebody has locked is left alone, never waited for, since one handler that settles in
-- a long transaction of its own must not keep all the others from being renewed. Nobody can claim
-- it while it is locked, so its lease runs on as well.
WITH held AS MATERIALIZED (
  SELECT lease.place
  FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS lease (id, fence, place)
  CROSS JOIN LATERAL (
    SELECT FROM webhook.queue
    WHERE id = lease.id AND fence = lease.fence AND leased_until IS NOT NULL
    LIMIT 1
  ) AS item
),
free AS MATERIALIZED (
  SELECT item.id
  FROM unnest($1::bigint[], $2::bigint[]) AS lease (id, fence)
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.queue
    WHERE id = lease.id AND fence = lease.fence AND leased_until IS NOT NULL
    FOR UPDATE SKIP LOCKED
  ) AS item
),
renewed AS (
  UPDATE webhook.queue
  SET leased_until = statement_timestamp() + $3::bigint * interval '1 microsecond'
  WHERE id = ANY (ARRAY(SELECT id FROM free))
)
SELECT coalesce(array_agg(place), '{}') AS places FROM held
