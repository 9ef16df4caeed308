-- $1 kind, $2 time in microseconds. Answers one row. Every column of the index is named, so that only
-- what was settled within that time is read.
SELECT
  count(*) FILTER (WHERE NOT failed) AS processed,
  count(*) FILTER (WHERE failed) AS failed
FROM webhook.outcomes
WHERE kind = $1
  AND failed = ANY (ARRAY[false, true])
  AND stripped = ANY (ARRAY[false, true])
  AND settled_at >= statement_timestamp() - $2::bigint * interval '1 microsecond'
