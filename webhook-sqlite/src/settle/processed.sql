-- ?1 event, ?2 fencing token, ?3 now. Inserts a row if the lease is valid; the event is deleted from the queue next.
INSERT INTO outcomes (id, kind, failed, attempts, fence, settled_us, reason)
SELECT id, kind, 0, attempts, fence, ?3, NULL FROM queue
WHERE id = ?1 AND fence = ?2 AND leased_until_us IS NOT NULL
