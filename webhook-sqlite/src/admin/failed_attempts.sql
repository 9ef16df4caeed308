-- ?1 kind, ?2 key, ?3 JSON list of ids, one of which is the event's. Returns the failed attempts that are kept, the latest
-- first.
SELECT kept.attempt, kept.ended_us, kept.reason, kept.details FROM failed_attempts AS kept
WHERE kept.id = (SELECT id FROM events
                 WHERE id IN (SELECT value FROM json_each(?3))
                   AND key = ?2 AND kind = (SELECT kind FROM kinds WHERE name = ?1))
ORDER BY kept.fence DESC
