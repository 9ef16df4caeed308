-- $1 ids in ascending order, $2 fences, $3 lease in microseconds. Returns the places of the leases
-- that are renewed, and of those whose events are being settled at this moment.
--
-- The statement waits for claims and extends, which hold FOR NO KEY UPDATE and end soon. It does not wait
-- for settlements, which hold FOR UPDATE, the only lock that conflicts with FOR KEY SHARE: a handler that
-- settles in a long transaction of its own must not prevent the renewal of all other leases.
WITH held AS MATERIALIZED (
  SELECT lease.place
  FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS lease (id, fence, place)
  CROSS JOIN LATERAL (
    SELECT FROM webhook.queue
    WHERE id = lease.id AND fence = lease.fence AND leased_until IS NOT NULL
    LIMIT 1
  ) AS item
),
reached AS MATERIALIZED (
  SELECT lease.place, mine.id AS mine
  FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS lease (id, fence, place)
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.queue
    WHERE id = lease.id AND fence = lease.fence AND leased_until IS NOT NULL
    FOR KEY SHARE SKIP LOCKED
  ) AS unsettled
  LEFT JOIN LATERAL (
    SELECT id FROM webhook.queue
    WHERE id = unsettled.id AND fence = lease.fence AND leased_until IS NOT NULL
    FOR NO KEY UPDATE
  ) AS mine ON true
),
renewed AS (
  UPDATE webhook.queue
  SET leased_until = statement_timestamp() + $3::bigint * interval '1 microsecond'
  WHERE id = ANY (ARRAY(SELECT mine FROM reached WHERE mine IS NOT NULL))
)
SELECT
  ARRAY(SELECT place FROM reached WHERE mine IS NOT NULL) AS renewed,
  ARRAY(SELECT place FROM held WHERE place NOT IN (SELECT place FROM reached)) AS settling
