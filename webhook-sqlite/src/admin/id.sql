-- ?1 hash of a key, ?2 JSON list of ids of events that the index may not have, ?3 key, ?4 kind. Returns the event.
SELECT id FROM events
WHERE id IN (SELECT id FROM key_index WHERE hash = ?1 UNION ALL SELECT value FROM json_each(?2))
  AND key = ?3 AND kind = ?4
