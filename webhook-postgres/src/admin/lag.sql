-- $1 kind. Returns the age of the oldest event that is due and not leased: one row or none.
SELECT (extract(epoch FROM statement_timestamp() - due_at) * 1000000)::bigint AS lag_us
FROM webhook.queue
WHERE kind = $1
  AND due_at <= statement_timestamp()
  AND (leased_until IS NULL OR leased_until <= statement_timestamp())
ORDER BY due_at
LIMIT 1
