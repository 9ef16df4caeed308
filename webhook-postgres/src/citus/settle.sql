-- $1 ids in ascending order, $2 fences, $3 outcomes, as in settle.sql, but without 1 and 2, $4 delays in microseconds.
--
-- Returns the settlements that applied: their places and outcomes, delays, and what insert_outcomes.sql needs.
WITH held AS MATERIALIZED (
  SELECT settlement.place, settlement.ending, settlement.delay_us, item.*,
         statement_timestamp() + settlement.delay_us * interval '1 microsecond' AS again_at
  FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[])
    WITH ORDINALITY AS settlement (id, fence, ending, delay_us, place)
  CROSS JOIN LATERAL (
    SELECT id, kind, due_at, attempts, fence FROM webhook.queue
    WHERE id = settlement.id AND fence = settlement.fence AND leased_until IS NOT NULL
    FOR UPDATE
  ) AS item
),
ended AS (
  DELETE FROM webhook.queue WHERE id = ANY (ARRAY(SELECT id FROM held WHERE ending = 0))
),
returned AS (
  UPDATE webhook.queue
  SET leased_until = NULL,
      due_at = CASE WHEN held.ending = 3 THEN held.due_at ELSE held.again_at END,
      attempts = held.attempts - 1
  FROM held
  WHERE queue.id = held.id
    AND queue.id = ANY (ARRAY(SELECT id FROM held WHERE ending >= 3))
)
SELECT place, ending, delay_us, id, kind, attempts, fence FROM held
