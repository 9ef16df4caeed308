-- The beginning of a search among FAILED events. The end is matching.sql, which describes the parameters.
WITH seen AS MATERIALIZED (
  SELECT id FROM webhook.outcomes
  WHERE failed AND id < $1::bigint AND id >= $2::bigint
  ORDER BY id DESC LIMIT $3::bigint
)
