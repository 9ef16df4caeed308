-- ?1 kind, ?2 key, ?3 hash of both. Returns the event.
SELECT id FROM events
WHERE key_hash = ?3 AND key = ?2 AND kind = (SELECT kind FROM kinds WHERE name = ?1)
