-- ?1 kind, ?2 key. Returns the failed attempts that are kept, the latest first.
SELECT kept.attempt, kept.ended_us, kept.reason FROM failed_attempts AS kept
WHERE kept.id = (SELECT id FROM events
                 WHERE key = ?2 AND kind = (SELECT kind FROM kinds WHERE name = ?1))
ORDER BY kept.fence DESC
