-- ?1 now, ?2 reason, ?3 JSON list of events whose attempts are used up; they are deleted from the queue
-- next.
INSERT INTO outcomes (id, kind, failed, attempts, fence, settled_us, reason)
SELECT id, kind, 1, attempts, fence, ?1, ?2 FROM queue
WHERE id IN (SELECT value FROM json_each(?3))
