-- ?1 now, ?2 JSON list of [event, reason]; the events are deleted from the queue next.
INSERT INTO outcomes (id, kind, failed, attempts, fence, settled_us, reason)
SELECT item.id, item.kind, 1, item.attempts, item.fence, ?1, ended.value ->> 1
FROM json_each(?2) AS ended
CROSS JOIN queue AS item ON item.id = ended.value ->> 0
