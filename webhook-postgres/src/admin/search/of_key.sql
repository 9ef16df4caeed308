-- The beginning of a search for an exact key. The end is matching.sql, which describes the parameters.
--
-- The order is made afterwards: otherwise the planner may look for the key among the events in order of their ids.
WITH named AS MATERIALIZED (
  SELECT id FROM webhook.events WHERE key = $7::text
),
seen AS MATERIALIZED (
  SELECT id FROM named
  WHERE id < $1::bigint AND id >= $2::bigint
  ORDER BY id DESC LIMIT $3::bigint
)
