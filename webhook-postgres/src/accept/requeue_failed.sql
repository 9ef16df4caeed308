-- $1 ids of events in ascending order, $2 delays in microseconds. Requeues the events that had failed and
-- have their bodies, and returns their ids.
WITH failed AS MATERIALIZED (
  SELECT outcome.*, event.delay_us
  FROM unnest($1::bigint[], $2::bigint[]) AS event (id, delay_us)
  CROSS JOIN LATERAL (
    SELECT id, kind, fence FROM webhook.outcomes WHERE id = event.id AND failed AND NOT stripped FOR UPDATE
  ) AS outcome
),
revoked AS (
  DELETE FROM webhook.outcomes WHERE id = ANY (ARRAY(SELECT id FROM failed))
)
INSERT INTO webhook.queue (id, kind, due_at, fence)
SELECT id, kind, statement_timestamp() + delay_us * interval '1 microsecond', fence FROM failed
RETURNING id
