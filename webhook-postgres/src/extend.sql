-- $1 ids in ascending order, $2 fences, $3 lease in microseconds. Answers the places of the leases
-- that are renewed, and of those whose rows somebody is settling at this moment.
--
-- Two kinds of locks are told apart. Claims and extends, which are over soon, hold FOR NO KEY
-- UPDATE: they are waited for. Settlements hold FOR UPDATE, the only lock that FOR KEY SHARE meets:
-- they are not, since one handler that settles in a long transaction of its own must not keep all
-- the others from being renewed.
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
