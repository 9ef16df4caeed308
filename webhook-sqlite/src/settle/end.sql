-- ?1 now, ?2 JSON list of [event, kind, 1 if it failed, attempts, fencing token, reason]; they are deleted
-- from the queue next.
INSERT INTO outcomes (id, kind, failed, attempts, fence, settled_us, reason)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?1, value ->> 5
FROM json_each(?2)
