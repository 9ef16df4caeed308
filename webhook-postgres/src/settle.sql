-- $1 ids in ascending order, $2 fences, $3 outcomes (0 processed, 1 failed, 2 retry, 3 release,
-- 4 postpone), $4 delays in microseconds, $5 reasons, $6 how many failed attempts of an event are kept,
-- $7 details of the failed attempts, empty if there are none.
--
-- Returns, for each kind, the places of the settlements that applied, and the shortest delay of the events
-- that are due again.
WITH held AS MATERIALIZED (
  SELECT settlement.place, settlement.ending, settlement.delay_us, settlement.reason,
         settlement.details, item.*,
         -- Here, since Citus refuses it in the UPDATE.
         CASE WHEN settlement.ending >= 2
              THEN statement_timestamp() + settlement.delay_us * interval '1 microsecond' END AS again_at
  -- A shorter array is filled up with nulls.
  FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[], $5::text[], $7::bytea[])
    WITH ORDINALITY AS settlement (id, fence, ending, delay_us, reason, details, place)
  CROSS JOIN LATERAL (
    SELECT id, kind, due_at, attempts, fence FROM webhook.queue
    WHERE id = settlement.id AND fence = settlement.fence AND leased_until IS NOT NULL
    FOR UPDATE
  ) AS item
),
ended AS (
  DELETE FROM webhook.queue WHERE id = ANY (ARRAY(SELECT id FROM held WHERE ending <= 1))
),
recorded AS (
  INSERT INTO webhook.outcomes (id, kind, failed, attempts, fence, settled_at, reason)
  SELECT id, kind, ending = 1, attempts, fence, statement_timestamp(), reason
  FROM held WHERE ending <= 1
),
noted AS (
  INSERT INTO webhook.failed_attempts (id, slot, fence, attempt, ended_at, reason, details)
  SELECT id, fence % $6::integer, fence, attempts, statement_timestamp(), reason, details
  FROM held WHERE ending IN (1, 2)
  ON CONFLICT (id, slot) DO UPDATE
  SET fence = excluded.fence,
      attempt = excluded.attempt,
      ended_at = excluded.ended_at,
      reason = excluded.reason,
      details = excluded.details
),
returned AS (
  UPDATE webhook.queue
  SET leased_until = NULL,
      due_at = CASE held.ending
        WHEN 3 THEN held.due_at
        ELSE held.again_at
      END,
      attempts = held.attempts - CASE held.ending WHEN 2 THEN 0 ELSE 1 END,
      reason = CASE held.ending WHEN 2 THEN held.reason ELSE queue.reason END
  FROM held
  WHERE queue.id = held.id
    AND queue.id = ANY (ARRAY(SELECT id FROM held WHERE ending >= 2))
)
SELECT kind, array_agg(place) AS places,
       min(CASE ending WHEN 3 THEN 0 ELSE delay_us END) FILTER (WHERE ending >= 2) AS due_in_us
FROM held GROUP BY kind
