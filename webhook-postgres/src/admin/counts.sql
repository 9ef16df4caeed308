-- $1 kind. Returns one row.
SELECT queued.*, ended.*
FROM (
  SELECT
    count(*) FILTER (WHERE leased_until > statement_timestamp()) AS leased,
    count(*) FILTER (WHERE leased_until > statement_timestamp() IS NOT TRUE
                       AND due_at <= statement_timestamp()) AS due,
    count(*) FILTER (WHERE leased_until > statement_timestamp() IS NOT TRUE
                       AND due_at > statement_timestamp()) AS waiting
  FROM webhook.queue WHERE kind = $1
) AS queued,
(
  SELECT
    count(*) FILTER (WHERE NOT failed) AS processed,
    count(*) FILTER (WHERE failed) AS failed
  FROM webhook.outcomes WHERE kind = $1
) AS ended
