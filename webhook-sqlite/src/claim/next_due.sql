-- ?1 kind, ?2 now. Returns when the next event falls due, and when the next lease on a due event ends.
SELECT
(SELECT min(due_us) FROM queue INDEXED BY queue_due WHERE kind = ?1 AND due_us > ?2),
(SELECT min(leased_until_us) FROM queue INDEXED BY queue_due
 WHERE kind = ?1 AND due_us <= ?2 AND leased_until_us > ?2)
