-- ?1 kind, ?2 key, ?3 hash of both. Returns the conflicting bodies that are kept, the latest first.
SELECT kept.received_us, kept.fingerprint, kept.body, kept.body_bytes
FROM conflict_bodies AS kept
WHERE kept.id = (SELECT id FROM events
                 WHERE key_hash = ?3 AND key = ?2 AND kind = (SELECT kind FROM kinds WHERE name = ?1))
ORDER BY kept.number DESC
