-- ?1 kind, ?2 key, ?3 JSON list of ids, one of which is the event's. Returns the conflicting bodies that are kept, the
-- latest first.
SELECT kept.received_us, kept.fingerprint, kept.body, kept.body_bytes
FROM conflict_bodies AS kept
WHERE kept.id = (SELECT id FROM events
                 WHERE id IN (SELECT value FROM json_each(?3))
                   AND key = ?2 AND kind = (SELECT kind FROM kinds WHERE name = ?1))
ORDER BY kept.number DESC
