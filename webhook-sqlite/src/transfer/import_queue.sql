-- ?1 JSON list of [event, kind, when it is due, end of its lease, attempts, fencing token, reason].
INSERT INTO queue (id, kind, due_us, leased_until_us, attempts, fence, reason)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
FROM json_each(?1)
