-- $1 ids of events in ascending order, $2 the number of conflicts with each. For each body to keep: $3 id of
-- its event, $4 number of later conflicts with that event in this batch, $5 fingerprint, $6 start of the body,
-- $7 length of the body. $8 how many bodies of an event are kept.
--
-- The events are locked, so that they are not pruned meanwhile. Events that are pruned already are ignored.
WITH conflicting AS MATERIALIZED (
  SELECT batch.id, batch.count
  FROM unnest($1::bigint[], $2::bigint[]) AS batch (id, count)
  CROSS JOIN LATERAL (
    SELECT FROM webhook.events WHERE id = batch.id FOR KEY SHARE
  ) AS event
),
counted AS (
  INSERT INTO webhook.conflicts AS known (id, count, last_at)
  SELECT id, count, statement_timestamp() FROM conflicting
  ON CONFLICT (id) DO UPDATE
  SET count = known.count + excluded.count,
      last_at = greatest(known.last_at, excluded.last_at)
  RETURNING id, count
)
INSERT INTO webhook.conflict_bodies AS kept
  (id, slot, number, received_at, fingerprint, body, body_bytes)
SELECT counted.id, (counted.count - latest.later) % $8::integer, counted.count - latest.later,
       statement_timestamp(), latest.fingerprint, latest.body, latest.body_bytes
FROM unnest($3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[], $7::bigint[])
  AS latest (id, later, fingerprint, body, body_bytes)
JOIN counted ON counted.id = latest.id
ON CONFLICT (id, slot) DO UPDATE
SET number = excluded.number,
    received_at = excluded.received_at,
    fingerprint = excluded.fingerprint,
    body = excluded.body,
    body_bytes = excluded.body_bytes
