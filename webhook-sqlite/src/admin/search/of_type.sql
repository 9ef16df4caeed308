-- ?1 the id before which events are looked at, ?2 the least id, ?3 how many are looked at, ?4 kind, ?5 event type. Returns
-- the events of the type.
SELECT id FROM events INDEXED BY events_of_type
WHERE kind = (SELECT kind FROM kinds WHERE name = ?4) AND event_type = ?5 AND id < ?1 AND id >= ?2
ORDER BY id DESC LIMIT ?3
