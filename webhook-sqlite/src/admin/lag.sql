-- ?1 kind, ?2 now. Returns when the oldest event fell due that is not leased.
SELECT due_us FROM queue INDEXED BY queue_due
WHERE kind = (SELECT kind FROM kinds WHERE name = ?1) AND due_us <= ?2
  AND (leased_until_us IS NULL OR leased_until_us <= ?2)
ORDER BY due_us LIMIT 1
