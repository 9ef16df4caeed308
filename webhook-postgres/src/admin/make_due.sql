-- $1 kinds, $2 keys, $3 whether to end leases that have not expired. Returns a row for each event that
-- exists, with its place in the parameters. If an event is named several times, its first place applies.
WITH wanted AS MATERIALIZED (
  SELECT event.id, wanted.place
  FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (kind, key, place)
  CROSS JOIN LATERAL (
    SELECT id FROM webhook.events
    WHERE kind = wanted.kind AND key = wanted.key
    LIMIT 1
  ) AS event
),
-- Locked in order of ids, as everywhere. Compared with the time after the lock, not with that at which
-- the statement began: the transaction that held the lock may have made the event due.
queued AS MATERIALIZED (
  SELECT item.*
  FROM (SELECT DISTINCT id FROM wanted ORDER BY id) AS once
  CROSS JOIN LATERAL (
    SELECT id,
           due_at > clock_timestamp() AS waits,
           coalesce(leased_until > clock_timestamp(), false) AS leased,
           -- A lease that ends here is like an expired one: it is not null, so that the next claim
           -- records the attempt as lost. Computed here, since Citus refuses it in the UPDATE.
           CASE WHEN leased_until > statement_timestamp() THEN statement_timestamp()
                ELSE leased_until END AS leased_until
    FROM webhook.queue WHERE id = once.id FOR NO KEY UPDATE
  ) AS item
),
moved AS MATERIALIZED (
  SELECT id, leased_until FROM queued WHERE CASE WHEN leased THEN $3::boolean ELSE waits END
),
changed AS (
  UPDATE webhook.queue
  SET due_at = least(queue.due_at, statement_timestamp()),
      leased_until = moved.leased_until
  FROM moved
  WHERE queue.id = moved.id
    AND queue.id = ANY (ARRAY(SELECT id FROM moved))
)
SELECT wanted.place,
       wanted.id IN (SELECT id FROM moved)
         AND wanted.place = min(wanted.place) OVER (PARTITION BY wanted.id) AS applied,
       queued.id IS NULL AS settled,
       coalesce(queued.leased AND NOT $3::boolean, false) AS kept
FROM wanted
LEFT JOIN queued ON queued.id = wanted.id
