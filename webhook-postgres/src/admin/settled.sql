-- $1 kind, $2 time in microseconds. Returns one row. The condition names every column of the index,
-- so that only events settled within that time are read.
SELECT
  count(*) FILTER (WHERE NOT failed) AS processed,
  count(*) FILTER (WHERE failed) AS failed
FROM webhook.outcomes
WHERE kind = $1
  AND failed = ANY (ARRAY[false, true])
  AND stripped = ANY (ARRAY[false, true])
  AND settled_at >= statement_timestamp() - $2::bigint * interval '1 microsecond'
