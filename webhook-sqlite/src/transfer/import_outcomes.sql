-- ?1 JSON list of [event, kind, 1 if it failed, 1 if its body is deleted, attempts, fencing token, when it
-- was settled, reason].
INSERT INTO outcomes (id, kind, failed, body_deleted, attempts, fence, settled_us, reason)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
       value ->> 7
FROM json_each(?1)
