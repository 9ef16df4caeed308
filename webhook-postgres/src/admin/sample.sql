-- $1 kinds, $2 how many events of each sort are counted at most. Returns a row for each kind, with its place.
SELECT
  wanted.place,
  due.count AS due,
  due.leased + waiting.leased AS leased,
  waiting.count AS waiting,
  failed.count AS failed,
  (extract(epoch FROM statement_timestamp() - oldest.due_at) * 1000000)::bigint AS oldest_due_us,
  paused.kind IS NOT NULL AS paused
FROM unnest($1::text[]) WITH ORDINALITY AS wanted (kind, place)
CROSS JOIN LATERAL (
  SELECT
    count(*) FILTER (WHERE leased_until > statement_timestamp() IS NOT TRUE) AS count,
    count(*) FILTER (WHERE leased_until > statement_timestamp()) AS leased
  FROM (
    SELECT leased_until FROM webhook.queue
    WHERE kind = wanted.kind AND due_at <= statement_timestamp()
    ORDER BY due_at LIMIT $2::bigint
  ) AS queued
) AS due
CROSS JOIN LATERAL (
  SELECT
    count(*) FILTER (WHERE leased_until > statement_timestamp() IS NOT TRUE) AS count,
    count(*) FILTER (WHERE leased_until > statement_timestamp()) AS leased
  FROM (
    SELECT leased_until FROM webhook.queue
    WHERE kind = wanted.kind AND due_at > statement_timestamp()
    ORDER BY due_at LIMIT $2::bigint
  ) AS queued
) AS waiting
-- The array keeps the planner from the index of all failed events: it would read those of the other kinds.
CROSS JOIN LATERAL (
  SELECT count(*) AS count
  FROM (
    SELECT FROM webhook.outcomes
    WHERE kind = wanted.kind AND failed = ANY (ARRAY[true]) LIMIT $2::bigint
  ) AS ended
) AS failed
LEFT JOIN LATERAL (
  SELECT due_at FROM webhook.queue
  WHERE kind = wanted.kind
    AND due_at <= statement_timestamp()
    AND (leased_until IS NULL OR leased_until <= statement_timestamp())
  ORDER BY due_at
  LIMIT 1
) AS oldest ON true
LEFT JOIN LATERAL (
  SELECT kind FROM webhook.paused_kinds WHERE kind = wanted.kind LIMIT 1
) AS paused ON true
