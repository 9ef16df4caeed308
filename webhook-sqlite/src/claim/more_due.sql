-- ?1 kind, ?2 now. Returns a row if another event is due and not leased.
SELECT 1 FROM queue INDEXED BY queue_due
WHERE kind = ?1 AND due_us <= ?2 AND (leased_until_us IS NULL OR leased_until_us <= ?2)
LIMIT 1
